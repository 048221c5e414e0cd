//! Orders: locking a ticket, showing, listing and cancelling orders. The expiry of locks is in
//! `clock`.

use serde_json::{Value, json};

use crate::app::{Backend, TestApp, millis, on_both_stores};

on_both_stores!(
    lock_creates_an_order_with_status_created,
    order_has_a_window_of_10_minutes_and_a_lock_of_15,
    locked_ticket_cannot_be_ordered_by_any_user,
    seller_cannot_order_their_own_ticket,
    order_with_another_expected_price_is_refused,
    refusals_are_in_the_order_of_the_contract,
    user_holds_at_most_four_locks,
    fourth_lock_after_three_cancelled_ones_has_to_wait,
    cancelling_frees_the_ticket_at_once,
    cancelling_a_cancelled_order_succeeds,
    completed_order_cannot_be_cancelled,
    orders_are_accessible_to_their_buyer_only,
    list_contains_active_orders_oldest_first,
    history_contains_all_orders,
    history_has_pages,
    order_keeps_its_copy_of_a_deleted_ticket,
    invalid_order_request_is_refused,
);

async fn lock_creates_an_order_with_status_created(store: Backend) {
    let app = TestApp::start(store).await;
    let (seller, buyer) = (app.user().await, app.user().await);
    let ticket = seller.list_ticket("Front row", 19.99).await.expect(201);
    let order = buyer.place_order(&ticket.id()).await.expect(201);
    let expected = json!({
        "id": order.id(), "userId": buyer.id, "status": "Created", "cancelReason": null, "ticketId": ticket.id(),
        "ticket": { "id": ticket.id(), "title": "Front row", "price": 19.99, "version": order["ticket"]["version"] }, "price": 19.99,
        "expiresAt": order["expiresAt"], "expiresInSeconds": order["expiresInSeconds"], "unlocksAt": order["unlocksAt"], "version": 0,
        "createdAt": order["createdAt"], "updatedAt": order["updatedAt"],
    });
    let mut shown = order.body.clone();
    // Additional members are allowed.
    shown.as_object_mut().expect("an object").retain(|member, _| expected.get(member).is_some());
    assert_eq!(shown, expected);
    let again = buyer.order(&order.id()).await.expect(200);
    assert_eq!((&again["status"], &again["expiresAt"]), (&order["status"], &order["expiresAt"]));
}

async fn order_has_a_window_of_10_minutes_and_a_lock_of_15(store: Backend) {
    let app = TestApp::start(store).await;
    let (seller, buyer) = (app.user().await, app.user().await);
    let order = buyer.place_order(&seller.sells("Front row").await).await.expect(201);
    let locked_at = millis(&order["createdAt"]);
    assert_eq!(millis(&order["expiresAt"]) - locked_at, 10 * 60_000);
    assert_eq!(millis(&order["unlocksAt"]) - locked_at, 15 * 60_000);
    let left = order["expiresInSeconds"].as_i64();
    assert!(matches!(left, Some(590..=600)), "{left:?}");
    let ticket = app.guest().ticket(order["ticketId"].as_str().expect("an id")).await;
    assert_eq!(ticket["unlocksAt"], order["unlocksAt"]);
}

async fn locked_ticket_cannot_be_ordered_by_any_user(store: Backend) {
    let app = TestApp::start(store).await;
    let (seller, buyer, other) = (app.user().await, app.user().await, app.user().await);
    let ticket = seller.sells("Front row").await;
    buyer.locks(&ticket).await;
    other.place_order(&ticket).await.refused(409, "ticket_locked");
    buyer.place_order(&ticket).await.refused(409, "ticket_locked");
}

async fn seller_cannot_order_their_own_ticket(store: Backend) {
    let app = TestApp::start(store).await;
    let seller = app.user().await;
    let ticket = seller.sells("Front row").await;
    seller.place_order(&ticket).await.refused(403, "own_ticket");
}

async fn order_with_another_expected_price_is_refused(store: Backend) {
    let app = TestApp::start(store).await;
    let (seller, buyer) = (app.user().await, app.user().await);
    let ticket = seller.sells("Front row").await;
    let order = |price: Value| {
        buyer.post("/api/orders", &json!({ "ticketId": ticket, "expectedPrice": price }))
    };
    order(json!(19.99)).await.refused(409, "price_changed");
    order(json!("cheap")).await.invalid("expectedPrice");
    order(json!(10.999)).await.invalid("expectedPrice");
    assert_eq!(order(json!("20.00")).await.expect(201)["price"], 20);
}

