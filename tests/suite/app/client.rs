//! A user of the API: a cookie, and a method for each route.

use std::{
    future::{Future, IntoFuture},
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use reqwest::{Method, header};
use serde_json::{Value, json};

use super::{Answer, PATIENCE, Server, Socket, world::Seeded};

/// User with a cookie jar. Clones share the jar, as two tabs of one browser do.
#[derive(Debug, Clone)]
pub struct Client {
    base: String,
    http: reqwest::Client,
    jar: Jar,
    pub id: String,
    pub email: String,
}

/// `name=value` of the only cookie.
type Jar = Arc<Mutex<Option<String>>>;

impl Client {
    /// Password of all users in tests.
    pub const PASSWORD: &'static str = "correct horse";

    /// Returns a client that is not signed in.
    pub fn new(addr: SocketAddr) -> Self {
        let http = gittix::http_client::builder()
            .no_proxy()
            // The server has no TLS. To read the system's certificates for each test took 4 % of
            // the CPU time of all tests.
            .tls_certs_only([])
            .redirect(reqwest::redirect::Policy::none())
            .timeout(PATIENCE)
            .build()
            .expect("a client with these options can be built");
        Self {
            base: format!("http://{addr}"),
            http,
            jar: Jar::default(),
            id: String::new(),
            email: String::new(),
        }
    }

    /// Returns clients for the users that were put into a store before its server started.
    pub async fn seeded(addr: SocketAddr, seeded: Vec<Seeded>) -> Vec<Self> {
        // The name of the session cookie is copied from a real sign-up.
        let mut real = Self::new(addr);
        real.join().await;
        let cookie = real.cookie().expect("signing up sets a cookie");
        let name = cookie.split('=').next().unwrap_or_default();
        let person = |seeded: Seeded| {
            let mut person = real.stranger();
            person.set_cookie(Some(format!("{name}={}", seeded.token)));
            (person.id, person.email) = (seeded.id.to_string(), seeded.email);
            person
        };
        seeded.into_iter().map(person).collect()
    }

    /// Returns a client of the same server that is not signed in.
    pub fn stranger(&self) -> Self {
        Self { jar: Jar::default(), id: String::new(), email: String::new(), ..self.clone() }
    }

    /// Signs up with an email address that no other user has.
    pub async fn join(&mut self) {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        self.email = format!("person{}@example.com", COUNT.fetch_add(1, Ordering::Relaxed));
        self.id = self.sign_up(&self.email, Self::PASSWORD).await.expect(201).id();
    }

    /// Returns the same user at another replica.
    pub fn at(&self, server: &Server) -> Self {
        self.at_addr(server.addr)
    }

    /// Returns the same user at another address, which may be a proxy.
    pub fn at_addr(&self, addr: SocketAddr) -> Self {
        Self { base: format!("http://{addr}"), ..self.clone() }
    }

    /// Returns the same account in a second browser, signed in there.
    pub async fn elsewhere(&self) -> Self {
        let other = Self { jar: Jar::default(), ..self.clone() };
        other.sign_in(&self.email, Self::PASSWORD).await.expect(200);
        other
    }

    /// Returns `name=value` of the session cookie.
    pub fn cookie(&self) -> Option<String> {
        self.jar.lock().expect("no holder panics").clone()
    }

    /// Puts a cookie into the jar.
    pub fn set_cookie(&self, cookie: Option<String>) {
        *self.jar.lock().expect("no holder panics") = cookie;
    }

    pub fn call(&self, method: Method, path: &str) -> Call {
        let mut request = self.http.request(method.clone(), format!("{}{path}", self.base));
        if let Some(cookie) = self.cookie() {
            request = request.header(header::COOKIE, cookie);
        }
        Call { asked: format!("{method} {path}"), request, jar: self.jar.clone() }
    }

    pub fn get(&self, path: &str) -> Call {
        self.call(Method::GET, path)
    }

    pub fn post(&self, path: &str, body: &Value) -> Call {
        self.call(Method::POST, path).json(body)
    }

    pub fn put(&self, path: &str, body: &Value) -> Call {
        self.call(Method::PUT, path).json(body)
    }

    pub fn delete(&self, path: &str) -> Call {
        self.call(Method::DELETE, path)
    }

    pub fn sign_up(&self, email: &str, password: &str) -> Call {
        self.post("/api/users/signup", &json!({ "email": email, "password": password }))
    }

    pub fn sign_in(&self, email: &str, password: &str) -> Call {
        self.post("/api/users/signin", &json!({ "email": email, "password": password }))
    }

    pub fn sign_out(&self) -> Call {
        self.post("/api/users/signout", &json!({}))
    }

    pub fn current_user(&self) -> Call {
        self.get("/api/users/currentuser")
    }

    pub fn update_me(&self, change: &Value) -> Call {
        self.put("/api/users/currentuser", change)
    }

    /// `query` includes its question mark, or is empty.
    pub fn tickets(&self, query: &str) -> Call {
        self.get(&format!("/api/tickets{query}"))
    }

    pub fn ticket(&self, id: &str) -> Call {
        self.get(&format!("/api/tickets/{id}"))
    }

    pub fn list_ticket(&self, title: &str, price: impl Into<Value>) -> Call {
        self.post("/api/tickets", &json!({ "title": title, "price": price.into() }))
    }

    pub fn edit_ticket(&self, id: &str, title: &str, price: impl Into<Value>) -> Call {
        self.put(&format!("/api/tickets/{id}"), &json!({ "title": title, "price": price.into() }))
    }

    pub fn delist_ticket(&self, id: &str) -> Call {
        self.delete(&format!("/api/tickets/{id}"))
    }

    pub fn place_order(&self, ticket: &str) -> Call {
        self.post("/api/orders", &json!({ "ticketId": ticket }))
    }

    /// `query` includes its question mark, or is empty.
    pub fn orders(&self, query: &str) -> Call {
        self.get(&format!("/api/orders{query}"))
    }

    pub fn order(&self, id: &str) -> Call {
        self.get(&format!("/api/orders/{id}"))
    }

    pub fn cancel_order(&self, id: &str) -> Call {
        self.delete(&format!("/api/orders/{id}"))
    }

    pub fn pay(&self, order: &str, token: &str) -> Call {
        self.post("/api/charges", &json!({ "orderId": order, "token": token }))
    }

    pub fn confirm(&self, charge: &str) -> Call {
        self.post(&format!("/api/charges/{charge}/confirm"), &json!({}))
    }

    pub fn charge(&self, id: &str) -> Call {
        self.get(&format!("/api/charges/{id}"))
    }

    pub fn charges_of(&self, order: &str) -> Call {
        self.get(&format!("/api/orders/{order}/charges"))
    }

    /// Returns a socket with this user's cookie that has received its `Hello`.
    pub async fn socket(&self) -> Socket {
        let mut socket = self.socket_at("").await;
        socket.expect("Hello").await;
        socket
    }

    /// Returns a socket that has read nothing yet. `query` includes its question mark, or is empty.
    pub async fn socket_at(&self, query: &str) -> Socket {
        self.try_socket_at(query).await.unwrap_or_else(|error| panic!("no socket: {error}"))
    }

    /// # Errors
    /// If the server does not upgrade the connection.
    pub async fn try_socket_at(
        &self,
        query: &str,
    ) -> Result<Socket, tokio_tungstenite::tungstenite::Error> {
        Socket::connect(
            &format!("{}/ws{query}", self.base.replacen("http", "ws", 1)),
            self.cookie().as_deref(),
            None,
        )
        .await
    }

    /// Puts a new ticket on sale and returns its id.
    pub async fn sells(&self, title: &str) -> String {
        self.list_ticket(title, 20).await.expect(201).id()
    }

    /// Locks a ticket and returns the order's id.
    pub async fn locks(&self, ticket: &str) -> String {
        self.place_order(ticket).await.expect(201).id()
    }
}

/// Request that is sent when it is awaited.
#[derive(Debug)]
pub struct Call {
    asked: String,
    request: reqwest::RequestBuilder,
    jar: Jar,
}

impl Call {
    /// Sets the timeout of the request.
    pub fn within(mut self, patience: Duration) -> Self {
        self.request = self.request.timeout(patience);
        self
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.request = self.request.header(name, value);
        self
    }

    /// Sets the Idempotency-Key.
    pub fn key(self, key: &str) -> Self {
        self.header("idempotency-key", key)
    }

    pub fn json(mut self, body: &Value) -> Self {
        self.request = self.request.json(body);
        self
    }

    /// Sets the body, unchanged, as `application/json`.
    pub fn text(mut self, body: impl Into<reqwest::Body>) -> Self {
        self.request = self.request.header(header::CONTENT_TYPE, "application/json").body(body);
        self
    }

    /// Sets the body, unchanged, without a content type.
    pub fn untyped(mut self, body: impl Into<reqwest::Body>) -> Self {
        self.request = self.request.body(body);
        self
    }

    /// # Errors
    /// If no answer arrives, for example because the server has exited.
    pub async fn attempt(self) -> Result<Answer, reqwest::Error> {
        let answer = self.request.send().await?;
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        for cookie in
            headers.get_all(header::SET_COOKIE).iter().filter_map(|cookie| cookie.to_str().ok())
        {
            let pair = cookie.split(';').next().unwrap_or_default();
            let ended = pair.ends_with('=') || cookie.to_ascii_lowercase().contains("max-age=0");
            *self.jar.lock().expect("no holder panics") = (!ended).then(|| pair.to_owned());
        }
        let text = answer.text().await?;
        Ok(Answer::new(self.asked, status, headers, text))
    }
}

impl IntoFuture for Call {
    type Output = Answer;
    type IntoFuture = Pin<Box<dyn Future<Output = Answer> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let asked = self.asked.clone();
            self.attempt()
                .await
                .unwrap_or_else(|error| panic!("{asked} was not answered: {error:?}"))
        })
    }
}
