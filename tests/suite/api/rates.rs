//! Limits on rates, which all other tests run without.

use crate::app::{Answer, Backend, TestApp, on_both_stores, raw};

on_both_stores!(
    guessing_passwords_is_slowed_down,
    requests_without_end_are_slowed_down,
    health_is_never_slowed_down,
    a_forwarded_address_counts_only_from_a_trusted_proxy,
    forwarded_client_has_a_rate_of_its_own_however_it_is_written,
);

const ON: [(&str, &str); 1] = [("GITTIX_RATE_LIMIT", "on")];

/// More than any limit that a person would not notice.
const ATTEMPTS_MAX: usize = 5_000;

async fn first_refusal(attempt: impl AsyncFn() -> Answer) -> Answer {
    for _ in 0..ATTEMPTS_MAX {
        let answer = attempt().await;
        if answer.status == 429 {
            return answer;
        }
    }
    panic!("{ATTEMPTS_MAX} attempts, and no limit");
}

async fn guessing_passwords_is_slowed_down(store: Backend) {
    let app = TestApp::start_with(store, &ON).await;
    let user = app.user().await;
    let guest = app.guest();
    let refused = first_refusal(async || guest.sign_in(&user.email, "a wild guess").await).await;
    refused.refused(429, "too_many_requests");
    user.current_user().await.expect(200);
}

/// Asks for the list without end over one connection, whatever the machine can do, each time with this header; until the
/// first refusal, which is returned, or the last answer.
async fn flood(app: &TestApp, header: impl Fn(usize) -> String) -> Option<String> {
    const REFUSAL: &str = "HTTP/1.1 429 ";
    const CODE: &str = "too_many_requests";
    let addr = app.server.addr;
    let request = |number| format!("GET /api/tickets HTTP/1.1\r\nHost: {addr}\r\n{}\r\n\r\n", header(number));
    let mut requests: String = (1..ATTEMPTS_MAX).map(request).collect();
    requests += &format!("GET /api/tickets HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\r\n");
    // The last few kilobytes tell: a refusal is noticed before more than that follow it.
    let is_refused = |answers: &[u8]| {
        let last = &answers[answers.len().saturating_sub(8_192)..];
        last.windows(CODE.len()).any(|seen| seen == CODE.as_bytes())
    };
    let answers = String::from_utf8(raw::exchange(addr, requests.as_bytes(), is_refused).await).expect("text");
    let refusal = answers.split_once(REFUSAL).map(|(_, refusal)| refusal.to_owned());
    assert!(refusal.is_some() || answers.matches("HTTP/1.1 200 ").count() == ATTEMPTS_MAX, "{answers:.400}");
    refusal
}

/// Of the client itself, which is not named.
fn plain(_: usize) -> String {
    "Accept: application/json".into()
}

async fn requests_without_end_are_slowed_down(store: Backend) {
    let app = TestApp::start_with(store, &ON).await;
    let refusal = flood(&app, plain).await.expect("a limit");
    assert!(refusal.to_ascii_lowercase().contains("\r\nretry-after: "), "{refusal:.800}");
}

async fn health_is_never_slowed_down(store: Backend) {
    let app = TestApp::start_with(store, &ON).await;
    let guest = app.guest();
    for path in ["/healthz", "/readyz", "/metrics"] {
        flood(&app, plain).await.expect("a limit");
        guest.get(path).await.expect(200);
    }
}

async fn a_forwarded_address_counts_only_from_a_trusted_proxy(store: Backend) {
    let spread = |number| format!("X-Forwarded-For: 198.51.{}.{}", number / 250, number % 250 + 1);
    let app = TestApp::start_with(store, &ON).await;
    assert!(flood(&app, spread).await.is_some(), "anybody can claim to be forwarded");
    let app = TestApp::start_with(store, &[ON[0], ("GITTIX_TRUSTED_PROXIES", "127.0.0.0/8")]).await;
    assert_eq!(flood(&app, spread).await, None, "a trusted proxy tells who asks");
}

async fn forwarded_client_has_a_rate_of_its_own_however_it_is_written(store: Backend) {
    let app = TestApp::start_with(store, &[ON[0], ("GITTIX_TRUSTED_PROXIES", "127.0.0.0/8")]).await;
    // Each is another client, in one of the forms in turn: if one of them is taken for the proxy, the proxy's rate is met.
    let spread = |number: usize| match number % 4 {
        0 => format!("X-Forwarded-For: [2001:db8:1:{number:x}::3]"),
        1 => format!("X-Forwarded-For: \"[2001:db8:2:{number:x}::3]:443\""),
        2 => format!("X-Forwarded-For: Köln, [2001:db8:3:{number:x}::3%eth0], ,"),
        _ => format!("X-Forwarded-For: 198.51.100.7, _client{number}"),
    };
    assert_eq!(flood(&app, spread).await, None, "each is a client of its own");
    assert!(flood(&app, |_| "X-Forwarded-For: unknown".into()).await.is_some(), "all unknown clients are one");
}
