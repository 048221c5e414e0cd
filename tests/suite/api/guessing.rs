//! Password guessing: limits that slow down an attacker and never lock out the owner.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use crate::app::{Backend, Call, Client, TestApp, on_both_stores};

on_both_stores!(
    owner_can_sign_in_after_31_failures_from_other_networks,
    eleventh_attempt_after_ten_failures_is_refused_for_that_email_and_network_only,
    unknown_email_is_refused_after_ten_failures_like_a_known_one,
    successful_sign_ins_are_not_counted_as_failures,
    attempt_from_a_network_with_failures_is_delayed_while_the_email_is_attacked,
    addresses_of_one_ipv6_network_are_counted_together,
    failed_sign_ins_are_unlimited_with_the_rate_limit_off,
    ten_wrong_current_passwords_in_a_row_end_the_session,
    right_current_password_resets_the_count_of_wrong_ones,
);

/// Limits as in production, with client networks from a proxy.
const ON: [(&str, &str); 2] =
    [("GITTIX_RATE_LIMIT", "on"), ("GITTIX_TRUSTED_PROXIES", "127.0.0.0/8")];
const WRONG: &str = "a wild guess";

fn from(network: &str, guest: &Client, email: &str, password: &str) -> Call {
    guest.sign_in(email, password).header("x-forwarded-for", network)
}

fn network(number: usize) -> String {
    format!("198.51.100.{number}")
}

async fn owner_can_sign_in_after_31_failures_from_other_networks(store: Backend) {
    let app = TestApp::start_with(store, &ON).await;
    let owner = app.user().await;
    for number in 1..=31 {
        from(&network(number), &app.guest(), &owner.email, WRONG)
            .await
            .refused(401, "invalid_credentials");
    }
    from(&network(99), &app.guest(), &owner.email, Client::PASSWORD).await.expect(200);
}

async fn eleventh_attempt_after_ten_failures_is_refused_for_that_email_and_network_only(
    store: Backend,
) {
    let app = TestApp::start_with(store, &ON).await;
    let (ann, bob) = (app.user().await, app.user().await);
    let guest = app.guest();
    for _ in 0..10 {
        from(&network(1), &guest, &ann.email, WRONG).await.refused(401, "invalid_credentials");
    }
    let wrong =
        from(&network(1), &guest, &ann.email, WRONG).await.refused(429, "too_many_requests");
    let right = from(&network(1), &guest, &ann.email, Client::PASSWORD)
        .await
        .refused(429, "too_many_requests");
    assert_eq!(wrong.text, right.text, "the refusal does not say whether the password was right");
    let wait: u64 = wrong.header("retry-after").parse().expect("seconds");
    assert!((1..=15 * 60).contains(&wait), "{wait} s");
    from(&network(2), &app.guest(), &ann.email, Client::PASSWORD).await.expect(200);
    from(&network(1), &app.guest(), &bob.email, Client::PASSWORD).await.expect(200);
}

async fn unknown_email_is_refused_after_ten_failures_like_a_known_one(store: Backend) {
    let app = TestApp::start_with(store, &ON).await;
    let user = app.user().await;
    let guest = app.guest();
    for number in 1..=11 {
        let known = from(&network(1), &guest, &user.email, WRONG).await;
        for unknown in ["stranger@example.com", "no address at all"] {
            let unknown = from(&network(1), &guest, unknown, WRONG).await;
            assert_eq!(
                (unknown.status, &unknown.text),
                (known.status, &known.text),
                "try {number}"
            );
        }
        assert_eq!(known.status, if number <= 10 { 401 } else { 429 }, "try {number}");
    }
}

async fn successful_sign_ins_are_not_counted_as_failures(store: Backend) {
    let app = TestApp::start_with(store, &ON).await;
    let user = app.user().await;
    for _ in 0..12 {
        from(&network(1), &app.guest(), &user.email, Client::PASSWORD).await.expect(200);
    }
}

