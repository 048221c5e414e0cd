//! Complete purchases, over the real HTTP path to a fake Stripe: what is accepted, what is refused,
//! and what is refunded.

use serde_json::{Value, json};

use super::{audit, stage::AppWithStripe};
use crate::{
    app::{Answer, Backend, Client, on_both_stores, world::Found},
    fake_stripe::{Account, Deceit, FakeStripe, Fault, Kind, Side, Verdict},
};

on_both_stores!(
    purchase_authorizes_then_captures_the_price_of_the_order,
    tokens_and_payment_methods_are_accepted,
    declined_card_authorizes_nothing_and_another_card_may_follow,
    unknown_payment_method_is_refused_without_a_payment_attempt,
    three_d_secure_is_completed_by_a_second_confirmation,
    buyer_who_fails_three_d_secure_may_pay_with_another_card,
    order_cancelled_during_three_d_secure_takes_no_money,
    authorization_is_voided_when_the_lock_is_lost_before_the_claim,
    capture_without_a_ticket_is_refunded_and_announced,
    payment_with_another_amount_or_currency_is_not_captured,
    capture_of_less_than_the_price_completes_no_purchase,
    buyer_is_charged_once_under_every_fault_of_the_processor,
    tokens_cards_and_secrets_are_neither_stored_nor_logged,
);

async fn status_of(buyer: &Client, order: &Answer) -> Value {
    buyer.order(&order.id()).await.expect(200)["status"].clone()
}

/// Returns an account with so many times 19.99 at each step.
fn account(authorized: u64, captured: u64, voided: u64, refunded: u64) -> Account {
    const PRICE: u64 = 1_999;
    let [authorized, captured, voided, refunded] =
        [authorized, captured, voided, refunded].map(|times| times * PRICE);
    Account { authorized, captured, voided, refunded, currency: "usd".into() }
}

/// Stops the server and asserts that its store agrees with the ledger.
async fn assert_store_agrees(mut setup: AppWithStripe) {
    setup.app.crash();
    let mut found = Found::read(&setup.app.home).await;
    let wrong =
        audit::violations(&mut found, &setup.stripe, &Default::default(), &Default::default());
    assert_eq!(wrong, [] as [String; 0]);
}

async fn purchase_authorizes_then_captures_the_price_of_the_order(store: Backend) {
    let setup = AppWithStripe::start(store).await;
    let (buyer, order) = setup.order().await;
    // Amounts in the client's request are ignored.
    let body = json!({ "orderId": order.id(), "token": "pm_card_visa", "amount": 0.5, "currency": "jpy", "price": 1 });
    let charge = buyer.post("/api/charges", &body).await.expect(201);
    assert_eq!((&charge["amount"], &charge["status"]), (&json!(19.99), &json!("Completed")));
    assert_eq!(setup.accounts(&order.id()), [account(1, 1, 0, 0)]);
    let seen: Vec<Kind> = setup.stripe.seen().iter().map(|seen| seen.kind).collect();
    assert_eq!(seen, [Kind::Create, Kind::Confirm, Kind::Capture]);
    for seen in setup.stripe.seen() {
        assert!(seen.version.is_some(), "each request names the API version: {seen:?}");
        assert!(
            seen.key.as_ref().is_some_and(|key| key.contains(&charge.id())),
            "the idempotency key of each step contains the charge's id: {seen:?}"
        );
    }
    assert_store_agrees(setup).await;
}

async fn tokens_and_payment_methods_are_accepted(store: Backend) {
    let setup = AppWithStripe::start(store).await;
    for token in ["pm_card_mastercard", "tok_visa"] {
        let (buyer, order) = setup.order().await;
        buyer.pay(&order.id(), token).await.expect(201);
        assert_eq!(setup.accounts(&order.id()), [account(1, 1, 0, 0)]);
    }
    assert_store_agrees(setup).await;
}

async fn declined_card_authorizes_nothing_and_another_card_may_follow(store: Backend) {
    let setup = AppWithStripe::start(store).await;
    let (buyer, order) = setup.order().await;
    for token in ["pm_card_visa_chargeDeclinedInsufficientFunds", "tok_chargeDeclined"] {
        buyer.pay(&order.id(), token).await.refused(402, "card_declined");
    }
    assert_eq!(
        (setup.accounts(&order.id()), status_of(&buyer, &order).await),
        (vec![], json!("AwaitingPayment"))
    );
    let charges = buyer.charges_of(&order.id()).await.expect(200);
    let codes: Vec<&Value> =
        charges.items().iter().map(|charge| &charge["failure"]["code"]).collect();
    assert_eq!(codes, ["insufficient_funds", "generic_decline"]);
    buyer.pay(&order.id(), "pm_card_visa").await.expect(201);
    assert_eq!(setup.accounts(&order.id()), [account(1, 1, 0, 0)]);
    assert_store_agrees(setup).await;
}

