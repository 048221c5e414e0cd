//! Signatures, with Stripe's own library (PyPI's `stripe`) as the signer and as the verifier: of
//! the webhook route, and of the fake.

use serde_json::{Value, json};

use super::{
    others::stripes_library,
    stage::{AppWithStripe, foreign_event},
};
use crate::{
    app::{Backend, Client},
    fake_stripe::{Post, webhooks},
};

fn now_secs() -> i64 {
    gittix::clock::wall_clock().0 / 1_000
}

async fn is_accepted(guest: &Client, body: &str, header: &str) -> bool {
    let answer = guest
        .call(reqwest::Method::POST, "/api/webhooks/stripe")
        .text(body.to_owned())
        .header("stripe-signature", header)
        .await;
    match answer.status {
        200 => true,
        400 => {
            assert_eq!(answer.code(), "invalid_signature", "{header}");
            false
        }
        other => panic!("{other} for {header}"),
    }
}

#[tokio::test]
async fn webhook_route_accepts_the_signatures_that_stripes_library_accepts() {
    let setup = AppWithStripe::start(Backend::Embedded).await;
    let guest = setup.app.guest();
    let (body, now) = (foreign_event().body, now_secs());
    let sign =
        |secret: &str, body: &str, at: i64| json!({ "secret": secret, "body": body, "at": at });
    let signed = stripes_library(&[
        sign(Post::SECRET, &body, now),
        sign(Post::SECRET, &body, now - 250),
        sign(Post::SECRET, &body, now - 330),
        sign("whsec_of_another", &body, now),
        sign(Post::SECRET, &format!("{body}\n"), now),
    ]);
    let headers: Vec<&str> =
        signed.iter().map(|header| header.as_str().expect("a header")).collect();
    let mac = headers[0].split("v1=").nth(1).expect("a signature");
    let tampered = [
        format!("{},v1={mac}", headers[3]),
        format!("t={now},v0={mac}"),
        format!("t={now},v1={}", &mac[1..]),
        format!("t={now}"),
        format!("v1={mac}"),
        format!("t=soon,v1={mac}"),
        headers[0].replace("v1=", "v2="),
        String::new(),
    ];
    let all: Vec<&str> =
        headers.iter().copied().chain(tampered.iter().map(String::as_str)).collect();
    // For the empty header and for a time that is not a number, the library raises other errors
    // than its own.
    let asked: Vec<Value> = all
        .iter()
        .map(|header| json!({ "secret": Post::SECRET, "body": body, "header": header }))
        .collect();
    let judged = stripes_library(&asked);
    let mut differ = Vec::new();
    for (header, judged) in all.iter().zip(&judged) {
        let ours = is_accepted(&guest, &body, header).await;
        if json!(ours) != *judged {
            differ.push(format!("{header}: GitTix answers {ours}, Stripe's library {judged}"));
        }
    }
    assert_eq!(differ, [] as [String; 0]);
    let good = judged.iter().filter(|judged| **judged == json!(true)).count();
    assert_eq!(good, 3, "not exactly the three valid headers were accepted: {judged:?}");
}

#[tokio::test]
async fn signatures_of_the_fake_are_accepted_by_stripes_library() {
    let (body, now) = (foreign_event().body, now_secs());
    let secrets = ["whsec_of_old".to_owned(), Post::SECRET.to_owned()];
    let header = webhooks::signature(&secrets, &body, now);
    let stale = webhooks::signature(&secrets, &body, now - 400);
    let ask = |secret: &str, body: &str, header: &str| json!({ "secret": secret, "body": body, "header": header });
    let judged = stripes_library(&[
        ask(&secrets[0], &body, &header),
        ask(&secrets[1], &body, &header),
        ask("whsec_of_nobody", &body, &header),
        ask(&secrets[0], &format!("{body} "), &header),
        ask(&secrets[0], &body, &stale),
    ]);
    assert_eq!(judged, [true, true, false, false, false].map(Value::from));
}
