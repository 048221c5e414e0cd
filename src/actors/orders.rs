//! The order registry: placing, paying and cancelling orders. Its operations are in
//! `order_service.rs`.

use std::{net::IpAddr, rc::Rc, sync::Arc};

use actix::{
    Actor, Addr, ArbiterHandle, AsyncContext, Context, Handler, Message, ResponseFuture,
    StreamHandler, Supervised, Supervisor,
};
use futures_util::stream;
use tokio::sync::mpsc;

use super::{
    ActorError, Tickets,
    admission::Admission,
    context::ActorContext,
    order_service::{
        Cancel, Confirm, Expected, OrderService, Pay, PlaceOrder, Settle, own_order, own_payment,
    },
};
use crate::{
    domain::{Charge, ChargeId, ChargeStatus, IdempotencyKey, Order, OrderId, TicketId, UserId},
    payments::PaymentToken,
    store::{OrderScope, Unavailable},
    tasks::EssentialTask,
};

pub use super::settlement::PaymentResult;

/// A handle on the order registry. It reads orders and charges from the store itself.
#[derive(Debug, Clone)]
pub struct Orders {
    context: Arc<ActorContext>,
    tickets: Tickets,
    registry: Addr<OrderRegistry>,
    admission: Admission,
}

/// The registry actor. It owns what is in progress for orders: the payments of each buyer, the
/// charges that are being settled, and the schedule of the charges that are not final. It finishes
/// each request, whether or not its client still waits.
#[derive(Debug)]
struct OrderRegistry {
    service: Rc<OrderService>,
    charges_to_reverse: Option<mpsc::Receiver<Charge>>,
    _essential: EssentialTask,
}

/// Runs one round of reconciliation.
#[derive(Debug, Message)]
#[rtype(result = "Result<(), Unavailable>")]
struct Reconcile;

impl Actor for OrderRegistry {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.set_mailbox_capacity(Orders::ADMITTED_MAX * 2);
        if let Some(charges_to_reverse) = self.charges_to_reverse.take() {
            ctx.add_stream(stream::unfold(
                charges_to_reverse,
                |mut charges_to_reverse| async move {
                    charges_to_reverse.recv().await.map(|charge| (charge, charges_to_reverse))
                },
            ));
        }
    }
}

/// Receives charges that are Reversing.
impl StreamHandler<Charge> for OrderRegistry {
    fn handle(&mut self, charge: Charge, _: &mut Context<Self>) {
        let service = Rc::clone(&self.service);
        actix::spawn(async move { service.reverse(charge).await });
    }

    fn finished(&mut self, _: &mut Context<Self>) {}
}

impl Supervised for OrderRegistry {}

impl Handler<PlaceOrder> for OrderRegistry {
    type Result = ResponseFuture<Result<Order, ActorError>>;

    fn handle(&mut self, place: PlaceOrder, _: &mut Context<Self>) -> Self::Result {
        let service = Rc::clone(&self.service);
        Box::pin(async move { service.place(place).await })
    }
}

impl Handler<Cancel> for OrderRegistry {
    type Result = ResponseFuture<Result<(), ActorError>>;

    fn handle(&mut self, cancel: Cancel, _: &mut Context<Self>) -> Self::Result {
        let service = Rc::clone(&self.service);
        Box::pin(async move { service.cancel(cancel).await })
    }
}

impl Handler<Pay> for OrderRegistry {
    type Result = ResponseFuture<Result<PaymentResult, ActorError>>;

    fn handle(&mut self, pay: Pay, _: &mut Context<Self>) -> Self::Result {
        let service = Rc::clone(&self.service);
        Box::pin(async move { service.pay(pay).await })
    }
}

impl Handler<Confirm> for OrderRegistry {
    type Result = ResponseFuture<Result<PaymentResult, ActorError>>;

    fn handle(&mut self, confirm: Confirm, _: &mut Context<Self>) -> Self::Result {
        let service = Rc::clone(&self.service);
        Box::pin(async move { service.confirm(confirm).await })
    }
}

impl Handler<Settle> for OrderRegistry {
    type Result = ResponseFuture<Result<PaymentResult, ActorError>>;

    fn handle(&mut self, settle: Settle, _: &mut Context<Self>) -> Self::Result {
        let service = Rc::clone(&self.service);
        Box::pin(async move { service.settle(settle).await })
    }
}

impl Handler<Reconcile> for OrderRegistry {
    type Result = ResponseFuture<Result<(), Unavailable>>;

    fn handle(&mut self, _: Reconcile, _: &mut Context<Self>) -> Self::Result {
        let service = Rc::clone(&self.service);
        Box::pin(async move { service.reconcile().await })
    }
}

