//! The tickets on sale, in memory, on every replica: what lists are answered from and locked tickets are refused by.
//!
//! Fed by the feed, and by this replica's own commits before they are answered; by version, so that either may come
//! first. Never the authority: a decision is made over the store's state.
//!
//! A ticket stands in one of many shards, so that looking one up waits for at most one other ticket's pointer to be
//! exchanged; the orders and words that lists are found by have a lock of their own, which a list holds for a bounded time.
//! Code that takes both takes the indexes first.

mod candidates;
mod follow;
mod indexes;
mod postings;
mod rows;
mod select;
mod sorted;
#[cfg(test)]
mod tests;
mod words;

use std::{
    borrow::Borrow,
    collections::HashSet,
    fmt,
    hash::{Hash, Hasher},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use parking_lot::{RwLock, RwLockReadGuard};
use tokio::sync::watch;

pub use follow::follow;
pub use words::{INDEXED_WORDS_MAX, words};

use crate::domain::{Money, ReplicaName, Ticket, TicketId, TicketStatus, UserId, Version};
use indexes::{ClassName, Indexes, same_place};
use select::SearchBounds;
use words::TitleWords;

/// All tickets that were not deleted. Clones share one catalog.
#[derive(Clone)]
pub struct Catalog(Arc<CatalogInner>);

struct CatalogInner {
    shards: Box<[RwLock<HashSet<ById>>]>,
    indexes: RwLock<Indexes>,
    generation: AtomicU64,
    len: AtomicUsize,
    loaded: watch::Sender<bool>,
}

/// More than threads by far, so that two rarely meet in one.
const SHARDS: usize = 64;

/// A ticket that is found by its id: the id is kept once, in the ticket.
struct ById(Arc<Ticket>);

impl Borrow<TicketId> for ById {
    fn borrow(&self) -> &TicketId {
        &self.0.id
    }
}

impl Hash for ById {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.id.hash(state);
    }
}

impl PartialEq for ById {
    fn eq(&self, other: &Self) -> bool {
        self.0.id == other.0.id
    }
}

impl Eq for ById {}

/// What came of an attempt to exchange a ticket where it stands.
#[derive(PartialEq, Eq)]
enum Exchange {
    Done,
    /// It is known in this version or a newer one.
    Stale,
    /// It is not known yet, or has to move in the indexes.
    Moves,
}

/// One page's worth of questions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// None of them: nothing is found.
    pub statuses: Vec<TicketStatus>,
    /// Each must be the beginning of one of the title's first [`INDEXED_WORDS_MAX`] words, as [`words`] splits and folds
    /// them. Some, but no word: nothing is found.
    pub words: Option<Vec<String>>,
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

/// The last ticket that was examined for a page. It holds its place also when that ticket has changed or gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    pub price: Money,
    pub id: TicketId,
}

/// What was found, and where to go on if there may be more: a page may be short, or empty, and still have a `next`.
#[derive(Debug, Clone, Default)]
pub struct TicketPage {
    pub tickets: Vec<Arc<Ticket>>,
    pub next: Option<Position>,
}

impl Default for Catalog {
    fn default() -> Self {
        Self(Arc::new(CatalogInner {
            shards: (0..SHARDS).map(|_| RwLock::default()).collect(),
            indexes: RwLock::default(),
            generation: AtomicU64::new(0),
            len: AtomicUsize::new(0),
            loaded: watch::Sender::new(false),
        }))
    }
}

impl fmt::Debug for Catalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Catalog").field("len", &self.len()).field("generation", &self.generation()).finish_non_exhaustive()
    }
}

impl Catalog {
    /// Takes over a state unless a newer one is known. `true` if it was news.
    pub fn merge(&self, ticket: &Ticket) -> bool {
        if ticket.is_deleted() {
            return self.remove(ticket.id, ticket.version);
        }
        match self.exchange_in_place(ticket) {
            Exchange::Done => true,
            Exchange::Stale => false,
            Exchange::Moves => self.exchange_and_index(ticket),
        }
    }

    /// Takes note that a ticket was deleted by the change that made it `version`. `true` if it was news.
    pub fn remove(&self, id: TicketId, version: Version) -> bool {
        let mut indexes = self.0.indexes.write();
        if indexes.tombstones.cover(id, version) {
            return false;
        }
        let mut shard = self.shard(id).write();
        if shard.get(&id).is_some_and(|known| known.0.version > version) {
            return false;
        }
        let known = shard.take(&id);
        drop(shard);
        indexes.tombstones.insert(id, version);
        if let Some(known) = known {
            indexes.remove(&known.0);
            self.0.len.fetch_sub(1, Ordering::Relaxed);
        }
        self.changed();
        true
    }

    /// The newest known state; a deleted ticket is not found.
    pub fn get(&self, id: TicketId) -> Option<Arc<Ticket>> {
        self.shard(id).read().get(&id).map(|known| known.0.clone())
    }

