//! Limits on rates, which all other tests run without.

use crate::app::{Answer, Backend, Client, TestApp, on_both_stores};

on_both_stores!(
    guessing_passwords_is_slowed_down,
    requests_without_end_are_slowed_down,
    health_is_never_slowed_down,
    a_forwarded_address_counts_only_from_a_trusted_proxy,
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

async fn requests_without_end_are_slowed_down(store: Backend) {
    let app = TestApp::start_with(store, &ON).await;
    let guest = app.guest();
    first_refusal(async || guest.tickets("").await).await.refused(429, "too_many_requests");
}

async fn health_is_never_slowed_down(store: Backend) {
    let app = TestApp::start_with(store, &ON).await;
    let guest = app.guest();
    first_refusal(async || guest.tickets("").await).await.refused(429, "too_many_requests");
    for path in ["/healthz", "/readyz", "/metrics"] {
        guest.get(path).await.expect(200);
    }
}

async fn a_forwarded_address_counts_only_from_a_trusted_proxy(store: Backend) {
    let spread = async |app: &TestApp| {
        let guest: Client = app.guest();
        let mut refused = 0;
        for number in 0..ATTEMPTS_MAX {
            let address = format!("198.51.{}.{}", number / 250, number % 250 + 1);
            refused += usize::from(guest.tickets("").header("x-forwarded-for", &address).await.status == 429);
            if refused > 0 {
                break;
            }
        }
        refused
    };
    let app = TestApp::start_with(store, &ON).await;
    assert_eq!(spread(&app).await, 1, "anybody can claim to be forwarded");
    let app = TestApp::start_with(store, &[ON[0], ("GITTIX_TRUSTED_PROXIES", "127.0.0.0/8")]).await;
    assert_eq!(spread(&app).await, 0, "a trusted proxy tells who asks");
}
