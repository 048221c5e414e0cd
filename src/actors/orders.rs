//! The order registry: placing, paying and cancelling orders.

use std::{net::IpAddr, sync::Arc, time::Duration};

use actix::{Actor, Addr, ArbiterHandle, AsyncContext, Context, Handler, Message, ResponseFuture, StreamHandler, Supervised, Supervisor};
use futures_util::stream;
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::{
    ActorError, NetworkLocks, Tickets,
    context::{ActorContext, new_id},
    in_flight::{InFlight, InFlightGuard},
    reconciliation::Reconciliation,
    settlement::{self, AuthorizeWith, Settlement},
    ticket::Done,
};
use crate::{
    domain::{
        CancelReason, Charge, ChargeId, ChargeStatus, IdempotencyKey, Money, Order, OrderId, OrderStatus, Refusal, TicketCommand, TicketId,
        UserId, Version,
    },
    metrics::METRICS,
    payments::PaymentToken,
    store::OrderScope,
    tasks::EssentialTask,
};

pub use super::settlement::PaymentResult;

/// A handle on the order registry.
#[derive(Debug, Clone)]
pub struct Orders {
    desk: OrderService,
    registry: Addr<OrderRegistry>,
    admitted: Arc<Semaphore>,
}

/// The registry: it sees a payment through, whether or not its client waits, and looks after those that nobody does.
#[derive(Debug)]
struct OrderRegistry {
    desk: OrderService,
    charges_to_reverse: Option<mpsc::Receiver<Charge>>,
    _essential: EssentialTask,
}

/// What handle and registry both work with.
#[derive(Debug, Clone)]
struct OrderService {
    context: Arc<ActorContext>,
    tickets: Tickets,
    settlement: Settlement,
    /// Attempts to pay that may be declined yet, by buyer.
    attempts: InFlight<UserId>,
}

/// What the buyer saw of the ticket; what they do not say is not compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Expected {
    pub price: Option<Money>,
    pub version: Option<Version>,
}

#[derive(Debug, Message)]
#[rtype(result = "Result<Order, ActorError>")]
struct PlaceOrder {
    buyer: UserId,
    ticket: TicketId,
    expected: Expected,
    /// The network whose locks are limited together with this one.
    network: Option<IpAddr>,
    key: Option<IdempotencyKey>,
}

#[derive(Debug, Message)]
#[rtype(result = "Result<(), ActorError>")]
struct Cancel {
    order: OrderId,
    by: UserId,
    key: Option<IdempotencyKey>,
}

#[derive(Debug, Message)]
#[rtype(result = "Result<PaymentResult, ActorError>")]
struct Pay {
    order: OrderId,
    by: UserId,
    token: PaymentToken,
    key: Option<IdempotencyKey>,
}

#[derive(Debug, Message)]
#[rtype(result = "Result<PaymentResult, ActorError>")]
struct Confirm {
    charge: ChargeId,
    by: UserId,
    key: Option<IdempotencyKey>,
}

impl Actor for OrderRegistry {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.set_mailbox_capacity(Orders::ADMITTED_MAX * 2);
        Reconciliation::start(&self.desk.context, &self.desk.settlement);
        if let Some(charges_to_reverse) = self.charges_to_reverse.take() {
            ctx.add_stream(stream::unfold(charges_to_reverse, |mut charges_to_reverse| async move {
                charges_to_reverse.recv().await.map(|charge| (charge, charges_to_reverse))
            }));
        }
    }
}

/// Of a charge that lost its lock.
impl StreamHandler<Charge> for OrderRegistry {
    fn handle(&mut self, charge: Charge, _: &mut Context<Self>) {
        let settlement = self.desk.settlement.clone();
        actix::spawn(async move { settlement::finish(&settlement, charge).await });
    }

    fn finished(&mut self, _: &mut Context<Self>) {}
}

impl Supervised for OrderRegistry {}

impl Handler<PlaceOrder> for OrderRegistry {
    type Result = ResponseFuture<Result<Order, ActorError>>;

    fn handle(&mut self, place: PlaceOrder, _: &mut Context<Self>) -> Self::Result {
        let desk = self.desk.clone();
        Box::pin(async move { desk.place(place).await })
    }
}

impl Handler<Cancel> for OrderRegistry {
    type Result = ResponseFuture<Result<(), ActorError>>;

    fn handle(&mut self, cancel: Cancel, _: &mut Context<Self>) -> Self::Result {
        let desk = self.desk.clone();
        Box::pin(async move { desk.cancel(cancel).await })
    }
}