async fn refusals_are_in_the_order_of_the_contract(store: Backend) {
    let app = TestApp::start_with(store, &[("GITTIX_MAX_LOCKS", "1")]).await;
    let (seller, buyer, other) = (app.user().await, app.user().await, app.user().await);
    let (held, sold, locked, free) = (
        seller.sells("A").await,
        seller.sells("B").await,
        seller.sells("C").await,
        seller.sells("D").await,
    );
    let order = buyer.locks(&sold).await;
    buyer.pay(&order, "pm_card_visa").await.expect(201);
    buyer.locks(&held).await;
    other.locks(&locked).await;
    // The buyer is at the limit of locks and expects another price for each ticket. These refusals
    // come last.
    let ask = async |ticket: &str| {
        buyer.post("/api/orders", &json!({ "ticketId": ticket, "expectedPrice": 1 })).await
    };
    ask(&uuid::Uuid::now_v7().to_string()).await.refused(404, "not_found");
    let own = buyer.sells("E").await;
    ask(&own).await.refused(403, "own_ticket");
    ask(&sold).await.refused(409, "ticket_sold");
    ask(&locked).await.refused(409, "ticket_locked");
    ask(&free).await.refused(409, "price_changed");
    buyer.place_order(&free).await.refused(429, "too_many_locks");
}

async fn user_holds_at_most_four_locks(store: Backend) {
    let app = TestApp::start(store).await;
    let (seller, buyer) = (app.user().await, app.user().await);
    let mut orders = Vec::new();
    for number in 0..4 {
        orders.push(buyer.locks(&seller.sells(&format!("Row {number}")).await).await);
    }
    let fifth = seller.sells("Row 4").await;
    buyer.place_order(&fifth).await.refused(429, "too_many_locks");
    app.user().await.locks(&seller.sells("Row 5").await).await;
    // A cancelled or completed order does not count against the limit.
    buyer.cancel_order(&orders[0]).await.expect(204);
    buyer.locks(&fifth).await;
    buyer.place_order(&seller.sells("Row 6").await).await.refused(429, "too_many_locks");
    buyer.pay(&orders[1], "pm_card_visa").await.expect(201);
    buyer.locks(&seller.sells("Row 7").await).await;
}

async fn fourth_lock_after_three_cancelled_ones_has_to_wait(store: Backend) {
    let settings = [
        ("GITTIX_RELOCK_WAIT", "3s"),
        ("GITTIX_PAYMENT_WINDOW", "3500ms"),
        ("GITTIX_LOCK_DURATION", "3500ms"),
    ];
    let app = TestApp::start_with(store, &settings).await;
    let mut socket = app.socket().await;
    let (seller, buyer, other) = (app.user().await, app.user().await, app.user().await);
    let (wanted, timer) = (seller.sells("Wanted").await, seller.sells("Timer").await);
    for _ in 0..3 {
        let order = buyer.locks(&wanted).await;
        buyer.cancel_order(&order).await.expect(204);
    }
    let refused = buyer.place_order(&wanted).await.refused(429, "too_many_locks");
    let wait = refused.header("retry-after").parse::<u64>();
    assert!(matches!(wait, Ok(1..=3)), "{wait:?}");
    // Other buyers may lock the ticket, and this buyer may lock another one.
    let order = other.locks(&wanted).await;
    other.cancel_order(&order).await.expect(204);
    buyer.locks(&timer).await;
    // That lock lasts longer than the wait, so the wait is over when the lock expires.
    socket.ticket(&timer, "Locked").await;
    socket.ticket(&timer, "Available").await;
    buyer.locks(&wanted).await;
}

async fn cancelling_frees_the_ticket_at_once(store: Backend) {
    let app = TestApp::start(store).await;
    let (seller, buyer, other) = (app.user().await, app.user().await, app.user().await);
    let ticket = seller.sells("Front row").await;
    let mut socket = buyer.socket().await;
    let order = buyer.locks(&ticket).await;
    assert_eq!(buyer.cancel_order(&order).await.expect(204).text, "");
    let cancelled = buyer.order(&order).await.expect(200);
    assert_eq!(
        (&cancelled["status"], &cancelled["cancelReason"]),
        (&json!("Cancelled"), &json!("buyer"))
    );
    let free = app.guest().ticket(&ticket).await.expect(200);
    assert_eq!(
        (&free["status"], &free["orderId"], &free["unlocksAt"], &free["version"]),
        (&json!("Available"), &json!(null), &json!(null), &json!(2))
    );
    buyer.pay(&order, "pm_card_visa").await.refused(409, "order_not_payable");
    other.locks(&ticket).await;
    assert_eq!(socket.event("OrderCancelled").await["order"]["id"], json!(order));
    socket.ticket(&ticket, "Available").await;
}

async fn cancelling_a_cancelled_order_succeeds(store: Backend) {
    let app = TestApp::start(store).await;
    let (seller, buyer) = (app.user().await, app.user().await);
    let order = buyer.locks(&seller.sells("Front row").await).await;
    for _ in 0..3 {
        buyer.cancel_order(&order).await.expect(204);
    }
    assert_eq!(buyer.order(&order).await.expect(200)["version"], 1, "it was cancelled once");
}

