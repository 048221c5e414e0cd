//! The tickets that were not deleted, in memory, on every replica. Lists are answered from the
//! catalog.
//!
//! The catalog gets new states from the feed, from this replica's own commits before they are
//! answered, and from the reads of ticket actors. The version decides which state is newer, so they
//! may arrive in any order. A grant may be decided over the catalog's copy, since each commit is
//! conditional on the ticket's version. Orders for locked, sold and own tickets are refused by the
//! catalog alone while the feed is live and the lock's time is not over, and listings beyond the
//! quota always.
//!
//! The tickets are in many shards with a lock each. A lookup therefore rarely waits, and then only
//! for the exchange of a pointer or for the growth of one shard. The indexes of lists have their
//! own lock, which a list holds for a bounded time. Code that takes both locks takes the indexes
//! first.

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
use indexes::{ClassName, IndexKey, Indexes};
use select::SearchBounds;

/// A handle on the catalog. All clones refer to the same catalog.
#[derive(Clone)]
pub struct Catalog(Arc<CatalogInner>);

struct CatalogInner {
    shards: Box<[RwLock<HashSet<ById>>]>,
    indexes: RwLock<Indexes>,
    generation: AtomicU64,
    len: AtomicUsize,
    loaded: watch::Sender<bool>,
}

/// Number of shards: far more than threads, so that two threads rarely use the same shard at once.
const SHARDS: usize = 64;

/// A ticket that is hashed and compared by its id. The id is stored once, in the ticket.
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

/// The result of an attempt to replace a ticket without a change of the indexes.
#[derive(PartialEq, Eq)]
enum Exchange {
    Done,
    /// The catalog has this version or a newer one.
    Stale,
    /// The ticket is new, or its index entries must change.
    NeedsIndexing,
}

/// The conditions, the order and the position of one page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// The permitted statuses; an empty list matches no ticket.
    pub statuses: Vec<TicketStatus>,
    /// Each word must be the beginning of one of the title's first [`INDEXED_WORDS_MAX`] words, as
    /// [`words`] splits and folds them. `Some` of an empty list matches no ticket.
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
    /// Most expensive first, then newest.
    PriceDescending,
}

/// The price and the id of the last ticket of a full page, or of the last examined ticket if the
/// steps were used up. The position stays valid when that ticket changes or is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    pub price: Money,
    pub id: TicketId,
}

/// The tickets of a page, and the position of the next page if there may be more. A page with a
/// `next` may be short or empty.
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
        f.debug_struct("Catalog")
            .field("len", &self.len())
            .field("generation", &self.generation())
            .finish_non_exhaustive()
    }
}

impl Catalog {
    /// Stores a state unless the catalog has this version or a newer one. Returns whether the
    /// catalog changed.
    pub fn merge(&self, ticket: &Ticket) -> bool {
        if ticket.is_deleted() {
            return self.remove(ticket.id, ticket.version);
        }
        match self.exchange_in_place(ticket) {
            Exchange::Done => true,
            Exchange::Stale => false,
            Exchange::NeedsIndexing => self.exchange_and_index(ticket),
        }
    }

    /// Records that a ticket was deleted with the change to `version`. Returns whether this was not
    /// known already.
    pub fn remove(&self, id: TicketId, version: Version) -> bool {
        let mut indexes = self.0.indexes.write();
        if indexes.tombstones.covers(id, version) {
            return false;
        }
        let mut shard = self.shard(id).write();
        if shard.get(&id).is_some_and(|known| known.0.version > version) {
            return false;
        }
        let known = shard.take(&id);
        drop(shard);
        indexes.tombstones.insert(id, version);
        if let Some(key) = known.as_ref().and_then(|known| IndexKey::of(&known.0)) {
            indexes.remove(&key);
            self.0.len.fetch_sub(1, Ordering::Relaxed);
        }
        self.changed();
        true
    }

    /// Returns the newest known state; `None` for a deleted ticket.
    pub fn get(&self, id: TicketId) -> Option<Arc<Ticket>> {
        self.shard(id).read().get(&id).map(|known| known.0.clone())
    }

    /// Returns the ids of the tickets whose lock was granted by `replica`, sorted. Reads every
    /// ticket.
    pub fn locked_by(&self, replica: &ReplicaName) -> Vec<TicketId> {
        let held = |ticket: &Ticket| ticket.lock().is_some_and(|lock| lock.replica == *replica);
        let of_shard = |shard: &RwLock<HashSet<ById>>| -> Vec<TicketId> {
            shard.read().iter().filter(|known| held(&known.0)).map(|known| known.0.id).collect()
        };
        let mut ids: Vec<TicketId> = self.0.shards.iter().flat_map(of_shard).collect();
        ids.sort_unstable();
        ids
    }

    /// Returns the newest known state if `condition` holds for it.
    fn get_if(&self, id: TicketId, condition: impl FnOnce(&Ticket) -> bool) -> Option<Arc<Ticket>> {
        self.shard(id)
            .read()
            .get(&id)
            .filter(|known| condition(&known.0))
            .map(|known| known.0.clone())
    }

