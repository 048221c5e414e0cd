//! The whole purchase, over the real HTTP path to a Stripe: what is taken, what is not, and what is given back.

use serde_json::{Value, json};

use super::{audit, stage::Stage};
use crate::{
    app::{Answer, Backend, Client, on_both_stores, world::Found},
    fake_stripe::{Account, Deceit, FakeStripe, Fault, Kind, Side, Verdict},
};

on_both_stores!(
    a_purchase_authorizes_then_captures_what_the_order_costs,
    tokens_and_payment_methods_are_taken,
    a_declined_card_holds_nothing_and_another_may_follow,
    an_unknown_payment_method_is_refused_and_is_no_attempt,
    three_d_secure_is_finished_by_the_client_that_asks_again,
    a_buyer_who_fails_three_d_secure_may_pay_otherwise,
    an_order_cancelled_during_three_d_secure_can_take_no_money,
    a_lock_lost_before_the_claim_voids_the_authorization,
    what_is_captured_without_a_ticket_is_refunded_and_told,
    a_payment_over_another_amount_or_currency_is_never_captured,
    what_takes_less_than_the_order_costs_sells_nothing,
    every_fault_on_the_way_still_charges_once,
    no_token_no_card_and_no_secret_is_kept_anywhere,
);

async fn status_of(buyer: &Client, order: &Answer) -> Value {
    buyer.order(&order.id()).await.expect(200)["status"].clone()
}

/// 19.99 at each of these steps.
fn account(authorized: u64, captured: u64, voided: u64, refunded: u64) -> Account {
    const PRICE: u64 = 1_999;
    let [authorized, captured, voided, refunded] = [authorized, captured, voided, refunded].map(|times| times * PRICE);
    Account { authorized, captured, voided, refunded, currency: "usd".into() }
}

/// Ends the server and holds its store against the ledger.
async fn agrees(mut stage: Stage) {
    stage.app.crash();
    let mut found = Found::read(&stage.app.home).await;
    let wrong = audit::violations(&mut found, &stage.stripe, &Default::default(), &Default::default());
    assert_eq!(wrong, [] as [String; 0]);
}

async fn a_purchase_authorizes_then_captures_what_the_order_costs(store: Backend) {
    let stage = Stage::start(store).await;
    let (buyer, order) = stage.order().await;
    // What a client says about money is not asked.
    let body = json!({ "orderId": order.id(), "token": "pm_card_visa", "amount": 0.5, "currency": "jpy", "price": 1 });
    let charge = buyer.post("/api/charges", &body).await.expect(201);
    assert_eq!((&charge["amount"], &charge["status"]), (&json!(19.99), &json!("Completed")));
    assert_eq!(stage.accounts(&order.id()), [account(1, 1, 0, 0)]);
    let seen: Vec<Kind> = stage.stripe.seen().iter().map(|seen| seen.kind).collect();
    assert_eq!(seen, [Kind::Create, Kind::Confirm, Kind::Capture]);
    for seen in stage.stripe.seen() {
        assert!(seen.version.is_some(), "each request says which version of the API it means: {seen:?}");
        assert!(seen.key.as_ref().is_some_and(|key| key.contains(&charge.id())), "each step has a key of its charge: {seen:?}");
    }
    agrees(stage).await;
}

async fn tokens_and_payment_methods_are_taken(store: Backend) {
    let stage = Stage::start(store).await;
    for token in ["pm_card_mastercard", "tok_visa"] {
        let (buyer, order) = stage.order().await;
        buyer.pay(&order.id(), token).await.expect(201);
        assert_eq!(stage.accounts(&order.id()), [account(1, 1, 0, 0)]);
    }
    agrees(stage).await;
}

async fn a_declined_card_holds_nothing_and_another_may_follow(store: Backend) {
    let stage = Stage::start(store).await;
    let (buyer, order) = stage.order().await;
    for token in ["pm_card_visa_chargeDeclinedInsufficientFunds", "tok_chargeDeclined"] {
        buyer.pay(&order.id(), token).await.refused(402, "card_declined");
    }
    assert_eq!((stage.accounts(&order.id()), status_of(&buyer, &order).await), (vec![], json!("AwaitingPayment")));
    let charges = buyer.charges_of(&order.id()).await.expect(200);
    let codes: Vec<&Value> = charges.items().iter().map(|charge| &charge["failure"]["code"]).collect();
    assert_eq!(codes, ["insufficient_funds", "generic_decline"]);
    buyer.pay(&order.id(), "pm_card_visa").await.expect(201);
    assert_eq!(stage.accounts(&order.id()), [account(1, 1, 0, 0)]);
    agrees(stage).await;
}

