//! One PaymentIntent: its states as documented by Stripe
//! (<https://docs.stripe.com/payments/paymentintents/lifecycle>), and its JSON form.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::cards::{Card, Decline};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    RequiresPaymentMethod,
    RequiresConfirmation,
    RequiresAction,
    RequiresCapture,
    Canceled,
    Succeeded,
}

impl Status {
    pub fn name(self) -> &'static str {
        match self {
            Self::RequiresPaymentMethod => "requires_payment_method",
            Self::RequiresConfirmation => "requires_confirmation",
            Self::RequiresAction => "requires_action",
            Self::RequiresCapture => "requires_capture",
            Self::Canceled => "canceled",
            Self::Succeeded => "succeeded",
        }
    }

    /// Whether no money is held yet and the intent is not cancelled.
    pub fn is_open(self) -> bool {
        matches!(
            self,
            Self::RequiresPaymentMethod | Self::RequiresConfirmation | Self::RequiresAction
        )
    }
}

/// The attached payment method.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Method {
    pub id: String,
    pub card: Card,
}

#[derive(Debug, Clone)]
pub struct Intent {
    pub id: String,
    pub secret: String,
    pub created: i64,
    /// The amount in minor units.
    pub amount: u64,
    pub currency: String,
    pub manual_capture: bool,
    pub manual_confirmation: bool,
    /// Whether a method that redirects the buyer may be used. Then a confirmation needs a
    /// `return_url`.
    pub may_redirect: bool,
    pub status: Status,
    pub method: Option<Method>,
    pub metadata: BTreeMap<String, String>,
    /// The captured amount in minor units.
    pub received: u64,
    pub charge: Option<String>,
    pub last_error: Option<Value>,
    pub cancellation_reason: Option<String>,
}

impl Intent {
    /// Whether the intent waits for an action of its buyer.
    pub fn waits(&self) -> bool {
        self.status == Status::RequiresAction
    }

    /// Returns the intent in Stripe's JSON form.
    pub fn shown(&self) -> Value {
        let acting = self.status == Status::RequiresAction;
        let capturable = if self.status == Status::RequiresCapture { self.amount } else { 0 };
        let next_action = acting.then(|| json!({ "type": "use_stripe_sdk", "use_stripe_sdk": { "type": "three_d_secure_redirect" } }));
        json!({
            "id": self.id,
            "object": "payment_intent",
            "amount": self.amount,
            "amount_capturable": capturable,
            "amount_received": self.received,
            "canceled_at": (self.status == Status::Canceled).then_some(self.created),
            "cancellation_reason": self.cancellation_reason,
            "capture_method": if self.manual_capture { "manual" } else { "automatic" },
            "client_secret": self.secret,
            "confirmation_method": if self.manual_confirmation { "manual" } else { "automatic" },
            "created": self.created,
            "currency": self.currency,
            "customer": null,
            "last_payment_error": self.last_error,
            "latest_charge": self.charge,
            "livemode": false,
            "metadata": self.metadata,
            "next_action": next_action,
            "payment_method": self.method.as_ref().map(|method| &method.id),
            "payment_method_types": ["card"],
            "status": self.status.name(),
        })
    }

    /// Returns the error of a decline, as it is stored with the intent.
    pub fn decline(&self, decline: Decline) -> Value {
        json!({
            "type": "card_error",
            "code": decline.code,
            "decline_code": decline.decline_code,
            "charge": self.charge,
            "message": "Your card was declined.",
            "payment_method": { "id": self.method.as_ref().map(|method| &method.id), "object": "payment_method", "type": "card" },
        })
    }
}
