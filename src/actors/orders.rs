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
    settlement::{self, AuthorizationMode, Settlement},
    ticket::Committed,
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
    service: OrderService,
    registry: Addr<OrderRegistry>,
    admitted: Arc<Semaphore>,
}

/// The registry actor: it finishes each request, whether or not its client still waits, and runs the reconciliation.
#[derive(Debug)]
struct OrderRegistry {
    service: OrderService,
    charges_to_reverse: Option<mpsc::Receiver<Charge>>,
    _essential: EssentialTask,
}

/// The operations on orders, shared by the handle and the registry.
#[derive(Debug, Clone)]
struct OrderService {
    context: Arc<ActorContext>,
    tickets: Tickets,
    settlement: Settlement,
    /// Number of payments that may still be declined, by buyer.
    attempts: InFlight<UserId>,
}

/// Price and version of the ticket that the buyer has seen. `None` is not compared.
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
    /// The client's network, whose locks are limited. `None` if they are not.
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
        Reconciliation::start(&self.service.context, &self.service.settlement);
        if let Some(charges_to_reverse) = self.charges_to_reverse.take() {
            ctx.add_stream(stream::unfold(charges_to_reverse, |mut charges_to_reverse| async move {
                charges_to_reverse.recv().await.map(|charge| (charge, charges_to_reverse))
            }));
        }
    }
}

/// Receives charges that are Reversing.
impl StreamHandler<Charge> for OrderRegistry {
    fn handle(&mut self, charge: Charge, _: &mut Context<Self>) {
        let settlement = self.service.settlement.clone();
        actix::spawn(async move { settlement::finish(&settlement, charge).await });
    }

    fn finished(&mut self, _: &mut Context<Self>) {}
}

impl Supervised for OrderRegistry {}

impl Handler<PlaceOrder> for OrderRegistry {
    type Result = ResponseFuture<Result<Order, ActorError>>;

    fn handle(&mut self, place: PlaceOrder, _: &mut Context<Self>) -> Self::Result {
        let service = self.service.clone();
        Box::pin(async move { service.place(place).await })
    }
}

impl Handler<Cancel> for OrderRegistry {
    type Result = ResponseFuture<Result<(), ActorError>>;

    fn handle(&mut self, cancel: Cancel, _: &mut Context<Self>) -> Self::Result {
        let service = self.service.clone();
        Box::pin(async move { service.cancel(cancel).await })
    }
}

impl Handler<Pay> for OrderRegistry {
    type Result = ResponseFuture<Result<PaymentResult, ActorError>>;

    fn handle(&mut self, pay: Pay, _: &mut Context<Self>) -> Self::Result {
        let service = self.service.clone();
        Box::pin(async move { service.pay(pay).await })
    }
}

impl Handler<Confirm> for OrderRegistry {
    type Result = ResponseFuture<Result<PaymentResult, ActorError>>;

