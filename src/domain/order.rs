//! An order: one buyer's attempt to get one ticket.

use serde::{Deserialize, Serialize};

use super::{ChargeId, Currency, Money, OrderId, Ticket, TicketId, Timestamp, Title, UserId, Version};

/// As spelled in the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum OrderStatus {
    /// The lock is held; no payment was submitted yet.
    Created,
    /// Payment was submitted at least once.
    AwaitingPayment,
    /// Paid; the ticket is the buyer's.
    Completed,
    /// Lapsed, or given up by the buyer.
    Cancelled,
}

/// Why an order is Cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum CancelReason {
    Expired,
    Buyer,
}

/// The ticket as it was when it was locked; an order keeps it even after the ticket was taken off sale.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TicketSnapshot {
    pub id: TicketId,
    pub title: Title,
    pub price: Money,
    pub version: Version,
}

impl From<&Ticket> for TicketSnapshot {
    fn from(ticket: &Ticket) -> Self {
        Self { id: ticket.id, title: ticket.title.clone(), price: ticket.price, version: ticket.version }
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
    /// The ticket's price when it was locked: what is charged.
    pub price: Money,
    pub currency: Currency,
    pub expires_at: Timestamp,
    pub unlocks_at: Timestamp,
    /// The charge whose capture is on its way: the lock was claimed for it, so that it outlives `unlocks_at` by the grace.
    pub settling: Option<ChargeId>,
    /// How many of its payments the processor declined. Left out of the stored document at 0, as in those of earlier versions.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub declines: u32,
    pub version: Version,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

impl Order {
    /// Created or AwaitingPayment: the buyer may still get the ticket.
    pub fn is_active(&self) -> bool {
        matches!(self.status, OrderStatus::Created | OrderStatus::AwaitingPayment)
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(count: &u32) -> bool {
    *count == 0
}
