//! Idempotency-Key: what is done once however often it is asked for.

use serde_json::json;

use crate::app::{Backend, Client, TestApp, on_both_stores};

on_both_stores!(
    a_ticket_is_listed_once,
    an_order_is_replayed_as_it_was_with_fresh_seconds,
    an_edit_counts_once,
    a_deletion_is_replayed,
    a_cancellation_is_replayed,
    a_change_of_password_is_replayed,
    a_charge_is_made_once_and_shown_as_it_is_now,
    a_waiting_charge_is_replayed_with_its_secret,
    a_decline_is_replayed,
    another_body_under_the_key_is_refused,
    another_path_under_the_key_is_refused,
    a_refusal_is_judged_anew,
    keys_are_scoped_to_their_user,
    many_requests_at_once_under_one_key_have_one_effect,
    a_replay_survives_a_restart,
    what_is_no_key_is_refused,
);

const KEY: &str = "8e03978e-40d5-43dd-bc93-6894a57f9324";

async fn a_ticket_is_listed_once(store: Backend) {
    let app = TestApp::start(store).await;
    let seller = app.user().await;
    let first = seller.list_ticket("Front row", 20).key(KEY).await.expect(201);
    let again = seller.list_ticket("Front row", 20).key(KEY).await.expect(201);
    assert_eq!(first.body, again.body);
    assert_eq!(first.header("location"), again.header("location"));
    assert_eq!(seller.tickets("?seller=me").await.ids(), [first.id()]);
    // As it was: also after it changed.
    seller.edit_ticket(&first.id(), "Back row", 5).await.expect(200);
    assert_eq!(seller.list_ticket("Front row", 20).key(KEY).await.expect(201).body, first.body);
}

async fn an_order_is_replayed_as_it_was_with_fresh_seconds(store: Backend) {
    let app = TestApp::start_with(store, &[("GITTIX_PAYMENT_WINDOW", "2s"), ("GITTIX_LOCK_DURATION", "2s")]).await;
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

async fn an_edit_counts_once(store: Backend) {
    let app = TestApp::start(store).await;
    let seller = app.user().await;
    let ticket = seller.sells("Front row").await;
    for _ in 0..2 {
        let edited = seller.edit_ticket(&ticket, "Back row", 5).key(KEY).header("if-match", "\"0\"").await.expect(200);
        assert_eq!(edited["version"], 1);
    }
}

async fn a_deletion_is_replayed(store: Backend) {
    let app = TestApp::start(store).await;
    let seller = app.user().await;
    let ticket = seller.sells("Front row").await;
    for _ in 0..2 {
        seller.delist_ticket(&ticket).key(KEY).await.expect(204);
    }
    seller.delist_ticket(&ticket).await.refused(404, "not_found");
}

async fn a_cancellation_is_replayed(store: Backend) {
    let app = TestApp::start(store).await;
    let (seller, buyer) = (app.user().await, app.user().await);
    let order = buyer.locks(&seller.sells("Front row").await).await;
    for _ in 0..2 {
        buyer.cancel_order(&order).key(KEY).await.expect(204);
    }
}

async fn a_change_of_password_is_replayed(store: Backend) {
    let app = TestApp::start(store).await;
    let user = app.user().await;
    let change = json!({ "password": "battery staple", "currentPassword": Client::PASSWORD });
    for _ in 0..2 {
        // The second time the current password is another one; the request is the same all the same.
        assert_eq!(user.update_me(&change).key(KEY).await.expect(200)["id"], json!(user.id));
    }
}

async fn a_charge_is_made_once_and_shown_as_it_is_now(store: Backend) {
    let app = TestApp::start(store).await;
    let (seller, buyer) = (app.user().await, app.user().await);
    let order = buyer.locks(&seller.sells("Front row").await).await;
    let first = buyer.pay(&order, "pm_card_visa").key(KEY).await.expect(201);
    let again = buyer.pay(&order, "pm_card_visa").key(KEY).await.expect(201);
    assert_eq!(first.body, again.body);
    assert_eq!(buyer.charges_of(&order).await.items().len(), 1);
}

async fn a_waiting_charge_is_replayed_with_its_secret(store: Backend) {
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

async fn a_decline_is_replayed(store: Backend) {
    let app = TestApp::start(store).await;
    let (seller, buyer) = (app.user().await, app.user().await);
    let order = buyer.locks(&seller.sells("Front row").await).await;
    let first = buyer.pay(&order, "pm_card_chargeDeclined").key(KEY).await.refused(402, "card_declined");
    let again = buyer.pay(&order, "pm_card_chargeDeclined").key(KEY).await.refused(402, "card_declined");
    assert_eq!(first.body, again.body);
    assert_eq!(buyer.charges_of(&order).await.items().len(), 1);
}

async fn another_body_under_the_key_is_refused(store: Backend) {
    let app = TestApp::start(store).await;
    let seller = app.user().await;
    seller.list_ticket("Front row", 20).key(KEY).await.expect(201);
    seller.list_ticket("Front row", 21).key(KEY).await.refused(422, "idempotency_key_reused");
}

async fn another_path_under_the_key_is_refused(store: Backend) {
    let app = TestApp::start(store).await;
    let seller = app.user().await;
    let (one, two) = (seller.sells("One").await, seller.sells("Two").await);
    seller.delist_ticket(&one).key(KEY).await.expect(204);
    seller.delist_ticket(&two).key(KEY).await.refused(422, "idempotency_key_reused");
    seller.edit_ticket(&one, "One", 20).key(KEY).await.refused(422, "idempotency_key_reused");
}

async fn a_refusal_is_judged_anew(store: Backend) {
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

async fn many_requests_at_once_under_one_key_have_one_effect(store: Backend) {
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

async fn a_replay_survives_a_restart(store: Backend) {
    let mut app = TestApp::start(store).await;
    let seller = app.user().await;
    let first = seller.list_ticket("Front row", 20).key(KEY).await.expect(201);
    app.restart().await;
    let seller = seller.at(&app.server);
    assert_eq!(seller.list_ticket("Front row", 20).key(KEY).await.expect(201).body, first.body);
    assert_eq!(seller.tickets("?seller=me").await.ids(), [first.id()]);
}

async fn what_is_no_key_is_refused(store: Backend) {
    let app = TestApp::start(store).await;
    let seller = app.user().await;
    for key in ["", &"k".repeat(256), "two words", "schlüssel"] {
        seller.list_ticket("Front row", 20).key(key).await.refused(400, "validation_failed");
    }
    seller.list_ticket("Front row", 20).key(&"k".repeat(255)).await.expect(201);
}