impl Handler<Pay> for OrderRegistry {
    type Result = ResponseFuture<Result<PaymentResult, ActorError>>;

    fn handle(&mut self, pay: Pay, _: &mut Context<Self>) -> Self::Result {
        let desk = self.desk.clone();
        Box::pin(async move { desk.pay(pay).await })
    }
}

impl Handler<Confirm> for OrderRegistry {
    type Result = ResponseFuture<Result<PaymentResult, ActorError>>;

    fn handle(&mut self, confirm: Confirm, _: &mut Context<Self>) -> Self::Result {
        let desk = self.desk.clone();
        Box::pin(async move { desk.confirm(confirm).await })
    }
}

impl OrderService {
    async fn place(&self, place: PlaceOrder) -> Result<Order, ActorError> {
        fail::fail_point!("orders::place");
        let order = OrderId::new(new_id());
        let Expected { price: expected_price, version: expected_version } = place.expected;
        let replica = self.context.replica.clone();
        let command = TicketCommand::Lock { order, buyer: place.buyer, expected_price, expected_version, replica };
        let done = match (&self.context.network_locks, place.network) {
            (Some(locks), Some(network)) => self.place_counted(locks, network, order, place, command).await?,
            _ => self.tickets.ask(place.ticket, command, place.key).await?,
        };
        done.decision.order.ok_or(ActorError::NotFound)
    }

    /// Locks a ticket for a network whose locks are limited. Here and not in the request's handler: the lock is counted also
    /// if its client leaves.
    async fn place_counted(
        &self,
        locks: &NetworkLocks,
        network: IpAddr,
        order: OrderId,
        place: PlaceOrder,
        command: TicketCommand,
    ) -> Result<Done, ActorError> {
        if !locks.reserve(network, place.ticket, order, &self.context.policy, self.context.now()) {
            let limit = Refusal::TooManyLocks { retry_after: NetworkLocks::RETRY_AFTER };
            let refusal = self.tickets.refusal(place.ticket, &command, limit).await?;
            if refusal == limit {
                METRICS.network_locks_refused.inc();
            }
            return Err(refusal.into());
        }
        let placed = self.tickets.ask(place.ticket, command, place.key).await;
        if placed.is_err() {
            locks.cancel(place.ticket, order);
        }
        placed
    }

    async fn cancel(&self, cancel: Cancel) -> Result<(), ActorError> {
        let order = self.order(cancel.order, cancel.by).await?;
        if order.status == OrderStatus::Cancelled {
            return Ok(());
        }
        let command = TicketCommand::Cancel { order: order.id, by: cancel.by };
        match self.tickets.ask(order.ticket.id, command, cancel.key).await {
            Ok(_) | Err(ActorError::Refused(Refusal::Stale)) => Ok(()),
            Err(ActorError::Refused(Refusal::OrderGone | Refusal::NotFound)) => match self.order(cancel.order, cancel.by).await?.status {
                OrderStatus::Cancelled => Ok(()),
                OrderStatus::Completed => Err(Refusal::OrderCompleted.into()),
                OrderStatus::Created | OrderStatus::AwaitingPayment => Err(ActorError::Busy("order")),
            },
            Err(fault) => Err(fault),
        }
    }

    async fn pay(&self, pay: Pay) -> Result<PaymentResult, ActorError> {
        let order = self.order(pay.order, pay.by).await?;
        may_still_be_paid(&order)?;
        if !self.context.processor.token_exists(&pay.token).await.map_err(|error| ActorError::Unavailable(error.to_string()))? {
            return Err(ActorError::UnknownToken);
        }
        let command = TicketCommand::SubmitPayment {
            order: order.id,
            by: pay.by,
            charge: ChargeId::new(new_id()),
            token: self.context.processor.digest(&pay.token),
        };
        let (attempt, submitted) = self.submit(&order, command, pay.key).await?;
        let done = match submitted {
            Ok(done) => done,
            Err(ActorError::Refused(Refusal::AwaitingAction { charge })) => return self.charge(charge, pay.by).await,
            Err(ActorError::Refused(Refusal::OrderGone | Refusal::NotFound)) => {
                may_still_be_paid(&self.order(pay.order, pay.by).await?)?;
                return Err(ActorError::Busy("order"));
            }
            Err(fault) => return Err(fault),
        };
        // The last one is new; the one before it, if there is one, gives way to it.
        let charge = done.decision.charges.into_iter().next_back().ok_or(ActorError::NotFound)?;
        self.settle(charge, AuthorizeWith::Token(pay.token), Some(attempt)).await
    }

