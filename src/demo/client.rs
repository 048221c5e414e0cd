//! One person's browser: cookies, idempotency keys, and patience with a server that is busy.

use std::{sync::Arc, time::Duration};

use reqwest::{Method, StatusCode, Url, header::RETRY_AFTER};
use serde_json::{Value, json};
use tokio::time::Instant;
use uuid::Uuid;

use super::{DemoError, tally::Tally};

/// After which an answer is no longer waited for.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);

/// How often a request is repeated that got no definite answer.
const REPEATS_MAX: u32 = 8;

/// The first wait where the server does not say how long; doubled each time.
const WAIT_FIRST: Duration = Duration::from_millis(200);

/// A longer wait than this is not worth a buyer's while; people who sign up wait as long as there is time.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Seller,
    Buyer,
    Watcher,
}

/// Who somebody is; the same seed brings back the same people.
#[derive(Debug, Clone)]
pub(super) struct Person {
    role: Role,
    number: u16,
    seed: u64,
}

impl Person {
    pub(super) fn new(role: Role, number: u16, seed: u64) -> Self {
        Self { role, number, seed }
    }

    /// Tells people of one seed apart.
    pub(super) fn salt(&self) -> u64 {
        let role = match self.role {
            Role::Seller => 1,
            Role::Buyer => 2,
            Role::Watcher => 3,
        };
        (role << 48) | (u64::from(self.number) << 32)
    }

    fn email(&self) -> String {
        let role = format!("{:?}", self.role).to_lowercase();
        format!("{role}-{}.{:x}@demo.example", self.number, self.seed)
    }

    /// Nothing that needs protection is behind it.
    fn password(&self) -> String {
        format!("demo password {:x}", self.seed ^ self.salt())
    }
}

#[derive(Debug)]
pub(super) struct ApiClient {
    http: reqwest::Client,
    url: Url,
    person: Person,
    deadline: Instant,
    pub(super) tally: Arc<Tally>,
}

/// What the server said.
#[derive(Debug)]
pub(super) struct ApiResponse {
    pub(super) status: StatusCode,
    pub(super) body: Value,
}

impl ApiResponse {
    /// The stable code of a problem.
    pub(super) fn code(&self) -> &str {
        self.text("code")
    }

    pub(super) fn text(&self, member: &str) -> &str {
        self.body[member].as_str().unwrap_or_default()
    }
}

impl ApiClient {
    pub(super) fn new(url: Url, person: Person, deadline: Instant, tally: Arc<Tally>) -> Result<Self, DemoError> {
        let http = reqwest::Client::builder().cookie_store(true).timeout(REQUEST_TIMEOUT).build()?;
        Ok(Self { http, url, person, deadline, tally })
    }

    /// # Errors
    /// [`DemoError::Unreachable`].
    pub(super) async fn ping(&self) -> Result<(), DemoError> {
        let answer = self.http.get(self.at("healthz")).send().await.and_then(reqwest::Response::error_for_status);
        match answer {
            Ok(_) => Ok(()),
            Err(error) => Err(DemoError::Unreachable { url: self.url.clone(), cause: error.without_url().to_string() }),
        }
    }

    /// Signs up, or in where the same seed was here before. `None`: the server would not.
    pub(super) async fn enter(&self) -> Option<()> {
        let who = json!({ "email": self.person.email(), "password": self.person.password() });
        let mut answer = self.post_patiently("api/users/signup", &who).await?;
        if answer.code() == "email_in_use" {
            answer = self.post_patiently("api/users/signin", &who).await?;
        }
        if !answer.status.is_success() {
            return self.surprised("sign in", &answer);
        }
        self.tally.people.add();
        Some(())
    }

    pub(super) async fn get(&self, path: &str) -> Option<ApiResponse> {
        self.call(Method::GET, path, None, PATIENCE).await
    }

    pub(super) async fn post(&self, path: &str, body: &Value) -> Option<ApiResponse> {
        self.call(Method::POST, path, Some(body), PATIENCE).await
    }

    pub(super) async fn put(&self, path: &str, body: &Value) -> Option<ApiResponse> {
        self.call(Method::PUT, path, Some(body), PATIENCE).await
    }

    pub(super) async fn delete(&self, path: &str) -> Option<ApiResponse> {
        self.call(Method::DELETE, path, None, PATIENCE).await
    }

    /// Counts an answer that nobody expected.
    pub(super) fn surprised<T>(&self, doing: &str, answer: &ApiResponse) -> Option<T> {
        self.tally.surprises.add();
        tracing::warn!(doing, status = answer.status.as_u16(), code = answer.code(), "an answer that was not expected");
        None
    }

    async fn post_patiently(&self, path: &str, body: &Value) -> Option<ApiResponse> {
        self.call(Method::POST, path, Some(body), Duration::MAX).await
    }

    /// One request, under one idempotency key however often it has to be repeated. `None`: no definite answer in time.
    async fn call(&self, method: Method, path: &str, body: Option<&Value>, patience: Duration) -> Option<ApiResponse> {
        let key = Uuid::now_v7().to_string();
        let mut wait = WAIT_FIRST;
        for _ in 0..REPEATS_MAX {
            let (answer, asked_to_wait) = match self.send(method.clone(), path, body, &key).await {
                Ok(response) => read(response).await,
                Err(error) => {
                    tracing::debug!(error = %error.without_url(), "no answer");
                    (None, None)
                }
            };
            let busy = answer.as_ref().is_none_or(is_busy);
            let pause = asked_to_wait.unwrap_or(wait);
            let too_long = pause > patience || Instant::now() + pause.min(Duration::from_secs(86_400)) >= self.deadline;
            if !busy || too_long {
                return answer;
            }
            self.tally.repeated.add();
            tokio::time::sleep(pause).await;
            wait *= 2;
        }
        None
    }

    async fn send(&self, method: Method, path: &str, body: Option<&Value>, key: &str) -> reqwest::Result<reqwest::Response> {
        let mut request = self.http.request(method.clone(), self.at(path));
        if method != Method::GET {
            request = request.header("Idempotency-Key", key);
        }
        match body {
            Some(body) => request.json(body).send().await,
            None => request.send().await,
        }
    }

    fn at(&self, path: &str) -> Url {
        self.url.join(path).expect("paths of the contract are valid references")
    }
}

fn is_busy(answer: &ApiResponse) -> bool {
    matches!(answer.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) || answer.code() == "idempotency_in_flight"
}

/// An answer whose body cannot be read is none.
async fn read(response: reqwest::Response) -> (Option<ApiResponse>, Option<Duration>) {
    let seconds = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    let status = response.status();
    let answer = response.bytes().await.ok().map(|bytes| ApiResponse { status, body: serde_json::from_slice(&bytes).unwrap_or_default() });
    (answer, seconds.map(Duration::from_secs))
}