async fn an_unknown_payment_method_is_refused_and_is_no_attempt(store: Backend) {
    let stage = Stage::start(store).await;
    let (buyer, order) = stage.order().await;
    for token in ["pm_card_ofNobody", "tok_ofNobody", "pm_1Nq2ofNobody"] {
        buyer.pay(&order.id(), token).await.invalid("token");
    }
    assert_eq!(status_of(&buyer, &order).await, "Created");
    assert_eq!(stage.accounts(&order.id()), []);
}

async fn three_d_secure_is_finished_by_the_client_that_asks_again(store: Backend) {
    let stage = Stage::start(store).await;
    let (buyer, order, charge, intent) = stage.waiting().await;
    assert_eq!(buyer.confirm(&charge).await.expect(202)["status"], "Created", "the buyer has not acted");
    stage.stripe.act(&intent, true).await;
    assert_eq!(buyer.confirm(&charge).await.expect(200)["status"], "Completed");
    assert_eq!((stage.accounts(&order.id()), status_of(&buyer, &order).await), (vec![account(1, 1, 0, 0)], json!("Completed")));
    agrees(stage).await;
}

async fn a_buyer_who_fails_three_d_secure_may_pay_otherwise(store: Backend) {
    let stage = Stage::start(store).await;
    let (buyer, order, charge, intent) = stage.waiting().await;
    stage.stripe.act(&intent, false).await;
    buyer.confirm(&charge).await.refused(402, "card_declined");
    buyer.pay(&order.id(), "pm_card_visa").await.expect(201);
    assert_eq!(stage.accounts(&order.id()), [account(1, 1, 0, 0)]);
    agrees(stage).await;
}

async fn an_order_cancelled_during_three_d_secure_can_take_no_money(store: Backend) {
    let stage = Stage::start(store).await;
    let (buyer, order, charge, intent) = stage.waiting().await;
    // They act just before they cancel: the money is held, and nobody has told GitTix.
    stage.stripe.act(&intent, true).await;
    buyer.cancel_order(&order.id()).await.expect(204);
    assert_eq!(stage.over(&buyer, &charge).await["status"], "Failed");
    assert_eq!(stage.accounts(&order.id()), [account(1, 0, 1, 0)]);
    buyer.confirm(&charge).await.refused(409, "order_not_payable");
    agrees(stage).await;
}

/// Locks that end while a test watches.
const SHORT: [(&str, &str); 3] = [("GITTIX_PAYMENT_WINDOW", "600ms"), ("GITTIX_LOCK_DURATION", "1s"), ("GITTIX_SETTLE_GRACE", "500ms")];

async fn a_lock_lost_before_the_claim_voids_the_authorization(store: Backend) {
    let stage = Stage::start_with(store, &SHORT).await;
    let (buyer, order) = stage.order().await;
    let ticket = order["ticketId"].as_str().expect("an id").to_owned();
    let mut socket = buyer.socket().await;
    let held = stage.stripe.hold(Side::After, Kind::Confirm, 0);
    let (paid, ()) = tokio::join!(async { buyer.pay(&order.id(), "pm_card_visa").await }, async {
        let held = held.await.expect("it arrives");
        socket.ticket(&ticket, "Available").await;
        held.let_go(Verdict::Do);
    });
    paid.refused(409, "order_expired");
    let charges = buyer.charges_of(&order.id()).await.expect(200);
    let [charge] = charges.items() else { panic!("{charges:?}") };
    let charge = stage.over(&buyer, charge["id"].as_str().expect("an id")).await;
    assert_eq!(
        (&charge["status"], &charge["failure"]["code"], &charge["stripeRefundId"]),
        (&json!("Failed"), &json!("lock_lost"), &json!(null))
    );
    assert_eq!(stage.accounts(&order.id()), [account(1, 0, 1, 0)]);
    agrees(stage).await;
}

async fn what_is_captured_without_a_ticket_is_refunded_and_told(store: Backend) {
    let stage = Stage::start_with(store, &SHORT).await;
    let (buyer, order) = stage.order().await;
    let ticket = order["ticketId"].as_str().expect("an id").to_owned();
    let mut socket = buyer.socket().await;
    let held = stage.stripe.hold(Side::After, Kind::Capture, 0);
    let (paid, ()) = tokio::join!(async { buyer.pay(&order.id(), "pm_card_visa").await }, async {
        let held = held.await.expect("it arrives");
        // The grace ends too: somebody else may have the ticket.
        socket.ticket(&ticket, "Available").await;
        held.let_go(Verdict::Do);
    });
    paid.refused(409, "order_expired");
    let told = socket.event("ChargeRefunded").await["charge"].clone();
    assert_eq!(
        (&told["status"], &told["failure"]["code"], told["stripeRefundId"].is_string()),
        (&json!("Failed"), &json!("lock_lost"), true)
    );
    assert_eq!(buyer.charge(told["id"].as_str().expect("an id")).await.expect(200)["stripeRefundId"], told["stripeRefundId"]);
    assert_eq!(stage.accounts(&order.id()), [account(1, 1, 0, 1)]);
    agrees(stage).await;
}

