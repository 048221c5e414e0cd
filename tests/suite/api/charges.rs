//! Payments with the sandbox processor and Stripe's test tokens.

use serde_json::{Value, json};

use crate::app::{Answer, Backend, Client, TestApp, on_both_stores};

on_both_stores!(
    paid_order_is_completed_and_its_ticket_sold,
    tokens_and_payment_methods_are_accepted,
    charged_amount_is_the_price_at_the_lock,
    declined_card_leaves_a_failed_charge_and_another_payment_is_accepted,
    three_d_secure_waits_for_the_buyer,
    payment_with_the_same_token_returns_the_same_waiting_charge,
    payment_with_another_token_replaces_a_waiting_charge,
    order_with_a_waiting_charge_can_be_cancelled,
    waiting_charge_is_shown_with_its_secret,
    unknown_token_is_refused,
    order_is_paid_once,
    cancelled_order_cannot_be_paid,
    unknown_order_cannot_be_paid,
    charges_are_accessible_to_their_buyer_only,
    payments_are_an_alias_of_charges,
    concurrent_payments_charge_once,
    confirming_a_completed_charge_changes_nothing,
);

async fn order(app: &TestApp) -> (Client, Answer) {
    let (seller, buyer) = (app.user().await, app.user().await);
    let ticket = seller.list_ticket("Front row", 19.99).await.expect(201).id();
    let order = buyer.place_order(&ticket).await.expect(201);
    (buyer, order)
}

async fn status_of(buyer: &Client, order: &Answer) -> Value {
    buyer.order(&order.id()).await.expect(200)["status"].clone()
}

async fn paid_order_is_completed_and_its_ticket_sold(store: Backend) {
    let app = TestApp::start(store).await;
    let (buyer, order) = order(&app).await;
    let charge = buyer.pay(&order.id(), "pm_card_visa").await.expect(201);
    let expected = json!({
        "id": charge.id(), "orderId": order.id(), "status": "Completed", "amount": 19.99, "currency": charge["currency"],
        "stripeId": charge["stripeId"], "stripeRefundId": null, "failure": null, "createdAt": charge["createdAt"], "updatedAt": charge["updatedAt"],
    });
    assert_eq!(charge.body, expected);
    assert!(charge["stripeId"].as_str().is_some_and(|id| !id.is_empty()), "{charge:?}");
    assert_eq!(status_of(&buyer, &order).await, "Completed");
    let ticket = app.guest().ticket(order["ticketId"].as_str().expect("an id")).await.expect(200);
    assert_eq!((&ticket["status"], &ticket["orderId"]), (&json!("Sold"), &json!(order.id())));
    assert_eq!(buyer.charge(&charge.id()).await.expect(200).body, charge.body);
    assert_eq!(buyer.charges_of(&order.id()).await.expect(200).items(), [charge.body]);
}

async fn tokens_and_payment_methods_are_accepted(store: Backend) {
    let app = TestApp::start(store).await;
    let (buyer, first) = order(&app).await;
    buyer.pay(&first.id(), "tok_chargeDeclined").await.refused(402, "card_declined");
    buyer.pay(&first.id(), "tok_visa").await.expect(201);
}

async fn charged_amount_is_the_price_at_the_lock(store: Backend) {
    let app = TestApp::start(store).await;
    let (seller, buyer) = (app.user().await, app.user().await);
    let ticket = seller.list_ticket("Front row", 20).await.expect(201).id();
    let order = buyer.locks(&ticket).await;
    seller.edit_ticket(&ticket, "Front row", 1).await.refused(409, "ticket_locked");
    assert_eq!(buyer.pay(&order, "pm_card_visa").await.expect(201)["amount"], 20);
}

async fn declined_card_leaves_a_failed_charge_and_another_payment_is_accepted(store: Backend) {
    let app = TestApp::start(store).await;
    let (buyer, order) = order(&app).await;
    buyer.pay(&order.id(), "pm_card_chargeDeclined").await.refused(402, "card_declined");
    assert_eq!(status_of(&buyer, &order).await, "AwaitingPayment");
    let charges = buyer.charges_of(&order.id()).await.expect(200);
    let [failed] = charges.items() else { panic!("{charges:?}") };
    assert_eq!(failed["status"], "Failed");
    assert!(
        failed["failure"]["code"].is_string() && failed["failure"]["message"].is_string(),
        "{failed}"
    );
    buyer.pay(&order.id(), "pm_card_visa").await.expect(201);
    assert_eq!(buyer.charges_of(&order.id()).await.expect(200).items().len(), 2);
}

