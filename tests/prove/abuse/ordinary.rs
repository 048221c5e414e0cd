//! The ordinary client: a few buyers at one address who read the list, lock a ticket and pay for
//! it.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::{Instant, interval};

use super::app::world::Seeded;

/// Maximum time for which an ordinary client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Time of one purchase of each buyer.
const PURCHASE_EVERY: Duration = Duration::from_secs(1);

/// A buyer with a session and a share of the tickets.
#[derive(Debug, Clone)]
pub struct Buyer {
    http: reqwest::Client,
    base: String,
    cookie: String,
    tickets: Arc<Vec<String>>,
    next: Arc<AtomicUsize>,
}

/// The duration of each answered request in seconds, and a text for each failed one.
#[derive(Debug, Default, Clone)]
pub struct Latencies {
    all: Vec<Duration>,
    purchases: usize,
    pub failures: Vec<String>,
}

impl Latencies {
    pub fn extend(&mut self, other: Self) {
        self.all.extend(other.all);
        self.purchases += other.purchases;
        self.failures.extend(other.failures);
    }

    pub fn count(&self) -> usize {
        self.all.len()
    }

    pub fn p99(&self) -> Duration {
        self.percentile(99)
    }

    fn percentile(&self, percent: usize) -> Duration {
        let mut sorted = self.all.clone();
        sorted.sort_unstable();
        sorted.get(sorted.len().saturating_sub(1) * percent / 100).copied().unwrap_or_default()
    }

    pub fn summary(&self) -> String {
        format!(
            "{} purchases, {} requests, {} failed, p50 {:.1?}, p99 {:.1?}, max {:.1?}",
            self.purchases,
            self.all.len(),
            self.failures.len(),
            self.percentile(50),
            self.p99(),
            self.percentile(100)
        )
    }
}

/// Returns buyers whose sessions are in the store already. One sign-up over HTTP returns the name
/// of the cookie.
pub async fn buyers(
    addr: SocketAddr,
    from: IpAddr,
    seeded: Vec<Seeded>,
    tickets: Vec<String>,
) -> Vec<Buyer> {
    // Each request has a connection of its own, so that the test detects a server that accepts no
    // connections.
    let http = gittix::http_client::builder()
        .no_proxy()
        .local_address(from)
        .pool_max_idle_per_host(0)
        .timeout(PATIENCE);
    let http = http.build().expect("the client can be built");
    let base = format!("http://{addr}");
    let body = json!({ "email": "ordinary@example.com", "password": "an honest password" });
    let answer = http
        .post(format!("{base}/api/users/signup"))
        .json(&body)
        .send()
        .await
        .expect("the server answers");
    assert_eq!(answer.status(), 201);
    let cookie = answer.headers()["set-cookie"].to_str().expect("a cookie is ASCII").to_owned();
    let name = cookie.split('=').next().unwrap_or_default().to_owned();
    let (tickets, next) = (Arc::new(tickets), Arc::new(AtomicUsize::new(0)));
    let buyer = |seeded: Seeded| Buyer {
        http: http.clone(),
        base: base.clone(),
        cookie: format!("{name}={}", seeded.token),
        tickets: Arc::clone(&tickets),
        next: Arc::clone(&next),
    };
    seeded.into_iter().map(buyer).collect()
}

/// Lets each buyer make one purchase a second until the end of `span`.
pub async fn buy(buyers: &[Buyer], span: Duration) -> Latencies {
    let until = Instant::now() + span;
    let tasks: Vec<_> = buyers
        .iter()
        .cloned()
        .map(|buyer| tokio::spawn(async move { buyer.keep_buying(until).await }))
        .collect();
    let mut latencies = Latencies::default();
    for task in tasks {
        latencies.extend(task.await.expect("a buyer does not panic"));
    }
    latencies
}

impl Buyer {
    async fn keep_buying(&self, until: Instant) -> Latencies {
        let mut latencies = Latencies::default();
        let mut turns = interval(PURCHASE_EVERY);
        while Instant::now() < until {
            turns.tick().await;
            match self.purchase(&mut latencies).await {
                Ok(()) => latencies.purchases += 1,
                Err(failure) => latencies.failures.push(failure),
            }
        }
        latencies
    }

    async fn purchase(&self, latencies: &mut Latencies) -> Result<(), String> {
        let ticket = &self.tickets[self.next.fetch_add(1, Ordering::Relaxed)];
        self.ask(Method::GET, "/api/tickets?limit=50", None, 200, latencies).await?;
        self.ask(Method::GET, &format!("/api/tickets/{ticket}"), None, 200, latencies).await?;
        let order = self
            .ask(Method::POST, "/api/orders", Some(json!({ "ticketId": ticket })), 201, latencies)
            .await?;
        let payment = json!({ "orderId": order["id"], "token": "pm_card_visa" });
        self.ask(Method::POST, "/api/charges", Some(payment), 201, latencies).await.map(drop)
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
        expected: u16,
        latencies: &mut Latencies,
    ) -> Result<Value, String> {
        let mut request = self
            .http
            .request(method.clone(), format!("{}{path}", self.base))
            .header("cookie", &self.cookie);
        if let Some(body) = &body {
            request = request.json(body);
        }
        let began = Instant::now();
        let failed = |error: reqwest::Error| format!("{method} {path}: {error:?}");
        let answer = request.send().await.map_err(failed)?;
        let status = answer.status().as_u16();
        let text = answer.text().await.map_err(failed)?;
        latencies.all.push(began.elapsed());
        if status != expected {
            return Err(format!("{method} {path} was answered {status}: {text}"));
        }
        serde_json::from_str(&text).map_err(|error| format!("{method} {path}: {error}"))
    }
}
