//! Security events in the log, the metric of failed sign-ins, and requests that name another user
//! than the signed-in one.

use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::app::{Backend, Client, PATIENCE, Server, TestApp, on_both_stores};

on_both_stores!(
    sign_ins_refusals_and_password_changes_are_logged_with_user_and_network,
    failed_sign_ins_are_counted_by_reason,
    unsafe_request_for_another_user_is_refused_without_effect,
    unsafe_request_for_the_signed_in_user_is_accepted,
    user_header_is_ignored_without_a_session,
    user_header_without_a_valid_id_is_refused,
);

/// Waits for a security event of this kind in the log, and returns it.
async fn logged(server: &Server, event: &str) -> Value {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let log = server.log();
        let lines = log.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        if let Some(line) = lines
            .filter(|line| line["target"] == "gittix::security")
            .find(|line| line["event"] == event)
        {
            return line;
        }
        assert!(Instant::now() < deadline, "no {event} in {log:#?}");
        // Lines arrive through a pipe without a notification.
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

async fn sign_ins_refusals_and_password_changes_are_logged_with_user_and_network(store: Backend) {
    let app = TestApp::start(store).await;
    let (ann, bob) = (app.user().await, app.user().await);
    let ticket = ann.sells("Front row").await;
    app.guest()
        .sign_in("nameless@example.com", "a wild guess")
        .await
        .refused(401, "invalid_credentials");
    let failed = logged(&app.server, "sign_in_failed").await;
    assert_eq!(
        (&failed["user"], &failed["network"]),
        (&Value::Null, &json!("127.0.0.1")),
        "{failed}"
    );
    assert_eq!(failed["reason"], "wrong_credentials");
    ann.elsewhere().await;
    bob.edit_ticket(&ticket, "Mine now", 1).await.refused(403, "not_owner");
    ann.update_me(&json!({ "password": "battery staple", "currentPassword": Client::PASSWORD }))
        .await
        .expect(200);
    for (event, user) in
        [("sign_up", &ann), ("sign_in", &ann), ("access_refused", &bob), ("password_changed", &ann)]
    {
        let line = logged(&app.server, event).await;
        assert_eq!(
            (&line["user"], &line["network"]),
            (&json!(user.id), &json!("127.0.0.1")),
            "{line}"
        );
        assert_eq!(line["level"], "INFO", "{line}");
    }
    let log = app.server.log().join("\n");
    assert!(!log.contains("@example.com"), "no email address is logged: {log}");
}

async fn failed_sign_ins_are_counted_by_reason(store: Backend) {
    let app = TestApp::start(store).await;
    let user = app.user().await;
    app.guest().sign_in(&user.email, "a wild guess").await.refused(401, "invalid_credentials");
    app.guest()
        .sign_in("stranger@example.com", "a wild guess")
        .await
        .refused(401, "invalid_credentials");
    user.update_me(&json!({ "currentPassword": "a wild guess" }))
        .await
        .refused(403, "invalid_credentials");
    let metrics = app.guest().get("/metrics").await.expect(200).text;
    for count in ["wrong_credentials\"} 2", "wrong_current_password\"} 1", "too_many_failures\"} 0"]
    {
        assert!(
            metrics.contains(&format!("gittix_sign_ins_failed_total{{reason=\"{count}\n")),
            "{count}"
        );
    }
}

/// All routes of a signed-in user that change state, each with a body.
fn unsafe_routes(ticket: &str, order: &str) -> Vec<(Method, String, Value)> {
    let listing = json!({ "title": "Swapped", "price": 30 });
    let account = json!({ "email": "other@example.com", "password": Client::PASSWORD });
    vec![
        (Method::POST, "/api/tickets".into(), listing.clone()),
        (Method::PUT, format!("/api/tickets/{ticket}"), listing),
        (Method::DELETE, format!("/api/tickets/{ticket}"), json!({})),
        (Method::POST, "/api/orders".into(), json!({ "ticketId": ticket })),
        (Method::DELETE, format!("/api/orders/{order}"), json!({})),
        (Method::POST, "/api/charges".into(), json!({ "orderId": order, "token": "pm_card_visa" })),
        (
            Method::POST,
            "/api/payments".into(),
            json!({ "orderId": order, "token": "pm_card_visa" }),
        ),
        (Method::POST, format!("/api/charges/{order}/confirm"), json!({})),
        (
            Method::PUT,
            "/api/users/currentuser".into(),
            json!({ "email": "new@example.com", "currentPassword": Client::PASSWORD }),
        ),
        (Method::POST, "/api/users/signup".into(), account.clone()),
        (Method::POST, "/api/users/signin".into(), account),
        (Method::POST, "/api/users/signout".into(), json!({})),
    ]
}

async fn unsafe_request_for_another_user_is_refused_without_effect(store: Backend) {
    let app = TestApp::start(store).await;
    let (ann, bob) = (app.user().await, app.user().await);
    let (own, other) = (bob.sells("Front row").await, ann.sells("Back row").await);
    let order = bob.locks(&other).await;
    let before = (app.guest().ticket(&own).await.text, bob.order(&order).await["status"].clone());
    for (method, path, body) in unsafe_routes(&own, &order) {
        let answer = bob.call(method, &path).json(&body).header("GitTix-User", &ann.id).await;
        answer.refused(409, "other_user");
    }
    let after = (app.guest().ticket(&own).await.text, bob.order(&order).await["status"].clone());
    assert_eq!(after, before);
    assert_eq!(bob.current_user().await["currentUser"]["email"], json!(bob.email));
    bob.get("/api/orders").header("GitTix-User", &ann.id).await.expect(200);
}

async fn unsafe_request_for_the_signed_in_user_is_accepted(store: Backend) {
    let app = TestApp::start(store).await;
    let (ann, bob) = (app.user().await, app.user().await);
    let ticket =
        ann.list_ticket("Front row", 20).header("GitTix-User", &ann.id).await.expect(201).id();
    bob.place_order(&ticket).header("GitTix-User", &bob.id).await.expect(201);
    bob.sign_out().header("GitTix-User", &bob.id).await.expect(200);
}

async fn user_header_is_ignored_without_a_session(store: Backend) {
    let app = TestApp::start(store).await;
    let ann = app.user().await;
    app.guest()
        .list_ticket("Front row", 20)
        .header("GitTix-User", &ann.id)
        .await
        .refused(401, "not_signed_in");
    app.guest().sign_out().header("GitTix-User", &ann.id).await.expect(200);
    app.guest()
        .sign_in(&ann.email, Client::PASSWORD)
        .header("GitTix-User", &ann.id)
        .await
        .expect(200);
}

async fn user_header_without_a_valid_id_is_refused(store: Backend) {
    let app = TestApp::start(store).await;
    let ann = app.user().await;
    for value in ["", "ann", "00000000-0000-0000-0000-000000000000", "null"] {
        ann.list_ticket("Front row", 20)
            .header("GitTix-User", value)
            .await
            .refused(409, "other_user");
    }
}