impl Orders {
    /// Maximum number of requests to the registry at once. More are rejected. Requests of webhooks
    /// and of reconciliation are not counted.
    const ADMITTED_MAX: usize = 4096;

    pub(super) fn start(
        context: Arc<ActorContext>,
        charges_to_reverse: mpsc::Receiver<Charge>,
        tickets: Tickets,
        arbiter: &ArbiterHandle,
    ) -> Self {
        let registry = {
            let (context, tickets) = (Arc::clone(&context), tickets.clone());
            Supervisor::start_in_arbiter(arbiter, move |_| OrderRegistry {
                // First, so that a panic in what follows ends the process.
                _essential: EssentialTask::new("order registry"),
                service: Rc::new(OrderService::new(context, tickets)),
                charges_to_reverse: Some(charges_to_reverse),
            })
        };
        Self { context, tickets, registry, admission: Admission::new(Self::ADMITTED_MAX, "orders") }
    }

    /// Locks a ticket for a buyer. If the feed is live, a ticket that is locked, sold or the
    /// buyer's own in the catalog is refused without a message to its actor. `network` is the
    /// client's network if locks are limited per network.
    pub async fn place(
        &self,
        buyer: UserId,
        ticket: TicketId,
        expected: Expected,
        network: Option<IpAddr>,
        key: Option<IdempotencyKey>,
    ) -> Result<Order, ActorError> {
        self.tickets.refuse_early(ticket, buyer)?;
        self.send(PlaceOrder { buyer, ticket, expected, network, key }).await
    }

    /// Returns an order of the user `by`. Fails with [`ActorError::NotFound`] or
    /// `Refused(NotOwner)`.
    pub async fn get(&self, id: OrderId, by: UserId) -> Result<Order, ActorError> {
        own_order(&self.context, id, by).await
    }

    /// Returns the buyer's orders, by id ascending.
    pub async fn list(
        &self,
        buyer: UserId,
        scope: OrderScope,
        after: Option<OrderId>,
        limit: usize,
    ) -> Result<Vec<Order>, ActorError> {
        Ok(self.context.store.orders_of(buyer, scope, after, limit).await?)
    }

    /// Cancels the order. An order that is Cancelled already is no error.
    pub async fn cancel(
        &self,
        order: OrderId,
        by: UserId,
        key: Option<IdempotencyKey>,
    ) -> Result<(), ActorError> {
        self.send(Cancel { order, by, key }).await
    }

    /// Authorizes, claims and captures a payment. Returns when the charge is final, waits for the
    /// buyer, or takes too long.
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
    pub async fn confirm(
        &self,
        charge: ChargeId,
        by: UserId,
        key: Option<IdempotencyKey>,
    ) -> Result<PaymentResult, ActorError> {
        self.send(Confirm { charge, by, key }).await
    }

    /// Returns the charge's present state, with the client secret if the buyer must act.
    pub async fn charge(&self, id: ChargeId, by: UserId) -> Result<PaymentResult, ActorError> {
        own_payment(&self.context, id, by).await
    }

    /// Returns an order's charges, by id ascending.
    pub async fn charges(&self, order: OrderId, by: UserId) -> Result<Vec<Charge>, ActorError> {
        own_order(&self.context, order, by).await?;
        Ok(self.context.store.charges_of(order).await?)
    }

    /// Advances a charge to its end, or until it waits for its buyer. A charge that is Authorizing
    /// or AwaitingAction follows the state of its payment at the processor; a capture or a reversal
    /// is repeated.
    pub(super) async fn settle(&self, charge: Charge) -> Result<PaymentResult, ActorError> {
        self.registry.send(Settle(charge)).await.unwrap_or(Err(ActorError::OutcomeUnknown))
    }

    /// Runs one round of reconciliation.
    ///
    /// # Errors
    /// The store did not answer, or the round panicked. The next round continues.
    pub(super) async fn reconcile(&self) -> Result<(), ActorError> {
        Ok(self.registry.send(Reconcile).await.map_err(|_| ActorError::OutcomeUnknown)??)
    }

    async fn send<M, T>(&self, message: M) -> Result<T, ActorError>
    where
        M: Message<Result = Result<T, ActorError>> + Send + 'static,
        T: Send + 'static,
        OrderRegistry: Handler<M>,
    {
        let _permit = self.admission.admit()?;
        // The handler panicked, or the registry ends with its arbiter. The request may have been
        // carried out or not.
        self.registry.send(message).await.unwrap_or(Err(ActorError::OutcomeUnknown))
    }
}

impl PaymentResult {
    /// Returns whether the charge failed.
    pub fn is_failed(&self) -> bool {
        self.charge.status() == ChargeStatus::Failed
    }
}