async fn unknown_payment_method_is_refused_without_a_payment_attempt(store: Backend) {
    let setup = AppWithStripe::start(store).await;
    let (buyer, order) = setup.order().await;
    for token in ["pm_card_ofNobody", "tok_ofNobody", "pm_1Nq2ofNobody"] {
        buyer.pay(&order.id(), token).await.invalid("token");
    }
    assert_eq!(status_of(&buyer, &order).await, "Created");
    assert_eq!(setup.accounts(&order.id()), []);
}

async fn three_d_secure_is_completed_by_a_second_confirmation(store: Backend) {
    let setup = AppWithStripe::start(store).await;
    let (buyer, order, charge, intent) = setup.waiting().await;
    assert_eq!(
        buyer.confirm(&charge).await.expect(202)["status"],
        "Created",
        "the buyer has not authenticated"
    );
    setup.stripe.act(&intent, true).await;
    assert_eq!(buyer.confirm(&charge).await.expect(200)["status"], "Completed");
    assert_eq!(
        (setup.accounts(&order.id()), status_of(&buyer, &order).await),
        (vec![account(1, 1, 0, 0)], json!("Completed"))
    );
    assert_store_agrees(setup).await;
}

async fn buyer_who_fails_three_d_secure_may_pay_with_another_card(store: Backend) {
    let setup = AppWithStripe::start(store).await;
    let (buyer, order, charge, intent) = setup.waiting().await;
    setup.stripe.act(&intent, false).await;
    buyer.confirm(&charge).await.refused(402, "card_declined");
    buyer.pay(&order.id(), "pm_card_visa").await.expect(201);
    assert_eq!(setup.accounts(&order.id()), [account(1, 1, 0, 0)]);
    assert_store_agrees(setup).await;
}

async fn order_cancelled_during_three_d_secure_takes_no_money(store: Backend) {
    let setup = AppWithStripe::start(store).await;
    let (buyer, order, charge, intent) = setup.waiting().await;
    // The buyer authenticates just before the cancellation: the money is authorized, and GitTix has
    // not been notified.
    setup.stripe.act(&intent, true).await;
    buyer.cancel_order(&order.id()).await.expect(204);
    assert_eq!(setup.wait_until_final(&buyer, &charge).await["status"], "Failed");
    assert_eq!(setup.accounts(&order.id()), [account(1, 0, 1, 0)]);
    buyer.confirm(&charge).await.refused(409, "order_not_payable");
    assert_store_agrees(setup).await;
}

/// Locks that end during a test.
const SHORT: [(&str, &str); 3] = [
    ("GITTIX_PAYMENT_WINDOW", "2s"),
    ("GITTIX_LOCK_DURATION", "3s"),
    ("GITTIX_SETTLE_GRACE", "1s"),
];

async fn authorization_is_voided_when_the_lock_is_lost_before_the_claim(store: Backend) {
    let setup = AppWithStripe::start_with(store, &SHORT).await;
    let (buyer, order) = setup.order().await;
    let ticket = order["ticketId"].as_str().expect("an id").to_owned();
    let mut socket = buyer.socket().await;
    let held = setup.stripe.hold(Side::After, Kind::Confirm, 0);
    let (paid, ()) = tokio::join!(async { buyer.pay(&order.id(), "pm_card_visa").await }, async {
        let held = held.await.expect("the request arrives");
        socket.ticket(&ticket, "Available").await;
        held.let_go(Verdict::Do);
    });
    paid.refused(409, "order_expired");
    let charges = buyer.charges_of(&order.id()).await.expect(200);
    let [charge] = charges.items() else { panic!("{charges:?}") };
    let charge = setup.wait_until_final(&buyer, charge["id"].as_str().expect("an id")).await;
    assert_eq!(
        (&charge["status"], &charge["failure"]["code"], &charge["stripeRefundId"]),
        (&json!("Failed"), &json!("lock_lost"), &json!(null))
    );
    assert_eq!(setup.accounts(&order.id()), [account(1, 0, 1, 0)]);
    assert_store_agrees(setup).await;
}

async fn capture_without_a_ticket_is_refunded_and_announced(store: Backend) {
    let setup = AppWithStripe::start_with(store, &SHORT).await;
    let (buyer, order) = setup.order().await;
    let ticket = order["ticketId"].as_str().expect("an id").to_owned();
    let mut socket = buyer.socket().await;
    let held = setup.stripe.hold(Side::After, Kind::Capture, 0);
    let (paid, ()) = tokio::join!(async { buyer.pay(&order.id(), "pm_card_visa").await }, async {
        let held = held.await.expect("the request arrives");
        // The settle grace ends too: another buyer could lock the ticket now.
        socket.ticket(&ticket, "Available").await;
        held.let_go(Verdict::Do);
    });
    paid.refused(409, "order_expired");
    let refunded = socket.event("ChargeRefunded").await["charge"].clone();
    assert_eq!(
        (&refunded["status"], &refunded["failure"]["code"], refunded["stripeRefundId"].is_string()),
        (&json!("Failed"), &json!("lock_lost"), true)
    );
    assert_eq!(
        buyer.charge(refunded["id"].as_str().expect("an id")).await.expect(200)["stripeRefundId"],
        refunded["stripeRefundId"]
    );
    assert_eq!(setup.accounts(&order.id()), [account(1, 1, 0, 1)]);
    assert_store_agrees(setup).await;
}

