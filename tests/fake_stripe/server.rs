//! The HTTP server on a thread of its own: faults, holds and idempotency around the endpoints, and
//! the delivery of events.

use std::{
    net::{Shutdown, SocketAddr, TcpStream},
    os::fd::AsFd,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use actix_web::{
    App, HttpRequest, HttpResponse, HttpServer, dev::ServerHandle, http::StatusCode, rt, web,
};
use gittix::{clock::wall_clock, domain::Timestamp};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use super::{
    books::Books,
    faults::{Fault, Faults, Kind, Side, Verdict},
    keys::{Entry, Keys},
    reply::Reply,
    request::Endpoint,
    webhooks::{Event, Post, signature},
};

/// Maximum time of any wait, also if a test does not release a request.
const WAIT_MAX: Duration = Duration::from_secs(20);

/// One received request, for tests that check the requests.
#[derive(Debug, Clone)]
pub struct Seen {
    pub kind: Kind,
    pub key: Option<String>,
    pub version: Option<String>,
}

/// The state that the server's threads share.
#[derive(Debug)]
pub struct Shared {
    books: Mutex<Books>,
    keys: Mutex<Keys>,
    faults: Mutex<Faults>,
    post: Mutex<Post>,
    seen: Mutex<Vec<Seen>>,
}

impl Shared {
    pub fn new(books: Books, faults: Faults, post: Post) -> Self {
        Self {
            books: books.into(),
            keys: Mutex::default(),
            faults: faults.into(),
            post: post.into(),
            seen: Mutex::default(),
        }
    }

    pub fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().expect("no thread panics while it holds the lock")
    }

    pub fn faults(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().expect("no thread panics while it holds the lock")
    }

    pub fn post(&self) -> MutexGuard<'_, Post> {
        self.post.lock().expect("no thread panics while it holds the lock")
    }

    pub fn seen(&self) -> MutexGuard<'_, Vec<Seen>> {
        self.seen.lock().expect("no thread panics while it holds the lock")
    }

    fn keys(&self) -> MutexGuard<'_, Keys> {
        self.keys.lock().expect("no thread panics while it holds the lock")
    }

    /// Sends the new events to the configured address.
    pub fn announce(self: &Arc<Self>, key: Option<&str>) {
        let events = self.books().take_events();
        for (kind, object) in events {
            let (event, delays) = self.post().add(kind, &object, key);
            for delay in delays {
                rt::spawn(Arc::clone(self).deliver(event.clone(), delay));
            }
        }
    }

    /// Delivers an event until it is accepted.
    async fn deliver(self: Arc<Self>, event: Event, delay: Duration) {
        sleep(delay).await;
        let tries = self.post().manner.tries;
        for _ in 0..tries {
            if self.deliver_once(&event).await.is_some_and(|status| (200..300).contains(&status)) {
                return;
            }
            sleep(Post::RETRY_AFTER).await;
        }
    }

    /// Delivers an event once and returns the status of the answer, if there was an answer.
    pub async fn deliver_once(&self, event: &Event) -> Option<u16> {
        let (url, secrets) = {
            let post = self.post();
            (post.url.clone()?, post.secrets.clone())
        };
        let header = signature(&secrets, &event.body, seconds(wall_clock()));
        let client = gittix::http_client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(10))
            .build()
            .expect("the client can be built");
        let sent = client
            .post(url)
            .header("stripe-signature", header)
            .header("content-type", "application/json; charset=utf-8");
        let status = sent.body(event.body.clone()).send().await.ok()?.status().as_u16();
        self.post().delivered.push((event.id.clone(), status));
        Some(status)
    }
}

/// A parsed request.
struct Asked {
    method: String,
    path: String,
    /// The query of a GET or the body of a POST.
    parameters: String,
    key: Option<String>,
    authorized: bool,
    version: Option<String>,
    is_form: bool,
}

/// An answer, and whether it is a replay.
struct Answered {
    reply: Reply,
    replayed: bool,
}

impl From<Reply> for Answered {
    fn from(reply: Reply) -> Self {
        Self { reply, replayed: false }
    }
}