async fn three_d_secure_waits_for_the_buyer(store: Backend) {
    let app = TestApp::start(store).await;
    let (buyer, order) = order(&app).await;
    let waiting = buyer.pay(&order.id(), "pm_card_authenticationRequired").await.expect(202);
    assert_eq!(waiting["status"], "Created");
    assert!(
        waiting["clientSecret"].as_str().is_some_and(|secret| !secret.is_empty()),
        "{waiting:?}"
    );
    assert_eq!(status_of(&buyer, &order).await, "AwaitingPayment");
    let done = buyer.confirm(&waiting.id()).await.expect(200);
    assert_eq!((&done["id"], &done["status"]), (&json!(waiting.id()), &json!("Completed")));
    assert_eq!(done["clientSecret"], json!(null));
    assert_eq!(status_of(&buyer, &order).await, "Completed");
}

async fn payment_with_the_same_token_returns_the_same_waiting_charge(store: Backend) {
    let app = TestApp::start(store).await;
    let (buyer, order) = order(&app).await;
    let first = buyer.pay(&order.id(), "pm_card_authenticationRequired").await.expect(202);
    let second = buyer.pay(&order.id(), "pm_card_authenticationRequired").await.expect(202);
    assert_eq!(first.id(), second.id());
    assert_eq!(buyer.charges_of(&order.id()).await.expect(200).items().len(), 1);
}

async fn payment_with_another_token_replaces_a_waiting_charge(store: Backend) {
    let app = TestApp::start(store).await;
    let (buyer, order) = order(&app).await;
    let mut socket = buyer.socket().await;
    let waiting = buyer.pay(&order.id(), "pm_card_authenticationRequired").await.expect(202).id();
    let paid = buyer.pay(&order.id(), "pm_card_visa").await.expect(201).id();
    assert_ne!(waiting, paid);
    // The payment is voided asynchronously.
    if buyer.charge(&waiting).await.expect(200)["status"] != "Failed" {
        socket
            .until(|frame| frame["type"] == "ChargeFailed" && frame["charge"]["id"] == waiting)
            .await;
    }
    assert_eq!(buyer.charge(&waiting).await.expect(200)["status"], "Failed");
    assert_eq!(buyer.charge(&paid).await.expect(200)["status"], "Completed");
}

async fn order_with_a_waiting_charge_can_be_cancelled(store: Backend) {
    let app = TestApp::start(store).await;
    let (buyer, order) = order(&app).await;
    let mut socket = buyer.socket().await;
    let waiting = buyer.pay(&order.id(), "pm_card_authenticationRequired").await.expect(202).id();
    buyer.cancel_order(&order.id()).await.expect(204);
    let failed = socket.event("ChargeFailed").await;
    assert_eq!(failed["charge"]["id"], json!(waiting));
    assert_eq!(buyer.charge(&waiting).await.expect(200)["status"], "Failed");
    buyer.confirm(&waiting).await.refused(409, "order_not_payable");
}

async fn waiting_charge_is_shown_with_its_secret(store: Backend) {
    let app = TestApp::start(store).await;
    let (buyer, order) = order(&app).await;
    let waiting = buyer.pay(&order.id(), "pm_card_authenticationRequired").await.expect(202);
    let seen = buyer.charge(&waiting.id()).await.expect(200);
    assert_eq!(
        (&seen["status"], seen["clientSecret"].is_string()),
        (&json!("Created"), true),
        "{seen:?}"
    );
}

async fn unknown_token_is_refused(store: Backend) {
    let app = TestApp::start(store).await;
    let (buyer, order) = order(&app).await;
    for token in
        ["pm_card_ofNobody", "", "4242 4242 4242 4242", "pm_card_visa\u{0}", &"x".repeat(300)]
    {
        buyer.pay(&order.id(), token).await.invalid("token");
    }
    buyer.post("/api/charges", &json!({ "orderId": order.id() })).await.invalid("token");
    buyer.post("/api/charges", &json!({ "token": "pm_card_visa" })).await.invalid("orderId");
    assert_eq!(status_of(&buyer, &order).await, "Created");
}

