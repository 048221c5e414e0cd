//! A server whose payments go to a fake Stripe, with the steps and queries that tests need.

use std::time::Duration;

use serde_json::json;

use crate::{
    app::{Answer, Backend, Client, PATIENCE, TestApp},
    fake_stripe::{Account, Event, FakeStripe, Post},
};

/// Server and its processor. The processor keeps running when the server is restarted, as Stripe
/// does.
#[derive(Debug)]
pub struct AppWithStripe {
    pub app: TestApp,
    pub stripe: FakeStripe,
}

impl AppWithStripe {
    /// Starts both without faults; the test delivers events itself.
    pub async fn start(store: Backend) -> Self {
        Self::start_with(store, &[]).await
    }

    /// Starts both with additional settings.
    pub async fn start_with(store: Backend, settings: &[(&str, &str)]) -> Self {
        let stripe = FakeStripe::start();
        let base = stripe.base();
        let mut all = processor_settings(&base).to_vec();
        all.extend_from_slice(settings);
        let app = TestApp::start_with(store, &all).await;
        stripe.deliver_to(app.server.addr);
        Self { app, stripe }
    }

    /// Places an order of 19.99 for a ticket of another user.
    pub async fn order(&self) -> (Client, Answer) {
        let (seller, buyer) = (self.app.user().await, self.app.user().await);
        let ticket = seller.list_ticket("Front row", 19.99).await.expect(201).id();
        let order = buyer.place_order(&ticket).await.expect(201);
        (buyer, order)
    }

    /// Places an order whose buyer must authenticate before the payment; returns also the ids of
    /// the charge and of the intent.
    pub async fn waiting(&self) -> (Client, Answer, String, String) {
        let (buyer, order) = self.order().await;
        let charge = buyer.pay(&order.id(), "pm_card_authenticationRequired").await.expect(202);
        let intent = charge["stripeId"].as_str().expect("the charge has an intent").to_owned();
        (buyer, order, charge.id(), intent)
    }

    /// Returns the accounts that the processor's ledger has for an order, in the order of the
    /// intents.
    pub fn accounts(&self, order: &str) -> Vec<Account> {
        let intents = self.stripe.intents();
        let of_order = |intent: &String| {
            intents
                .get(intent)
                .is_some_and(|metadata| metadata.values().any(|value| value == order))
        };
        self.stripe
            .accounts()
            .into_iter()
            .filter(|(intent, _)| of_order(intent))
            .map(|(_, account)| account)
            .collect()
    }

    /// Returns the newest event of a type about an intent.
    #[track_caller]
    pub fn event(&self, kind: &str, intent: &str) -> Event {
        let events = self.stripe.events();
        let found = events
            .iter()
            .rev()
            .find(|event| event.kind == kind && event.body.contains(intent))
            .cloned();
        found.unwrap_or_else(|| {
            panic!(
                "no {kind} about {intent} in {:?}",
                events.iter().map(|event| &event.kind).collect::<Vec<_>>()
            )
        })
    }

    /// Waits until a charge is no longer open; returns it.
    pub async fn wait_until_final(&self, buyer: &Client, charge: &str) -> Answer {
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

/// Returns the settings that make a server use the fake at `base`.
pub fn processor_settings(base: &str) -> [(&str, &str); 3] {
    [
        ("STRIPE_SECRET_KEY", FakeStripe::SECRET_KEY),
        ("STRIPE_API_BASE", base),
        ("STRIPE_WEBHOOK_SECRET", Post::SECRET),
    ]
}

/// Returns an event about an object that GitTix does not use.
pub fn foreign_event() -> Event {
    let customer = json!({ "id": "cus_unknown", "object": "customer", "livemode": false });
    crate::fake_stripe::webhooks::made("evt_of_a_customer", "customer.created", &customer, None)
}