    /// Has a payment decided, unless too many of the buyer's were declined. The attempt counts as one that may be declined
    /// for as long as the guard is held.
    async fn submit(
        &self,
        order: &Order,
        command: TicketCommand,
        key: Option<IdempotencyKey>,
    ) -> Result<(InFlightGuard<UserId>, Result<Done, ActorError>), ActorError> {
        let attempt = self.attempts.begin(order.buyer);
        let declines = match self.context.policy.limits_declines {
            true => self.context.store.declines_of(order.buyer).await?,
            false => Vec::new(),
        };
        let now = self.context.now();
        let submitted = match self.context.policy.declines_wait_until(&declines, attempt.others, now) {
            None => self.tickets.ask(order.ticket.id, command, key).await,
            Some(until) => {
                let limit = Refusal::TooManyDeclines { retry_after: until - now };
                Err(self.tickets.refusal(order.ticket.id, &command, limit).await?.into())
            }
        };
        if let Err(ActorError::Refused(Refusal::TooManyDeclines { .. })) = &submitted {
            METRICS.declines_refused.inc();
        }
        Ok((attempt, submitted))
    }

    async fn confirm(&self, confirm: Confirm) -> Result<PaymentResult, ActorError> {
        let charge = self.own_charge(confirm.charge, confirm.by).await?;
        if !charge.is_open() {
            return Ok(PaymentResult { charge, client_secret: None });
        }
        let command = TicketCommand::ConfirmPayment { charge: confirm.charge, by: confirm.by };
        match self.tickets.ask(charge.ticket, command, confirm.key).await {
            Ok(done) => {
                let confirmed = done.decision.charges.into_iter().find(|charge| charge.id == confirm.charge);
                self.settle(confirmed.ok_or(ActorError::NotFound)?, AuthorizeWith::Resume, None).await
            }
            Err(ActorError::Refused(Refusal::Stale | Refusal::NotFound)) => self.charge(confirm.charge, confirm.by).await,
            Err(fault) => Err(fault),
        }
    }

    /// Drives the charge on a task of its own, so that it goes on when the client leaves, and waits for it a while.
    async fn settle(
        &self,
        charge: Charge,
        attempt: AuthorizeWith,
        in_flight: Option<InFlightGuard<UserId>>,
    ) -> Result<PaymentResult, ActorError> {
        let id = charge.id;
        let (done, outcome) = oneshot::channel();
        let settlement = self.settlement.clone();
        actix::spawn(async move {
            let driven = settlement.advance(charge, attempt).await;
            drop(in_flight);
            if let Ok(paid) = &driven {
                settlement::count(&paid.charge);
            }
            let _ = done.send(driven);
        });
        match tokio::time::timeout(Orders::ANSWER_AFTER, outcome).await {
            Ok(Ok(Ok(paid))) if paid.charge.failure.as_ref().is_some_and(|failure| failure.code == "invalid_token") => {
                Err(ActorError::UnknownToken)
            }
            Ok(Ok(Ok(paid))) => Ok(paid),
            // Not finished in time, or not at all: reconciliation goes on, and the client sees how far it is.
            outcome => {
                if let Ok(Ok(Err(fault))) = outcome {
                    tracing::warn!(charge = %id, %fault, "a payment is left to reconciliation");
                }
                let charge = self.context.store.charge(id).await?.ok_or(ActorError::NotFound)?;
                Ok(PaymentResult { charge, client_secret: None })
            }
        }
    }

    async fn order(&self, id: OrderId, by: UserId) -> Result<Order, ActorError> {
        let order = self.context.store.order(id).await?.ok_or(ActorError::NotFound)?;
        if order.buyer == by { Ok(order) } else { Err(Refusal::NotOwner.into()) }
    }

    async fn own_charge(&self, id: ChargeId, by: UserId) -> Result<Charge, ActorError> {
        let charge = self.context.store.charge(id).await?.ok_or(ActorError::NotFound)?;
        if charge.buyer == by { Ok(charge) } else { Err(Refusal::NotOwner.into()) }
    }

    async fn charge(&self, id: ChargeId, by: UserId) -> Result<PaymentResult, ActorError> {
        let charge = self.own_charge(id, by).await?;
        let client_secret = self.settlement.client_secret(&charge).await;
        Ok(PaymentResult { charge, client_secret })
    }
}

