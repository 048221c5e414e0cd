//! The public form of a charge, for its buyer.

use serde::Serialize;

use super::{CurrencyView, Price, WireTime};
use crate::domain::{
    Charge, ChargeFailure, ChargeId, ChargeStatus, DeclineCode, FailureCode, OrderId,
};

/// One attempt to pay an order. The secret that the buyer's browser needs for 3-D Secure
/// (`clientSecret`) is not part of it: it is added to the answer of the request that needs it.
#[derive(Debug, Clone, Copy, Serialize, utoipa::ToSchema)]
#[schema(as = Charge)]
#[serde(rename_all = "camelCase")]
pub struct ChargeView<'a> {
    #[schema(value_type = String, format = "uuid")]
    pub id: ChargeId,
    #[schema(value_type = String, format = "uuid")]
    pub order_id: OrderId,
    #[schema(inline)]
    pub status: ChargeStatusView,
    #[schema(value_type = f64, minimum = 0.5, maximum = 999_999.99)]
    pub amount: Price,
    #[schema(inline)]
    pub currency: CurrencyView,
    /// The processor's id of the payment.
    #[schema(required = true)]
    pub stripe_id: Option<&'a str>,
    /// The processor's id of the refund, if the payment was refunded.
    #[schema(required = true)]
    pub stripe_refund_id: Option<&'a str>,
    /// The reason of the failure; null unless the charge is Failed.
    #[schema(inline, required = true)]
    pub failure: Option<FailureView<'a>>,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: WireTime,
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: WireTime,
}

/// The status of a charge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = ChargeStatus)]
pub enum ChargeStatusView {
    Created,
    Failed,
    Completed,
}

/// The reason why a charge is Failed: a stable code, and a sentence for people. A suspicion against
/// a card is not shown; it is reported as `generic_decline`.
#[derive(Debug, Clone, Copy, Serialize, utoipa::ToSchema)]
#[schema(as = ChargeFailure)]
pub struct FailureView<'a> {
    pub code: &'a str,
    pub message: &'a str,
}

impl From<ChargeStatus> for ChargeStatusView {
    fn from(status: ChargeStatus) -> Self {
        match status {
            ChargeStatus::Created => Self::Created,
            ChargeStatus::Failed => Self::Failed,
            ChargeStatus::Completed => Self::Completed,
        }
    }
}

impl<'a> FailureView<'a> {
    /// The failure of a declined card, without a reason.
    const GENERIC: FailureView<'static> =
        FailureView { code: DeclineCode::GENERIC, message: "The card was declined." };

    /// Returns the failure in the form for the buyer. The store keeps the processor's own code.
    ///
    /// A suspicion against a card and a decline without a reason get the same code and message, so
    /// that they cannot be distinguished.
    pub fn of(failure: &'a ChargeFailure) -> Self {
        match &failure.code {
            FailureCode::Declined(code) if code.is_suspicion() || code.is_generic() => {
                Self::GENERIC
            }
            code => Self { code: code.as_str(), message: &failure.message },
        }
    }
}

impl<'a> ChargeView<'a> {
    pub fn of(charge: &'a Charge) -> Self {
        Self {
            id: charge.id,
            order_id: charge.order,
            status: charge.status().into(),
            amount: Price(charge.amount),
            currency: charge.currency.into(),
            stripe_id: charge.payment().map(|id| id.as_str()),
            stripe_refund_id: charge.refund().map(|id| id.as_str()),
            failure: charge.failure().map(FailureView::of),
            created_at: WireTime(charge.created_at),
            updated_at: WireTime(charge.updated_at),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{json, to_value};

    use super::*;
    use crate::{
        domain::{ChargeFailure, ChargeState, PaymentId, RefundId},
        wire::samples,
    };

    fn charge() -> Charge {
        Charge {
            id: ChargeId::new(samples::uuid(5)),
            order: samples::order_id(),
            state: ChargeState::AwaitingAction { payment: PaymentId::new("pi_1") },
            amount: samples::money(1990),
            created_at: samples::NOW,
            updated_at: samples::NOW,
            ..crate::domain::samples::charge()
        }
    }

    #[test]
    fn waiting_charge_shows_neither_step_nor_token() {
        let charge = charge();
        assert_eq!(
            to_value(ChargeView::of(&charge)).expect("JSON"),
            json!({
                "id": "01990000-0000-7000-8000-000000000005", "orderId": "01990000-0000-7000-8000-000000000003", "status": "Created",
                "amount": 19.9, "currency": "usd", "stripeId": "pi_1", "stripeRefundId": null, "failure": null,
                "createdAt": "2026-09-01T12:34:56.789Z", "updatedAt": "2026-09-01T12:34:56.789Z",
            })
        );
    }

    #[test]
    fn refunded_charge_shows_its_failure_and_refund() {
        let charge = Charge {
            state: ChargeState::Failed {
                payment: Some(PaymentId::new("pi_1")),
                failure: ChargeFailure::new("lock_lost", "Too late."),
                refund: Some(RefundId::new("re_1")),
            },
            ..charge()
        };
        let value = to_value(ChargeView::of(&charge)).expect("JSON");
        assert_eq!(
            (&value["status"], &value["stripeRefundId"], &value["failure"]),
            (
                &json!("Failed"),
                &json!("re_1"),
                &json!({"code": "lock_lost", "message": "Too late."})
            )
        );
    }

    #[test]
    fn suspected_card_is_shown_as_a_generic_decline() {
        let shown = |code: &str| {
            let failure = ChargeFailure::new(code, "Your card was reported stolen.");
            let state = crate::domain::samples::failed(failure);
            to_value(ChargeView::of(&Charge { state, ..charge() })).expect("JSON")
        };
        for code in [
            "stolen_card",
            "lost_card",
            "fraudulent",
            "pickup_card",
            "restricted_card",
            "merchant_blacklist",
        ] {
            assert_eq!(shown(code), shown("generic_decline"), "{code}");
            assert_eq!(
                shown(code)["failure"],
                json!({"code": "generic_decline", "message": "The card was declined."})
            );
        }
        assert_eq!(shown("insufficient_funds")["failure"]["code"], "insufficient_funds");
    }

    #[test]
    fn charge_schema_requires_the_serialized_members() {
        let charge = charge();
        let schema = samples::checked_schema(&ChargeView::of(&charge));
        assert_eq!(schema["properties"]["stripeId"]["type"], json!(["string", "null"]));
    }
}
