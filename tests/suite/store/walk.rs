//! A random sequence of commands on several tickets by several buyers, decided by the domain. After
//! it every invariant holds for the stored documents, and the feed has the stored events.

use std::{collections::BTreeMap, sync::Arc};

use gittix::{
    domain::{
        ChargeFailure, ChargeState, ChargeStatus, Decision, Millis, Money, PaymentId, Policy,
        ProcessorName, RefundId, Sale, TicketCommand, TicketDetails, TicketId, Timestamp,
        TokenDigest, Version, VersionCondition, decide,
        decide::{charge_reversed, list_ticket},
        invariants::{self, LedgerEntry},
        samples as domain_samples,
    },
    store::{Commit, CommitError, Inspect},
};
use uuid::Uuid;

use super::samples::*;

const STEPS: usize = 600;
const TICKETS: u64 = 6;
const BUYERS: u64 = 4;
const SEEDS: [u64; 2] = [1, 0x9E37_79B9];

/// The random number generator SplitMix64 (Steele, Lea and Flood, 2014). Its results are the same
/// on every machine.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % sides
    }
}

struct Walk {
    store: Arc<dyn Inspect>,
    dice: Dice,
    policy: Policy,
    now: Timestamp,
    next_id: u128,
    /// Captured amounts at the processor.
    ledger: Vec<LedgerEntry>,
    acknowledged: BTreeMap<Uuid, Version>,
    /// A decision that was not committed, with the sale that it was decided on.
    stale: Option<(Sale, Decision)>,
    refused_stale: usize,
}

impl Walk {
    fn new(store: Arc<dyn Inspect>, seed: u64) -> Self {
        let policy = Policy { locks_max: 2, relock_wait: Millis(5_000), ..Policy::default() };
        Self {
            store,
            dice: Dice(seed),
            policy,
            now: at(0),
            // Walks of several seeds share a store.
            next_id: u128::from(seed) << 64,
            ledger: Vec::new(),
            acknowledged: BTreeMap::new(),
            stale: None,
            refused_stale: 0,
        }
    }

    fn fresh_id(&mut self) -> u128 {
        self.next_id += 1;
        self.next_id
    }

    async fn commit(&mut self, decision: &Decision) -> Result<(), CommitError> {
        self.store.commit(Commit::of(decision.clone(), self.now)).await?;
        let tickets = decision.ticket.iter().map(|ticket| (ticket.id.uuid(), ticket.version));
        let orders = decision.order.iter().map(|order| (order.id.uuid(), order.version));
        let charges = decision.charges.iter().map(|charge| (charge.id.uuid(), charge.version));
        self.acknowledged.extend(tickets.chain(orders).chain(charges));
        Ok(())
    }

    async fn list(&mut self) -> TicketId {
        let id = ticket_id(self.fresh_id());
        let decision =
            list_ticket(id, user_id(SELLER), domain_samples::details("A seat"), self.now);
        self.commit(&decision).await.expect("a new ticket");
        id
    }

    /// Runs one command on one ticket. Keeps some decisions back and commits them later.
    async fn step(&mut self, ticket: TicketId) {
        self.now = self.now + Millis(i64::try_from(self.dice.roll(30_000)).expect("small"));
        let sale = self.store.sale(ticket).await.expect("read").expect("the document exists");
        let command = self.command(&sale);
        let Ok(decision) = decide(&sale, &command, &self.policy, self.now) else { return };
        match self.dice.roll(8) {
            // Keeps this decision back, and commits the one that was kept back before.
            0 => {
                if let Some((seen, late)) = self.stale.replace((sale, decision)) {
                    self.commit_late(&seen, &late).await;
                }
            }
            _ => self.commit_now(&sale, &command, &decision).await,
        }
    }

