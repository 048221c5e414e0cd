//! What nothing can be faster than: a handler that does nothing, a loop of bare writes, the database's driver alone.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    process::Command,
    time::Duration,
};

use actix_web::{App, HttpResponse, HttpServer, web};
use mongodb::{
    Client,
    bson::{Document, doc},
    options::{Acknowledgment, ReadConcern, WriteConcern},
};
use tokio::time::Instant;

use super::load::Measured;
use crate::app::Server;

/// Starts one of the ceilings as a process of its own.
pub async fn start(name: &str) -> Server {
    let mut command = Command::new(std::env::current_exe().expect("a program knows where it is"));
    command.arg(name).stdin(std::process::Stdio::null()).stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    Server::spawn(command).await
}

/// Reads a body and answers 409 with a problem of the usual length.
pub fn bare_handler() {
    const PROBLEM: &str = r#"{"type":"/docs#ticket_locked","title":"Another order holds the ticket.","status":409,"code":"ticket_locked","errors":[{"message":"Another order holds the ticket."}]}"#;
    async fn refuse(_body: web::Bytes) -> HttpResponse {
        HttpResponse::Conflict().content_type("application/problem+json").body(PROBLEM)
    }
    actix::System::new().block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        println!("listening addr={}", listener.local_addr().expect("it is bound"));
        let server = HttpServer::new(|| App::new().route("/api/orders", web::post().to(refuse)));
        server.workers(2).listen(listener).expect("it is bound").run().await.expect("it serves");
    });
}

/// Writes one prepared frame of some 300 bytes to every connection, each time that the first one sends a byte.
pub fn broadcaster() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    println!("listening addr={}", listener.local_addr().expect("it is bound"));
    let (mut trigger, _) = listener.accept().expect("somebody comes");
    let mut frame = vec![0x81, 126, 1, 44];
    frame.extend([b'x'; 300]);
    let mut audience: Vec<TcpStream> = Vec::new();
    let mut byte = [0];
    trigger.set_read_timeout(Some(Duration::from_millis(1))).expect("a socket option");
    listener.set_nonblocking(true).expect("a socket option");
    loop {
        while let Ok((mut socket, _)) = listener.accept() {
            socket.set_nodelay(true).expect("a socket option");
            let mut request = [0; 1024];
            let _ = socket.read(&mut request);
            socket
                .write_all(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
                .and_then(|()| socket.write_all(&frame))
                .expect("a new socket takes a frame");
            audience.push(socket);
        }
        match trigger.read(&mut byte) {
            Ok(0) => return,
            Ok(_) => audience.iter_mut().for_each(|socket| socket.write_all(&frame).expect("the audience reads")),
            Err(_) => {}
        }
    }
}

/// The same documents as a lock (a conditional update, an order, a document of two events), a transaction each, 16 in flight.
pub async fn driver_alone(uri: &str, span: Duration) -> Measured {
    const IN_FLIGHT: u32 = 16;
    let client = Client::with_uri_str(uri).await.expect("a valid URI");
    let db = client.database("gittix_bench_ceiling");
    db.drop().await.expect("the database can be dropped");
    for name in ["tickets", "orders", "events"] {
        db.create_collection(name).await.expect("a collection");
    }
    let deadline = Instant::now() + span;
    let writers = (0..IN_FLIGHT).map(|writer| {
        let (client, db) = (client.clone(), db.clone());
        async move {
            let mut latencies = Vec::new();
            let mut number = 0u32;
            while Instant::now() < deadline {
                let ticket = format!("{writer}-{number}");
                db.collection::<Document>("tickets")
                    .insert_one(doc! { "_id": &ticket, "version": 0, "title": "Front row" })
                    .await
                    .expect("written");
                let began = Instant::now();
                one_lock(&client, &db, &ticket).await.expect("nothing conflicts");
                latencies.push(began.elapsed());
                number += 1;
            }
            latencies
        }
    });
    let latencies = futures_util::future::join_all(writers).await.concat();
    // The insert before each lock is not part of it: its time is taken off the span.
    let busy: Duration = latencies.iter().sum::<Duration>() / IN_FLIGHT;
    db.drop().await.expect("the database can be dropped");
    Measured::of(latencies, busy, Duration::ZERO)
}

async fn one_lock(client: &Client, db: &mongodb::Database, ticket: &str) -> Result<(), mongodb::error::Error> {
    let mut session = client.start_session().await?;
    let majority = WriteConcern::builder().w(Acknowledgment::Majority).build();
    session.start_transaction().read_concern(ReadConcern::snapshot()).write_concern(majority).await?;
    let lock = doc! { "$set": { "version": 1, "state": { "order": ticket, "buyer": ticket } } };
    db.collection::<Document>("tickets").update_one(doc! { "_id": ticket, "version": 0 }, lock).session(&mut session).await?;
    let order = doc! { "_id": ticket, "ticket": ticket, "buyer": ticket, "status": "Created", "version": 0, "price": 2000 };
    db.collection::<Document>("orders").insert_one(order.clone()).session(&mut session).await?;
    let events = doc! { "events": [{ "type": "TicketUpdated", "ticket": { "id": ticket, "version": 1 } }, { "type": "OrderCreated", "order": order }] };
    db.collection::<Document>("events").insert_one(events).session(&mut session).await?;
    session.commit_transaction().await
}