    /// The tickets whose lock was granted by `replica`, by id. Looks at every ticket.
    pub fn locked_by(&self, replica: &ReplicaName) -> Vec<TicketId> {
        let held = |ticket: &Ticket| ticket.lock().is_some_and(|lock| lock.replica == *replica);
        let of_shard = |shard: &RwLock<HashSet<ById>>| -> Vec<TicketId> {
            shard.read().iter().filter(|known| held(&known.0)).map(|known| known.0.id).collect()
        };
        let mut ids: Vec<TicketId> = self.0.shards.iter().flat_map(of_shard).collect();
        ids.sort_unstable();
        ids
    }

    /// The newest known state, if `condition` holds for it.
    fn get_if(&self, id: TicketId, condition: impl FnOnce(&Ticket) -> bool) -> Option<Arc<Ticket>> {
        self.shard(id).read().get(&id).filter(|known| condition(&known.0)).map(|known| known.0.clone())
    }

    /// The tickets that match, in order.
    ///
    /// Examines a bounded number of tickets. A ticket whose place in the order does not change while the pages are
    /// read is on one of them.
    pub fn list(&self, query: &Query) -> TicketPage {
        select::list(self, query, SearchBounds::DEFAULT)
    }

    /// Grows with every change: the same number before and after a list means that nothing changed in between. Keep an
    /// answer under the number that was read before it.
    pub fn generation(&self) -> u64 {
        self.0.generation.load(Ordering::Acquire)
    }

    /// How many tickets of this seller are on sale, locked ones included. Takes the same time for any number.
    pub fn on_sale_of(&self, seller: UserId) -> usize {
        self.indexes().class(ClassName::OnSale).seller(seller).map_or(0, |tickets| tickets.len())
    }

    /// How many tickets are known; deleted ones do not count.
    pub fn len(&self) -> usize {
        self.0.len.load(Ordering::Relaxed)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether all tickets of the store were loaded once.
    pub fn is_loaded(&self) -> bool {
        *self.0.loaded.borrow()
    }

    /// Waits until all tickets of the store were loaded once.
    pub async fn loaded(&self) {
        let mut loaded = self.0.loaded.subscribe();
        // The sender lives as long as the catalog does.
        let _ = loaded.wait_for(|loaded| *loaded).await;
    }

    /// The ids that are known beyond `after`, up to `upto`.
    fn ids_between(&self, after: Option<TicketId>, upto: Option<TicketId>) -> Vec<TicketId> {
        let indexes = self.indexes();
        let rows = &indexes.rows;
        let of_class = |class| {
            let ids = indexes.class(class).oldest(rows, after).map(|slot| rows.id(slot));
            ids.take_while(|id| upto.is_none_or(|upto| *id <= upto))
        };
        of_class(ClassName::OnSale).chain(of_class(ClassName::Sold)).collect()
    }

    /// The common case: a lock came or went, and no index has to move.
    fn exchange_in_place(&self, ticket: &Ticket) -> Exchange {
        let shard = self.shard(ticket.id);
        let look = |known: Option<&ById>| match known {
            Some(known) if known.0.version >= ticket.version => Exchange::Stale,
            Some(known) if same_place(&known.0, ticket) => Exchange::Done,
            _ => Exchange::Moves,
        };
        // The feed's copy of what this replica committed itself is stale: that costs others nothing.
        let outcome = look(shard.read().get(&ticket.id));
        if outcome != Exchange::Done {
            return outcome;
        }
        let fresh = ById(Arc::new(ticket.clone()));
        let mut shard = shard.write();
        let outcome = look(shard.get(&ticket.id));
        if outcome == Exchange::Done {
            shard.replace(fresh);
            drop(shard);
            self.changed();
        }
        outcome
    }

    fn exchange_and_index(&self, ticket: &Ticket) -> bool {
        let fresh = ById(Arc::new(ticket.clone()));
        let words = TitleWords::of(ticket.title.as_str());
        let mut indexes = self.0.indexes.write();
        if indexes.tombstones.cover(ticket.id, ticket.version) {
            return false;
        }
        let mut shard = self.shard(ticket.id).write();
        if shard.get(&ticket.id).is_some_and(|known| known.0.version >= ticket.version) {
            return false;
        }
        let known = shard.replace(fresh);
        drop(shard);
        match known {
            Some(known) => indexes.remove(&known.0),
            None => {
                self.0.len.fetch_add(1, Ordering::Relaxed);
            }
        }
        indexes.insert(ticket, &words);
        self.changed();
        true
    }

    fn indexes(&self) -> RwLockReadGuard<'_, Indexes> {
        self.0.indexes.read()
    }

    /// The last bits of a UUIDv7 are random, and so are the shards.
    fn shard(&self, id: TicketId) -> &RwLock<HashSet<ById>> {
        &self.0.shards[usize::from(id.uuid().as_bytes()[15]) % SHARDS]
    }

    fn changed(&self) {
        self.0.generation.fetch_add(1, Ordering::Release);
    }
}
