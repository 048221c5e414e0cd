//! Expiry of locks: the five steps of the contract, with durations of one to four seconds.
//!
//! No test uses a clock of its own to wait. Each awaits the frame of the event, or the frame of
//! another lock that ends later.

use serde_json::{Value, json};

use crate::app::{Backend, Client, Socket, TestApp, millis, on_both_stores};

on_both_stores!(
    unpaid_order_expires_while_the_ticket_stays_locked,
    ticket_is_available_again_when_the_lock_ends,
    early_release_frees_the_ticket_when_the_window_closes,
    order_with_a_declined_payment_lasts_until_the_lock_ends,
    order_awaiting_payment_expires_when_the_lock_ends,
    payment_that_waits_for_its_buyer_is_voided_when_the_lock_ends,
    token_refused_with_400_does_not_count_as_an_attempt,
    order_expires_with_one_event_and_is_not_also_cancelled,
    expired_lock_does_not_count_against_the_limit,
    fourth_lock_after_three_expired_ones_has_to_wait,
    locks_of_one_moment_are_released_on_time,
);

/// Maximum delay of a release, in milliseconds (contract: 1 s).
const RELEASE_LAG_MAX: i64 = 1_000;

/// Starts a server with a window of two seconds and a lock of four. Tests get two seconds before
/// and between the two ends, which suffices on a busy machine.
async fn short(store: Backend) -> TestApp {
    TestApp::start_with(store, &[("GITTIX_PAYMENT_WINDOW", "2s"), ("GITTIX_LOCK_DURATION", "4s")])
        .await
}

/// A lock with its buyer, on a ticket of another user.
struct Locked {
    seller: Client,
    buyer: Client,
    /// Socket of the buyer, connected before the ticket was for sale, so that it receives all
    /// events.
    socket: Socket,
    order: Value,
}

async fn lock(app: &TestApp) -> Locked {
    let (seller, buyer) = (app.user().await, app.user().await);
    let socket = buyer.socket().await;
    let order = buyer.place_order(&seller.sells("Front row").await).await.expect(201).body;
    Locked { seller, buyer, socket, order }
}

fn id(value: &Value) -> &str {
    value.as_str().expect("an id")
}

/// Asserts that the time of the frame is not before `due`, and at most a second after it.
#[track_caller]
fn assert_on_time(frame: &Value, due: &Value) {
    let lag = millis(&frame["at"]) - millis(due);
    assert!((0..=RELEASE_LAG_MAX).contains(&lag), "{lag} ms after {due}: {frame}");
}

/// Reads frames until a lock that is taken now has expired. All earlier deadlines have passed then.
async fn wait_for_a_whole_lock(app: &TestApp, socket: &mut Socket) {
    let Locked { order, .. } = lock(app).await;
    socket.ticket(id(&order["ticketId"]), "Available").await;
}

/// Reads frames until the payment window of a lock that is taken now has ended.
async fn wait_for_a_whole_window(app: &TestApp, socket: &mut Socket) {
    let Locked { order, .. } = lock(app).await;
    socket.until(|frame| frame["type"] == "OrderExpired" && frame["orderId"] == order["id"]).await;
}

async fn unpaid_order_expires_while_the_ticket_stays_locked(store: Backend) {
    // The lock outlasts the test, however slow the machine is.
    let app = TestApp::start_with(
        store,
        &[("GITTIX_PAYMENT_WINDOW", "2s"), ("GITTIX_LOCK_DURATION", "1m")],
    )
    .await;
    let Locked { seller, buyer, mut socket, order } = lock(&app).await;
    let frame = socket.event("OrderExpired").await;
    assert_on_time(&frame, &order["expiresAt"]);
    let expired = buyer.order(id(&order["id"])).await.expect(200);
    assert_eq!(
        (&expired["status"], &expired["cancelReason"], &expired["expiresInSeconds"]),
        (&json!("Cancelled"), &json!("expired"), &json!(0))
    );
    let ticket = id(&order["ticketId"]);
    let locked = app.guest().ticket(ticket).await.expect(200);
    assert_eq!((&locked["status"], &locked["orderId"]), (&json!("Locked"), &order["id"]));
    buyer.pay(id(&order["id"]), "pm_card_visa").await.refused(409, "order_expired");
    seller.edit_ticket(ticket, "Front row", 30).await.refused(409, "ticket_locked");
    app.user().await.place_order(ticket).await.refused(409, "ticket_locked");
}

