//! Sign-ins from many addresses at once, each address within its own limits.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::{join, join_all};

use crate::app::{Backend, Call, Client, TestApp, on_both_stores};

on_both_stores!(sign_in_is_hashed_before_most_of_a_flood_from_24_addresses);

const ADDRESSES: usize = 24;
const SIGN_INS_PER_ADDRESS: usize = 5;

fn sign_in(client: &Client, address: usize, email: &str) -> Call {
    client
        .sign_in(email, Client::PASSWORD)
        .header("X-Forwarded-For", &format!("198.51.100.{address}"))
}

async fn passwords_waiting(app: &TestApp) -> usize {
    let text = app.guest().get("/metrics").await.expect(200).text;
    let value = text.lines().find_map(|line| line.strip_prefix("gittix_passwords_waiting "));
    value
        .and_then(|value| value.parse().ok())
        .unwrap_or_else(|| panic!("no number of waiting passwords in {text}"))
}

async fn sign_in_is_hashed_before_most_of_a_flood_from_24_addresses(store: Backend) {
    const FLOOD: usize = ADDRESSES * SIGN_INS_PER_ADDRESS;
    // Each hash takes 50 ms: without turns, and with one thread, the last sign-in would wait for
    // 6 s and be answered 503.
    let settings = [
        ("GITTIX_RATE_LIMIT", "on"),
        ("GITTIX_TRUSTED_PROXIES", "127.0.0.0/8"),
        ("FAILPOINTS", "passwords::hash=sleep(50)"),
    ];
    let app = TestApp::start_with(store, &settings).await;
    let user = app.user().await;
    let attackers: Vec<_> = (0..FLOOD).map(|_| app.guest()).collect();
    let answered = AtomicUsize::new(0);
    let flood = join_all(attackers.iter().enumerate().map(|(number, attacker)| {
        let answered = &answered;
        async move {
            sign_in(attacker, number % ADDRESSES, &format!("unknown{number}@example.com")).await;
            answered.fetch_add(1, Ordering::Relaxed);
        }
    }));
    let honest = async {
        let mut waiting = 0;
        while waiting < FLOOD / 2 {
            waiting = passwords_waiting(&app).await;
            assert!(
                answered.load(Ordering::Relaxed) < FLOOD / 2,
                "the flood is over: the sign-in does not compete with it"
            );
        }
        let before = answered.load(Ordering::Relaxed);
        sign_in(&app.guest(), 200, &user.email).await.expect(200);
        (waiting, answered.load(Ordering::Relaxed) - before)
    };
    let ((waiting, beside), _) = join(honest, flood).await;
    // One job of each address comes first, and what is being hashed already.
    assert!(
        beside < waiting,
        "the sign-in waited for all {waiting} that were there before it ({beside} were answered)"
    );
}
