//! The endpoints: their effects on intents, refunds and the ledger. They use no clock, no network
//! and no faults, so the same calls give the same answers.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{
    cards::{self, Card, Decline},
    intent::{Intent, Method, Status},
    ledger::{Ledger, Movement},
    reply::Reply,
    request::{Endpoint, Form},
};

/// An incorrect behaviour of this processor, for negative controls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deceit {
    /// Intents are opened with one minor unit more than requested.
    AnotherAmount,
    /// Intents are opened in another currency.
    AnotherCurrency,
    /// Voids and refunds are only reported and not made: the control of the code that checks the
    /// ledger.
    KeepsTheMoney,
    /// A capture takes one minor unit less than authorized, and reports that amount.
    TakesLess,
}

/// The content of an event: its type, and the object at that time.
pub type PendingEvent = (&'static str, Value);

type Answer = Result<Value, Box<Reply>>;

/// The state that Stripe would store.
#[derive(Debug, Default)]
pub struct Books {
    /// A value that makes the ids of two instances differ.
    salt: u64,
    count: u64,
    pub intents: BTreeMap<String, Intent>,
    refunds: BTreeMap<String, Value>,
    methods: BTreeMap<String, Card>,
    pub ledger: Ledger,
    pub deceit: Option<Deceit>,
    /// The events since the last call of `take_events`.
    pending_events: Vec<PendingEvent>,
}

impl Books {
    pub fn new(salt: u64) -> Self {
        Self { salt, ..Self::default() }
    }

    /// Executes one request. `now` is in seconds since the epoch.
    pub fn call(&mut self, endpoint: &Endpoint, form: &Form, now: i64) -> Reply {
        let answer = match endpoint {
            Endpoint::CreateIntent => self.create(form, now),
            Endpoint::ListIntents => {
                Ok(list(self.intents.values().rev().map(Intent::shown).collect(), form))
            }
            Endpoint::RetrieveIntent(id) => self.found(id).map(|intent| intent.shown()),
            Endpoint::UpdateIntent(id) => self.update(id, form),
            Endpoint::Confirm(id) => self.confirm(id, form),
            Endpoint::Capture(id) => self.capture(id, form),
            Endpoint::Cancel(id) => self.cancel(id, form),
            Endpoint::CreateRefund => self.refund(form, now),
            Endpoint::ListRefunds => Ok(self.list_refunds(form)),
            Endpoint::RetrieveRefund(id) => {
                self.refunds.get(id).cloned().ok_or_else(|| Box::new(Reply::missing("refund", id)))
            }
            Endpoint::CreateMethod => self.create_method(form),
            Endpoint::RetrieveMethod(id) => self.show_method(id),
            Endpoint::RetrieveToken(id) => match cards::of_token(id) {
                Some(_) => Ok(
                    json!({ "id": id, "object": "token", "type": "card", "livemode": false, "used": false }),
                ),
                None => Err(Box::new(Reply::missing("token", id))),
            },
        };
        answer.map_or_else(|refused| *refused, Reply::ok)
    }

    /// Returns the events since the last call.
    pub fn take_events(&mut self) -> Vec<PendingEvent> {
        std::mem::take(&mut self.pending_events)
    }

    /// Returns a unique id in the form of Stripe's ids.
    fn id(&mut self, prefix: &str) -> String {
        self.count += 1;
        format!("{prefix}_3{}", &hex(&format!("{} {} {prefix}", self.salt, self.count))[..23])
    }

    fn found(&mut self, id: &str) -> Result<&mut Intent, Box<Reply>> {
        self.intents.get_mut(id).ok_or_else(|| Box::new(Reply::missing("payment_intent", id)))
    }

    fn create(&mut self, form: &Form, now: i64) -> Answer {
        let amount = number(form, "amount")?
            .ok_or_else(|| Box::new(Reply::invalid("parameter_missing", "amount")))?;
        if amount < AMOUNT_MIN {
            return Err(Box::new(Reply::refused(
                "amount_too_small",
                "Amount must be at least $0.50 usd",
            )));
        }
        let currency = form
            .get("currency")
            .ok_or_else(|| Box::new(Reply::invalid("parameter_missing", "currency")))?;
        let id = self.id("pi");
        let mut intent = Intent {
            secret: format!("{id}_secret_{}", &hex(&format!("{id} secret"))[..25]),
            id,
            created: now,
            amount,
            currency: currency.to_lowercase(),
            manual_capture: form.get("capture_method").is_some_and(|method| method == "manual"),
            manual_confirmation: form
                .get("confirmation_method")
                .is_some_and(|method| method == "manual"),
            may_redirect: form.iter().all(|(name, value)| {
                !(name.starts_with("payment_method_types[") && value == "card")
            }) && form
                .get("automatic_payment_methods[allow_redirects]")
                .is_none_or(|allow| allow != "never"),
            status: Status::RequiresPaymentMethod,
            method: None,
            metadata: BTreeMap::new(),
            received: 0,
            charge: None,
            last_error: None,
            cancellation_reason: None,
        };
        match self.deceit {
            Some(Deceit::AnotherAmount) => intent.amount += 1,
            Some(Deceit::AnotherCurrency) => {
                intent.currency = if intent.currency == "chf" { "sek".into() } else { "chf".into() }
            }
            _ => {}
        }
        intent.metadata.extend(metadata(form));
        self.attach(&mut intent, form)?;
        let id = intent.id.clone();
        self.pending_events.push(("payment_intent.created", intent.shown()));
        self.intents.insert(id.clone(), intent);
        match form.get("confirm").is_some_and(|confirm| confirm == "true") {
            true => self.confirm(&id, &without_method(form)),
            false => Ok(self.intents[&id].shown()),
        }
    }

    fn update(&mut self, id: &str, form: &Form) -> Answer {
        let mut intent = self.found(id)?.clone();
        if !intent.status.is_open() {
            return Err(Box::new(Reply::unexpected_state(&intent.shown())));
        }
        if let Some(amount) = number(form, "amount")? {
            intent.amount = amount;
        }
        intent.metadata.extend(metadata(form));
        self.attach(&mut intent, form)?;
        let shown = intent.shown();
        self.intents.insert(id.to_owned(), intent);
        Ok(shown)
    }

    /// Stores the payment method of a request, if the request names one.
    fn attach(&mut self, intent: &mut Intent, form: &Form) -> Result<(), Box<Reply>> {
        let method =
            match (form.get("payment_method"), form.get("payment_method_data[card][token]")) {
                (Some(id), _) => {
                    let card = self
                        .method(id)
                        .ok_or_else(|| Box::new(Reply::missing_parameter("payment_method", id)))?;
                    let stored =
                        if id.starts_with("pm_card_") { self.id("pm") } else { id.clone() };
                    Method { id: stored, card }
                }
                (None, Some(token)) => {
                    let card = cards::of_token(token).ok_or_else(|| {
                        Box::new(Reply::missing_parameter(
                            "payment_method_data[card][token]",
                            token,
                        ))
                    })?;
                    Method { id: self.id("pm"), card }
                }
                (None, None) => return Ok(()),
            };
        intent.method = Some(method);
        intent.status = Status::RequiresConfirmation;
        Ok(())
    }

    /// Returns the card of a test name or of a payment method that was created here.
    fn method(&self, id: &str) -> Option<Card> {
        cards::of_method(id).or_else(|| self.methods.get(id).copied())
    }

    fn create_method(&mut self, form: &Form) -> Answer {
        let token = form
            .get("card[token]")
            .ok_or_else(|| Box::new(Reply::invalid("parameter_missing", "card[token]")))?;
        let card = cards::of_token(token)
            .ok_or_else(|| Box::new(Reply::missing_parameter("token", token)))?;
        let id = self.id("pm");
        self.methods.insert(id.clone(), card);
        self.show_method(&id)
    }

    fn show_method(&self, id: &str) -> Answer {
        match self.method(id) {
            Some(_) => Ok(
                json!({ "id": id, "object": "payment_method", "type": "card", "card": { "brand": "visa", "last4": "4242" } }),
            ),
            None => Err(Box::new(Reply::missing("payment_method", id))),
        }
    }

    fn confirm(&mut self, id: &str, form: &Form) -> Answer {
        let mut intent = self.found(id)?.clone();
        if !intent.status.is_open() {
            return Err(Box::new(Reply::unexpected_state(&intent.shown())));
        }
        self.attach(&mut intent, form)?;
        if intent.may_redirect && !form.contains_key("return_url") {
            return Err(Box::new(Reply::invalid("parameter_missing", "return_url")));
        }
        let Some(method) = intent.method.clone() else {
            return Err(Box::new(Reply::unexpected_state(&intent.shown())));
        };
        self.intents.insert(id.to_owned(), intent);
        match method.card {
            Card::Good => Ok(self.authorize(id)),
            Card::Declined(decline) => Err(Box::new(self.decline(id, decline))),
            Card::Authenticates(_) => {
                let intent = self.found(id)?;
                intent.status = Status::RequiresAction;
                let shown = intent.shown();
                self.pending_events.push(("payment_intent.requires_action", shown.clone()));
                Ok(shown)
            }
        }
    }

    /// Records the buyer's action in the browser: `agrees`, or cancelled.
    ///
    /// # Panics
    /// If the intent does not wait for an action.
    pub fn act(&mut self, id: &str, agrees: bool) {
        let intent = self.intents.get_mut(id).expect("the intent exists");
        let Some(Method { card: Card::Authenticates(then), .. }) =
            intent.method.clone().filter(|_| intent.status == Status::RequiresAction)
        else {
            panic!("{id} does not wait for its buyer: {intent:?}")
        };
        match (agrees, then) {
            (true, None) => drop(self.authorize(id)),
            (true, Some(decline)) => drop(self.decline(id, decline)),
            (false, _) => {
                let failed = Decline {
                    code: "payment_intent_authentication_failure",
                    decline_code: "authentication_required",
                };
                self.decline(id, failed);
            }
        }
    }

    fn authorize(&mut self, id: &str) -> Value {
        let charge = self.id("ch");
        let intent = self.intents.get_mut(id).expect("the intent exists");
        intent.charge = Some(charge);
        intent.last_error = None;
        intent.status =
            if intent.manual_capture { Status::RequiresCapture } else { Status::Succeeded };
        self.ledger.enter(id, Movement::Authorized, intent.amount, &intent.currency);
        if intent.manual_capture {
            self.pending_events.push(("payment_intent.amount_capturable_updated", intent.shown()));
        } else {
            intent.received = intent.amount;
            self.ledger.enter(id, Movement::Captured, intent.amount, &intent.currency);
            self.pending_events.push(("payment_intent.succeeded", intent.shown()));
        }
        intent.shown()
    }

    fn decline(&mut self, id: &str, decline: Decline) -> Reply {
        let charge = self.id("ch");
        let intent = self.intents.get_mut(id).expect("the intent exists");
        intent.charge = Some(charge);
        let mut error = intent.decline(decline);
        intent.last_error = Some(error.clone());
        intent.status = Status::RequiresPaymentMethod;
        intent.method = None;
        error["payment_intent"] = intent.shown();
        self.pending_events.push(("payment_intent.payment_failed", intent.shown()));
        Reply::declined(error)
    }

    fn capture(&mut self, id: &str, form: &Form) -> Answer {
        let less = u64::from(self.deceit == Some(Deceit::TakesLess));
        let intent = self.found(id)?;
        if intent.status != Status::RequiresCapture {
            return Err(Box::new(Reply::unexpected_state(&intent.shown())));
        }
        let amount = number(form, "amount_to_capture")?.unwrap_or(intent.amount);
        if amount > intent.amount {
            return Err(Box::new(Reply::refused(
                "amount_too_large",
                "The amount is greater than what can be captured.",
            )));
        }
        intent.received = amount - less;
        intent.status = Status::Succeeded;
        let (shown, authorized, currency) =
            (intent.shown(), intent.amount, intent.currency.clone());
        self.ledger.enter(id, Movement::Captured, amount - less, &currency);
        if authorized > amount - less {
            self.ledger.enter(id, Movement::Voided, authorized - (amount - less), &currency);
        }
        self.pending_events.push(("payment_intent.succeeded", shown.clone()));
        Ok(shown)
    }

    fn cancel(&mut self, id: &str, form: &Form) -> Answer {
        let keeps = self.deceit == Some(Deceit::KeepsTheMoney);
        let intent = self.found(id)?;
        let held = match intent.status {
            Status::Canceled | Status::Succeeded => {
                return Err(Box::new(Reply::unexpected_state(&intent.shown())));
            }
            Status::RequiresCapture => intent.amount,
            _ => 0,
        };
        intent.status = Status::Canceled;
        intent.cancellation_reason = form.get("cancellation_reason").cloned();
        let (shown, currency) = (intent.shown(), intent.currency.clone());
        if held > 0 && !keeps {
            self.ledger.enter(id, Movement::Voided, held, &currency);
        }
        self.pending_events.push(("payment_intent.canceled", shown.clone()));
        Ok(shown)
    }

    fn refund(&mut self, form: &Form, now: i64) -> Answer {
        let keeps = self.deceit == Some(Deceit::KeepsTheMoney);
        let id = form
            .get("payment_intent")
            .ok_or_else(|| Box::new(Reply::invalid("parameter_missing", "payment_intent")))?
            .clone();
        let asked = number(form, "amount")?;
        let intent = self
            .intents
            .get(&id)
            .ok_or_else(|| Box::new(Reply::missing_parameter("payment_intent", &id)))?
            .clone();
        let given = self
            .refunds
            .values()
            .filter(|refund| refund["payment_intent"] == id)
            .filter_map(|refund| refund["amount"].as_u64());
        let left = intent.received - given.sum::<u64>();
        if intent.status != Status::Succeeded {
            return Err(Box::new(Reply::refused(
                "payment_intent_unexpected_state",
                "This PaymentIntent has no successful charge to refund.",
            )));
        }
        if left == 0 {
            return Err(Box::new(Reply::refused(
                "charge_already_refunded",
                "The charge has already been refunded.",
            )));
        }
        let amount = asked.unwrap_or(left);
        if amount > left {
            return Err(Box::new(Reply::refused(
                "amount_too_large",
                "The refund is greater than what is left of the charge.",
            )));
        }
        let refund = json!({
            "id": self.id("re"), "object": "refund", "amount": amount, "charge": intent.charge, "created": now, "currency": intent.currency,
            "metadata": metadata(form).collect::<BTreeMap<_, _>>(), "payment_intent": id, "reason": form.get("reason"), "status": "succeeded",
        });
        self.refunds.insert(
            refund["id"].as_str().expect("the refund has an id").to_owned(),
            refund.clone(),
        );
        if !keeps {
            self.ledger.enter(&id, Movement::Refunded, amount, &intent.currency);
        }
        self.pending_events.push(("refund.created", refund.clone()));
        Ok(refund)
    }

    fn list_refunds(&self, form: &Form) -> Value {
        let wanted = form.get("payment_intent");
        let of = |refund: &&Value| wanted.is_none_or(|intent| refund["payment_intent"] == **intent);
        list(self.refunds.values().rev().filter(of).cloned().collect(), form)
    }
}

/// Stripe's minimum amount in US dollars. The minimum of other currencies is similar.
const AMOUNT_MIN: u64 = 50;

/// Returns the newest entries first, up to the requested number.
fn list(mut all: Vec<Value>, form: &Form) -> Value {
    all.sort_by_key(|one| std::cmp::Reverse(one["created"].as_i64()));
    let limit = form.get("limit").and_then(|limit| limit.parse().ok()).unwrap_or(10);
    let has_more = all.len() > limit;
    all.truncate(limit);
    json!({ "object": "list", "data": all, "has_more": has_more })
}

fn metadata(form: &Form) -> impl Iterator<Item = (String, String)> {
    form.iter().filter_map(|(name, value)| {
        let key = name.strip_prefix("metadata[")?.strip_suffix(']')?;
        Some((key.to_owned(), value.clone()))
    })
}

fn number(form: &Form, name: &str) -> Result<Option<u64>, Box<Reply>> {
    let parse = |text: &String| {
        text.parse().map_err(|_| Box::new(Reply::invalid("parameter_invalid_integer", name)))
    };
    form.get(name).map(parse).transpose()
}

/// Returns the parameters that a creation with `confirm=true` passes on. The method is already
/// attached.
fn without_method(form: &Form) -> Form {
    form.iter()
        .filter(|(name, _)| !name.starts_with("payment_method"))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

pub fn hex(text: &str) -> String {
    hex::encode(Sha256::digest(text))
}