async fn ticket_is_available_again_when_the_lock_ends(store: Backend) {
    let app = short(store).await;
    let mut socket = app.socket().await;
    let Locked { buyer, order, .. } = lock(&app).await;
    let ticket = id(&order["ticketId"]);
    let frame = socket.ticket(ticket, "Available").await;
    assert_on_time(&frame, &order["unlocksAt"]);
    assert_eq!(
        (&frame["ticket"]["orderId"], &frame["ticket"]["unlocksAt"]),
        (&json!(null), &json!(null))
    );
    assert_eq!(app.guest().ticket(ticket).await.expect(200).body, frame["ticket"]);
    buyer.pay(id(&order["id"]), "pm_card_visa").await.refused(409, "order_expired");
    buyer.cancel_order(id(&order["id"])).await.expect(204);
    app.user().await.locks(ticket).await;
}

async fn early_release_frees_the_ticket_when_the_window_closes(store: Backend) {
    let settings = [
        ("GITTIX_PAYMENT_WINDOW", "1s"),
        ("GITTIX_LOCK_DURATION", "1h"),
        ("GITTIX_EARLY_RELEASE", "true"),
    ];
    let app = TestApp::start_with(store, &settings).await;
    let mut socket = app.socket().await;
    let Locked { buyer, order, .. } = lock(&app).await;
    let frame = socket.ticket(id(&order["ticketId"]), "Available").await;
    assert_on_time(&frame, &order["expiresAt"]);
    assert_eq!(buyer.order(id(&order["id"])).await.expect(200)["cancelReason"], "expired");
}

async fn order_with_a_declined_payment_lasts_until_the_lock_ends(store: Backend) {
    let app = TestApp::start_with(
        store,
        &[("GITTIX_PAYMENT_WINDOW", "2s"), ("GITTIX_LOCK_DURATION", "1h")],
    )
    .await;
    let Locked { buyer, mut socket, order, .. } = lock(&app).await;
    buyer.pay(id(&order["id"]), "pm_card_chargeDeclined").await.refused(402, "card_declined");
    wait_for_a_whole_window(&app, &mut socket).await;
    assert_eq!(buyer.order(id(&order["id"])).await.expect(200)["status"], "AwaitingPayment");
    buyer.pay(id(&order["id"]), "pm_card_visa").await.expect(201);
    assert_eq!(buyer.order(id(&order["id"])).await.expect(200)["status"], "Completed");
}

async fn order_awaiting_payment_expires_when_the_lock_ends(store: Backend) {
    let app = short(store).await;
    let Locked { buyer, mut socket, order, .. } = lock(&app).await;
    buyer.pay(id(&order["id"]), "pm_card_chargeDeclined").await.refused(402, "card_declined");
    let expired = socket.event("OrderExpired").await;
    assert_on_time(&expired, &order["unlocksAt"]);
    let freed = socket.ticket(id(&order["ticketId"]), "Available").await;
    assert_on_time(&freed, &order["unlocksAt"]);
    let expired_order = buyer.order(id(&order["id"])).await.expect(200);
    assert_eq!(
        (&expired_order["status"], &expired_order["cancelReason"]),
        (&json!("Cancelled"), &json!("expired"))
    );
}

async fn payment_that_waits_for_its_buyer_is_voided_when_the_lock_ends(store: Backend) {
    let app = short(store).await;
    let Locked { buyer, mut socket, order, .. } = lock(&app).await;
    let charge =
        buyer.pay(id(&order["id"]), "pm_card_authenticationRequired").await.expect(202).id();
    let failed = socket.event("ChargeFailed").await;
    assert_eq!(
        (&failed["charge"]["id"], &failed["charge"]["failure"]["code"]),
        (&json!(charge), &json!("lock_lost"))
    );
    assert_eq!(
        failed["charge"]["stripeRefundId"],
        json!(null),
        "nothing was captured, so nothing is refunded"
    );
    assert_eq!(app.guest().ticket(id(&order["ticketId"])).await.expect(200)["status"], "Available");
    buyer.confirm(&charge).await.refused(409, "order_expired");
    assert_eq!(buyer.charge(&charge).await.expect(200)["status"], "Failed");
}

