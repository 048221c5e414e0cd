//! An order: one buyer's attempt to get one ticket.

use serde::{Deserialize, Serialize};

use super::{
    ChargeId, Currency, Money, OrderId, Refusal, Ticket, TicketDetails, TicketId, Timestamp,
    UserId, Version,
};

/// The status of an order, spelled as in the public API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum OrderStatus {
    /// The lock is held, and no payment was submitted, or the token of the first payment was
    /// refused.
    Created,
    /// Payment was submitted at least once.
    AwaitingPayment,
    /// Paid. The ticket belongs to the buyer.
    Completed,
    /// Expired, or cancelled by the buyer.
    Cancelled,
}

/// The reason why an order is Cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum CancelReason {
    Expired,
    Buyer,
}

/// The ticket as it was when it was locked. The order keeps this copy after the ticket is deleted.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TicketSnapshot {
    pub id: TicketId,
    #[serde(flatten)]
    pub details: TicketDetails,
    pub version: Version,
}

impl From<&Ticket> for TicketSnapshot {
    fn from(ticket: &Ticket) -> Self {
        Self { id: ticket.id, details: ticket.details.clone(), version: ticket.version }
    }
}

/// The state of an order. Its public status follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "StoredOrder", into = "StoredOrder")]
pub enum OrderState {
    /// The lock is held, and no payment was submitted, or the token of the first payment was
    /// refused.
    Created,
    /// Payment was submitted at least once.
    AwaitingPayment,
    /// The lock is claimed for this charge, which is being captured. The lock may last until
    /// `unlocks_at` plus the settle grace.
    Capturing { charge: ChargeId },
    /// Paid. The ticket belongs to the buyer.
    Completed,
    /// The buyer did not get the ticket.
    Cancelled { reason: CancelReason },
}

impl OrderState {
    /// Returns the status that clients see. A claim is not visible.
    pub fn status(self) -> OrderStatus {
        match self {
            Self::Created => OrderStatus::Created,
            Self::AwaitingPayment | Self::Capturing { .. } => OrderStatus::AwaitingPayment,
            Self::Completed => OrderStatus::Completed,
            Self::Cancelled { .. } => OrderStatus::Cancelled,
        }
    }
}

/// The state as it is stored: three members of the order's document.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct StoredOrder {
    status: OrderStatus,
    cancel_reason: Option<CancelReason>,
    settling: Option<ChargeId>,
}

impl From<OrderState> for StoredOrder {
    fn from(state: OrderState) -> Self {
        let (cancel_reason, settling) = match state {
            OrderState::Capturing { charge } => (None, Some(charge)),
            OrderState::Cancelled { reason } => (Some(reason), None),
            OrderState::Created | OrderState::AwaitingPayment | OrderState::Completed => {
                (None, None)
            }
        };
        Self { status: state.status(), cancel_reason, settling }
    }
}

/// The members of a stored order contradict each other. No version of this program wrote them.
#[derive(Debug, thiserror::Error)]
#[error(
    "an order with status {status:?} cannot have cancelReason {cancel_reason:?}, settling {settling:?}"
)]
struct ContradictoryOrder {
    status: OrderStatus,
    cancel_reason: Option<CancelReason>,
    settling: Option<ChargeId>,
}

impl TryFrom<StoredOrder> for OrderState {
    type Error = ContradictoryOrder;

    fn try_from(stored: StoredOrder) -> Result<Self, ContradictoryOrder> {
        let StoredOrder { status, cancel_reason, settling } = stored;
        match (status, cancel_reason, settling) {
            (OrderStatus::Created, None, None) => Ok(Self::Created),
            (OrderStatus::AwaitingPayment, None, None) => Ok(Self::AwaitingPayment),
            (OrderStatus::AwaitingPayment, None, Some(charge)) => Ok(Self::Capturing { charge }),
            (OrderStatus::Completed, None, None) => Ok(Self::Completed),
            (OrderStatus::Cancelled, Some(reason), None) => Ok(Self::Cancelled { reason }),
            _ => Err(ContradictoryOrder { status, cancel_reason, settling }),
        }
    }
}

/// One buyer's attempt to get one ticket.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Order {
    #[serde(rename = "_id")]
    pub id: OrderId,
    pub buyer: UserId,
    #[serde(flatten)]
    pub state: OrderState,
    pub ticket: TicketSnapshot,
    /// The ticket's price when it was locked. This amount is charged.
    pub price: Money,
    pub currency: Currency,
    pub expires_at: Timestamp,
    pub unlocks_at: Timestamp,
    /// Number of this order's payments that the processor declined. A value of 0 is not stored, as
    /// in documents of earlier versions.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub declines: u32,
    pub version: Version,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

