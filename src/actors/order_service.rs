//! The requests about orders and their payments, as the order registry carries them out.

use std::{net::IpAddr, rc::Rc, sync::Arc, time::Duration};

use actix::Message;
use tokio::sync::oneshot;

use super::{
    ActorError, NetworkLocks, Tickets,
    context::{ActorContext, new_id},
    in_flight::{InFlight, InFlightGuard},
    reconciliation::Reconciliation,
    settlement::{self, AuthorizationMode, PaymentResult, Settlement},
    ticket::Committed,
};
use crate::{
    domain::{
        Charge, ChargeId, FailureCode, IdempotencyKey, Money, Order, OrderId, OrderStatus, Refusal,
        TicketCommand, TicketId, UserId, Version,
    },
    metrics::METRICS,
    payments::PaymentToken,
    store::Unavailable,
};

/// The operations on orders and what is in progress for them. The registry owns it; the futures of
/// its requests share it, all on its thread.
#[derive(Debug)]
pub(super) struct OrderService {
    context: Arc<ActorContext>,
    tickets: Tickets,
    settlement: Rc<Settlement>,
    reconciliation: Reconciliation,
    /// The submitted payments that this process is advancing, by buyer.
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
pub(super) struct PlaceOrder {
    pub buyer: UserId,
    pub ticket: TicketId,
    pub expected: Expected,
    /// The client's network, whose locks are limited. `None` if they are not.
    pub network: Option<IpAddr>,
    pub key: Option<IdempotencyKey>,
}

#[derive(Debug, Message)]
#[rtype(result = "Result<(), ActorError>")]
pub(super) struct Cancel {
    pub order: OrderId,
    pub by: UserId,
    pub key: Option<IdempotencyKey>,
}

#[derive(Debug, Message)]
#[rtype(result = "Result<PaymentResult, ActorError>")]
pub(super) struct Pay {
    pub order: OrderId,
    pub by: UserId,
    pub token: PaymentToken,
    pub key: Option<IdempotencyKey>,
}

#[derive(Debug, Message)]
#[rtype(result = "Result<PaymentResult, ActorError>")]
pub(super) struct Confirm {
    pub charge: ChargeId,
    pub by: UserId,
    pub key: Option<IdempotencyKey>,
}

/// Advances a charge outside a buyer's request: for a webhook event or a reversal.
#[derive(Debug, Message)]
#[rtype(result = "Result<PaymentResult, ActorError>")]
pub(super) struct Settle(pub Charge);

impl OrderService {
    /// Maximum time that the answer to a payment waits for the settlement.
    const ANSWER_WITHIN: Duration = Duration::from_secs(20);

    pub fn new(context: Arc<ActorContext>, tickets: Tickets) -> Self {
        Self {
            settlement: Rc::new(Settlement::new(Arc::clone(&context), tickets.clone())),
            reconciliation: Reconciliation::new(Arc::clone(&context)),
            attempts: InFlight::default(),
            context,
            tickets,
        }
    }

    pub async fn place(&self, place: PlaceOrder) -> Result<Order, ActorError> {
        fail::fail_point!("orders::place");
        let order = OrderId::new(new_id());
        let Expected { price: expected_price, version: expected_version } = place.expected;
        let replica = self.context.replica.clone();
        let command = TicketCommand::Lock {
            order,
            buyer: place.buyer,
            expected_price,
            expected_version,
            replica,
        };
        let done = match (&self.context.network_locks, place.network) {
            (Some(locks), Some(network)) => {
                self.place_limited(locks, network, order, place, command).await?
            }
            _ => self.tickets.execute(place.ticket, command, place.key).await?,
        };
        Ok(done.decision.order.expect("the decision to lock a ticket creates an order"))
    }

    /// Locks a ticket for a network whose locks are limited. This runs in the registry and not in
    /// the HTTP handler, so that the lock is counted also if its client disconnects.
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
            let refusal = self.tickets.refusal_over_store(place.ticket, &command, limit).await?;
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

