//! Protection of the webhook from forgers: a body with an invalid head is not read, bodies are
//! bounded for each client address, and refusals are limited.

use std::{net::SocketAddr, time::Duration};

use futures_util::future::select_all;
use reqwest::Method;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::app::{
    Answer, Backend, PATIENCE, TestApp, on_both_stores, raw,
    stripe::{Stripe, sign},
};

on_both_stores!(
    delivery_with_an_invalid_head_is_refused_before_its_body,
    bodies_in_progress_of_a_forger_do_not_block_stripe,
    refusals_are_limited_for_each_client_and_valid_deliveries_are_accepted,
);

const PATH: &str = "/api/webhooks/stripe";
const FORGER: &str = "198.51.100.66";
const OTHER: &str = "198.51.100.7";
/// Maximum length of a body, in bytes.
const BYTES_MAX: usize = 256 * 1024;

async fn start(store: Backend, more: &[(&str, &str)]) -> (Stripe, TestApp) {
    let stripe = Stripe::start().await;
    let proxies = [("GITTIX_TRUSTED_PROXIES", "127.0.0.0/8")];
    let settings = [stripe.settings().as_slice(), &proxies, more].concat();
    let app = TestApp::start_with(store, &settings).await;
    (stripe, app)
}

/// Returns the head of a delivery whose body has `length` bytes.
fn head(addr: SocketAddr, client: &str, signature: Option<&str>, length: usize) -> String {
    let signature =
        signature.map(|signature| format!("Stripe-Signature: {signature}\r\n")).unwrap_or_default();
    format!(
        "POST {PATH} HTTP/1.1\r\nHost: {addr}\r\nContent-Type: application/json\r\nX-Forwarded-For: {client}\r\n{signature}\
         Content-Length: {length}\r\n\r\n"
    )
}

async fn deliver(app: &TestApp, client: &str, body: &str, signature: &str) -> Answer {
    let call = app
        .guest()
        .call(Method::POST, PATH)
        .text(body.to_owned())
        .header("X-Forwarded-For", client);
    call.header("Stripe-Signature", signature).await
}

/// Returns a well-formed signature of the present time, made with another secret.
fn forged(body: &str) -> String {
    sign(body, "whsec_guess", 0)
}

async fn delivery_with_an_invalid_head_is_refused_before_its_body(store: Backend) {
    let (_stripe, app) = start(store, &[]).await;
    let addr = app.server.addr;
    let late = sign("{}", Stripe::WEBHOOK_SECRET, 305);
    for signature in
        [None, Some(""), Some("t=now,v1=nonsense"), Some("t=1760000000"), Some(late.as_str())]
    {
        // Only one byte of the body is ever sent.
        let bytes = head(addr, FORGER, signature, 262_000) + "{";
        let (status, text) = raw::request(addr, bytes.as_bytes()).await;
        assert!(status == 400 && text.contains("invalid_signature"), "{signature:?}: {text}");
    }
    let (status, text) =
        raw::request(addr, head(addr, FORGER, None, BYTES_MAX + 1).as_bytes()).await;
    assert!(status == 413 && text.contains("body_too_large"), "{text}");
    let unset = TestApp::start(store).await;
    let signature = forged("{}");
    let bytes = head(unset.server.addr, FORGER, Some(&signature), 262_000);
    let (status, text) = raw::request(unset.server.addr, bytes.as_bytes()).await;
    assert!(status == 400 && text.contains("invalid_signature"), "without a secret: {text}");
}

async fn bodies_in_progress_of_a_forger_do_not_block_stripe(store: Backend) {
    let (stripe, app) = start(store, &[]).await;
    let addr = app.server.addr;
    let signature = forged("{}");
    let mut slow = Vec::new();
    for _ in 0..5 {
        let mut stream = TcpStream::connect(addr).await.expect("the server listens");
        stream
            .write_all(head(addr, FORGER, Some(&signature), BYTES_MAX).as_bytes())
            .await
            .expect("sent");
        slow.push(stream);
    }
    // The budget is enough for four bodies. The refusal of the fifth shows that the others were
    // received.
    let refusal = select_all(slow.iter_mut().map(|stream| Box::pin(first_bytes(stream))));
    let (refusal, index, _) =
        tokio::time::timeout(PATIENCE, refusal).await.expect("one delivery is refused");
    assert!(refusal.starts_with("HTTP/1.1 429 "), "{refusal}");
    slow.remove(index);
    deliver(&app, FORGER, "{}", &signature).await.refused(429, "too_many_requests");
    let (body, signature) = stripe.event("evt_1", "payment_intent.succeeded", "pi_of_another_shop");
    deliver(&app, OTHER, &body, &signature).await.expect(200);
    // The memory is returned when the connections end.
    drop(slow);
    until_answered(200, async || deliver(&app, FORGER, &body, &signature).await).await;
}

async fn first_bytes(stream: &mut TcpStream) -> String {
    let mut bytes = [0; 1024];
    let length = stream.read(&mut bytes).await.expect("no reset");
    String::from_utf8_lossy(&bytes[..length]).into_owned()
}

/// Repeats a request until the response has `status`, because the return of a body's memory sends
/// no notification.
async fn until_answered(status: u16, ask: impl AsyncFn() -> Answer) {
    let asking = async {
        while ask().await.status != status {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, asking)
        .await
        .unwrap_or_else(|_| panic!("no answer with {status} came"));
}

async fn refusals_are_limited_for_each_client_and_valid_deliveries_are_accepted(store: Backend) {
    let (stripe, app) = start(store, &[("GITTIX_RATE_LIMIT", "on")]).await;
    let (body, signature) = stripe.event("evt_1", "payment_intent.succeeded", "pi_of_another_shop");
    let mut refused = 0;
    let limited = loop {
        let answer =
            deliver(&app, FORGER, &body, if refused % 2 == 0 { "nonsense" } else { "t=1,v1=00" })
                .await;
        if answer.status != 400 {
            break answer;
        }
        refused += 1;
        assert!(refused < 1_000, "no limit");
    };
    limited.refused(429, "too_many_requests");
    assert!(refused >= 30, "only {refused} deliveries got 400");
    deliver(&app, FORGER, &body, &signature).await.expect(200);
    deliver(&app, OTHER, &body, &forged(&body)).await.refused(400, "invalid_signature");
    let lines = app.server.log().iter().filter(|line| line.contains("refused")).count();
    assert!(lines < 10, "{lines} lines for {refused} refusals");
}
