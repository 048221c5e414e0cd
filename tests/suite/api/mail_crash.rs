//! A sender of mails that ends between the claim and the sending.

use serde_json::json;

use crate::app::{Backend, Client, TestApp, mailbox, on_both_stores};

on_both_stores!(mail_is_sent_after_a_crash_of_its_sender);

async fn mail_is_sent_after_a_crash_of_its_sender(store: Backend) {
    let crash = "mail::claim_span=return(300);mail::claimed=return";
    let mut app = TestApp::start_with(store, &[("FAILPOINTS", crash)]).await;
    let mut ann = app.guest();
    ann.email = "ann@example.com".into();
    // The process ends as soon as the sender has claimed the mail, perhaps before it answers.
    let _ = ann.sign_up(&ann.email, Client::PASSWORD).attempt().await;
    app.server.gone().await;
    assert!(mailbox::received(&app.home, &ann.email).is_empty());
    app.set("FAILPOINTS", "mail::claim_span=return(300)");
    app.restart().await;
    let mail = mailbox::mail(&app.home, &ann.email, "Confirm your email address", 1).await;
    let body = json!({ "token": mail.token() });
    app.guest().post("/api/users/verify", &body).await.expect(200);
    assert_eq!(mailbox::received(&app.home, &ann.email).len(), 1);
}