async fn payment_with_another_amount_or_currency_is_not_captured(store: Backend) {
    for deceit in [Deceit::AnotherAmount, Deceit::AnotherCurrency] {
        let setup = AppWithStripe::start(store).await;
        setup.stripe.deceive(deceit);
        let (buyer, order) = setup.order().await;
        let paid = buyer.pay(&order.id(), "pm_card_visa").await;
        assert!(paid.status >= 400, "{deceit:?}: {paid:?}");
        assert_ne!(status_of(&buyer, &order).await, "Completed", "{deceit:?}");
        assert!(
            setup
                .stripe
                .lines()
                .iter()
                .all(|line| line.movement != crate::fake_stripe::Movement::Captured),
            "{deceit:?}"
        );
        assert!(
            setup.accounts(&order.id()).iter().all(|account| account.held() == 0),
            "{deceit:?}: an authorization remains"
        );
    }
}

async fn capture_of_less_than_the_price_completes_no_purchase(store: Backend) {
    let setup = AppWithStripe::start(store).await;
    setup.stripe.deceive(Deceit::TakesLess);
    let (buyer, order) = setup.order().await;
    let paid = buyer.pay(&order.id(), "pm_card_visa").await;
    assert!(paid.status >= 400, "{paid:?}");
    assert_ne!(status_of(&buyer, &order).await, "Completed");
    let charges = buyer.charges_of(&order.id()).await.expect(200);
    let charge =
        setup.wait_until_final(&buyer, charges.items()[0]["id"].as_str().expect("an id")).await;
    assert_eq!(charge["status"], "Failed");
    let kept: u64 = setup.accounts(&order.id()).iter().map(Account::kept).sum();
    assert_eq!(kept, 0, "the amount taken is not refunded");
}

async fn buyer_is_charged_once_under_every_fault_of_the_processor(store: Backend) {
    let setup = AppWithStripe::start(store).await;
    let faults = [
        Fault::LostRequest,
        Fault::LostAnswer,
        Fault::RateLimited,
        Fault::Locked,
        Fault::Unavailable,
        Fault::BrokenBefore,
        Fault::BrokenAfter,
    ];
    let purchases = faults
        .into_iter()
        .flat_map(|fault| [Kind::Create, Kind::Confirm, Kind::Capture].map(|kind| (fault, kind)));
    for (fault, kind) in purchases {
        let (buyer, order) = setup.order().await;
        setup.stripe.script(kind, fault);
        let paid = buyer.pay(&order.id(), "pm_card_visa").await;
        assert_eq!(paid.status, 201, "{fault:?} at {kind:?}: {paid:?}");
        assert_eq!(setup.accounts(&order.id()), [account(1, 1, 0, 0)], "{fault:?} at {kind:?}");
    }
    assert_store_agrees(setup).await;
}

async fn tokens_cards_and_secrets_are_neither_stored_nor_logged(store: Backend) {
    let setup = AppWithStripe::start_with(store, &[("GITTIX_LOG", "trace")]).await;
    let (buyer, _, charge, intent) = setup.waiting().await;
    let secret = buyer.charge(&charge).await.expect(200)["clientSecret"]
        .as_str()
        .expect("the charge has a client secret")
        .to_owned();
    setup.stripe.act(&intent, true).await;
    setup.stripe.post(&setup.event("payment_intent.amount_capturable_updated", &intent)).await;
    assert_eq!(setup.wait_until_final(&buyer, &charge).await["status"], "Completed");
    let (other, order) = setup.order().await;
    other.pay(&order.id(), "tok_visa_chargeDeclined").await.refused(402, "card_declined");
    let AppWithStripe { mut app, stripe } = setup;
    app.crash();
    let log = app.server.log().join("\n");
    let found = Found::read(&app.home).await;
    let kept = format!("{:?}\n{:?}", found.world, found.events);
    // Control: the search finds values that are expected in the log and in the store.
    assert!(log.contains(&charge) && kept.contains(&intent));
    let tail = secret.split("_secret_").nth(1).expect("Stripe's form of a client secret");
    for secret in [
        tail,
        "authenticationRequired",
        "tok_visa",
        "chargeDeclined",
        FakeStripe::SECRET_KEY,
        crate::fake_stripe::Post::SECRET,
    ] {
        assert!(!log.contains(secret), "{secret} is in the log");
        assert!(!kept.contains(secret), "{secret} is in the store");
    }
    drop(stripe);
}