async fn attempt_from_a_network_with_failures_is_delayed_while_the_email_is_attacked(
    store: Backend,
) {
    let app = TestApp::start_with(store, &ON).await;
    let user = app.user().await;
    for number in 1..=10 {
        from(&network(number), &app.guest(), &user.email, WRONG)
            .await
            .refused(401, "invalid_credentials");
    }
    // There is no upper bound, because it depends on the machine.
    let began = Instant::now();
    from(&network(1), &app.guest(), &user.email, Client::PASSWORD).await.expect(200);
    assert!(began.elapsed() >= Duration::from_millis(250), "{:?}", began.elapsed());
}

async fn addresses_of_one_ipv6_network_are_counted_together(store: Backend) {
    let app = TestApp::start_with(store, &ON).await;
    let user = app.user().await;
    for host in 1..=10 {
        let address = format!("2001:db8:1:2::{host}");
        from(&address, &app.guest(), &user.email, WRONG).await.refused(401, "invalid_credentials");
    }
    from("2001:db8:1:2:ffff::1", &app.guest(), &user.email, WRONG)
        .await
        .refused(429, "too_many_requests");
    from("2001:db8:1:3::1", &app.guest(), &user.email, Client::PASSWORD).await.expect(200);
}

async fn failed_sign_ins_are_unlimited_with_the_rate_limit_off(store: Backend) {
    let app = TestApp::start(store).await;
    let user = app.user().await;
    for _ in 0..20 {
        app.guest().sign_in(&user.email, WRONG).await.refused(401, "invalid_credentials");
    }
    app.guest().sign_in(&user.email, Client::PASSWORD).await.expect(200);
}

#[tokio::test]
async fn failed_sign_ins_are_counted_on_all_replicas_together_on_mongodb() {
    let app = TestApp::start_with(Backend::MongoDb, &ON).await;
    let other = app.replica("other").await;
    let user = app.user().await;
    for _ in 0..5 {
        from(&network(1), &app.guest(), &user.email, WRONG)
            .await
            .refused(401, "invalid_credentials");
        from(&network(1), &app.guest().at(&other), &user.email, WRONG)
            .await
            .refused(401, "invalid_credentials");
    }
    from(&network(1), &app.guest(), &user.email, WRONG).await.refused(429, "too_many_requests");
    from(&network(1), &app.guest().at(&other), &user.email, WRONG)
        .await
        .refused(429, "too_many_requests");
}

fn guess(user: &Client) -> Call {
    user.update_me(&json!({ "email": "taken-over@example.com", "currentPassword": WRONG }))
}

async fn ten_wrong_current_passwords_in_a_row_end_the_session(store: Backend) {
    let app = TestApp::start(store).await;
    let owner = app.user().await;
    let thief = owner.elsewhere().await;
    let mut socket = thief.socket().await;
    for _ in 0..10 {
        guess(&thief).await.refused(403, "invalid_credentials");
    }
    assert_eq!(socket.closed().await, 1008);
    guess(&thief).await.refused(401, "not_signed_in");
    thief
        .update_me(
            &json!({ "email": "taken-over@example.com", "currentPassword": Client::PASSWORD }),
        )
        .await
        .refused(401, "not_signed_in");
    assert_eq!(
        owner.current_user().await["currentUser"]["email"],
        owner.email.as_str(),
        "another session continues"
    );
}

async fn right_current_password_resets_the_count_of_wrong_ones(store: Backend) {
    let app = TestApp::start(store).await;
    let user = app.user().await;
    for _ in 0..2 {
        for _ in 0..9 {
            guess(&user).await.refused(403, "invalid_credentials");
        }
        user.update_me(&json!({ "currentPassword": Client::PASSWORD })).await.expect(200);
    }
}

#[tokio::test]
async fn wrong_current_passwords_are_counted_on_all_replicas_together_on_mongodb() {
    let app = TestApp::start(Backend::MongoDb).await;
    let other = app.replica("other").await;
    let thief = app.user().await;
    let mut socket = thief.at(&other).socket().await;
    for _ in 0..5 {
        guess(&thief).await.refused(403, "invalid_credentials");
        guess(&thief.at(&other)).await.refused(403, "invalid_credentials");
    }
    assert_eq!(socket.closed().await, 1008);
    guess(&thief).await.refused(401, "not_signed_in");
    guess(&thief.at(&other)).await.refused(401, "not_signed_in");
}
