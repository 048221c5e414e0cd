//! A server whose payments go to a fake Stripe, and what tests ask of the two.

use std::time::Duration;

use serde_json::json;

use crate::{
    app::{Answer, Backend, Client, PATIENCE, TestApp},
    fake_stripe::{Account, Event, FakeStripe, Post},
};

/// A server and its processor. The processor outlives the server, as Stripe does.
#[derive(Debug)]
pub struct Stage {
    pub app: TestApp,
    pub stripe: FakeStripe,
}

impl Stage {
    /// Without faults; events are delivered by hand.
    pub async fn start(store: Backend) -> Self {
        Self::start_with(store, &[]).await
    }

    /// With settings of its own.
    pub async fn start_with(store: Backend, settings: &[(&str, &str)]) -> Self {
        let stripe = FakeStripe::start();
        let base = stripe.base();
        let mut all = processor(&base).to_vec();
        all.extend_from_slice(settings);
        let app = TestApp::start_with(store, &all).await;
        stripe.deliver_to(app.server.addr);
        Self { app, stripe }
    }

    /// Somebody's order of somebody else's ticket, over 19.99.
    pub async fn order(&self) -> (Client, Answer) {
        let (seller, buyer) = (self.app.user().await, self.app.user().await);
        let ticket = seller.list_ticket("Front row", 19.99).await.expect(201).id();
        let order = buyer.place_order(&ticket).await.expect(201);
        (buyer, order)
    }

    /// An order whose buyer has to act before it is paid; the charge's id and the intent's.
    pub async fn waiting(&self) -> (Client, Answer, String, String) {
        let (buyer, order) = self.order().await;
        let charge = buyer.pay(&order.id(), "pm_card_authenticationRequired").await.expect(202);
        let intent = charge["stripeId"].as_str().expect("it was opened").to_owned();
        (buyer, order, charge.id(), intent)
    }

    /// What the processor's ledger has of the intents of an order, in their order.
    pub fn accounts(&self, order: &str) -> Vec<Account> {
        let intents = self.stripe.intents();
        let of_order = |intent: &String| intents.get(intent).is_some_and(|metadata| metadata.values().any(|value| value == order));
        self.stripe.accounts().into_iter().filter(|(intent, _)| of_order(intent)).map(|(_, account)| account).collect()
    }

    /// The newest event of a type about an intent.
    #[track_caller]
    pub fn event(&self, kind: &str, intent: &str) -> Event {
        let events = self.stripe.events();
        let found = events.iter().rev().find(|event| event.kind == kind && event.body.contains(intent)).cloned();
        found.unwrap_or_else(|| panic!("no {kind} of {intent} among {:?}", events.iter().map(|event| &event.kind).collect::<Vec<_>>()))
    }

    /// Waits until a charge is over.
    pub async fn over(&self, buyer: &Client, charge: &str) -> Answer {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let found = buyer.charge(charge).await.expect(200);
            if found["status"] != "Created" {
                return found;
            }
            assert!(tokio::time::Instant::now() < deadline, "{found:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// The settings that make a server use the fake at `base`.
pub fn processor(base: &str) -> [(&str, &str); 3] {
    [("STRIPE_SECRET_KEY", FakeStripe::SECRET_KEY), ("STRIPE_API_BASE", base), ("STRIPE_WEBHOOK_SECRET", Post::SECRET)]
}

/// An event about something that GitTix has nothing to do with.
pub fn foreign_event() -> Event {
    let customer = json!({ "id": "cus_unknown", "object": "customer", "livemode": false });
    crate::fake_stripe::webhooks::made("evt_of_a_customer", "customer.created", &customer, None)
}