/// What the order alone says: its ticket's actor has the last word.
fn may_still_be_paid(order: &Order) -> Result<(), Refusal> {
    match (order.status, order.cancel_reason) {
        (OrderStatus::Completed, _) => Err(Refusal::OrderCompleted),
        (OrderStatus::Cancelled, Some(CancelReason::Buyer)) => Err(Refusal::OrderNotPayable),
        (OrderStatus::Cancelled, _) => Err(Refusal::OrderExpired),
        (OrderStatus::Created | OrderStatus::AwaitingPayment, _) => Ok(()),
    }
}

impl Orders {
    /// Requests to the registry at once; more are shed.
    const ADMITTED_MAX: usize = 4096;
    /// A client that pays is answered after this long, finished or not.
    const ANSWER_AFTER: Duration = Duration::from_secs(20);

    pub(super) fn start(
        context: Arc<ActorContext>,
        settlement: Settlement,
        charges_to_reverse: mpsc::Receiver<Charge>,
        tickets: Tickets,
        arbiter: &ArbiterHandle,
    ) -> Self {
        let desk = OrderService { context, tickets, settlement, attempts: InFlight::default() };
        let registry = {
            let desk = desk.clone();
            Supervisor::start_in_arbiter(arbiter, move |_| OrderRegistry {
                desk,
                charges_to_reverse: Some(charges_to_reverse),
                _essential: EssentialTask::new("order registry"),
            })
        };
        Self { desk, registry, admitted: Arc::new(Semaphore::new(Self::ADMITTED_MAX)) }
    }

    /// Locks a ticket for a buyer. A ticket that is known to be locked or sold is refused from memory. `network`: the network
    /// whose locks are limited together with this one, if they are limited.
    pub async fn place(
        &self,
        buyer: UserId,
        ticket: TicketId,
        expected: Expected,
        network: Option<IpAddr>,
        key: Option<IdempotencyKey>,
    ) -> Result<Order, ActorError> {
        self.desk.tickets.refuse_early(ticket, buyer)?;
        self.send(PlaceOrder { buyer, ticket, expected, network, key }).await
    }

    /// [`ActorError::NotFound`], or `Refused(NotOwner)`.
    pub async fn get(&self, id: OrderId, by: UserId) -> Result<Order, ActorError> {
        self.desk.order(id, by).await
    }

    /// By id ascending.
    pub async fn list(&self, buyer: UserId, scope: OrderScope, after: Option<OrderId>, limit: usize) -> Result<Vec<Order>, ActorError> {
        Ok(self.desk.context.store.orders_of(buyer, scope, after, limit).await?)
    }

    /// Gives the lock up. Cancelling what is Cancelled already is fine.
    pub async fn cancel(&self, order: OrderId, by: UserId, key: Option<IdempotencyKey>) -> Result<(), ActorError> {
        self.send(Cancel { order, by, key }).await
    }

    /// Authorize, claim, capture; answers as soon as the charge is final or waits for the buyer or for the processor.
    pub async fn pay(
        &self,
        order: OrderId,
        by: UserId,
        token: PaymentToken,
        key: Option<IdempotencyKey>,
    ) -> Result<PaymentResult, ActorError> {
        self.send(Pay { order, by, token, key }).await
    }

    /// After the buyer acted.
    pub async fn confirm(&self, charge: ChargeId, by: UserId, key: Option<IdempotencyKey>) -> Result<PaymentResult, ActorError> {
        self.send(Confirm { charge, by, key }).await
    }

    /// The present state, with a fresh client secret if the buyer must act.
    pub async fn charge(&self, id: ChargeId, by: UserId) -> Result<PaymentResult, ActorError> {
        self.desk.charge(id, by).await
    }

    /// An order's charges, by id ascending.
    pub async fn charges(&self, order: OrderId, by: UserId) -> Result<Vec<Charge>, ActorError> {
        self.desk.order(order, by).await?;
        Ok(self.desk.context.store.charges_of(order).await?)
    }

    async fn send<M, T>(&self, message: M) -> Result<T, ActorError>
    where
        M: Message<Result = Result<T, ActorError>> + Send + 'static,
        T: Send + 'static,
        OrderRegistry: Handler<M>,
    {
        let Ok(_admission) = self.admitted.try_acquire() else {
            METRICS.requests_rejected.with_label_values(&["orders"]).inc();
            return Err(ActorError::Busy("orders"));
        };
        // A closed mailbox: the registry is going down with its arbiter; what it had in hand may have been done.
        self.registry.send(message).await.unwrap_or(Err(ActorError::OutcomeUnknown))
    }
}

/// Whether a charge ended in failure.
impl PaymentResult {
    pub fn is_failed(&self) -> bool {
        self.charge.status == ChargeStatus::Failed
    }
}