    async fn commit_now(&mut self, sale: &Sale, command: &TicketCommand, decision: &Decision) {
        match self.commit(decision).await {
            Ok(()) => {
                if matches!(command, TicketCommand::PaymentCaptured { .. }) {
                    let order = decision.order.as_ref().expect("a capture completes an order");
                    self.ledger.push(LedgerEntry {
                        order: order.id,
                        user: order.buyer,
                        captured: order.price.minor().into(),
                        refunded: 0,
                    });
                }
                let stored = self.store.sale(sale.ticket.id).await.expect("read");
                assert_eq!(stored, Some(sale.clone().after(decision)), "after {command:?}");
            }
            Err(error) => assert_eq!(
                (error, decision.slot.is_some()),
                (CommitError::SlotsFull, true),
                "{command:?}"
            ),
        }
    }

    /// Commits a decision on an old sale. It must be refused if a document that it writes has
    /// changed.
    async fn commit_late(&mut self, seen: &Sale, late: &Decision) {
        let current =
            self.store.sale(seen.ticket.id).await.expect("read").expect("the document exists");
        let touches =
            |sale: &Sale| (sale.ticket.version, sale.order.as_ref().map(|order| order.version));
        let captured = late.charges.iter().any(|charge| charge.status() == ChargeStatus::Completed);
        if captured || (touches(&current) == touches(seen) && current.charge == seen.charge) {
            return;
        }
        match self.commit(late).await {
            Ok(()) => {
                // The decision wrote only documents that had not changed.
                assert!(
                    late.ticket.is_none() || current.ticket.version == seen.ticket.version,
                    "a stale ticket was written"
                );
            }
            Err(CommitError::Stale) => self.refused_stale += 1,
            Err(error) => assert_eq!((error, late.slot.is_some()), (CommitError::SlotsFull, true)),
        }
    }

    /// Chooses a command: often the next one of a successful payment, otherwise a random one.
    fn command(&mut self, sale: &Sale) -> TicketCommand {
        if self.dice.roll(3) == 0
            && let Some(charge) = &sale.charge
        {
            let payment = PaymentId::new(&format!("pi_{}", charge.id));
            match charge.state {
                ChargeState::Authorizing { .. } => {
                    return TicketCommand::PaymentAuthorized { charge: charge.id, payment };
                }
                ChargeState::Capturing { .. } => {
                    return TicketCommand::PaymentCaptured { charge: charge.id };
                }
                _ => {}
            }
        }
        self.random_command(sale)
    }

    fn random_command(&mut self, sale: &Sale) -> TicketCommand {
        let order = sale.order.as_ref().map_or(order_id(0), |order| order.id);
        let holder = sale.ticket.lock().map_or(user_id(1), |lock| lock.buyer);
        let charge = sale.charge.as_ref().map_or(charge_id(0), |charge| charge.id);
        let payment = PaymentId::new(&format!("pi_{charge}"));
        match self.dice.roll(12) {
            0 => TicketCommand::Edit {
                by: user_id(SELLER),
                details: TicketDetails {
                    price: self.price(),
                    ..domain_samples::details("Another")
                },
                if_match: VersionCondition::Any,
            },
            1..=3 => {
                let buyer = u128::from(self.dice.roll(BUYERS) + 1);
                lock(self.fresh_id(), buyer, ["a", "b"][usize::from(buyer > 2)])
            }
            4 => TicketCommand::Cancel { order, by: holder },
            5 | 6 => {
                let token =
                    TokenDigest::new(["visa", "other"][usize::from(self.dice.roll(2) == 1)]);
                TicketCommand::SubmitPayment {
                    order,
                    by: holder,
                    charge: charge_id(self.fresh_id()),
                    token,
                    processor: ProcessorName::new("sandbox"),
                }
            }
            7 => TicketCommand::PaymentAuthorized { charge, payment },
            8 => TicketCommand::ActionRequired { charge, payment },
            9 => TicketCommand::PaymentCaptured { charge },
            10 => match self.dice.roll(4) {
                0 => TicketCommand::PaymentDeclined {
                    charge,
                    payment: Some(payment),
                    failure: ChargeFailure::interrupted(),
                },
                1 => TicketCommand::TokenRefused { charge },
                2 => TicketCommand::ConfirmPayment { charge, by: holder },
                _ => TicketCommand::CaptureFailed { charge, failure: ChargeFailure::interrupted() },
            },
            _ => TicketCommand::DeadlinePassed { order },
        }
    }