async fn a_payment_over_another_amount_or_currency_is_never_captured(store: Backend) {
    for deceit in [Deceit::AnotherAmount, Deceit::AnotherCurrency] {
        let stage = Stage::start(store).await;
        stage.stripe.deceive(deceit);
        let (buyer, order) = stage.order().await;
        let paid = buyer.pay(&order.id(), "pm_card_visa").await;
        assert!(paid.status >= 400, "{deceit:?}: {paid:?}");
        assert_ne!(status_of(&buyer, &order).await, "Completed", "{deceit:?}");
        assert!(stage.stripe.lines().iter().all(|line| line.movement != crate::fake_stripe::Movement::Captured), "{deceit:?}");
        assert!(stage.accounts(&order.id()).iter().all(|account| account.held() == 0), "{deceit:?}: nothing stays held");
    }
}

async fn what_takes_less_than_the_order_costs_sells_nothing(store: Backend) {
    let stage = Stage::start(store).await;
    stage.stripe.deceive(Deceit::TakesLess);
    let (buyer, order) = stage.order().await;
    let paid = buyer.pay(&order.id(), "pm_card_visa").await;
    assert!(paid.status >= 400, "{paid:?}");
    assert_ne!(status_of(&buyer, &order).await, "Completed");
    let charges = buyer.charges_of(&order.id()).await.expect(200);
    let charge = stage.over(&buyer, charges.items()[0]["id"].as_str().expect("an id")).await;
    assert_eq!(charge["status"], "Failed");
    let kept: u64 = stage.accounts(&order.id()).iter().map(Account::kept).sum();
    assert_eq!(kept, 0, "it goes back");
}

async fn every_fault_on_the_way_still_charges_once(store: Backend) {
    let stage = Stage::start(store).await;
    let faults = [
        Fault::LostRequest,
        Fault::LostAnswer,
        Fault::RateLimited,
        Fault::Locked,
        Fault::Unavailable,
        Fault::BrokenBefore,
        Fault::BrokenAfter,
    ];
    let purchases = faults.into_iter().flat_map(|fault| [Kind::Create, Kind::Confirm, Kind::Capture].map(|kind| (fault, kind)));
    for (fault, kind) in purchases {
        let (buyer, order) = stage.order().await;
        stage.stripe.script(kind, fault);
        let paid = buyer.pay(&order.id(), "pm_card_visa").await;
        assert_eq!(paid.status, 201, "{fault:?} at {kind:?}: {paid:?}");
        assert_eq!(stage.accounts(&order.id()), [account(1, 1, 0, 0)], "{fault:?} at {kind:?}");
    }
    agrees(stage).await;
}

async fn no_token_no_card_and_no_secret_is_kept_anywhere(store: Backend) {
    let stage = Stage::start_with(store, &[("GITTIX_LOG", "trace")]).await;
    let (buyer, _, charge, intent) = stage.waiting().await;
    let secret = buyer.charge(&charge).await.expect(200)["clientSecret"].as_str().expect("it waits").to_owned();
    stage.stripe.act(&intent, true).await;
    stage.stripe.post(&stage.event("payment_intent.amount_capturable_updated", &intent)).await;
    assert_eq!(stage.over(&buyer, &charge).await["status"], "Completed");
    let (other, order) = stage.order().await;
    other.pay(&order.id(), "tok_visa_chargeDeclined").await.refused(402, "card_declined");
    let Stage { mut app, stripe } = stage;
    app.crash();
    let log = app.server.log().join("\n");
    let found = Found::read(&app.home).await;
    let kept = format!("{:?}\n{:?}", found.world, found.events);
    // The control: this is how it would be found.
    assert!(log.contains(&charge) && kept.contains(&intent));
    let tail = secret.split("_secret_").nth(1).expect("Stripe's form of a client secret");
    for secret in [tail, "authenticationRequired", "tok_visa", "chargeDeclined", FakeStripe::SECRET_KEY, crate::fake_stripe::Post::SECRET] {
        assert!(!log.contains(secret), "{secret} is in the log");
        assert!(!kept.contains(secret), "{secret} is in the store");
    }
    drop(stripe);
}
