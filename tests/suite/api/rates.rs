//! Rate limits, which are off in other tests.

use crate::app::{Answer, Backend, TestApp, on_both_stores, raw};

on_both_stores!(
    password_guesses_are_rate_limited,
    requests_of_one_client_are_rate_limited,
    probes_are_never_rate_limited,
    forwarded_address_is_used_only_from_a_trusted_proxy,
    forwarded_client_has_a_separate_rate_in_every_notation,
);

const ON: [(&str, &str); 1] = [("GITTIX_RATE_LIMIT", "on")];

/// More requests than any limit allows.
const ATTEMPTS_MAX: usize = 5_000;

async fn first_refusal(attempt: impl AsyncFn() -> Answer) -> Answer {
    for _ in 0..ATTEMPTS_MAX {
        let answer = attempt().await;
        if answer.status == 429 {
            return answer;
        }
    }
    panic!("no limit after {ATTEMPTS_MAX} attempts");
}

async fn password_guesses_are_rate_limited(store: Backend) {
    let app = TestApp::start_with(store, &ON).await;
    let user = app.user().await;
    let guest = app.guest();
    let refused = first_refusal(async || guest.sign_in(&user.email, "a wild guess").await).await;
    refused.refused(429, "too_many_requests");
    user.current_user().await.expect(200);
}

/// Requests the list over one connection as fast as possible, each time with a header. Returns the
/// first refusal, or `None` if all requests are accepted.
async fn flood(app: &TestApp, header: impl Fn(usize) -> String) -> Option<String> {
    const REFUSAL: &str = "HTTP/1.1 429 ";
    const CODE: &str = "too_many_requests";
    let addr = app.server.addr;
    let request =
        |number| format!("GET /api/tickets HTTP/1.1\r\nHost: {addr}\r\n{}\r\n\r\n", header(number));
    let mut requests: String = (1..ATTEMPTS_MAX).map(request).collect();
    requests += &format!("GET /api/tickets HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\r\n");
    // The last few kilobytes suffice: a refusal is noticed before more bytes follow it.
    let is_refused = |answers: &[u8]| {
        let last = &answers[answers.len().saturating_sub(8_192)..];
        last.windows(CODE.len()).any(|seen| seen == CODE.as_bytes())
    };
    let answers = String::from_utf8(raw::exchange(addr, requests.as_bytes(), is_refused).await)
        .expect("text");
    let refusal = answers.split_once(REFUSAL).map(|(_, refusal)| refusal.to_owned());
    assert!(
        refusal.is_some() || answers.matches("HTTP/1.1 200 ").count() == ATTEMPTS_MAX,
        "{answers:.400}"
    );
    refusal
}

/// Returns a header that does not name a client.
fn plain(_: usize) -> String {
    "Accept: application/json".into()
}

async fn requests_of_one_client_are_rate_limited(store: Backend) {
    let app = TestApp::start_with(store, &ON).await;
    let refusal = flood(&app, plain).await.expect("a limit");
    assert!(refusal.to_ascii_lowercase().contains("\r\nretry-after: "), "{refusal:.800}");
}

async fn probes_are_never_rate_limited(store: Backend) {
    let app = TestApp::start_with(store, &ON).await;
    let guest = app.guest();
    for path in ["/healthz", "/readyz", "/metrics"] {
        flood(&app, plain).await.expect("a limit");
        guest.get(path).await.expect(200);
    }
}

async fn forwarded_address_is_used_only_from_a_trusted_proxy(store: Backend) {
    let spread = |number| format!("X-Forwarded-For: 198.51.{}.{}", number / 250, number % 250 + 1);
    let app = TestApp::start_with(store, &ON).await;
    assert!(flood(&app, spread).await.is_some(), "any client can send this header");
    let app = TestApp::start_with(store, &[ON[0], ("GITTIX_TRUSTED_PROXIES", "127.0.0.0/8")]).await;
    assert_eq!(flood(&app, spread).await, None, "a trusted proxy names the client");
}

async fn forwarded_client_has_a_separate_rate_in_every_notation(store: Backend) {
    let app = TestApp::start_with(store, &[ON[0], ("GITTIX_TRUSTED_PROXIES", "127.0.0.0/8")]).await;
    // Each request is from another client, in one of four notations. If a notation counts as the
    // proxy, its rate is exceeded.
    let spread = |number: usize| match number % 4 {
        0 => format!("X-Forwarded-For: [2001:db8:1:{number:x}::3]"),
        1 => format!("X-Forwarded-For: \"[2001:db8:2:{number:x}::3]:443\""),
        2 => format!("X-Forwarded-For: Köln, [2001:db8:3:{number:x}::3%eth0], ,"),
        _ => format!("X-Forwarded-For: 198.51.100.7, _client{number}"),
    };
    assert_eq!(flood(&app, spread).await, None, "each value is a separate client");
    assert!(
        flood(&app, |_| "X-Forwarded-For: unknown".into()).await.is_some(),
        "all unknown clients are one"
    );
}