async fn token_refused_with_400_does_not_count_as_an_attempt(store: Backend) {
    let app = short(store).await;
    let Locked { buyer, mut socket, order, .. } = lock(&app).await;
    buyer.pay(id(&order["id"]), "pm_card_ofNobody").await.invalid("token");
    assert_eq!(buyer.order(id(&order["id"])).await.expect(200)["status"], "Created");
    assert_on_time(&socket.event("OrderExpired").await, &order["expiresAt"]);
}

async fn order_expires_with_one_event_and_is_not_also_cancelled(store: Backend) {
    let app = short(store).await;
    let Locked { buyer, mut socket, order, .. } = lock(&app).await;
    socket.ticket(id(&order["ticketId"]), "Available").await;
    buyer.cancel_order(id(&order["id"])).await.expect(204);
    let marker = buyer.sells("A marker").await;
    let frames = socket.reached(&marker).await;
    let types: Vec<_> = frames
        .iter()
        .filter_map(|frame| frame["type"].as_str())
        .filter(|kind| kind.starts_with("Order"))
        .collect();
    assert_eq!(types, ["OrderCreated", "OrderExpired"]);
    assert_eq!(buyer.order(id(&order["id"])).await.expect(200)["cancelReason"], "expired");
}

async fn expired_lock_does_not_count_against_the_limit(store: Backend) {
    let settings = [
        ("GITTIX_PAYMENT_WINDOW", "2s"),
        ("GITTIX_LOCK_DURATION", "2s"),
        ("GITTIX_MAX_LOCKS", "1"),
    ];
    let app = TestApp::start_with(store, &settings).await;
    let mut socket = app.socket().await;
    let Locked { seller, buyer, order, .. } = lock(&app).await;
    let other = seller.sells("Second row").await;
    socket.ticket(id(&order["ticketId"]), "Available").await;
    buyer.locks(&other).await;
    buyer.place_order(id(&order["ticketId"])).await.refused(429, "too_many_locks");
}

async fn fourth_lock_after_three_expired_ones_has_to_wait(store: Backend) {
    let app = TestApp::start_with(
        store,
        &[("GITTIX_PAYMENT_WINDOW", "300ms"), ("GITTIX_LOCK_DURATION", "300ms")],
    )
    .await;
    let mut socket = app.socket().await;
    let (seller, buyer) = (app.user().await, app.user().await);
    let ticket = seller.sells("Front row").await;
    for _ in 0..3 {
        buyer.locks(&ticket).await;
        socket.ticket(&ticket, "Locked").await;
        socket.ticket(&ticket, "Available").await;
    }
    let refused = buyer.place_order(&ticket).await.refused(429, "too_many_locks");
    let wait = refused.header("retry-after").parse::<u64>();
    assert!(matches!(wait, Ok(880..=900)), "{wait:?}");
    app.user().await.locks(&ticket).await;
}

async fn locks_of_one_moment_are_released_on_time(store: Backend) {
    let settings = [
        ("GITTIX_PAYMENT_WINDOW", "4s"),
        ("GITTIX_LOCK_DURATION", "4s"),
        ("GITTIX_MAX_LOCKS", "1000"),
    ];
    let app = TestApp::start_with(store, &settings).await;
    let (seller, buyer) = (app.user().await, app.user().await);
    let mut socket = app.socket().await;
    let mut orders = Vec::new();
    for number in 0..50 {
        let ticket = seller.sells(&format!("Row {number}")).await;
        orders.push(buyer.place_order(&ticket).await.expect(201).body);
    }
    let mut late = Vec::new();
    for _ in &orders {
        let frame = socket
            .until(|frame| {
                frame["ticket"]["status"] == "Available" && frame["ticket"]["version"] == 2
            })
            .await;
        let order = orders
            .iter()
            .find(|order| order["ticketId"] == frame["ticket"]["id"])
            .expect("one of ours");
        late.push(millis(&frame["at"]) - millis(&order["unlocksAt"]));
    }
    assert!(late.iter().all(|lag| (0..=RELEASE_LAG_MAX).contains(lag)), "{late:?}");
    wait_for_a_whole_lock(&app, &mut socket).await;
    // The frame of the awaited lock may be sent before the list changes, but the fifty locks ended
    // long before.
    let locked = app.guest().tickets("?status=Locked").await.expect(200);
    let left = locked
        .items()
        .iter()
        .filter(|ticket| orders.iter().any(|order| order["ticketId"] == ticket["id"]))
        .count();
    assert_eq!(left, 0, "{locked:?}");
}