/// Returns the answer to a request, or `None` if its connection has to end without an answer.
async fn answer(shared: Arc<Shared>, asked: Asked) -> Option<Answered> {
    if !asked.authorized {
        return Some(Reply::unauthorized().into());
    }
    let Some(endpoint) = Endpoint::of(&asked.method, &asked.path) else {
        return Some(Reply::no_route(&asked.method, &asked.path).into());
    };
    let kind = endpoint.kind();
    let seen = Seen { kind, key: asked.key.clone(), version: asked.version };
    shared.seen().push(seen);
    if asked.method == "POST" && !asked.is_form {
        return Some(Reply::invalid("parameter_invalid_string", "content-type").into());
    }
    let fault = shared.faults().draw(kind);
    match fault {
        Some(Fault::LostRequest) => return None,
        Some(Fault::RateLimited) => return Some(Reply::rate_limited().into()),
        Some(Fault::Locked) => return Some(Reply::locked().into()),
        Some(Fault::Unavailable) => return Some(Reply::unavailable().into()),
        _ => {}
    }
    if held(&shared, Side::Before, kind).await == Some(Verdict::Forget) {
        return None;
    }
    let key = asked.key.as_deref().filter(|_| asked.method == "POST");
    let request = format!("{} {} {}", asked.method, asked.path, asked.parameters);
    let entry = key.map_or(Entry::Fresh, |key| shared.keys().begin(key, &request));
    let reply = match entry {
        Entry::Refuse(reply) => return Some(reply.into()),
        Entry::Replay(reply) => return Some(Answered { reply, replayed: true }),
        Entry::Fresh => perform(&shared, &endpoint, &asked.parameters, key, fault).await,
    };
    if let Some(key) = key {
        shared.keys().end(key, &reply);
    }
    held(&shared, Side::After, kind).await;
    if let Some(Fault::LateAnswer(delay)) = fault {
        sleep(delay).await;
    }
    (fault != Some(Fault::LostAnswer)).then(|| reply.into())
}

/// Executes a request at its planned time.
async fn perform(
    shared: &Arc<Shared>,
    endpoint: &Endpoint,
    parameters: &str,
    key: Option<&str>,
    fault: Option<Fault>,
) -> Reply {
    if let Some(Fault::Slow(delay)) = fault {
        sleep(delay).await;
    }
    let form = match endpoint.form(parameters) {
        Ok(form) => form,
        Err(reply) => return *reply,
    };
    if fault == Some(Fault::BrokenBefore) {
        return Reply::broken();
    }
    let subject =
        endpoint.intent().map(str::to_owned).or_else(|| form.get("payment_intent").cloned());
    let subjects: Vec<String> = subject
        .and_then(|id| {
            shared.books().intents.get(&id).map(|i| i.metadata.values().cloned().collect())
        })
        .unwrap_or_default();
    let timing = shared.faults().timing(endpoint.kind(), subjects.iter());
    if let Some(timing) = timing {
        until(timing.done_at).await;
    }
    let reply = shared.books().call(endpoint, &form, seconds(wall_clock()));
    shared.announce(key);
    if let Some(timing) = timing {
        until(timing.answered_at).await;
    }
    if fault == Some(Fault::BrokenAfter) { Reply::broken() } else { reply }
}

/// Waits until the test releases this request.
async fn held(shared: &Shared, side: Side, kind: Kind) -> Option<Verdict> {
    let wait = shared.faults().arrives(side, kind)?;
    // The request continues if the test dropped it or held it for too long.
    timeout(WAIT_MAX, wait).await.ok()?.ok()
}

async fn until(time: Timestamp) {
    let left = u64::try_from((time - wall_clock()).0).unwrap_or(0);
    sleep(Duration::from_millis(left).min(WAIT_MAX)).await;
}

fn seconds(time: Timestamp) -> i64 {
    time.0 / 1_000
}

/// A handle of a connection, to end it without an answer.
#[derive(Debug)]
struct Connection(TcpStream);