impl Order {
    /// Returns the status that clients see.
    pub fn status(&self) -> OrderStatus {
        self.state.status()
    }

    /// Whether the order is Created or AwaitingPayment, so that the buyer may still get the ticket.
    pub fn is_active(&self) -> bool {
        matches!(self.status(), OrderStatus::Created | OrderStatus::AwaitingPayment)
    }

    /// Whether the lock is claimed for a charge that is being captured.
    pub fn is_capturing(&self) -> bool {
        matches!(self.state, OrderState::Capturing { .. })
    }

    /// Returns a copy with the next version.
    pub(super) fn next(&self, now: Timestamp) -> Self {
        Self { version: self.version + 1, updated_at: now.max(self.updated_at), ..self.clone() }
    }

    /// Returns the next version, in another state.
    pub(super) fn changed_to(&self, state: OrderState, now: Timestamp) -> Self {
        Self { state, ..self.next(now) }
    }

    /// Checks that the order is active: it was not paid, cancelled or expired.
    ///
    /// # Errors
    /// The refusal of a payment of this order.
    pub fn check_active(&self) -> Result<(), Refusal> {
        match self.state {
            OrderState::Completed => Err(Refusal::OrderCompleted),
            OrderState::Cancelled { reason: CancelReason::Buyer } => Err(Refusal::OrderNotPayable),
            OrderState::Cancelled { reason: CancelReason::Expired } => Err(Refusal::OrderExpired),
            OrderState::Created | OrderState::AwaitingPayment | OrderState::Capturing { .. } => {
                Ok(())
            }
        }
    }

    /// Checks that a payment of the order may be submitted at `now`.
    ///
    /// # Errors
    /// The refusal of the payment.
    pub fn check_payable(&self, now: Timestamp) -> Result<(), Refusal> {
        self.check_active()?;
        match self.state {
            // This also applies after `unlocks_at`: an order whose capture has no answer has not
            // expired.
            OrderState::Capturing { .. } => Err(Refusal::PaymentInFlight),
            OrderState::Created if now >= self.expires_at => Err(Refusal::OrderExpired),
            _ if now >= self.unlocks_at => Err(Refusal::OrderExpired),
            _ => Ok(()),
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(count: &u32) -> bool {
    *count == 0
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use uuid::Uuid;

    use super::*;

    /// A stored order. Golden document: do not change it.
    fn stored(status: &str, cancel_reason: Value, settling: Value) -> Value {
        json!({
            "_id": "01990000-0000-7000-8000-000000000003", "buyer": "01990000-0000-7000-8000-000000000009",
            "status": status, "cancelReason": cancel_reason, "settling": settling,
            "ticket": { "id": "01990000-0000-7000-8000-000000000001", "title": "Front row", "price": 1999, "version": 1 },
            "price": 1999, "currency": "usd", "expiresAt": 3, "unlocksAt": 4, "version": 1, "createdAt": 1, "updatedAt": 2,
        })
    }

    #[test]
    fn stored_order_of_each_state_is_read_and_written_unchanged() {
        let charge = ChargeId::new(Uuid::from_u128(5));
        let id = json!("00000000-0000-0000-0000-000000000005");
        let cancelled = |reason| OrderState::Cancelled { reason };
        for (stored, state) in [
            (stored("Created", Value::Null, Value::Null), OrderState::Created),
            (stored("AwaitingPayment", Value::Null, Value::Null), OrderState::AwaitingPayment),
            (stored("AwaitingPayment", Value::Null, id), OrderState::Capturing { charge }),
            (stored("Completed", Value::Null, Value::Null), OrderState::Completed),
            (stored("Cancelled", json!("expired"), Value::Null), cancelled(CancelReason::Expired)),
            (stored("Cancelled", json!("buyer"), Value::Null), cancelled(CancelReason::Buyer)),
        ] {
            let order: Order = serde_json::from_value(stored.clone()).expect("a stored order");
            assert_eq!(order.state, state);
            assert_eq!(serde_json::to_value(&order).expect("JSON"), stored);
        }
    }

    #[test]
    fn contradictory_order_is_not_read() {
        let id = || json!("00000000-0000-0000-0000-000000000005");
        for stored in [
            stored("Created", Value::Null, id()),
            stored("Completed", Value::Null, id()),
            stored("Cancelled", Value::Null, Value::Null),
            stored("AwaitingPayment", json!("buyer"), Value::Null),
        ] {
            assert!(serde_json::from_value::<Order>(stored.clone()).is_err(), "{stored}");
        }
    }
}
