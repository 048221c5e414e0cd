//! Settings: accepted forms, invalid combinations, and secrets that must not be shown.

use serde_json::json;

use crate::app::{Backend, Home, Server, TestApp, on_both_stores, run, stripe::Stripe};

on_both_stores!(
    relock_wait_of_zero_turns_the_wait_off,
    store_that_took_a_live_payment_starts_only_with_a_live_key,
    store_without_a_live_payment_may_leave_live_mode,
);

async fn relock_wait_of_zero_turns_the_wait_off(store: Backend) {
    let app = TestApp::start_with(store, &[("GITTIX_RELOCK_WAIT", "0s")]).await;
    let (seller, buyer) = (app.user().await, app.user().await);
    let ticket = seller.sells("Again").await;
    for _ in 0..5 {
        let order = buyer.locks(&ticket).await;
        buyer.cancel_order(&order).await.expect(204);
    }
    buyer.locks(&ticket).await;
}

#[tokio::test]
async fn host_names_bare_addresses_and_spaces_are_accepted() {
    let home = Home::new(Backend::Embedded);
    let settings = [
        ("GITTIX_ADDR", "localhost:0"),
        ("GITTIX_TRUSTED_PROXIES", "127.0.0.1 , 10.0.0.0/8"),
        ("GITTIX_PUBLIC_ORIGIN", "http://one.example , http://two.example"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()));
    let server = Server::start(&home, &settings).await;
    assert!(server.addr.ip().is_loopback(), "{}", server.addr);
    let addr = format!("localhost:{}", server.addr.port());
    let (status, text) = run(&["health", "--ready"], &[("GITTIX_ADDR", &addr)]);
    assert!(status.success(), "{text}");
}

#[test]
fn error_messages_do_not_show_secrets() {
    let wrong = [
        ("STRIPE_API_BASE", "http://user:hunter2@stripe.example"),
        ("STRIPE_API_BASE", "not a url hunter2"),
        ("STRIPE_PUBLISHABLE_KEY", "sk_live_hunter2"),
        ("GITTIX_PUBLIC_ORIGIN", "https://user:hunter2@tickets.example"),
        ("GITTIX_ADDR", "user:hunter2@localhost:3000"),
        ("GITTIX_TRUSTED_PROXIES", "user:hunter2@10.0.0.1"),
        ("MONGODB_URI", "mongodb://user:hunter2@host:port/"),
        ("MONGODB_URI", "mongodb://us er:hunter2@host/"),
        ("MONGODB_URI", "mongodb://user:hun/ter2hunter2@host/"),
        ("MONGODB_URI", "postgres://user:hunter2@host/"),
        ("MONGODB_URI", "mongodb://user:hunter2@127.0.0.1:1/?replicaSet=rs0"),
    ];
    let home = Home::new(Backend::Embedded);
    let data = home.data();
    for (name, value) in wrong {
        let common = [
            ("GITTIX_ADDR", "127.0.0.1:0"),
            ("GITTIX_DATA_DIR", data.to_str().expect("UTF-8")),
            ("GITTIX_STORE_WAIT", "0s"),
        ];
        let (status, text) = run(&["serve"], &[&common[..], &[(name, value)]].concat());
        assert_eq!(status.code(), Some(2), "{name}={value} said {text}");
        assert!(!text.contains("hunter2") && text.contains(name), "{name}={value} said {text}");
        assert_eq!(text.lines().filter(|line| line.starts_with("gittix: ")).count(), 1, "{text}");
    }
    let (status, text) = run(&["mongodb://user:hunter2@host/"], &[]);
    assert!(status.code() == Some(2) && !text.contains("hunter2"), "{text}");
    let (_, help) =
        run(&["serve", "--help"], &[("STRIPE_API_BASE", "http://user:hunter2@stripe.example")]);
    assert!(!help.contains("hunter2"), "{help}");
}

#[test]
fn https_origin_without_a_live_key_ends_the_start_with_one_line() {
    let origin = ("GITTIX_PUBLIC_ORIGIN", "https://tickets.example");
    for key in [&[][..], &[("STRIPE_SECRET_KEY", Stripe::KEY)]] {
        let (status, text) =
            run(&["serve"], &[&[origin, ("GITTIX_ADDR", "127.0.0.1:0")], key].concat());
        assert_eq!(status.code(), Some(2), "{text}");
        assert!(
            text.lines().count() == 1
                && text.contains("GITTIX_ALLOW_SANDBOX")
                && !text.contains("hush"),
            "{text}"
        );
    }
}

/// Key in the form of live mode. The fake Stripe server runs on this machine.
const LIVE_KEY: (&str, &str) = ("STRIPE_SECRET_KEY", "sk_live_51hushhush");
const ALLOWED: (&str, &str) = ("GITTIX_ALLOW_SANDBOX", "true");

fn owned(settings: &[(&str, &str)]) -> Vec<(String, String)> {
    settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

async fn store_that_took_a_live_payment_starts_only_with_a_live_key(store: Backend) {
    let stripe = Stripe::start().await;
    let live = [stripe.settings().as_slice(), &[LIVE_KEY]].concat();
    let mut app = TestApp::start_with(store, &live).await;
    let (seller, buyer) = (app.user().await, app.user().await);
    let order = buyer.locks(&seller.sells("Front row").await).await;
    assert_eq!(buyer.pay(&order, "pm_card_visa").await.expect(201)["status"], json!("Completed"));
    let metrics = app.guest().get("/metrics").await.expect(200).text;
    assert!(metrics.contains("gittix_payment_mode{mode=\"live\"} 1"), "{metrics}");
    app.crash();
    for settings in [&[ALLOWED][..], &[stripe.settings().as_slice(), &[ALLOWED]].concat()] {
        let mut server = Server::start_unready(&app.home, &owned(settings)).await;
        assert_eq!(server.ended().await.code(), Some(2), "{:#?}", server.log());
        let reason = server.reason().await;
        assert!(reason.contains("STRIPE_SECRET_KEY"), "{reason}");
    }
    app.restart().await;
    assert_eq!(buyer.at(&app.server).order(&order).await.expect(200)["status"], json!("Completed"));
}

async fn store_without_a_live_payment_may_leave_live_mode(store: Backend) {
    let stripe = Stripe::start().await;
    let live = [stripe.settings().as_slice(), &[LIVE_KEY]].concat();
    let mut app = TestApp::start_with(store, &live).await;
    app.user().await.sells("Front row").await;
    app.crash();
    let sandbox = Server::start(&app.home, &[]).await;
    assert!(sandbox.log().iter().any(|line| line.contains("built-in sandbox")));
}