async fn completed_order_cannot_be_cancelled(store: Backend) {
    let app = TestApp::start(store).await;
    let (seller, buyer) = (app.user().await, app.user().await);
    let order = buyer.locks(&seller.sells("Front row").await).await;
    buyer.pay(&order, "pm_card_visa").await.expect(201);
    buyer.cancel_order(&order).await.refused(409, "order_completed");
}

async fn orders_are_accessible_to_their_buyer_only(store: Backend) {
    let app = TestApp::start(store).await;
    let (seller, buyer, other) = (app.user().await, app.user().await, app.user().await);
    let order = buyer.locks(&seller.sells("Front row").await).await;
    for stranger in [&other, &seller] {
        stranger.order(&order).await.refused(403, "not_owner");
        stranger.cancel_order(&order).await.refused(403, "not_owner");
        stranger.pay(&order, "pm_card_visa").await.refused(403, "not_owner");
        stranger.charges_of(&order).await.refused(403, "not_owner");
        assert_eq!(stranger.orders("?status=all").await.expect(200).items(), [] as [Value; 0]);
    }
}

async fn list_contains_active_orders_oldest_first(store: Backend) {
    let app = TestApp::start(store).await;
    let (seller, buyer) = (app.user().await, app.user().await);
    let mut orders = Vec::new();
    for number in 0..4 {
        orders.push(buyer.locks(&seller.sells(&format!("Row {number}")).await).await);
    }
    buyer.cancel_order(&orders[0]).await.expect(204);
    buyer.pay(&orders[1], "pm_card_visa").await.expect(201);
    buyer.pay(&orders[3], "pm_card_chargeDeclined").await.refused(402, "card_declined");
    let active = buyer.orders("").await.expect(200);
    assert_eq!(active.ids(), orders[2..]);
    let states: Vec<_> = active.items().iter().map(|order| order["status"].clone()).collect();
    assert_eq!(states, ["Created", "AwaitingPayment"]);
}

async fn history_contains_all_orders(store: Backend) {
    let app = TestApp::start(store).await;
    let (seller, buyer) = (app.user().await, app.user().await);
    let ticket = seller.sells("Front row").await;
    let first = buyer.locks(&ticket).await;
    buyer.cancel_order(&first).await.expect(204);
    let second = buyer.locks(&ticket).await;
    buyer.pay(&second, "pm_card_visa").await.expect(201);
    assert_eq!(buyer.orders("?status=all").await.expect(200).ids(), [first, second]);
    assert_eq!(buyer.orders("").await.expect(200).items(), [] as [Value; 0]);
    buyer.orders("?status=some").await.invalid("status");
}

async fn history_has_pages(store: Backend) {
    let app = TestApp::start(store).await;
    let (seller, buyer) = (app.user().await, app.user().await);
    let mut orders = Vec::new();
    for number in 0..5 {
        let order = buyer.locks(&seller.sells(&format!("Row {number}")).await).await;
        buyer.cancel_order(&order).await.expect(204);
        orders.push(order);
    }
    let mut found = Vec::new();
    let mut next = Some("/api/orders?status=all&limit=2".to_owned());
    while let Some(path) = next {
        let page = buyer.get(&path).await.expect(200);
        next = page.next_page();
        assert!(page.items().len() <= 2 && found.len() <= 5, "{page:?}");
        found.extend(page.ids());
    }
    assert_eq!(found, orders);
    buyer.orders("?limit=0").await.invalid("limit");
    buyer.orders("?cursor=!").await.invalid("cursor");
}

async fn order_keeps_its_copy_of_a_deleted_ticket(store: Backend) {
    let app = TestApp::start(store).await;
    let (seller, buyer) = (app.user().await, app.user().await);
    let ticket = seller.sells("Front row").await;
    let order = buyer.locks(&ticket).await;
    buyer.cancel_order(&order).await.expect(204);
    seller.edit_ticket(&ticket, "Back row", 5).await.expect(200);
    seller.delist_ticket(&ticket).await.expect(204);
    let kept = buyer.order(&order).await.expect(200);
    assert_eq!(
        (&kept["ticket"]["title"], &kept["ticket"]["price"], &kept["price"]),
        (&json!("Front row"), &json!(20), &json!(20))
    );
}

async fn invalid_order_request_is_refused(store: Backend) {
    let app = TestApp::start(store).await;
    let buyer = app.user().await;
    for ticket in [json!(null), json!(7), json!({ "$gt": "" }), json!([])] {
        buyer.post("/api/orders", &json!({ "ticketId": ticket })).await.invalid("ticketId");
    }
    buyer.post("/api/orders", &json!({})).await.invalid("ticketId");
    // A string that names no ticket is not found, as an id in a path.
    for ticket in ["", "front row", &uuid::Uuid::now_v7().to_string()] {
        buyer.place_order(ticket).await.refused(404, "not_found");
    }
}