async fn handle(request: HttpRequest, body: web::Bytes, shared: web::Data<Shared>) -> HttpResponse {
    let header = |name: &str| {
        request.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
    };
    let body = String::from_utf8_lossy(&body).into_owned();
    let method = request.method().to_string();
    let asked = Asked {
        path: request.path().to_owned(),
        parameters: if method == "GET" { request.query_string().to_owned() } else { body },
        method,
        key: header("idempotency-key"),
        authorized: header("authorization").is_some_and(|value| {
            value.starts_with("Bearer sk_test_") || value.starts_with("Basic ")
        }),
        version: header("stripe-version"),
        is_form: header("content-type")
            .is_some_and(|value| value.starts_with("application/x-www-form-urlencoded")),
    };
    let (shared, key) = (shared.into_inner(), asked.key.clone());
    // The request runs in a task of its own, because Stripe finishes a request even if its client
    // disconnects.
    let answered = rt::spawn(answer(shared, asked)).await.expect("the endpoint does not panic");
    let Some(Answered { reply, replayed }) = answered else {
        if let Some(Connection(stream)) = request.conn_data::<Connection>() {
            // The connection may be closed already.
            let _ = stream.shutdown(Shutdown::Both);
        }
        return HttpResponse::new(StatusCode::INTERNAL_SERVER_ERROR);
    };
    let mut response =
        HttpResponse::build(StatusCode::from_u16(reply.status).expect("the status is valid"));
    response.insert_header(("request-id", "req_fake"));
    if let Some(key) = key {
        response.insert_header(("idempotency-key", key));
    }
    if replayed {
        response.insert_header(("idempotent-replayed", "true"));
    }
    if let Some(seconds) = reply.retry_after {
        response.insert_header(("retry-after", seconds.to_string()));
    }
    response.json(reply.body)
}

/// Serves `/_ledger`: every entry, the sums by intent, and the contradictions.
async fn ledger(shared: web::Data<Shared>) -> HttpResponse {
    let books = shared.books();
    let intents: Vec<Value> = books
        .intents
        .values()
        .map(|intent| json!({ "id": intent.id, "metadata": intent.metadata }))
        .collect();
    let ledger = &books.ledger;
    let all = json!({ "lines": ledger.lines, "accounts": ledger.accounts(), "intents": intents, "contradictions": ledger.contradictions() });
    HttpResponse::Ok().json(all)
}

/// Serves `/_act/{intent}?agrees=true`: the buyer acts in the browser.
async fn act(
    intent: web::Path<String>,
    asked: web::Query<Act>,
    shared: web::Data<Shared>,
) -> HttpResponse {
    if !shared.books().intents.get(&*intent).is_some_and(super::intent::Intent::waits) {
        return HttpResponse::Conflict().finish();
    }
    shared.books().act(&intent, asked.agrees);
    shared.announce(None);
    HttpResponse::Ok().finish()
}

#[derive(Debug, serde::Deserialize)]
struct Act {
    agrees: bool,
}

/// Serves `/_webhooks?url=…`: sets the address to which events are sent.
async fn webhooks(asked: web::Query<Address>, shared: web::Data<Shared>) -> HttpResponse {
    shared.post().url = Some(asked.into_inner().url);
    HttpResponse::Ok().finish()
}

#[derive(Debug, serde::Deserialize)]
struct Address {
    url: String,
}

/// Serves on this thread until the server is stopped. Calls `started` with the address and a handle
/// that stops the server.
pub fn serve(
    shared: Arc<Shared>,
    port: u16,
    started: impl FnOnce(SocketAddr, ServerHandle) + Send,
) {
    rt::System::new().block_on(async move {
        let server = HttpServer::new(move || {
            App::new()
                .app_data(web::Data::from(Arc::clone(&shared)))
                .route("/_ledger", web::get().to(ledger))
                .route("/_act/{intent}", web::post().to(act))
                .route("/_webhooks", web::post().to(webhooks))
                .default_service(web::to(handle))
        })
        .workers(1)
        .disable_signals()
        .shutdown_timeout(0)
        .on_connect(|connection, extensions| {
            let stream = connection
                .downcast_ref::<rt::net::TcpStream>()
                .and_then(|stream| stream.as_fd().try_clone_to_owned().ok());
            if let Some(stream) = stream {
                extensions.insert(Connection(stream.into()));
            }
        })
        .bind(("127.0.0.1", port))
        .expect("a port of the loopback is free");
        let addr = server.addrs()[0];
        let running = server.run();
        started(addr, running.handle());
        running.await.expect("serving ends when it is stopped");
    });
}
