//! The tickets on sale, in memory, on every replica: what lists are answered from and locked tickets are refused by.
//!
//! Fed by the feed, and by this replica's own commits before they are answered; by version, so that either may come
//! first. Never the authority: a decision is made over the store's state.

use std::sync::Arc;

use crate::domain::{Money, Ticket, TicketId, TicketStatus, UserId};

/// All tickets that were not deleted. Clones share one catalog.
#[derive(Debug, Clone, Default)]
pub struct Catalog {}

/// One page's worth of questions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// None of them: nothing is found.
    pub statuses: Vec<TicketStatus>,
    /// Each must equal a whole word of the title, as [`words`] splits and folds them.
    pub words: Vec<String>,
    pub seller: Option<UserId>,
    pub min_price: Option<Money>,
    pub max_price: Option<Money>,
    pub sort: Sort,
    pub after: Option<Position>,
    pub limit: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sort {
    /// By id, descending.
    #[default]
    Newest,
    /// Cheapest first, then newest.
    Price,
    /// Dearest first, then newest.
    PriceDescending,
}

/// The last ticket of a page. It holds its place also when that ticket has changed or gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    pub price: Money,
    pub id: TicketId,
}

/// What was found, and where to go on if there is more.
#[derive(Debug, Clone)]
pub struct Page {
    pub tickets: Vec<Arc<Ticket>>,
    pub next: Option<Position>,
}

impl Catalog {
    /// Takes over a state unless a newer one is known. `true` if it was news.
    pub fn merge(&self, _ticket: &Ticket) -> bool {
        unimplemented!()
    }

    /// The newest known state; a deleted ticket is not found.
    pub fn get(&self, _id: TicketId) -> Option<Arc<Ticket>> {
        unimplemented!()
    }

    /// The tickets that match, in order.
    pub fn list(&self, _query: &Query) -> Page {
        unimplemented!()
    }

    /// Grows with every change: the same number means the same answers.
    pub fn generation(&self) -> u64 {
        unimplemented!()
    }
}

/// Splits a text into words, folded so that case does not matter.
pub fn words(_text: &str) -> Vec<String> {
    unimplemented!()
}