    fn price(&mut self) -> Money {
        Money::from_minor(50 + self.dice.roll(10_000)).expect("a price")
    }

    /// Reverses charges, as reconciliation does. About half of them were captured and are refunded.
    async fn reconcile(&mut self) {
        for charge in self.store.charges_open(self.now, None, 100).await.expect("read") {
            let refund = (self.dice.roll(2) == 0).then(|| RefundId::new("re_1"));
            if let Ok(decision) = charge_reversed(&charge, None, refund.as_ref(), self.now) {
                self.commit(&decision).await.expect("only this walk reverses the charge");
            }
        }
    }

    /// Releases all locks after their deadlines.
    async fn release_all_locks(&mut self) {
        self.now = self.now + self.policy.lock_duration + self.policy.settle_grace;
        for ticket in self.store.tickets_overdue(self.now, 1_000).await.expect("read") {
            let sale = self.store.sale(ticket).await.expect("read").expect("the document exists");
            let order = sale.ticket.lock().expect("an overdue ticket is locked").order;
            let decision =
                decide(&sale, &TicketCommand::DeadlinePassed { order }, &self.policy, self.now)
                    .expect("the deadline has passed");
            self.commit(&decision).await.expect("only this walk releases the lock");
        }
        self.reconcile().await;
    }
}

pub async fn random_walk_breaks_no_invariant(store: Arc<dyn Inspect>) {
    let mut reader = store.feed().subscribe();
    let mut ledger = Vec::new();
    for seed in SEEDS {
        let mut walk = Walk::new(Arc::clone(&store), seed);
        for buyer in 1..=BUYERS {
            sign_up(&store, u128::from(buyer)).await;
        }
        let mut tickets = Vec::new();
        for step in 0..STEPS {
            if step % 60 == 0 {
                tickets = Vec::new();
                for _ in 0..TICKETS {
                    tickets.push(walk.list().await);
                }
            }
            let ticket = tickets[usize::try_from(walk.dice.roll(TICKETS)).expect("small")];
            walk.step(ticket).await;
            if step % 50 == 0 {
                walk.reconcile().await;
            }
        }
        walk.release_all_locks().await;
        assert!(
            walk.refused_stale > 0,
            "seed {seed}: the walk had no stale commit, so it tests too little"
        );
        assert!(
            !walk.ledger.is_empty(),
            "seed {seed}: the walk sold no ticket, so it tests too little"
        );
        let (snapshot, _) = store.dump().await.expect("read");
        invariants::nothing_lost(&snapshot, &walk.acknowledged)
            .unwrap_or_else(|broken| panic!("seed {seed}: {broken}"));
        invariants::no_lock_left_over(&snapshot, &walk.policy, Millis(0), walk.now)
            .unwrap_or_else(|broken| panic!("seed {seed}: {broken}"));
        ledger.extend(walk.ledger);
    }
    let (mut snapshot, stored) = store.dump().await.expect("read");
    snapshot.payments = ledger;
    invariants::one_order_per_ticket(&snapshot).expect("I1");
    invariants::money_matches_orders(&snapshot).expect("I2");
    invariants::no_money_for_nothing(&snapshot).expect("I3");
    invariants::events_match_changes(&snapshot, &stored).expect("I7");
    invariants::slots_match_locks(&snapshot).expect("I8");

    let pushed = events(&mut reader, stored.len()).await;
    assert_eq!(pushed.iter().map(|event| event.event.clone()).collect::<Vec<_>>(), stored);
    let cursors: Vec<_> = pushed.iter().map(|event| event.cursor).collect();
    invariants::never_backwards(&cursors).expect("I6");
}
