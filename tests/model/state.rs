//! The state of the whole market at one time: the store, the processor's ledger, two replicas with
//! their copies, and the time.

use std::{
    collections::BTreeSet,
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use gittix::{
    domain::{
        Charge, ChargeFailure, ChargeId, ChargeState, Decision, OrderId, PaymentId, Policy,
        RefundId, Sale, TicketCommand, TicketId, Timestamp, UserId, decide,
        decide::{charge_reversed, list_ticket},
        invariants::{LedgerEntry, Snapshot},
        samples,
    },
    store::Commit,
};
use uuid::Uuid;

use crate::{
    documents::{self, Guards},
    processor::{Payment, Reply, Request},
};

pub const SELLER: UserId = UserId::new(Uuid::from_u128(10));
const FIRST_TICKET: u128 = 0x100;
const FIRST_ORDER: u128 = 0x200;
const FIRST_CHARGE: u128 = 0x300;

pub fn buyer(n: usize) -> UserId {
    UserId::new(Uuid::from_u128(11 + n as u128))
}

pub fn ticket_id(n: usize) -> TicketId {
    TicketId::new(Uuid::from_u128(FIRST_TICKET + n as u128))
}

pub fn order_id(n: usize) -> OrderId {
    OrderId::new(Uuid::from_u128(FIRST_ORDER + n as u128))
}

pub fn charge_id(n: usize) -> ChargeId {
    ChargeId::new(Uuid::from_u128(FIRST_CHARGE + n as u128))
}

fn ticket_of(charge: &Charge) -> usize {
    usize::try_from(charge.ticket.uuid().as_u128() - FIRST_TICKET).expect("the number is small")
}

/// A call of a replica to the processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Call {
    /// The request was sent and has not arrived.
    Sent(usize, Request),
    /// The answer arrived, and the replica has not processed it.
    Replied(usize, Reply),
}

impl Call {
    pub fn charge(self) -> usize {
        match self {
            Self::Sent(charge, _) | Self::Replied(charge, _) => charge,
        }
    }
}

/// A server process.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Replica {
    /// The replica's loaded copies of tickets, which may be stale.
    pub seen: Vec<Option<Arc<Sale>>>,
    pub calls: BTreeSet<Call>,
    /// The result of the read of one buyer's slots, if slots are counted by an earlier read.
    pub counted: Option<(usize, usize)>,
    /// The number of steps by which the replica's clock is behind.
    pub lag: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct State {
    pub now: i64,
    pub world: Arc<Snapshot>,
    /// The payments, by charge.
    pub ledger: Vec<Payment>,
    pub replicas: Vec<Replica>,
    /// Calls on their way whose senders crashed.
    pub orphans: BTreeSet<(usize, Request)>,
    pub crashes: u8,
    pub losses: u8,
    pub edits: u8,
    pub confirms: u8,
    /// The first rule that a single step violated, if the state alone does not show the violation.
    pub broken: Option<&'static str>,
}

/// The rules, and which of them are active.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    pub policy: Policy,
    pub guards: Guards,
    /// Whether the lock is claimed before the capture.
    pub claim: bool,
    /// Whether an attempt of which the processor has no record is closed there before its charge
    /// becomes Failed.
    pub closes_interrupted: bool,
}

impl State {
    pub fn new(tickets: usize, lag: i64) -> Self {
        let mut world = Arc::new(Snapshot::default());
        for n in 0..tickets {
            let listed =
                list_ticket(ticket_id(n), SELLER, samples::details("Front row"), Timestamp(0));
            let guards = Guards { versions: true, slots: true };
            documents::commit(&mut world, Commit::of(listed, Timestamp(0)), guards)
                .expect("a new ticket can be written");
        }
        let seen: Vec<_> = (0..tickets).map(|n| world.sale(ticket_id(n)).map(Arc::new)).collect();
        let replica =
            |lag| Replica { seen: seen.clone(), calls: BTreeSet::new(), counted: None, lag };
        Self {
            now: 0,
            world,
            ledger: Vec::new(),
            replicas: vec![replica(0), replica(lag)],
            orphans: BTreeSet::new(),
            crashes: 0,
            losses: 0,
            edits: 0,
            confirms: 0,
            broken: None,
        }
    }

