//! Idempotency-Key: repeated requests with one effect.

use serde_json::json;

use crate::app::{Backend, Client, TestApp, on_both_stores};

on_both_stores!(
    ticket_is_listed_once,
    order_is_replayed_unchanged_with_current_seconds,
    replayed_edit_changes_the_version_once,
    deletion_is_replayed,
    cancellation_is_replayed,
    change_of_password_is_replayed,
    charge_is_created_once_and_replayed_in_its_present_state,
    waiting_charge_is_replayed_with_its_secret,
    decline_is_replayed,
    another_body_under_the_same_key_is_refused,
    another_path_under_the_same_key_is_refused,
    refused_request_is_processed_again_under_the_same_key,
    keys_are_scoped_to_their_user,
    concurrent_requests_under_one_key_have_one_effect,
    replay_survives_a_restart,
    invalid_key_is_refused,
);

const KEY: &str = "8e03978e-40d5-43dd-bc93-6894a57f9324";

async fn ticket_is_listed_once(store: Backend) {
    let app = TestApp::start(store).await;
    let seller = app.user().await;
    let first = seller.list_ticket("Front row", 20).key(KEY).await.expect(201);
    let again = seller.list_ticket("Front row", 20).key(KEY).await.expect(201);
    assert_eq!(first.body, again.body);
    assert_eq!(first.header("location"), again.header("location"));
    assert_eq!(seller.tickets("?seller=me").await.ids(), [first.id()]);
    // The replay has the first state also after a change.
    seller.edit_ticket(&first.id(), "Back row", 5).await.expect(200);
    assert_eq!(seller.list_ticket("Front row", 20).key(KEY).await.expect(201).body, first.body);
}

async fn order_is_replayed_unchanged_with_current_seconds(store: Backend) {
    let app = TestApp::start_with(
        store,
        &[("GITTIX_PAYMENT_WINDOW", "2s"), ("GITTIX_LOCK_DURATION", "2s")],
    )
    .await;
    let mut socket = app.socket().await;
    let (seller, buyer) = (app.user().await, app.user().await);
    let ticket = seller.sells("Front row").await;
    let first = buyer.place_order(&ticket).key(KEY).await.expect(201);
    socket.ticket(&ticket, "Available").await;
    let mut again = buyer.place_order(&ticket).key(KEY).await.expect(201);
    assert_eq!(again["expiresInSeconds"], 0);
    again.body["expiresInSeconds"] = first["expiresInSeconds"].clone();
    assert_eq!(again.body, first.body);
    assert_eq!(buyer.orders("?status=all").await.ids(), [first.id()]);
}

async fn replayed_edit_changes_the_version_once(store: Backend) {
    let app = TestApp::start(store).await;
    let seller = app.user().await;
    let ticket = seller.sells("Front row").await;
    for _ in 0..2 {
        let edited = seller
            .edit_ticket(&ticket, "Back row", 5)
            .key(KEY)
            .header("if-match", "\"0\"")
            .await
            .expect(200);
        assert_eq!(edited["version"], 1);
    }
}

async fn deletion_is_replayed(store: Backend) {
    let app = TestApp::start(store).await;
    let seller = app.user().await;
    let ticket = seller.sells("Front row").await;
    for _ in 0..2 {
        seller.delist_ticket(&ticket).key(KEY).await.expect(204);
    }
    seller.delist_ticket(&ticket).await.refused(404, "not_found");
}

async fn cancellation_is_replayed(store: Backend) {
    let app = TestApp::start(store).await;
    let (seller, buyer) = (app.user().await, app.user().await);
    let order = buyer.locks(&seller.sells("Front row").await).await;
    for _ in 0..2 {
        buyer.cancel_order(&order).key(KEY).await.expect(204);
    }
}

async fn change_of_password_is_replayed(store: Backend) {
    let app = TestApp::start(store).await;
    let user = app.user().await;
    let change = json!({ "password": "battery staple", "currentPassword": Client::PASSWORD });
    for _ in 0..2 {
        // At the second request the current password is a different one, but the request is the
        // same.
        assert_eq!(user.update_me(&change).key(KEY).await.expect(200)["id"], json!(user.id));
    }
}

async fn charge_is_created_once_and_replayed_in_its_present_state(store: Backend) {
    let app = TestApp::start(store).await;
    let (seller, buyer) = (app.user().await, app.user().await);
    let order = buyer.locks(&seller.sells("Front row").await).await;
    let first = buyer.pay(&order, "pm_card_visa").key(KEY).await.expect(201);
    let again = buyer.pay(&order, "pm_card_visa").key(KEY).await.expect(201);
    assert_eq!(first.body, again.body);
    assert_eq!(buyer.charges_of(&order).await.items().len(), 1);
}

