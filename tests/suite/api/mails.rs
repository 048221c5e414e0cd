//! Mails with links: confirmation of an email address, and reset of a password.

use serde_json::json;

use crate::app::{Answer, Backend, Client, TestApp, mailbox, on_both_stores};

on_both_stores!(
    signing_up_sends_a_link_that_confirms_the_address,
    verification_token_can_be_used_once,
    of_two_confirmations_at_once_one_succeeds,
    mail_is_sent_again_on_request_and_the_earlier_link_is_void,
    reset_sets_the_password_signs_in_and_ends_other_sessions,
    only_the_newest_reset_link_is_valid,
    reset_of_an_unknown_address_has_the_same_response_and_sends_nothing,
    forged_tokens_are_refused,
    mails_to_one_address_are_limited,
    mail_file_is_private_and_named_in_the_log,
);

const VERIFY: &str = "Confirm your email address";
const RESET: &str = "Set a new password";

async fn verify(client: &Client, token: &str) -> Answer {
    client.post("/api/users/verify", &json!({ "token": token })).await
}

async fn request_reset(client: &Client, email: &str) -> Answer {
    client.post("/api/users/reset", &json!({ "email": email })).await
}

async fn confirm_reset(client: &Client, token: &str, password: &str) -> Answer {
    let body = json!({ "token": token, "password": password });
    client.post("/api/users/reset/confirm", &body).await
}

async fn signing_up_sends_a_link_that_confirms_the_address(store: Backend) {
    let app = TestApp::start(store).await;
    let ann = app.user().await;
    let user = ann.current_user().await.expect(200);
    assert_eq!(user["currentUser"]["emailVerified"], json!(false));
    assert_eq!(user["currentUser"]["pendingEmail"], json!(null));
    let mail = mailbox::mail(&app.home, &ann.email, VERIFY, 1).await;
    let link = format!("http://{}/verify#token={}", app.server.addr, mail.token());
    assert!(mail.text.contains(&link) && mail.html.contains(&link), "{mail:?}");
    // Without a session: the link may be opened on another device.
    let confirmed = verify(&app.guest(), &mail.token()).await.expect(200);
    assert_eq!((&confirmed["id"], &confirmed["emailVerified"]), (&json!(ann.id), &json!(true)));
    let user = ann.current_user().await.expect(200);
    assert_eq!(user["currentUser"]["emailVerified"], json!(true));
}

async fn verification_token_can_be_used_once(store: Backend) {
    let app = TestApp::start(store).await;
    let ann = app.user().await;
    let token = mailbox::mail(&app.home, &ann.email, VERIFY, 1).await.token();
    verify(&app.guest(), &token).await.expect(200);
    verify(&app.guest(), &token).await.refused(400, "invalid_token");
    confirm_reset(&app.guest(), &token, "another password").await.refused(400, "invalid_token");
}

async fn of_two_confirmations_at_once_one_succeeds(store: Backend) {
    let app = TestApp::start(store).await;
    let ann = app.user().await;
    let token = mailbox::mail(&app.home, &ann.email, VERIFY, 1).await.token();
    let (guest, other) = (app.guest(), app.guest());
    let (one, two) = tokio::join!(verify(&guest, &token), verify(&other, &token));
    let mut statuses = [one.status, two.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 400]);
}

async fn mail_is_sent_again_on_request_and_the_earlier_link_is_void(store: Backend) {
    let app = TestApp::start(store).await;
    let ann = app.user().await;
    let first = mailbox::mail(&app.home, &ann.email, VERIFY, 1).await;
    for _ in 0..2 {
        ann.post("/api/users/verify/resend", &json!({})).key("again").await.expect(202);
    }
    let second = mailbox::mail(&app.home, &ann.email, VERIFY, 2).await;
    assert_ne!(first.message_id, second.message_id);
    verify(&app.guest(), &first.token()).await.refused(400, "invalid_token");
    // The repetition under the same key made no third mail, which would have voided this link.
    verify(&app.guest(), &second.token()).await.expect(200);
    // The address is confirmed: there is nothing to send.
    ann.post("/api/users/verify/resend", &json!({})).await.expect(202);
    app.guest().post("/api/users/verify/resend", &json!({})).await.refused(401, "not_signed_in");
}

