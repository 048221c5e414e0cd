//! The upper limits of the measured figures: handlers that do nothing, and a loop of bare writes.
//! The WebSocket hub without the marketplace is measured in the same way as that loop. Each limit
//! runs in a process of its own, like the server. The database driver alone is in `driver.rs`.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    process::Command,
    time::Duration,
};

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use gittix::{
    clock::Clock,
    domain::{DomainEvent, Ticket, TicketId, Timestamp, UserId, samples},
    http::{self, ServerLimits},
    store::{Cursor, FeedLog, RecordedEvent, feed::FeedLimits},
    ws::{self, Hub, Shard, SocketLimits},
};
use uuid::Uuid;

use crate::app::Server;

/// Starts one of the limits in a process of its own.
pub async fn start(name: &str, argument: &str) -> Server {
    let mut command = Command::new(std::env::current_exe().expect("this program has a path"));
    command
        .args([name, argument])
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    Server::spawn(command).await
}

/// Answers a POST with 409 and a problem of the usual length, and a GET with a page of
/// `page_bytes`.
pub fn bare_handler(page_bytes: usize) {
    const PROBLEM: &str = r#"{"type":"/docs#ticket_locked","title":"Another order holds the ticket.","status":409,"code":"ticket_locked","errors":[{"message":"Another order holds the ticket."}]}"#;
    async fn refuse(_body: web::Bytes) -> HttpResponse {
        HttpResponse::Conflict().content_type("application/problem+json").body(PROBLEM)
    }
    async fn show(page: web::Data<web::Bytes>) -> HttpResponse {
        HttpResponse::Ok().content_type("application/json").body(web::Bytes::clone(&page))
    }
    actix::System::new().block_on(async {
        let listener = announced();
        let page = web::Data::new(web::Bytes::from(vec![b' '; page_bytes]));
        let server = HttpServer::new(move || {
            let app = App::new().app_data(page.clone());
            app.route("/api/orders", web::post().to(refuse))
                .route("/api/tickets", web::get().to(show))
        });
        server
            .workers(2)
            .listen(listener)
            .expect("the listener is bound")
            .run()
            .await
            .expect("the server runs");
    });
}

/// Binds a free port and prints it in the form that servers use.
fn announced() -> TcpListener {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    println!("listening addr={}", listener.local_addr().expect("the listener is bound"));
    listener
}

/// Runs the hub alone. The first connection is a trigger: each of its bytes puts one event into the
/// feed. A second port, which is sent on the trigger, accepts WebSockets.
pub fn hub() {
    actix::System::new().block_on(async {
        let epoch = Cursor { epoch: 1, ..Cursor::default() };
        let feed = FeedLog::new(
            epoch,
            FeedLimits { events_max: FeedLimits::EVENTS_MAX, silence_max: None, ahead_max: 0 },
        );
        let hub = Hub::new(feed.clone(), Clock::starting_at(Timestamp(0)), SocketLimits::default());
        let sockets = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let port = sockets.local_addr().expect("the listener is bound").port();
        std::thread::spawn(move || announce(&announced(), port, &feed));
        let bounds = ServerLimits { workers: 2, drain: Duration::from_secs(1) };
        let app = move || {
            App::new()
                .app_data(web::Data::new(hub.start_shard()))
                .route("/ws", web::get().to(connect))
        };
        let mut server = http::serve(sockets, bounds, http::Guard::default(), app)
            .expect("the listener is bound");
        panic!("{}", server.ended().await);
    });
}

async fn connect(request: HttpRequest, shard: web::Data<Shard>) -> actix_web::Result<HttpResponse> {
    Ok(ws::connect(&shard, &request, None, None)?)
}

fn announce(listener: &TcpListener, port: u16, feed: &FeedLog) {
    let (mut trigger, _) = listener.accept().expect("the benchmark connects");
    trigger.write_all(&port.to_be_bytes()).expect("two bytes fit");
    let mut bytes = [0; 4096];
    let mut time = 0;
    while let Ok(count @ 1..) = trigger.read(&mut bytes) {
        let events = (0..count).map(|_| {
            time += 1;
            RecordedEvent::new(
                Cursor { epoch: 1, time, ordinal: 0 },
                Timestamp(0),
                DomainEvent::TicketUpdated { ticket: ticket(time) },
            )
        });
        feed.push(events);
    }
}

fn ticket(version: u64) -> Ticket {
    Ticket {
        id: TicketId::new(Uuid::from_u128(u128::from(version % 500))),
        seller: UserId::new(Uuid::nil()),
        version,
        ..samples::ticket()
    }
}

/// Writes one prepared frame of about 300 bytes to every connection, each time that the first
/// connection sends a byte.
pub fn broadcaster() {
    let listener = announced();
    let (mut trigger, _) = listener.accept().expect("the benchmark connects");
    let mut frame = vec![0x81, 126, 1, 44];
    frame.extend([b'x'; 300]);
    let mut audience: Vec<TcpStream> = Vec::new();
    let mut byte = [0];
    trigger.set_read_timeout(Some(Duration::from_millis(1))).expect("the socket option can be set");
    listener.set_nonblocking(true).expect("the socket option can be set");
    loop {
        while let Ok((mut socket, _)) = listener.accept() {
            socket.set_nodelay(true).expect("the socket option can be set");
            let mut request = [0; 1024];
            let _ = socket.read(&mut request);
            socket
                .write_all(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
                .and_then(|()| socket.write_all(&frame))
                .expect("a new socket accepts a frame");
            audience.push(socket);
        }
        match trigger.read(&mut byte) {
            Ok(0) => return,
            Ok(_) => audience
                .iter_mut()
                .for_each(|socket| socket.write_all(&frame).expect("the receivers read")),
            Err(_) => {}
        }
    }
}