    /// Replicas differ only in their state. So of two states that differ only in the order of the
    /// replicas, one represents both.
    pub fn canonical(mut self) -> Self {
        let rank = |replica: &Replica| {
            let mut hasher = DefaultHasher::new();
            replica.hash(&mut hasher);
            hasher.finish()
        };
        if rank(&self.replicas[1]) < rank(&self.replicas[0]) {
            self.replicas.swap(0, 1);
        }
        self
    }

    fn time_of(&self, replica: usize) -> Timestamp {
        Timestamp(self.now - self.replicas[replica].lag)
    }

    pub fn load(&mut self, replica: usize, ticket: usize) {
        self.replicas[replica].seen[ticket] = self.world.sale(ticket_id(ticket)).map(Arc::new);
    }

    /// Whether the replica's copy equals the stored documents. It is called in every state, so it
    /// copies nothing.
    pub fn is_current(&self, replica: usize, ticket: usize) -> bool {
        let Some(seen) = &self.replicas[replica].seen[ticket] else { return false };
        let (orders, charges) = (&self.world.orders, &self.world.charges);
        // A sale without an order or without a charge changes only together with its ticket or
        // order.
        self.world.tickets.contains(&seen.ticket)
            && seen.order.as_ref().is_none_or(|order| orders.contains(order))
            && seen.charge.as_ref().is_none_or(|charge| charges.contains(charge))
    }

    /// Crashes the process: its copies are lost, and its sent calls continue.
    pub fn crash(&mut self, replica: usize) {
        let Replica { seen, calls, counted, .. } = &mut self.replicas[replica];
        seen.fill(None);
        *counted = None;
        for call in std::mem::take(calls) {
            if let Call::Sent(charge, request) = call {
                self.orphans.insert((charge, request));
            }
        }
    }

    /// Decides over the replica's copy and commits. `None`: refused by the rules or by the store.
    pub fn command(
        &mut self,
        replica: usize,
        ticket: usize,
        command: &TicketCommand,
        rules: &Rules,
    ) -> Option<Decision> {
        let seen = self.replicas[replica].seen[ticket].clone()?;
        let at = self.time_of(replica);
        let decision = decide(&seen, command, &rules.policy, at).ok()?;
        let decision = self.commit(decision, at, rules)?;
        self.replicas[replica].seen[ticket] = Some(Arc::new((*seen).clone().after(&decision)));
        Some(decision)
    }

    fn commit(&mut self, decision: Decision, at: Timestamp, rules: &Rules) -> Option<Decision> {
        let decision = documents::without_history(decision);
        documents::commit(&mut self.world, Commit::of(decision.clone(), at), rules.guards).ok()?;
        self.ledger.resize(self.world.charges.len(), Payment::Open);
        for lost in decision
            .charges
            .iter()
            .filter(|charge| matches!(charge.state, ChargeState::Reversing { .. }))
        {
            let Some(n) = self.world.charges.iter().position(|charge| charge.id == lost.id) else {
                continue;
            };
            let order = self.world.orders.iter().find(|order| order.id == lost.order);
            let grace_over =
                order.is_some_and(|order| at >= order.unlocks_at + rules.policy.settle_grace);
            if self.ledger[n] == Payment::Captured && !grace_over {
                self.broken = Some("captured money is reversed before the grace is over");
            }
        }
        Some(decision)
    }

