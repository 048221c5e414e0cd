//! The two sales of the README, step by step: one that is paid, and one whose lock expires.

use serde_json::json;

use crate::app::{Backend, TestApp, on_both_stores};

on_both_stores!(
    whole_sale_is_sent_to_every_socket,
    ticket_is_available_again_after_its_lock_expires
);

async fn whole_sale_is_sent_to_every_socket(store: Backend) {
    let app = TestApp::start(store).await;
    let (seller, buyer) = (app.user().await, app.user().await);
    let (mut watcher, mut buyers) = (app.socket().await, buyer.socket().await);

    let ticket = seller.list_ticket("Front row", 20).await.expect(201);
    let created = watcher.expect("TicketCreated").await;
    assert_eq!(created["ticket"], ticket.body, "a frame's ticket is the answer's ticket");

    let order = buyer.place_order(&ticket.id()).await.expect(201);
    let locked = watcher.expect("TicketUpdated").await;
    assert_eq!(
        (&locked["ticket"]["status"], &locked["ticket"]["orderId"]),
        (&json!("Locked"), &json!(order.id()))
    );

    let charge = buyer.pay(&order.id(), "pm_card_visa").await.expect(201);
    let sold = watcher.expect("TicketUpdated").await;
    assert_eq!(
        (&sold["ticket"]["status"], &sold["ticket"]["version"]),
        (&json!("Sold"), &json!(2))
    );
    assert_eq!(app.guest().ticket(&ticket.id()).await.expect(200).body, sold["ticket"]);

    buyers.ticket(&ticket.id(), "Sold").await;
    let mut kinds = buyers.kinds();
    // The order of the events of one commit is not fixed.
    kinds.sort_unstable();
    assert_eq!(
        kinds,
        [
            "ChargeCompleted",
            "ChargeCreated",
            "Hello",
            "OrderCreated",
            "TicketCreated",
            "TicketUpdated",
            "TicketUpdated"
        ]
    );
    let completed = buyers
        .frames
        .iter()
        .find(|frame| frame["type"] == "ChargeCompleted")
        .expect("it is among the kinds");
    assert_eq!(completed["charge"], charge.body);
}

async fn ticket_is_available_again_after_its_lock_expires(store: Backend) {
    let app = TestApp::start_with(
        store,
        &[("GITTIX_PAYMENT_WINDOW", "500ms"), ("GITTIX_LOCK_DURATION", "1s")],
    )
    .await;
    let (seller, buyer, other) = (app.user().await, app.user().await, app.user().await);
    let mut watcher = app.socket().await;
    let ticket = seller.sells("Front row").await;
    let order = buyer.locks(&ticket).await;
    let kinds = ["TicketCreated", "TicketUpdated", "OrderExpired", "TicketUpdated"];
    let mut frames = Vec::new();
    for kind in kinds {
        frames.push(watcher.expect(kind).await);
    }
    assert_eq!((&frames[2]["orderId"], &frames[2]["ticketId"]), (&json!(order), &json!(ticket)));
    assert_eq!(frames[2].get("order"), None, "other users do not receive the order");
    assert_eq!(frames[3]["ticket"]["status"], "Available");
    other.locks(&ticket).await;
}
