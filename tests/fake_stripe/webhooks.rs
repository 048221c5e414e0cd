//! Webhooks: events in Stripe's form, signed like Stripe's
//! (<https://docs.stripe.com/webhooks#verify-manually>), and delivered with the faults that Stripe
//! documents: twice, late, in another order, or not at all.

use std::time::Duration;

use gittix::clock::wall_clock;
use hmac::{Hmac, KeyInit, Mac};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};
use sha2::Sha256;

/// One event, as it is sent each time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    pub id: String,
    pub kind: String,
    pub body: String,
}

/// The manner in which events are delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Manner {
    /// The number of events in a thousand that are never delivered.
    pub dropped: u32,
    /// The number of events in a thousand that are delivered twice.
    pub doubled: u32,
    /// Maximum delay of an event, so that a later event may overtake it.
    pub delay_ms_max: u64,
    /// Number of repetitions of a delivery that was not answered with 2xx. Stripe repeats for three
    /// days.
    pub tries: u32,
}

impl Manner {
    /// No events, except those that a test delivers.
    pub const BY_HAND: Self = Self { dropped: 1_000, doubled: 0, delay_ms_max: 0, tries: 0 };
    #[allow(dead_code, reason = "the server program uses it")]
    pub const AT_ONCE: Self = Self { dropped: 0, doubled: 0, delay_ms_max: 0, tries: 8 };
    pub const BAD_DAY: Self = Self { dropped: 100, doubled: 200, delay_ms_max: 300, tries: 8 };
}

/// The address to which events are sent, and all events so far.
#[derive(Debug)]
pub struct Post {
    pub url: Option<String>,
    /// There are several secrets while the endpoint's secret is being rotated.
    pub secrets: Vec<String>,
    pub manner: Manner,
    pub events: Vec<Event>,
    /// Event and status of every answered delivery.
    pub delivered: Vec<(String, u16)>,
    random: StdRng,
}

impl Post {
    pub const SECRET: &str = "whsec_of_the_fake";
    /// Time between two attempts.
    pub const RETRY_AFTER: Duration = Duration::from_millis(200);

    pub fn new(seed: u64) -> Self {
        Self {
            url: None,
            secrets: vec![Self::SECRET.into()],
            manner: Manner::BY_HAND,
            events: Vec::new(),
            delivered: Vec::new(),
            random: StdRng::seed_from_u64(seed),
        }
    }

    /// Stores an event and returns the delays of its deliveries.
    pub fn add(&mut self, kind: &str, object: &Value, key: Option<&str>) -> (Event, Vec<Duration>) {
        let id = format!(
            "evt_3{}",
            &super::books::hex(&format!("{} {}", self.events.len(), object))[..23]
        );
        let event = made(&id, kind, object, key);
        self.events.push(event.clone());
        let mut count = 1;
        if self.random.random_range(0..1_000) < self.manner.dropped {
            count = 0;
        } else if self.random.random_range(0..1_000) < self.manner.doubled {
            count = 2;
        }
        let delays = (0..count)
            .map(|_| Duration::from_millis(self.random.random_range(0..=self.manner.delay_ms_max)))
            .collect();
        (event, delays)
    }
}

/// Creates an event about any object.
pub fn made(id: &str, kind: &str, object: &Value, key: Option<&str>) -> Event {
    let body = json!({
        "id": id, "object": "event", "api_version": "2025-09-30.clover", "created": wall_clock().0 / 1_000, "livemode": false,
        "pending_webhooks": 1, "type": kind, "data": { "object": object }, "request": { "id": null, "idempotency_key": key },
    });
    // Stripe indents the body. The signature covers exactly these bytes.
    Event {
        id: id.to_owned(),
        kind: kind.to_owned(),
        body: serde_json::to_string_pretty(&body).expect("the body is valid JSON"),
    }
}

/// Returns the header `Stripe-Signature` for a body that is sent at `at_secs` since the epoch.
pub fn signature(secrets: &[String], body: &str, at_secs: i64) -> String {
    let signed = secrets.iter().map(|secret| {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes())
            .expect("HMAC takes a key of any length");
        mac.update(format!("{at_secs}.{body}").as_bytes());
        let digest: String = hex::encode(mac.finalize().into_bytes());
        format!(",v1={digest}")
    });
    format!("t={at_secs}{}", signed.collect::<String>())
}