async fn waiting_charge_is_replayed_with_its_secret(store: Backend) {
    let app = TestApp::start(store).await;
    let (seller, buyer) = (app.user().await, app.user().await);
    let order = buyer.locks(&seller.sells("Front row").await).await;
    let token = "pm_card_authenticationRequired";
    let first = buyer.pay(&order, token).key(KEY).await.expect(202);
    let again = buyer.pay(&order, token).key(KEY).await.expect(202);
    assert_eq!((first.id(), again["clientSecret"].is_string()), (again.id(), true));
    buyer.confirm(&first.id()).key("confirm").await.expect(200);
    buyer.confirm(&first.id()).key("confirm").await.expect(200);
    assert_eq!(buyer.pay(&order, token).key(KEY).await.expect(201)["status"], "Completed");
}

async fn decline_is_replayed(store: Backend) {
    let app = TestApp::start(store).await;
    let (seller, buyer) = (app.user().await, app.user().await);
    let order = buyer.locks(&seller.sells("Front row").await).await;
    let first =
        buyer.pay(&order, "pm_card_chargeDeclined").key(KEY).await.refused(402, "card_declined");
    let again =
        buyer.pay(&order, "pm_card_chargeDeclined").key(KEY).await.refused(402, "card_declined");
    assert_eq!(first.body, again.body);
    assert_eq!(buyer.charges_of(&order).await.items().len(), 1);
}

async fn another_body_under_the_same_key_is_refused(store: Backend) {
    let app = TestApp::start(store).await;
    let seller = app.user().await;
    seller.list_ticket("Front row", 20).key(KEY).await.expect(201);
    seller.list_ticket("Front row", 21).key(KEY).await.refused(422, "idempotency_key_reused");
}

async fn another_path_under_the_same_key_is_refused(store: Backend) {
    let app = TestApp::start(store).await;
    let seller = app.user().await;
    let (one, two) = (seller.sells("One").await, seller.sells("Two").await);
    seller.delist_ticket(&one).key(KEY).await.expect(204);
    seller.delist_ticket(&two).key(KEY).await.refused(422, "idempotency_key_reused");
    seller.edit_ticket(&one, "One", 20).key(KEY).await.refused(422, "idempotency_key_reused");
}

async fn refused_request_is_processed_again_under_the_same_key(store: Backend) {
    let app = TestApp::start(store).await;
    let (seller, buyer, other) = (app.user().await, app.user().await, app.user().await);
    let ticket = seller.sells("Front row").await;
    let order = other.locks(&ticket).await;
    buyer.place_order(&ticket).key(KEY).await.refused(409, "ticket_locked");
    other.cancel_order(&order).await.expect(204);
    buyer.place_order(&ticket).key(KEY).await.expect(201);
}

async fn keys_are_scoped_to_their_user(store: Backend) {
    let app = TestApp::start(store).await;
    let (ann, bob) = (app.user().await, app.user().await);
    let hers = ann.list_ticket("Front row", 20).key(KEY).await.expect(201);
    let his = bob.list_ticket("Another row", 30).key(KEY).await.expect(201);
    assert_ne!(hers.id(), his.id());
    app.guest().list_ticket("Front row", 20).key(KEY).await.refused(401, "not_signed_in");
}

async fn concurrent_requests_under_one_key_have_one_effect(store: Backend) {
    let app = TestApp::start(store).await;
    let seller = app.user().await;
    let asked = (0..20).map(|_| async { seller.list_ticket("Front row", 20).key(KEY).await });
    let answers = futures_util::future::join_all(asked).await;
    let tickets = seller.tickets("?seller=me").await.ids();
    assert_eq!(tickets.len(), 1);
    for answer in answers {
        match answer.status {
            201 => assert_eq!(answer.id(), tickets[0]),
            _ => drop(answer.refused(409, "idempotency_in_flight")),
        }
    }
}

async fn replay_survives_a_restart(store: Backend) {
    let mut app = TestApp::start(store).await;
    let seller = app.user().await;
    let first = seller.list_ticket("Front row", 20).key(KEY).await.expect(201);
    app.restart().await;
    let seller = seller.at(&app.server);
    assert_eq!(seller.list_ticket("Front row", 20).key(KEY).await.expect(201).body, first.body);
    assert_eq!(seller.tickets("?seller=me").await.ids(), [first.id()]);
}

async fn invalid_key_is_refused(store: Backend) {
    let app = TestApp::start(store).await;
    let seller = app.user().await;
    for key in ["", &"k".repeat(256), "two words", "schlüssel"] {
        seller.list_ticket("Front row", 20).key(key).await.refused(400, "validation_failed");
    }
    seller.list_ticket("Front row", 20).key(&"k".repeat(255)).await.expect(201);
}
