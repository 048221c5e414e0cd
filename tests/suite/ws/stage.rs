//! A test server with one route, and its clients.

use std::{
    net::{IpAddr, SocketAddr},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use actix_web::{App, HttpRequest, rt, web};
use futures_util::{SinkExt, StreamExt};
use gittix::{
    clock::Clock,
    domain::{DomainEvent, Timestamp},
    http::{self, Guard, ServerLimits},
    store::{Cursor, FeedLog, RecordedEvent, feed::FeedLimits},
    ws::{self, Hub, Shard, SocketLimits, Viewer},
};
use serde_json::{Value, json};
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{
        Error, Message, client::IntoClientRequest, http::Response, protocol::CloseFrame,
    },
};

use super::samples;

/// Maximum wait of a test; it is longer than any correct operation takes.
const WAIT_MAX: Duration = Duration::from_secs(10);

pub struct Stage {
    pub feed: FeedLog,
    pub hub: Hub,
    pub addr: SocketAddr,
    server: http::Server,
    /// Time of the last pushed event's cursor.
    last_time: AtomicU64,
}

pub struct Client(pub WebSocketStream<TcpStream>);

/// The properties of a client's connection.
#[derive(Debug, Default, Clone)]
pub struct As {
    /// The number of the user, and the name of the session.
    pub user: Option<(u64, &'static str)>,
    pub expires_at: Option<Timestamp>,
    pub after: Option<String>,
    /// The client address that the connection counts for; `None`: it counts for no address.
    pub address: Option<IpAddr>,
    /// Size of the receive buffer of the client's socket, in bytes.
    pub receive_buffer: Option<usize>,
}

pub fn user(n: u64) -> As {
    As { user: Some((n, "phone")), ..As::default() }
}

pub fn after(cursor: &str) -> As {
    As { after: Some(cursor.to_owned()), ..As::default() }
}

impl Stage {
    pub async fn start(limits: SocketLimits) -> Self {
        Self::with_ring(limits, 100_000).await
    }

    /// Starts a server with a feed that keeps `events_max` events.
    pub async fn with_ring(limits: SocketLimits, events_max: usize) -> Self {
        Self::guarded(limits, events_max, Guard::default()).await
    }

    /// Starts a server with limits on connections.
    pub async fn guarded(limits: SocketLimits, events_max: usize, guard: Guard) -> Self {
        let base = Cursor { epoch: 1, time: 0, ordinal: 0 };
        let feed = FeedLog::new(base, FeedLimits { events_max, silence_max: None, ahead_max: 0 });
        let hub = Hub::new(feed.clone(), Clock::starting_at(samples::NOW), limits);
        let shards = hub.clone();
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let addr = listener.local_addr().expect("the listener is bound");
        let bounds = ServerLimits { workers: 2, drain: Duration::from_secs(1) };
        let app = move || {
            App::new()
                .app_data(web::Data::new(shards.start_shard()))
                .route("/ws", web::get().to(upgrade))
        };
        let server = http::serve(listener, bounds, guard, app).expect("the server starts");
        Self { feed, hub, addr, server, last_time: AtomicU64::new(0) }
    }

    /// Pushes an event to the feed, and returns its cursor.
    pub fn push(&self, event: DomainEvent) -> Cursor {
        self.push_all([event])
    }

    /// Pushes events to the feed at once, and returns the cursor of the last one.
    pub fn push_all(&self, events: impl IntoIterator<Item = DomainEvent>) -> Cursor {
        let record = |event| {
            RecordedEvent::new(
                Cursor {
                    epoch: 1,
                    time: 1 + self.last_time.fetch_add(1, Ordering::Relaxed),
                    ordinal: 0,
                },
                samples::NOW,
                event,
            )
        };
        self.feed.push(events.into_iter().map(record));
        self.feed.cursor()
    }

    /// Connects, and returns the client and its Hello frame.
    pub async fn connect(&self, who: As) -> (Client, Value) {
        let mut client = self.try_connect(who).await.expect("an upgrade");
        let hello = client.next().await;
        assert_eq!(hello["type"], json!("Hello"), "{hello}");
        (client, hello)
    }

    /// Connects without a session.
    pub async fn watcher(&self) -> Client {
        self.connect(As::default()).await.0
    }

