//! State after a restart. (Crashes under load are in `fault`.)

use serde_json::json;

use crate::app::{Backend, TestApp, millis, on_both_stores};

on_both_stores!(
    acknowledged_changes_are_present_after_a_crash,
    lock_not_yet_due_expires_on_time_after_a_crash,
    lock_overdue_at_the_start_expires_within_five_seconds,
    payment_that_waits_for_its_buyer_continues_after_a_crash,
    sold_ticket_stays_sold_after_a_crash,
);

async fn acknowledged_changes_are_present_after_a_crash(store: Backend) {
    let mut app = TestApp::start(store).await;
    let (seller, buyer) = (app.user().await, app.user().await);
    let ticket = seller.list_ticket("Front row", 19.99).await.expect(201);
    let edited = seller.edit_ticket(&ticket.id(), "Second row", 21).await.expect(200);
    let gone = seller.sells("Gone").await;
    seller.delist_ticket(&gone).await.expect(204);
    let locked = seller.sells("Locked").await;
    let order = buyer.place_order(&locked).await.expect(201);
    app.restart().await;
    let (seller, buyer) = (seller.at(&app.server), buyer.at(&app.server));
    assert_eq!(seller.ticket(&ticket.id()).await.expect(200).body, edited.body);
    seller.ticket(&gone).await.refused(404, "not_found");
    assert_eq!(buyer.order(&order.id()).await.expect(200)["unlocksAt"], order["unlocksAt"]);
    assert_eq!(seller.tickets("").await.expect(200).ids(), [locked.clone(), ticket.id()]);
    app.user().await.place_order(&locked).await.refused(409, "ticket_locked");
}

async fn lock_not_yet_due_expires_on_time_after_a_crash(store: Backend) {
    let mut app = TestApp::start_with(
        store,
        &[("GITTIX_PAYMENT_WINDOW", "4s"), ("GITTIX_LOCK_DURATION", "5s")],
    )
    .await;
    let (seller, buyer) = (app.user().await, app.user().await);
    let order = buyer.place_order(&seller.sells("Front row").await).await.expect(201);
    app.restart().await;
    let mut socket = buyer.at(&app.server).socket().await;
    for (kind, due) in
        [("OrderExpired", &order["expiresAt"]), ("TicketUpdated", &order["unlocksAt"])]
    {
        let frame = socket.event(kind).await;
        let lag = millis(&frame["at"]) - millis(due);
        assert!((0..=1_000).contains(&lag), "{lag} ms: {frame}");
    }
}

async fn lock_overdue_at_the_start_expires_within_five_seconds(store: Backend) {
    let mut app = TestApp::start_with(
        store,
        &[("GITTIX_PAYMENT_WINDOW", "1s"), ("GITTIX_LOCK_DURATION", "1s")],
    )
    .await;
    let (seller, buyer) = (app.user().await, app.user().await);
    let ticket = seller.sells("Front row").await;
    let order = buyer.place_order(&ticket).await.expect(201);
    app.crash();
    // Time must pass while no server runs, so there is no frame to await.
    let lock = u64::try_from(millis(&order["unlocksAt"]) - millis(&order["createdAt"]))
        .expect("a lock has a length");
    tokio::time::sleep(std::time::Duration::from_millis(lock)).await;
    app.restart().await;
    let ready = tokio::time::Instant::now();
    let (buyer, guest) = (buyer.at(&app.server), app.guest());
    let mut socket = guest.socket().await;
    if guest.ticket(&ticket).await.expect(200)["status"] == "Locked" {
        socket.ticket(&ticket, "Available").await;
    }
    assert!(ready.elapsed().as_secs() < 5, "{:?}", ready.elapsed());
    let lapsed = buyer.order(&order.id()).await.expect(200);
    assert_eq!(
        (&lapsed["status"], &lapsed["cancelReason"]),
        (&json!("Cancelled"), &json!("expired"))
    );
}

async fn payment_that_waits_for_its_buyer_continues_after_a_crash(store: Backend) {
    let mut app = TestApp::start(store).await;
    let (seller, buyer) = (app.user().await, app.user().await);
    let order = buyer.locks(&seller.sells("Front row").await).await;
    let charge = buyer.pay(&order, "pm_card_authenticationRequired").await.expect(202).id();
    app.restart().await;
    let buyer = buyer.at(&app.server);
    assert_eq!(buyer.charge(&charge).await.expect(200)["status"], "Created");
    assert_eq!(buyer.confirm(&charge).await.expect(200)["status"], "Completed");
}

async fn sold_ticket_stays_sold_after_a_crash(store: Backend) {
    let mut app = TestApp::start(store).await;
    let (seller, buyer) = (app.user().await, app.user().await);
    let ticket = seller.sells("Front row").await;
    let order = buyer.locks(&ticket).await;
    buyer.pay(&order, "pm_card_visa").await.expect(201);
    app.restart().await;
    let buyer = buyer.at(&app.server);
    assert_eq!(buyer.ticket(&ticket).await.expect(200)["status"], "Sold");
    app.user().await.place_order(&ticket).await.refused(409, "ticket_sold");
    buyer.pay(&order, "pm_card_visa").await.refused(409, "order_completed");
}