    fn handle(&mut self, confirm: Confirm, _: &mut Context<Self>) -> Self::Result {
        let service = self.service.clone();
        Box::pin(async move { service.confirm(confirm).await })
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
            (Some(locks), Some(network)) => self.place_limited(locks, network, order, place, command).await?,
            _ => self.tickets.execute(place.ticket, command, place.key).await?,
        };
        done.decision.order.ok_or(ActorError::NotFound)
    }

    /// Locks a ticket for a network whose locks are limited. This runs in the registry and not in the HTTP handler, so that the
    /// lock is counted also if its client disconnects.
    async fn place_limited(
        &self,
        locks: &NetworkLocks,
        network: IpAddr,
        order: OrderId,
        place: PlaceOrder,
        command: TicketCommand,
    ) -> Result<Committed, ActorError> {
        if !locks.reserve(network, place.ticket, order, &self.context.policy, self.context.now()) {
            let limit = Refusal::TooManyLocks { retry_after: NetworkLocks::RETRY_AFTER };
            let refusal = self.tickets.refusal(place.ticket, &command, limit).await?;
            if refusal == limit {
                METRICS.network_locks_refused.inc();
            }
            return Err(refusal.into());
        }
        let placed = self.tickets.execute(place.ticket, command, place.key).await;
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
        match self.tickets.execute(order.ticket.id, command, cancel.key).await {
            Ok(_) | Err(ActorError::Refused(Refusal::Stale)) => Ok(()),
            Err(ActorError::Refused(Refusal::OrderGone | Refusal::NotFound)) => match self.order(cancel.order, cancel.by).await?.status {
                OrderStatus::Cancelled => Ok(()),
                OrderStatus::Completed => Err(Refusal::OrderCompleted.into()),
                OrderStatus::Created | OrderStatus::AwaitingPayment => Err(ActorError::Busy("order")),
            },
            Err(error) => Err(error),
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
            Err(error) => return Err(error),
        };
        // The last charge is the new one. A charge before it, if there is one, is replaced by it.
        let charge = done.decision.charges.into_iter().next_back().ok_or(ActorError::NotFound)?;
        self.settle(charge, AuthorizationMode::Token(pay.token), Some(attempt)).await
    }

    /// Lets the ticket's actor decide a payment, unless too many of the buyer's payments were declined. The payment is counted
    /// as one that may still be declined until the returned guard is dropped.
    async fn submit(
        &self,
        order: &Order,
        command: TicketCommand,
        key: Option<IdempotencyKey>,
    ) -> Result<(InFlightGuard<UserId>, Result<Committed, ActorError>), ActorError> {
        let attempt = self.attempts.begin(order.buyer);
        let declines = match self.context.policy.limits_declines {
            true => self.context.store.declines_of(order.buyer).await?,
            false => Vec::new(),
        };
        let now = self.context.now();
        let submitted = match self.context.policy.declines_wait_until(&declines, attempt.others, now) {
            None => self.tickets.execute(order.ticket.id, command, key).await,
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
        match self.tickets.execute(charge.ticket, command, confirm.key).await {
            Ok(done) => {
                let confirmed = done.decision.charges.into_iter().find(|charge| charge.id == confirm.charge);
                self.settle(confirmed.ok_or(ActorError::NotFound)?, AuthorizationMode::Resume, None).await
            }
            Err(ActorError::Refused(Refusal::Stale | Refusal::NotFound)) => self.charge(confirm.charge, confirm.by).await,
            Err(error) => Err(error),
        }
    }

    /// Settles the charge in its own task, which continues if the client disconnects. Waits at most `ANSWER_AFTER` for it.
    async fn settle(
        &self,
        charge: Charge,
        attempt: AuthorizationMode,
        in_flight: Option<InFlightGuard<UserId>>,
    ) -> Result<PaymentResult, ActorError> {
        let id = charge.id;
        let (done, outcome) = oneshot::channel();
        let settlement = self.settlement.clone();
        actix::spawn(async move {
            let settled = settlement.advance(charge, attempt).await;
            drop(in_flight);
            if let Ok(payment) = &settled {
                settlement::count(&payment.charge);
            }
            let _ = done.send(settled);
        });
        match tokio::time::timeout(Orders::ANSWER_AFTER, outcome).await {
            Ok(Ok(Ok(payment))) if payment.charge.failure.as_ref().is_some_and(|failure| failure.code == "invalid_token") => {
                Err(ActorError::UnknownToken)
            }
            Ok(Ok(Ok(payment))) => Ok(payment),
            // Not finished in time, or failed: reconciliation continues, and the client gets the charge's present state.
            outcome => {
                if let Ok(Ok(Err(error))) = outcome {
                    tracing::warn!(charge = %id, %error, "a payment could not be finished now; reconciliation continues it");
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

/// Checks the order alone. The ticket's actor makes the final decision.
fn may_still_be_paid(order: &Order) -> Result<(), Refusal> {
    match (order.status, order.cancel_reason) {
        (OrderStatus::Completed, _) => Err(Refusal::OrderCompleted),
        (OrderStatus::Cancelled, Some(CancelReason::Buyer)) => Err(Refusal::OrderNotPayable),
        (OrderStatus::Cancelled, _) => Err(Refusal::OrderExpired),
        (OrderStatus::Created | OrderStatus::AwaitingPayment, _) => Ok(()),
    }
}

impl Orders {
    /// Maximum number of requests to the registry at once. More are rejected.
    const ADMITTED_MAX: usize = 4096;
    /// Maximum time that the answer to a payment waits for the settlement.
    const ANSWER_AFTER: Duration = Duration::from_secs(20);

    pub(super) fn start(
        context: Arc<ActorContext>,
        settlement: Settlement,
        charges_to_reverse: mpsc::Receiver<Charge>,
        tickets: Tickets,
        arbiter: &ArbiterHandle,
    ) -> Self {
        let service = OrderService { context, tickets, settlement, attempts: InFlight::default() };
        let registry = {
            let service = service.clone();
            Supervisor::start_in_arbiter(arbiter, move |_| OrderRegistry {
                service,
                charges_to_reverse: Some(charges_to_reverse),
                _essential: EssentialTask::new("order registry"),
            })
        };
        Self { service, registry, admitted: Arc::new(Semaphore::new(Self::ADMITTED_MAX)) }
    }

    /// Locks a ticket for a buyer. A ticket that is locked or sold in the catalog is refused without a message to its actor.
    /// `network` is the client's network if locks are limited per network.
    pub async fn place(
        &self,
        buyer: UserId,
        ticket: TicketId,
        expected: Expected,
        network: Option<IpAddr>,
        key: Option<IdempotencyKey>,
    ) -> Result<Order, ActorError> {
        self.service.tickets.refuse_early(ticket, buyer)?;
        self.send(PlaceOrder { buyer, ticket, expected, network, key }).await
    }

    /// Returns an order of the user `by`. Fails with [`ActorError::NotFound`] or `Refused(NotOwner)`.
    pub async fn get(&self, id: OrderId, by: UserId) -> Result<Order, ActorError> {
        self.service.order(id, by).await
    }

    /// Returns the buyer's orders, by id ascending.
    pub async fn list(&self, buyer: UserId, scope: OrderScope, after: Option<OrderId>, limit: usize) -> Result<Vec<Order>, ActorError> {
        Ok(self.service.context.store.orders_of(buyer, scope, after, limit).await?)
    }

    /// Cancels the order. An order that is Cancelled already is no error.
    pub async fn cancel(&self, order: OrderId, by: UserId, key: Option<IdempotencyKey>) -> Result<(), ActorError> {
        self.send(Cancel { order, by, key }).await
    }

    /// Authorizes, claims and captures a payment. Returns when the charge is final, waits for the buyer, or takes too long.
    pub async fn pay(
        &self,
        order: OrderId,
        by: UserId,
        token: PaymentToken,
        key: Option<IdempotencyKey>,
    ) -> Result<PaymentResult, ActorError> {
        self.send(Pay { order, by, token, key }).await
    }

    /// Continues a charge after the buyer has acted.
    pub async fn confirm(&self, charge: ChargeId, by: UserId, key: Option<IdempotencyKey>) -> Result<PaymentResult, ActorError> {
        self.send(Confirm { charge, by, key }).await
    }

    /// Returns the charge's present state, with a new client secret if the buyer must act.
    pub async fn charge(&self, id: ChargeId, by: UserId) -> Result<PaymentResult, ActorError> {
        self.service.charge(id, by).await
    }

    /// Returns an order's charges, by id ascending.
    pub async fn charges(&self, order: OrderId, by: UserId) -> Result<Vec<Charge>, ActorError> {
        self.service.order(order, by).await?;
        Ok(self.service.context.store.charges_of(order).await?)
    }

    async fn send<M, T>(&self, message: M) -> Result<T, ActorError>
    where
        M: Message<Result = Result<T, ActorError>> + Send + 'static,
        T: Send + 'static,
        OrderRegistry: Handler<M>,
    {
        let Ok(_permit) = self.admitted.try_acquire() else {
            METRICS.requests_rejected.with_label_values(&["orders"]).inc();
            return Err(ActorError::Busy("orders"));
        };
        // The handler panicked, or the registry ends with its arbiter. The request may have been carried out or not.
        self.registry.send(message).await.unwrap_or(Err(ActorError::OutcomeUnknown))
    }
}

impl PaymentResult {
    /// Returns whether the charge failed.
    pub fn is_failed(&self) -> bool {
        self.charge.status == ChargeStatus::Failed
    }
}