    pub async fn cancel(&self, cancel: Cancel) -> Result<(), ActorError> {
        let order = own_order(&self.context, cancel.order, cancel.by).await?;
        if order.status() == OrderStatus::Cancelled {
            return Ok(());
        }
        let command = TicketCommand::Cancel { order: order.id, by: cancel.by };
        match self.tickets.execute(order.ticket.id, command, cancel.key).await {
            Ok(_) | Err(ActorError::Refused(Refusal::NothingToDo)) => Ok(()),
            Err(ActorError::Refused(Refusal::OrderGone | Refusal::NotFound)) => {
                match own_order(&self.context, cancel.order, cancel.by).await?.status() {
                    OrderStatus::Cancelled => Ok(()),
                    OrderStatus::Completed => Err(Refusal::OrderCompleted.into()),
                    OrderStatus::Created | OrderStatus::AwaitingPayment => {
                        Err(ActorError::Busy("order"))
                    }
                }
            }
            Err(error) => Err(error),
        }
    }

    pub async fn pay(&self, pay: Pay) -> Result<PaymentResult, ActorError> {
        let order = own_order(&self.context, pay.order, pay.by).await?;
        order.check_active()?;
        if !self
            .context
            .processor
            .token_exists(&pay.token)
            .await
            .map_err(|error| ActorError::Unavailable(error.to_string()))?
        {
            return Err(ActorError::UnknownToken);
        }
        let charge = ChargeId::new(new_id());
        let command = TicketCommand::SubmitPayment {
            order: order.id,
            by: pay.by,
            charge,
            token: self.context.processor.digest(&pay.token),
            processor: self.context.processor.name(),
        };
        let (attempt, submitted) = self.submit(&order, command, pay.key).await?;
        let done = match submitted {
            Ok(done) => done,
            Err(ActorError::Refused(Refusal::AwaitingAction { charge })) => {
                return own_payment(&self.context, charge, pay.by).await;
            }
            Err(ActorError::Refused(Refusal::OrderGone | Refusal::NotFound)) => {
                own_order(&self.context, pay.order, pay.by).await?.check_active()?;
                return Err(ActorError::Busy("order"));
            }
            Err(error) => return Err(error),
        };
        let charge = done.decision.into_charge(charge);
        self.settle_and_wait(charge, AuthorizationMode::Token(pay.token), Some(attempt)).await
    }

    /// Lets the ticket's actor decide a payment, unless too many of the buyer's payments were
    /// declined. The payment is counted as one that may still be declined until the returned guard
    /// is dropped.
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
        let submitted =
            match self.context.policy.declines_wait_until(&declines, attempt.others, now) {
                None => self.tickets.execute(order.ticket.id, command, key).await,
                Some(until) => {
                    let limit = Refusal::TooManyDeclines { retry_after: until - now };
                    Err(self
                        .tickets
                        .refusal_over_store(order.ticket.id, &command, limit)
                        .await?
                        .into())
                }
            };
        if let Err(ActorError::Refused(Refusal::TooManyDeclines { .. })) = &submitted {
            METRICS.declines_refused.inc();
        }
        Ok((attempt, submitted))
    }

    pub async fn confirm(&self, confirm: Confirm) -> Result<PaymentResult, ActorError> {
        let charge = own_charge(&self.context, confirm.charge, confirm.by).await?;
        if !charge.is_open() {
            return Ok(PaymentResult { charge, client_secret: None });
        }
        let command = TicketCommand::ConfirmPayment { charge: confirm.charge, by: confirm.by };
        match self.tickets.execute(charge.ticket, command, confirm.key).await {
            Ok(done) => {
                let confirmed = done.decision.into_charge(confirm.charge);
                self.settle_and_wait(confirmed, AuthorizationMode::Resume, None).await
            }
            Err(ActorError::Refused(Refusal::NothingToDo | Refusal::NotFound)) => {
                own_payment(&self.context, confirm.charge, confirm.by).await
            }
            Err(error) => Err(error),
        }
    }