async fn order_is_paid_once(store: Backend) {
    let app = TestApp::start(store).await;
    let (buyer, order) = order(&app).await;
    buyer.pay(&order.id(), "pm_card_visa").await.expect(201);
    buyer.pay(&order.id(), "pm_card_visa").await.refused(409, "order_completed");
    assert_eq!(buyer.charges_of(&order.id()).await.expect(200).items().len(), 1);
}

async fn cancelled_order_cannot_be_paid(store: Backend) {
    let app = TestApp::start(store).await;
    let (buyer, order) = order(&app).await;
    buyer.cancel_order(&order.id()).await.expect(204);
    buyer.pay(&order.id(), "pm_card_visa").await.refused(409, "order_not_payable");
    assert_eq!(buyer.charges_of(&order.id()).await.expect(200).items(), [] as [Value; 0]);
}

async fn unknown_order_cannot_be_paid(store: Backend) {
    let app = TestApp::start(store).await;
    let buyer = app.user().await;
    for order in ["", "42", &uuid::Uuid::now_v7().to_string()] {
        buyer.pay(order, "pm_card_visa").await.refused(404, "not_found");
    }
    buyer
        .post("/api/charges", &json!({ "orderId": { "$ne": null }, "token": "pm_card_visa" }))
        .await
        .invalid("orderId");
}

async fn charges_are_accessible_to_their_buyer_only(store: Backend) {
    let app = TestApp::start(store).await;
    let (buyer, order) = order(&app).await;
    let stranger = app.user().await;
    let waiting = buyer.pay(&order.id(), "pm_card_authenticationRequired").await.expect(202).id();
    stranger.charge(&waiting).await.refused(403, "not_owner");
    stranger.confirm(&waiting).await.refused(403, "not_owner");
    stranger.charges_of(&order.id()).await.refused(403, "not_owner");
    stranger.pay(&order.id(), "pm_card_visa").await.refused(403, "not_owner");
}

async fn payments_are_an_alias_of_charges(store: Backend) {
    let app = TestApp::start(store).await;
    let (buyer, order) = order(&app).await;
    let body = json!({ "orderId": order.id(), "token": "tok_visa" });
    let charge = buyer.post("/api/payments", &body).await.expect(201);
    assert_eq!(charge["status"], "Completed");
    assert_eq!(buyer.charge(&charge.id()).await.expect(200).body, charge.body);
}

async fn concurrent_payments_charge_once(store: Backend) {
    let app = TestApp::start(store).await;
    let (buyer, order) = order(&app).await;
    let id = order.id();
    let attempts = futures_util::future::join_all(
        (0..16).map(|_| async { buyer.pay(&id, "pm_card_visa").await }),
    )
    .await;
    let won = attempts.iter().filter(|answer| answer.status == 201).count();
    assert_eq!(won, 1, "{:?}", attempts.iter().map(|answer| &answer.text).collect::<Vec<_>>());
    for lost in attempts.iter().filter(|answer| answer.status != 201) {
        assert!(
            lost.status == 409 && ["payment_in_flight", "order_completed"].contains(&lost.code()),
            "{lost:?}"
        );
    }
    let charges = buyer.charges_of(&order.id()).await.expect(200);
    assert_eq!(
        charges.items().iter().filter(|charge| charge["status"] == "Completed").count(),
        1,
        "{charges:?}"
    );
}

async fn confirming_a_completed_charge_changes_nothing(store: Backend) {
    let app = TestApp::start(store).await;
    let (buyer, order) = order(&app).await;
    let waiting = buyer.pay(&order.id(), "pm_card_authenticationRequired").await.expect(202).id();
    let first = buyer.confirm(&waiting).await.expect(200);
    let second = buyer.confirm(&waiting).await;
    // The response is the same, or says that the order is paid. No other charge is created.
    assert!(
        second.status == 200 && second.body == first.body || second.code() == "order_completed",
        "{second:?}"
    );
    assert_eq!(buyer.charges_of(&order.id()).await.expect(200).items(), [first.body]);
}
