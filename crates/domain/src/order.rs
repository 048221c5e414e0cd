//! An order: one buyer's attempt to get one ticket.

use serde::{Deserialize, Serialize};

use super::{
    ChargeId, Currency, Money, OrderId, Ticket, TicketId, Timestamp, Title, UserId, Version,
};

/// The status of an order, spelled as in the public API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum OrderStatus {
    /// The lock is held, and no payment was submitted.
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
    pub title: Title,
    pub price: Money,
    pub version: Version,
}

impl From<&Ticket> for TicketSnapshot {
    fn from(ticket: &Ticket) -> Self {
        Self {
            id: ticket.id,
            title: ticket.title.clone(),
            price: ticket.price,
            version: ticket.version,
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
    pub status: OrderStatus,
    pub cancel_reason: Option<CancelReason>,
    pub ticket: TicketSnapshot,
    /// The ticket's price when it was locked. This amount is charged.
    pub price: Money,
    pub currency: Currency,
    pub expires_at: Timestamp,
    pub unlocks_at: Timestamp,
    /// The charge that is being captured. The lock is claimed for this charge and may last until
    /// `unlocks_at` plus the settle grace.
    pub settling: Option<ChargeId>,
    /// Number of this order's payments that the processor declined. A value of 0 is not stored, as
    /// in documents of earlier versions.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub declines: u32,
    pub version: Version,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

impl Order {
    /// Whether the order is Created or AwaitingPayment, so that the buyer may still get the ticket.
    pub fn is_active(&self) -> bool {
        matches!(self.status, OrderStatus::Created | OrderStatus::AwaitingPayment)
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(count: &u32) -> bool {
    *count == 0
}
