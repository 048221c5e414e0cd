//! The HTTP client of one simulated person: cookies, idempotency keys, and repeated requests to a
//! busy server.

use std::{sync::Arc, time::Duration};

use reqwest::{Method, StatusCode, Url, header::RETRY_AFTER};
use serde_json::{Value, json};
use tokio::time::Instant;
use uuid::Uuid;

use super::{DemoError, tally::Tally};

/// Maximum time for an answer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);

/// Maximum number of times that a request is sent.
const SENDS_MAX: u32 = 8;

/// The first wait when the server does not state one; it doubles with each repetition.
const WAIT_FIRST: Duration = Duration::from_millis(200);

/// Maximum wait before a repetition. A sign-up or sign-in waits until the end of the demo.
const WAIT_MAX: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Seller,
    Buyer,
    Watcher,
}

/// A simulated person. The same seed gives the same people.
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

    /// Returns a number that differs between the people of one seed.
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

    /// Returns the password. It can be guessed, since the account holds nothing that needs
    /// protection.
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

/// An answer of the server.
#[derive(Debug)]
pub(super) struct ApiResponse {
    pub(super) status: StatusCode,
    pub(super) body: Value,
}

impl ApiResponse {
    /// Returns the stable code of a problem.
    pub(super) fn code(&self) -> &str {
        self.text("code")
    }

    pub(super) fn text(&self, member: &str) -> &str {
        self.body[member].as_str().unwrap_or_default()
    }
}

impl ApiClient {
    pub(super) fn new(
        url: Url,
        person: Person,
        deadline: Instant,
        tally: Arc<Tally>,
    ) -> Result<Self, DemoError> {
        let http =
            crate::http_client::builder().cookie_store(true).timeout(REQUEST_TIMEOUT).build()?;
        Ok(Self { http, url, person, deadline, tally })
    }

    /// Checks that a server answers.
    ///
    /// # Errors
    /// [`DemoError::Unreachable`].
    pub(super) async fn ping(&self) -> Result<(), DemoError> {
        let answer = self
            .http
            .get(self.at("healthz"))
            .send()
            .await
            .and_then(reqwest::Response::error_for_status);
        match answer {
            Ok(_) => Ok(()),
            Err(error) => Err(DemoError::Unreachable {
                url: self.url.clone(),
                cause: error.without_url().to_string(),
            }),
        }
    }

    /// Signs up, or signs in if an earlier demo with the same seed has signed up. `None`: the
    /// server refused or did not answer.
    pub(super) async fn sign_in(&self) -> Option<()> {
        let who = json!({ "email": self.person.email(), "password": self.person.password() });
        let mut answer = self.post_until_deadline("api/users/signup", &who).await?;
        if answer.code() == "email_in_use" {
            answer = self.post_until_deadline("api/users/signin", &who).await?;
        }
        if !answer.status.is_success() {
            return self.unexpected("sign in", &answer);
        }
        self.tally.people.add();
        Some(())
    }

    pub(super) async fn get(&self, path: &str) -> Option<ApiResponse> {
        self.call(Method::GET, path, None, WAIT_MAX).await
    }

    pub(super) async fn post(&self, path: &str, body: &Value) -> Option<ApiResponse> {
        self.call(Method::POST, path, Some(body), WAIT_MAX).await
    }

    pub(super) async fn put(&self, path: &str, body: &Value) -> Option<ApiResponse> {
        self.call(Method::PUT, path, Some(body), WAIT_MAX).await
    }

    pub(super) async fn delete(&self, path: &str) -> Option<ApiResponse> {
        self.call(Method::DELETE, path, None, WAIT_MAX).await
    }

    /// Counts and logs an unexpected answer. `action`: the action that got it.
    pub(super) fn unexpected<T>(&self, action: &str, answer: &ApiResponse) -> Option<T> {
        self.tally.unexpected.add();
        tracing::warn!(
            action,
            status = answer.status.as_u16(),
            code = answer.code(),
            "the server gave an unexpected answer"
        );
        None
    }

    async fn post_until_deadline(&self, path: &str, body: &Value) -> Option<ApiResponse> {
        self.call(Method::POST, path, Some(body), Duration::MAX).await
    }

    /// Sends a request, and repeats it under the same idempotency key while the server is busy and
    /// the wait is at most `wait_max`. Returns the last answer, which may be a busy one if the next
    /// wait would be too long. `None`: no readable answer, or busy after `SENDS_MAX` sendings.
    async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        wait_max: Duration,
    ) -> Option<ApiResponse> {
        let key = Uuid::now_v7().to_string();
        let mut wait = WAIT_FIRST;
        for _ in 0..SENDS_MAX {
            let (answer, retry_after) = match self.send(method.clone(), path, body, &key).await {
                Ok(response) => read(response).await,
                Err(error) => {
                    tracing::debug!(error = %error.without_url(), "a request got no answer");
                    (None, None)
                }
            };
            let busy = answer.as_ref().is_none_or(is_busy);
            let pause = retry_after.unwrap_or(wait);
            let too_long = pause > wait_max
                || Instant::now() + pause.min(Duration::from_secs(86_400)) >= self.deadline;
            if !busy || too_long {
                return answer;
            }
            self.tally.repeated.add();
            tokio::time::sleep(pause).await;
            wait *= 2;
        }
        None
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        key: &str,
    ) -> reqwest::Result<reqwest::Response> {
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
        self.url.join(path).expect("the API's paths are valid references")
    }
}

fn is_busy(answer: &ApiResponse) -> bool {
    matches!(answer.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE)
        || answer.code() == "idempotency_in_flight"
}

/// Returns the answer and its `Retry-After`. An answer whose body cannot be read counts as no
/// answer.
async fn read(response: reqwest::Response) -> (Option<ApiResponse>, Option<Duration>) {
    let seconds =
        response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    let status = response.status();
    let answer = response.bytes().await.ok().map(|bytes| ApiResponse {
        status,
        body: serde_json::from_slice(&bytes).unwrap_or_default(),
    });
    (answer, seconds.map(Duration::from_secs))
}