async fn reset_sets_the_password_signs_in_and_ends_other_sessions(store: Backend) {
    let app = TestApp::start(store).await;
    let ann = app.user().await;
    assert_eq!(request_reset(&app.guest(), &ann.email).await.expect(202).body, json!({}));
    let token = mailbox::mail(&app.home, &ann.email, RESET, 1).await.token();
    confirm_reset(&app.guest(), &token, "short").await.invalid("password");
    let new = app.guest();
    let user = confirm_reset(&new, &token, "a new password").await.expect(200);
    assert_eq!((&user["id"], &user["emailVerified"]), (&json!(ann.id), &json!(true)));
    new.list_ticket("Front row", 20).await.expect(201);
    ann.list_ticket("Front row", 20).await.refused(401, "not_signed_in");
    let guest = app.guest();
    guest.sign_in(&ann.email, Client::PASSWORD).await.refused(401, "invalid_credentials");
    guest.sign_in(&ann.email, "a new password").await.expect(200);
    confirm_reset(&app.guest(), &token, "yet another one").await.refused(400, "invalid_token");
}

async fn only_the_newest_reset_link_is_valid(store: Backend) {
    let app = TestApp::start(store).await;
    let ann = app.user().await;
    request_reset(&app.guest(), &ann.email).await.expect(202);
    let first = mailbox::mail(&app.home, &ann.email, RESET, 1).await.token();
    request_reset(&app.guest(), &ann.email).await.expect(202);
    let second = mailbox::mail(&app.home, &ann.email, RESET, 2).await.token();
    confirm_reset(&app.guest(), &first, "a new password").await.refused(400, "invalid_token");
    confirm_reset(&app.guest(), &second, "a new password").await.expect(200);
}

async fn reset_of_an_unknown_address_has_the_same_response_and_sends_nothing(store: Backend) {
    let app = TestApp::start(store).await;
    let ann = app.user().await;
    let known = request_reset(&app.guest(), &ann.email).await.expect(202);
    let unknown = request_reset(&app.guest(), "unknown@example.com").await.expect(202);
    assert_eq!(known.text, unknown.text);
    let names =
        |answer: &Answer| answer.headers.keys().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(names(&known), names(&unknown));
    // A later mail is the evidence that the earlier entry was handled.
    mailbox::mail(&app.home, &ann.email, RESET, 1).await;
    request_reset(&app.guest(), &ann.email).await.expect(202);
    mailbox::mail(&app.home, &ann.email, RESET, 2).await;
    assert!(mailbox::received(&app.home, "unknown@example.com").is_empty());
    request_reset(&app.guest(), "no address").await.invalid("email");
}

async fn forged_tokens_are_refused(store: Backend) {
    let app = TestApp::start(store).await;
    let ann = app.user().await;
    let token = mailbox::mail(&app.home, &ann.email, VERIFY, 1).await.token();
    let last = if token.ends_with('A') { 'B' } else { 'A' };
    let changed = format!("{}{last}", &token[..token.len() - 1]);
    for forged in ["", "token", &changed, &token[1..], &"A".repeat(64), &"é".repeat(40)] {
        verify(&app.guest(), forged).await.refused(400, "invalid_token");
        confirm_reset(&app.guest(), forged, "a new password").await.refused(400, "invalid_token");
    }
    app.guest().post("/api/users/verify", &json!({ "token": 1 })).await.invalid("token");
    verify(&app.guest(), &token).await.expect(200);
}

async fn mails_to_one_address_are_limited(store: Backend) {
    let app = TestApp::start_with(store, &[("GITTIX_RATE_LIMIT", "on")]).await;
    let ann = app.user().await;
    // The mail of the sign-up counts.
    for _ in 0..2 {
        ann.post("/api/users/verify/resend", &json!({})).await.expect(202);
    }
    let refused = ann.post("/api/users/verify/resend", &json!({})).await;
    assert!(refused.refused(429, "too_many_requests").headers.contains_key("retry-after"));
    // A request for a reset is answered as always.
    request_reset(&app.guest(), &ann.email).await.expect(202);
    mailbox::mail(&app.home, &ann.email, VERIFY, 3).await;
    // The sender finishes a page of the outbox before it reads the next one: after two later mails,
    // one after the other, an entry for the first address would have been handled.
    let bob = app.user().await;
    mailbox::mail(&app.home, &bob.email, VERIFY, 1).await;
    bob.post("/api/users/verify/resend", &json!({})).await.expect(202);
    mailbox::mail(&app.home, &bob.email, VERIFY, 2).await;
    let mails = mailbox::received(&app.home, &ann.email);
    assert!(mails.iter().all(|mail| mail.subject == VERIFY), "{mails:?}");
}

async fn mail_file_is_private_and_named_in_the_log(store: Backend) {
    use std::os::unix::fs::MetadataExt;
    let app = TestApp::start(store).await;
    app.user().await;
    let line = app.server.logged(|line| line.contains("mail written to a file")).await;
    let line: serde_json::Value = serde_json::from_str(&line).expect("a line of JSON");
    let file = std::path::Path::new(line["file"].as_str().expect("a path"));
    assert_eq!(std::fs::metadata(file).expect("the file exists").mode() & 0o7777, 0o600);
    assert!(file.extension().is_some_and(|extension| extension == "eml"), "{file:?}");
}
