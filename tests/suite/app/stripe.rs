//! A Stripe imitation in the test's process: PaymentIntents with manual capture, refunds,
//! idempotency keys, signed events. It carries out each request at once and never fails; the fake
//! in `tests/fake_stripe` covers faults.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
};

use gittix::clock::wall_clock;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// Running imitation; it stops with the runtime of its test.
#[derive(Debug, Clone)]
pub struct Stripe {
    base: String,
    ledger: Arc<Mutex<Ledger>>,
}

#[derive(Debug, Default)]
struct Ledger {
    intents: HashMap<String, Value>,
    refunds: Vec<Value>,
    /// Answer of each request, by idempotency key.
    answered: HashMap<String, (u16, Value)>,
    /// Added to each amount that is authorized, in minor units.
    overcharge: i64,
}

type Form = HashMap<String, String>;

impl Stripe {
    pub const KEY: &'static str = "sk_test_51hushhush";
    pub const WEBHOOK_SECRET: &'static str = "whsec_hushhush";
    /// Previous webhook secret, which is still accepted during a rotation.
    pub const OLD_WEBHOOK_SECRET: &'static str = "whsec_oldhush";
    /// Part of every client secret.
    pub const CLIENT_SECRET: &'static str = "_secret_hush";

    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let base = format!("http://{}", listener.local_addr().expect("it is bound"));
        let stripe = Self { base, ledger: Arc::default() };
        let server = stripe.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(server.clone().serve(stream));
            }
        });
        stripe
    }

    /// Returns the settings that a server needs to pay here.
    pub fn settings(&self) -> Vec<(&str, &str)> {
        vec![
            ("STRIPE_SECRET_KEY", Self::KEY),
            ("STRIPE_WEBHOOK_SECRET", concat!("whsec_oldhush", ",", "whsec_hushhush")),
            ("STRIPE_API_BASE", &self.base),
        ]
    }

    /// Completes the authentication at the buyer's bank.
    pub fn act(&self, intent: &str) {
        self.change(intent, "requires_capture");
    }

    /// Sets the status of a payment, as another program or person could.
    pub fn change(&self, intent: &str, status: &str) {
        self.lock().intents.get_mut(intent).expect("the payment exists")["status"] = status.into();
    }

    /// Captures a payment, as a person can in Stripe's Dashboard.
    pub fn capture(&self, intent: &str) {
        self.change(intent, "succeeded");
        let mut ledger = self.lock();
        let intent = ledger.intents.get_mut(intent).expect("the payment exists");
        intent["amount_received"] = intent["amount"].clone();
    }

    /// From now on, authorizes more than was requested, by this amount in minor units.
    pub fn overcharge(&self, minor: i64) {
        self.lock().overcharge = minor;
    }

    pub fn status(&self, intent: &str) -> String {
        self.lock().intents[intent]["status"].as_str().expect("a text").to_owned()
    }

    /// Returns the captured and the refunded amount of all payments together, in minor units.
    pub fn money(&self) -> (i64, i64) {
        let ledger = self.lock();
        let sum = |all: Vec<&Value>, member: &str| {
            all.iter().map(|object| object[member].as_i64().expect("an amount")).sum()
        };
        (
            sum(ledger.intents.values().collect(), "amount_received"),
            sum(ledger.refunds.iter().collect(), "amount"),
        )
    }

    /// Returns an event about a payment, and its signature.
    pub fn event(&self, id: &str, kind: &str, intent: &str) -> (String, String) {
        let object = self
            .lock()
            .intents
            .get(intent)
            .cloned()
            .unwrap_or_else(|| json!({ "object": "payment_intent", "id": intent }));
        let event = json!({ "id": id, "object": "event", "type": kind, "livemode": false, "data": { "object": object } });
        let body = event.to_string();
        let signature = sign(&body, Self::WEBHOOK_SECRET, 0);
        (body, signature)
    }

    fn lock(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().expect("no holder panics")
    }

    async fn serve(self, mut stream: TcpStream) {
        let Some((line, key, form)) = read(&mut stream).await else { return };
        let (status, body) = self.lock().answer(&line, key, &form);
        let body = body.to_string();
        let head = format!(
            "HTTP/1.1 {status} -\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let _ = stream.write_all((head + &body).as_bytes()).await;
    }
}

/// Returns the `Stripe-Signature` of a body, created `secs_ago` seconds ago.
pub fn sign(body: &str, secret: &str, secs_ago: i64) -> String {
    let at = wall_clock().0 / 1000 - secs_ago;
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("a key of any length");
    mac.update(format!("{at}.{body}").as_bytes());
    let mac: String = hex::encode(mac.finalize().into_bytes());
    format!("t={at},v1={mac}")
}