    /// Settles the charge in its own task, which continues if the client disconnects. Waits at most
    /// `ANSWER_WITHIN` for it.
    async fn settle_and_wait(
        &self,
        charge: Charge,
        mode: AuthorizationMode,
        in_flight: Option<InFlightGuard<UserId>>,
    ) -> Result<PaymentResult, ActorError> {
        let id = charge.id;
        let (done, outcome) = oneshot::channel();
        let settlement = Rc::clone(&self.settlement);
        actix::spawn(async move {
            let settled = settlement.advance(charge, mode).await;
            drop(in_flight);
            let _ = done.send(settled);
        });
        match tokio::time::timeout(Self::ANSWER_WITHIN, outcome).await {
            Ok(Ok(Ok(payment)))
                if payment
                    .charge
                    .failure()
                    .is_some_and(|failure| failure.code == FailureCode::InvalidToken) =>
            {
                Err(ActorError::UnknownToken)
            }
            Ok(Ok(Ok(payment))) => Ok(payment),
            // Not finished in time (the task continues), or failed (reconciliation continues the
            // charge), and the client gets the charge's present state.
            outcome => {
                if let Ok(Ok(Err(error))) = outcome {
                    tracing::warn!(charge = %id, %error, "a payment could not be finished now; reconciliation continues it");
                }
                let charge = self.context.store.charge(id).await?.ok_or(ActorError::NotFound)?;
                Ok(PaymentResult { charge, client_secret: None })
            }
        }
    }

    pub async fn settle(&self, Settle(charge): Settle) -> Result<PaymentResult, ActorError> {
        self.settlement.advance(charge, AuthorizationMode::Recover).await
    }

    /// Advances a charge that is Reversing. Reconciliation continues it after a failure.
    pub async fn reverse(&self, charge: Charge) {
        let id = charge.id;
        match self.settle(Settle(charge)).await {
            Ok(_) | Err(ActorError::Busy(_)) => {}
            Err(error) => {
                tracing::warn!(charge = %id, %error, "a charge could not be settled yet; reconciliation tries again")
            }
        }
    }

    pub async fn reconcile(&self) -> Result<(), Unavailable> {
        self.reconciliation.round(&self.settlement).await
    }
}

/// Returns the order if it belongs to the user `by`.
///
/// # Errors
/// [`ActorError::NotFound`], `Refused(NotOwner)`, or [`ActorError::Unavailable`].
pub(super) async fn own_order(
    context: &ActorContext,
    id: OrderId,
    by: UserId,
) -> Result<Order, ActorError> {
    let order = context.store.order(id).await?.ok_or(ActorError::NotFound)?;
    if order.buyer == by { Ok(order) } else { Err(Refusal::NotOwner.into()) }
}

/// Returns the charge if it belongs to the user `by`.
///
/// # Errors
/// The same as of [`own_order`].
async fn own_charge(
    context: &ActorContext,
    id: ChargeId,
    by: UserId,
) -> Result<Charge, ActorError> {
    let charge = context.store.charge(id).await?.ok_or(ActorError::NotFound)?;
    if charge.buyer == by { Ok(charge) } else { Err(Refusal::NotOwner.into()) }
}

/// Returns the present state of a charge of the user `by`, with the client secret if the buyer must
/// act and the processor answers in time.
///
/// # Errors
/// The same as of [`own_order`].
pub(super) async fn own_payment(
    context: &ActorContext,
    id: ChargeId,
    by: UserId,
) -> Result<PaymentResult, ActorError> {
    let charge = own_charge(context, id, by).await?;
    let client_secret = settlement::client_secret(context, &charge).await;
    Ok(PaymentResult { charge, client_secret })
}