    pub async fn try_connect(&self, who: As) -> Result<Client, Box<Response<Option<Vec<u8>>>>> {
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        if let Some(bytes) = who.receive_buffer {
            socket
                .set_recv_buffer_size(u32::try_from(bytes).expect("small"))
                .expect("a receive buffer");
        }
        let stream = socket.connect(self.addr).await.expect("a connection");
        let query = who.after.map(|after| format!("?x=1&after={after}")).unwrap_or_default();
        let mut request =
            format!("ws://{}/ws{query}", self.addr).into_client_request().expect("a request");
        if let Some((user, session)) = who.user {
            let expires_at = who.expires_at.unwrap_or(Timestamp(i64::MAX));
            request.headers_mut().insert(
                "x-viewer",
                format!("{user} {session} {}", expires_at.0).parse().expect("a header"),
            );
        }
        if let Some(address) = who.address {
            request
                .headers_mut()
                .insert("x-address", address.to_string().parse().expect("a header"));
        }
        match timeout(WAIT_MAX, client_async(request, stream)).await.expect("an answer") {
            Ok((socket, _)) => Ok(Client(socket)),
            Err(Error::Http(response)) => Err(response),
            Err(error) => panic!("{error}"),
        }
    }

    /// Waits until `count` connections are open.
    pub async fn until_open(&self, count: usize) {
        timeout(WAIT_MAX, async {
            while self.hub.open() != count {
                rt::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
        .unwrap_or_else(|_| panic!("{} connections are open, not {count}", self.hub.open()));
    }

    pub async fn stop(self) {
        self.server.stop().await;
    }
}

async fn upgrade(
    request: HttpRequest,
    shard: web::Data<Shard>,
) -> actix_web::Result<actix_web::HttpResponse> {
    let viewer = request.headers().get("x-viewer").map(|viewer| {
        let viewer: Vec<_> = viewer.to_str().expect("ASCII").split(' ').collect();
        Viewer {
            user: samples::user_id(viewer[0].parse().expect("a number")),
            session: samples::session(viewer[1]),
            expires_at: Timestamp(viewer[2].parse().expect("a number")),
        }
    });
    let address =
        request.headers().get("x-address").and_then(|address| address.to_str().ok()?.parse().ok());
    Ok(ws::connect(&shard, &request, viewer, address)?)
}

impl Client {
    /// Returns the next text frame.
    pub async fn next(&mut self) -> Value {
        loop {
            match self.message().await {
                Message::Text(text) => return serde_json::from_str(&text).expect("JSON"),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// Returns the next message of any kind.
    pub async fn message(&mut self) -> Message {
        timeout(WAIT_MAX, self.0.next())
            .await
            .expect("a message in time")
            .expect("an open connection")
            .expect("a frame")
    }

    /// Returns the frames up to and including the first one of this type.
    pub async fn until(&mut self, name: &str) -> Vec<Value> {
        let mut frames = Vec::new();
        loop {
            let frame = self.next().await;
            let is_last = frame["type"] == name;
            frames.push(frame);
            if is_last {
                return frames;
            }
        }
    }

    /// Checks that no frame is queued: the answer to a command is sent after all frames that were
    /// queued before it.
    pub async fn assert_no_frame_queued(&mut self) {
        self.send("?").await;
        assert_eq!(self.next().await["type"], json!("Error"));
    }

    pub async fn send(&mut self, text: &str) {
        self.0.send(Message::text(text)).await.expect("sent");
    }

    pub async fn ask(&mut self, command: Value) -> Value {
        self.send(&command.to_string()).await;
        self.next().await
    }

    /// Sends raw bytes, which need not be a valid frame.
    pub async fn send_raw(&mut self, bytes: &[u8]) {
        tokio::io::AsyncWriteExt::write_all(self.0.get_mut(), bytes).await.expect("sent");
    }

    /// Reads up to the close frame, then until the server ends the connection.
    pub async fn closed(&mut self) -> CloseFrame {
        let close = loop {
            if let Message::Close(close) = self.message().await {
                break close.expect("a code");
            }
        };
        let rest = timeout(WAIT_MAX, self.0.next()).await.expect("the end of the connection");
        assert!(matches!(rest, None | Some(Err(_))), "{rest:?}");
        close
    }

    /// Reads up to the close frame, and returns its code.
    pub async fn close_code(&mut self) -> u16 {
        self.closed().await.code.into()
    }
}