    /// Returns one page of the tickets that match, in order.
    ///
    /// Examines a bounded number of tickets. A matching ticket whose position in the order does not
    /// change while the pages are read is on exactly one of them.
    pub fn list(&self, query: &Query) -> TicketPage {
        select::list(self, query, SearchBounds::DEFAULT)
    }

    /// Returns a number that grows after every change. Cache an answer under the number that was
    /// read before the answer was made.
    pub fn generation(&self) -> u64 {
        self.0.generation.load(Ordering::Acquire)
    }

    /// Returns the number of this seller's tickets on sale, locked ones included, together with
    /// those of `listing` that the catalog has not received yet. The time does not depend on the
    /// number on sale.
    pub fn on_sale_of(&self, seller: UserId, listing: &[TicketId]) -> usize {
        // The catalog receives tickets under the lock of the indexes, so that each ticket is
        // counted once.
        let indexes = self.indexes();
        let is_missing =
            |id: &&TicketId| self.get(**id).is_none() && !indexes.tombstones.covers(**id, 0);
        let missing = listing.iter().filter(is_missing).count();
        indexes.class(ClassName::OnSale).seller(seller).map_or(0, |tickets| tickets.len()) + missing
    }

    /// Returns the number of tickets, without deleted ones.
    pub fn len(&self) -> usize {
        self.0.len.load(Ordering::Relaxed)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns whether all tickets of the store were loaded once.
    pub fn is_loaded(&self) -> bool {
        *self.0.loaded.borrow()
    }

    /// Waits until all tickets of the store were loaded once.
    pub async fn loaded(&self) {
        let mut loaded = self.0.loaded.subscribe();
        // The wait cannot fail: the catalog owns the sender.
        let _ = loaded.wait_for(|loaded| *loaded).await;
    }

    /// Returns the known ids greater than `after`, up to and including `upto`.
    fn ids_between(&self, after: Option<TicketId>, upto: Option<TicketId>) -> Vec<TicketId> {
        let indexes = self.indexes();
        let rows = &indexes.rows;
        let of_class = |class| {
            let ids = indexes.class(class).oldest(rows, after).map(|slot| rows.id(slot));
            ids.take_while(|id| upto.is_none_or(|upto| *id <= upto))
        };
        of_class(ClassName::OnSale).chain(of_class(ClassName::Sold)).collect()
    }

    /// Replaces a ticket if the indexes need no change. This is the common case: a lock was granted
    /// or released.
    fn exchange_in_place(&self, ticket: &Ticket) -> Exchange {
        let shard = self.shard(ticket.id);
        let compare = |known: Option<&ById>| match known {
            Some(known) if known.0.version >= ticket.version => Exchange::Stale,
            Some(known) if IndexKey::of(&known.0) == IndexKey::of(ticket) => Exchange::Done,
            _ => Exchange::NeedsIndexing,
        };
        // This replica's own commits come again by the feed, and are stale then. For those, a read
        // lock is enough.
        let outcome = compare(shard.read().get(&ticket.id));
        if outcome != Exchange::Done {
            return outcome;
        }
        let fresh = ById(Arc::new(ticket.clone()));
        let mut shard = shard.write();
        let outcome = compare(shard.get(&ticket.id));
        if outcome == Exchange::Done {
            shard.replace(fresh);
            drop(shard);
            self.changed();
        }
        outcome
    }

    fn exchange_and_index(&self, ticket: &Ticket) -> bool {
        let Some(key) = IndexKey::of(ticket) else { return false };
        let words = key.words();
        let fresh = ById(Arc::new(ticket.clone()));
        let mut indexes = self.0.indexes.write();
        if indexes.tombstones.covers(ticket.id, ticket.version) {
            return false;
        }
        let mut shard = self.shard(ticket.id).write();
        if shard.get(&ticket.id).is_some_and(|known| known.0.version >= ticket.version) {
            return false;
        }
        let known = shard.replace(fresh);
        drop(shard);
        match known.as_ref().and_then(|known| IndexKey::of(&known.0)) {
            Some(known) => indexes.remove(&known),
            None => {
                self.0.len.fetch_add(1, Ordering::Relaxed);
            }
        }
        indexes.insert(&key, &words);
        self.changed();
        true
    }

    fn indexes(&self) -> RwLockReadGuard<'_, Indexes> {
        self.0.indexes.read()
    }

    /// Returns the shard of a ticket. The last bits of a UUIDv7 are random, so the shards have
    /// similar sizes.
    fn shard(&self, id: TicketId) -> &RwLock<HashSet<ById>> {
        &self.0.shards[usize::from(id.uuid().as_bytes()[15]) % SHARDS]
    }

    fn changed(&self) {
        self.0.generation.fetch_add(1, Ordering::Release);
    }
}