/// Reads a request: its request line, its idempotency key, and the form in its body.
async fn read(stream: &mut TcpStream) -> Option<(String, Option<String>, Form)> {
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let header = |name: &str| {
                let mut lines = head.lines().filter_map(|line| line.split_once(": "));
                lines
                    .find(|(named, _)| named.eq_ignore_ascii_case(name))
                    .map(|(_, value)| value.to_owned())
            };
            let length =
                header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
            if body.len() >= length {
                let form = reqwest::Url::parse(&format!("http://form/?{body}"))
                    .ok()?
                    .query_pairs()
                    .into_owned()
                    .collect();
                let line = head.lines().next()?.trim_end_matches(" HTTP/1.1").to_owned();
                return Some((line, header("idempotency-key"), form));
            }
        }
        match stream.read(&mut piece).await {
            Ok(read) if read > 0 => bytes.extend_from_slice(&piece[..read]),
            _ => return None,
        }
    }
}

fn error(status: u16, code: &str, param: &str) -> (u16, Value) {
    (
        status,
        json!({ "error": { "type": "invalid_request_error", "code": code, "param": param, "message": "hush" } }),
    )
}

impl Ledger {
    fn answer(&mut self, line: &str, key: Option<String>, form: &Form) -> (u16, Value) {
        if let Some(answered) = key.as_ref().and_then(|key| self.answered.get(key)) {
            return answered.clone();
        }
        let path = line.split_once("/v1/").map_or("", |(_, path)| path);
        let parts: Vec<&str> = path.split(['/', '?']).collect();
        let answer = match (line.starts_with("POST"), parts.as_slice()) {
            (true, ["payment_intents"]) => self.open(form),
            (true, ["refunds"]) => self.refund(form),
            (false, ["refunds", query]) => {
                let of = |refund: &&Value| {
                    refund["payment_intent"].as_str().is_some_and(|intent| query.contains(intent))
                };
                (
                    200,
                    json!({ "data": self.refunds.iter().filter(of).collect::<Vec<_>>(), "has_more": false }),
                )
            }
            (false, ["payment_intents", id]) => self.intents.get(*id).map_or_else(
                || error(404, "resource_missing", "intent"),
                |intent| (200, intent.clone()),
            ),
            (true, ["payment_intents", id, step]) => self.step(id, step, form),
            _ => error(404, "unrecognized", ""),
        };
        if let Some(key) = key {
            self.answered.insert(key, answer.clone());
        }
        answer
    }

    fn open(&mut self, form: &Form) -> (u16, Value) {
        let id = format!("pi_{}", self.intents.len() + 1);
        let metadata: HashMap<&str, &String> = form
            .iter()
            .filter_map(|(name, value)| {
                Some((name.strip_prefix("metadata[")?.strip_suffix(']')?, value))
            })
            .collect();
        let amount: i64 = form["amount"].parse().expect("an amount");
        let intent = json!({
            "id": id, "object": "payment_intent", "status": "requires_payment_method", "amount": amount, "amount_received": 0,
            "currency": form["currency"], "card": { "last4": "hush" }, "client_secret": format!("{id}{}", Stripe::CLIENT_SECRET), "metadata": metadata,
        });
        self.intents.insert(id, intent.clone());
        (200, intent)
    }

    fn step(&mut self, id: &str, step: &str, form: &Form) -> (u16, Value) {
        let overcharge = self.overcharge;
        let Some(intent) = self.intents.get_mut(id) else {
            return error(404, "resource_missing", "intent");
        };
        let status = intent["status"].as_str().unwrap_or_default().to_owned();
        let next = match (step, status.as_str()) {
            ("confirm", "requires_payment_method") => {
                let method = form
                    .get("payment_method")
                    .or_else(|| form.get("payment_method_data[card][token]"));
                match method.map(String::as_str) {
                    Some("pm_card_visa" | "tok_visa") => "requires_capture",
                    Some("pm_card_authenticationRequired") => "requires_action",
                    Some("pm_card_chargeDeclined") => {
                        let why = json!({ "type": "card_error", "code": "card_declined", "decline_code": "generic_decline", "message": "Your card was declined." });
                        intent["last_payment_error"] = why.clone();
                        return (402, json!({ "error": why }));
                    }
                    _ => return error(400, "resource_missing", "payment_method"),
                }
            }
            ("capture", "requires_capture") => {
                intent["amount_received"] =
                    form["amount_to_capture"].parse::<i64>().expect("an amount").into();
                "succeeded"
            }
            ("cancel", "succeeded" | "canceled" | "processing") | ("capture" | "confirm", _) => {
                return error(400, "payment_intent_unexpected_state", "");
            }
            ("cancel", _) => "canceled",
            _ => return error(404, "unrecognized", ""),
        };
        if step == "confirm" {
            intent["amount"] = (intent["amount"].as_i64().expect("an amount") + overcharge).into();
        }
        intent["status"] = next.into();
        (200, intent.clone())
    }

    fn refund(&mut self, form: &Form) -> (u16, Value) {
        let amount: i64 = form["amount"].parse().expect("an amount");
        let refund = json!({
            "id": format!("re_{}", self.refunds.len() + 1), "object": "refund", "status": "succeeded", "amount": amount,
            "payment_intent": form["payment_intent"],
        });
        self.refunds.insert(0, refund.clone());
        (200, refund)
    }
}