    /// Returns the replica's next call about an open charge, based only on the charge's step.
    pub fn drive(&mut self, replica: usize, n: usize) -> Option<()> {
        let call = match self.world.charges[n].state {
            ChargeState::Authorizing { .. } => Call::Replied(n, self.ledger[n].fetch()),
            ChargeState::Capturing { .. } => Call::Sent(n, Request::Capture),
            ChargeState::Reversing { .. } => Call::Replied(n, self.ledger[n].reverse()),
            ChargeState::AwaitingAction { .. }
            | ChargeState::Failed { .. }
            | ChargeState::Completed { .. } => return None,
        };
        self.replicas[replica].calls.insert(call).then_some(())
    }

    /// Processes an answer. `None`: the replica has to load the ticket first.
    pub fn handle(&mut self, replica: usize, call: Call, rules: &Rules) -> Option<()> {
        let Call::Replied(n, reply) = call else { return None };
        let charge = self.world.charges[n].clone();
        let ticket = ticket_of(&charge);
        if let Reply::Reversed { refund } = reply {
            let refund = refund.then(|| RefundId::new("re"));
            if let Ok(decision) = charge_reversed(
                &charge,
                Some(&payment_id()),
                refund.as_ref(),
                self.time_of(replica),
            ) {
                self.commit(decision, self.time_of(replica), rules)?;
            }
        } else if reply == Reply::Authorized && !rules.claim {
            self.replicas[replica].calls.insert(Call::Sent(n, Request::Capture));
        } else {
            let unclaimed = reply == Reply::Captured && !rules.claim;
            let first = if unclaimed {
                command_of(&charge, Reply::Authorized, rules)
            } else {
                command_of(&charge, reply, rules)
            };
            match self.command(replica, ticket, &first, rules) {
                None if !self.is_current(replica, ticket) => return None,
                None => {} // The answer is late; the charge's document has the present state.
                Some(_) if unclaimed => {
                    let _ =
                        self.command(replica, ticket, &command_of(&charge, reply, rules), rules);
                }
                Some(_) if matches!(self.world.charges[n].state, ChargeState::Capturing { .. }) => {
                    self.replicas[replica].calls.insert(Call::Sent(n, Request::Capture));
                }
                Some(_) => {}
            }
        }
        self.replicas[replica].calls.remove(&call);
        Some(())
    }

    /// Returns the documents and the ledger in the form that the invariants use.
    pub fn audited(&self) -> Snapshot {
        let mut world = (*self.world).clone();
        world.payments = world
            .charges
            .iter()
            .zip(&self.ledger)
            .map(|(charge, payment)| {
                let amount = u64::from(charge.amount.minor());
                let captured = if matches!(payment, Payment::Captured | Payment::Refunded) {
                    amount
                } else {
                    0
                };
                let refunded = if *payment == Payment::Refunded { amount } else { 0 };
                LedgerEntry { order: charge.order, user: charge.buyer, captured, refunded }
            })
            .collect();
        world
    }
}

fn payment_id() -> PaymentId {
    PaymentId::new("pi")
}

fn command_of(charge: &Charge, reply: Reply, rules: &Rules) -> TicketCommand {
    let (charge, payment) = (charge.id, payment_id());
    match reply {
        Reply::Authorized => TicketCommand::PaymentAuthorized { charge, payment },
        Reply::ActionRequired => TicketCommand::ActionRequired { charge, payment },
        Reply::Declined => TicketCommand::PaymentDeclined {
            charge,
            payment: Some(payment),
            failure: ChargeFailure::new("card_declined", ""),
        },
        Reply::UnknownToken => TicketCommand::TokenRefused { charge },
        Reply::Nothing if rules.closes_interrupted => {
            TicketCommand::PaymentInterrupted { charge, failure: ChargeFailure::interrupted() }
        }
        Reply::Nothing => TicketCommand::PaymentDeclined {
            charge,
            payment: None,
            failure: ChargeFailure::interrupted(),
        },
        Reply::Captured => TicketCommand::PaymentCaptured { charge },
        Reply::CaptureRefused => {
            TicketCommand::CaptureFailed { charge, failure: ChargeFailure::new("capture", "") }
        }
        Reply::Reversed { .. } => unreachable!("a reversal concerns the charge alone"),
    }
}
