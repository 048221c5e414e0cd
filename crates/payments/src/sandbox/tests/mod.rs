//! Tests of the sandbox as a processor: the result of each call, in any order of calls.

mod ledgers;

use std::sync::Arc;

use proptest::{collection::vec, prelude::*, sample::select};
use tokio::runtime::Runtime;
use uuid::Uuid;

use super::*;
use gittix_domain::{Money, OrderId, samples};

const AMOUNT: u64 = 1999;

pub(super) fn charge(number: u128) -> Charge {
    Charge {
        id: ChargeId::new(Uuid::from_u128(number)),
        order: OrderId::new(Uuid::from_u128(number + 1000)),
        ..samples::charge()
    }
}

fn token(text: &str) -> PaymentToken {
    PaymentToken::parse(text).expect("the token has a valid form")
}

fn in_memory() -> Sandbox {
    Sandbox::new(Arc::<MemoryLedger>::default(), [7; 32])
}

/// An opened payment, with methods for the calls on it.
struct Opened {
    sandbox: Sandbox,
    charge: Charge,
    id: PaymentId,
}

impl Opened {
    async fn new(sandbox: Sandbox) -> Self {
        Self::of(sandbox, charge(1)).await
    }

    async fn of(sandbox: Sandbox, charge: Charge) -> Self {
        let id = sandbox.open(&charge).await.expect("the payment opens");
        Self { sandbox, charge, id }
    }

    async fn authorize(&self, with: &str) -> Result<Authorization, ProcessorError> {
        self.sandbox.authorize(&self.charge, &self.id, &token(with)).await
    }

    async fn resume(&self) -> Result<Authorization, ProcessorError> {
        self.sandbox.resume(&self.charge, &self.id).await
    }

    async fn capture(&self) -> Result<(), ProcessorError> {
        self.sandbox.capture(&self.charge, &self.id).await
    }

    async fn reverse(&self) -> Result<Reversal, ProcessorError> {
        self.sandbox.reverse(&self.charge, &self.id).await
    }

    async fn fetch(&self) -> PaymentState {
        self.sandbox.fetch(&self.charge, &self.id).await.expect("the payment can be fetched")
    }

    /// Returns the captured and the refunded amount, in minor units.
    async fn money(&self) -> (u64, u64) {
        let entries = self.sandbox.entries().await.expect("the ledger can be read");
        assert_eq!(entries.len(), 1);
        (entries[0].captured, entries[0].refunded)
    }
}

fn is_refused<T>(result: &Result<T, ProcessorError>) -> bool {
    matches!(result, Err(ProcessorError::Refused(_)))
}

fn is_unknown<T>(result: &Result<T, ProcessorError>) -> bool {
    matches!(result, Err(ProcessorError::Unknown(_)))
}

#[tokio::test]
async fn repeated_calls_authorize_and_capture_once() {
    let payment = Opened::new(in_memory()).await;
    assert_eq!(payment.fetch().await, PaymentState::Open { declined: None });
    for _ in 0..2 {
        assert_eq!(payment.sandbox.open(&charge(1)).await, Ok(payment.id.clone()));
        assert_eq!(payment.authorize("pm_card_visa").await, Ok(Authorization::Authorized));
        assert_eq!(payment.fetch().await, PaymentState::Authorized);
    }
    for _ in 0..2 {
        assert_eq!(payment.capture().await, Ok(()));
        assert_eq!(payment.money().await, (AMOUNT, 0));
    }
    assert_eq!(
        payment.authorize("pm_card_visa").await,
        Ok(Authorization::Authorized),
        "a late retry"
    );
    assert_eq!(payment.fetch().await, PaymentState::Captured);
}

#[tokio::test]
async fn declined_payment_can_be_authorized_again() {
    let payment = Opened::new(in_memory()).await;
    let declined = payment.authorize("tok_chargeDeclinedInsufficientFunds").await;
    assert!(
        matches!(&declined, Ok(Authorization::Declined { failure }) if failure.code.as_str() == "insufficient_funds"),
        "{declined:?}"
    );
    assert!(matches!(payment.fetch().await, PaymentState::Open { declined: Some(_) }));
    assert!(is_refused(&payment.capture().await));
    assert_eq!(payment.authorize("tok_visa").await, Ok(Authorization::Authorized));
}

#[tokio::test]
async fn three_d_secure_waits_for_the_buyer() {
    let payment = Opened::new(in_memory()).await;
    let Ok(Authorization::ActionRequired { client_secret }) =
        payment.authorize("pm_card_authenticationRequired").await
    else {
        panic!("the buyer must act")
    };
    assert!(client_secret.0.starts_with(&format!("{}_secret_", payment.id)), "{}", client_secret.0);
    assert_eq!(payment.fetch().await, PaymentState::ActionRequired { client_secret });
    assert!(is_refused(&payment.capture().await));
    for _ in 0..2 {
        assert_eq!(payment.resume().await, Ok(Authorization::Authorized));
    }
}

#[tokio::test]
async fn three_d_secure_may_need_two_calls_or_end_in_a_decline() {
    let payment = Opened::new(in_memory()).await;
    assert!(is_refused(&payment.resume().await), "nothing was attempted");
    assert!(matches!(
        payment.authorize("tok_gittix_action_twice").await,
        Ok(Authorization::ActionRequired { .. })
    ));
    assert!(matches!(payment.resume().await, Ok(Authorization::ActionRequired { .. })));
    assert!(matches!(
        payment.authorize("pm_card_threeDSecureRequiredChargeDeclined").await,
        Ok(Authorization::ActionRequired { .. })
    ));
    for _ in 0..2 {
        assert!(matches!(payment.resume().await, Ok(Authorization::Declined { .. })));
    }
}

#[tokio::test]
async fn reversal_of_an_uncaptured_payment_voids_it_for_good() {
    for attempt in [
        None,
        Some("pm_card_chargeDeclined"),
        Some("pm_card_authenticationRequired"),
        Some("pm_card_visa"),
    ] {
        let payment = Opened::new(in_memory()).await;
        if let Some(attempt) = attempt {
            payment.authorize(attempt).await.expect("the attempt is answered");
        }
        for _ in 0..2 {
            assert_eq!(payment.reverse().await, Ok(Reversal::Voided));
        }
        assert!(is_refused(&payment.authorize("pm_card_visa").await));
        assert!(is_refused(&payment.resume().await));
        assert!(is_refused(&payment.capture().await));
        assert_eq!((payment.fetch().await, payment.money().await), (PaymentState::Voided, (0, 0)));
    }
}

#[tokio::test]
async fn captured_payment_is_refunded_once() {
    let payment = Opened::new(in_memory()).await;
    payment.authorize("pm_card_visa").await.expect("the payment is authorized");
    payment.capture().await.expect("the payment is captured");
    let first = payment.reverse().await.expect("the payment is refunded");
    let Reversal::Refunded { refund } = &first else { panic!("{first:?}") };
    assert!(refund.as_str().starts_with("re_"));
    assert_eq!(payment.reverse().await.as_ref(), Ok(&first));
    assert_eq!(payment.money().await, (AMOUNT, AMOUNT));
    assert!(is_refused(&payment.capture().await), "the money is not captured again");
    assert_eq!(payment.money().await, (AMOUNT, AMOUNT));
}

#[tokio::test]
async fn unknown_tokens_payments_and_charges_change_nothing() {
    let payment = Opened::new(in_memory()).await;
    assert_eq!(payment.sandbox.token_exists(&token("pm_card_nope")).await, Ok(false));
    assert_eq!(payment.sandbox.token_exists(&token("pm_card_visa")).await, Ok(true));
    assert_eq!(payment.authorize("pm_card_nope").await, Ok(Authorization::InvalidToken));
    assert!(is_refused(&payment.sandbox.fetch(&charge(1), &PaymentId::new("pi_nope")).await));
    assert!(
        is_refused(&payment.sandbox.reverse(&charge(2), &payment.id).await),
        "the payment of another charge"
    );
    let dearer = Charge { amount: Money::MAX, ..charge(1) };
    assert!(is_refused(&payment.sandbox.open(&dearer).await), "one charge has one amount");
    assert_eq!(payment.fetch().await, PaymentState::Open { declined: None });
}

#[tokio::test(start_paused = true)]
async fn own_tokens_cause_faults() {
    let payment = Opened::new(in_memory()).await;
    assert!(is_unknown(&payment.authorize("tok_gittix_error").await));
    assert_eq!(
        payment.fetch().await,
        PaymentState::Open { declined: None },
        "the attempt was not made"
    );
    assert!(is_unknown(&payment.authorize("tok_gittix_lost_answer").await));
    assert_eq!(payment.fetch().await, PaymentState::Authorized, "the attempt was made");
    assert_eq!(payment.authorize("tok_gittix_lost_answer").await, Ok(Authorization::Authorized));

    let payment = Opened::new(in_memory()).await;
    let begun = tokio::time::Instant::now();
    payment.authorize("tok_gittix_slow_2s").await.expect("the payment is authorized");
    assert_eq!(begun.elapsed(), Duration::from_secs(2));

    let payment = Opened::new(in_memory()).await;
    payment.authorize("tok_gittix_capture_lost_answer").await.expect("the payment is authorized");
    assert!(is_unknown(&payment.capture().await));
    assert_eq!((payment.money().await, payment.capture().await), ((AMOUNT, 0), Ok(())));

    let payment = Opened::new(in_memory()).await;
    payment.authorize("tok_gittix_capture_error").await.expect("the payment is authorized");
    assert!(is_refused(&payment.capture().await));
    assert_eq!((payment.money().await, payment.reverse().await), ((0, 0), Ok(Reversal::Voided)));

    let payment = Opened::new(in_memory()).await;
    payment.authorize("tok_gittix_capture_slow_3s").await.expect("the payment is authorized");
    let begun = tokio::time::Instant::now();
    payment.capture().await.expect("the payment is captured");
    assert_eq!(begun.elapsed(), Duration::from_secs(3));
}

#[tokio::test]
async fn digests_and_secrets_depend_on_the_key_and_do_not_contain_the_token() {
    let (one, other) = (in_memory(), Sandbox::new(Arc::<MemoryLedger>::default(), [8; 32]));
    let visa = token("pm_card_visa");
    assert_eq!(one.digest(&visa), one.digest(&visa));
    assert_eq!(one.digest(&visa).as_str().len(), 64);
    assert_ne!(one.digest(&visa), one.digest(&token("tok_visa")));
    assert_ne!(one.digest(&visa), other.digest(&visa));
    assert_ne!(
        one.client_secret(&PaymentId::new("pi_1")),
        other.client_secret(&PaymentId::new("pi_1"))
    );
    assert!(!format!("{one:?}").contains("key"), "{one:?}");
}

#[derive(Debug, Clone, Copy)]
enum Call {
    Authorize(&'static str),
    Resume,
    Capture,
    Reverse,
    Restart,
}

fn some_call() -> impl Strategy<Value = Call> {
    let tokens = [
        "pm_card_visa",
        "pm_card_chargeDeclined",
        "pm_card_authenticationRequired",
        "pm_card_threeDSecureRequiredChargeDeclined",
        "pm_card_nope",
        "tok_gittix_error",
        "tok_gittix_lost_answer",
        "tok_gittix_action_twice",
        "tok_gittix_capture_error",
        "tok_gittix_capture_lost_answer",
    ];
    prop_oneof![
        4 => select(tokens.to_vec()).prop_map(Call::Authorize),
        2 => Just(Call::Resume),
        2 => Just(Call::Capture),
        1 => Just(Call::Reverse),
        1 => Just(Call::Restart),
    ]
}

proptest! {
    #[test]
    fn calls_in_any_order_keep_the_whole_amount_or_nothing(calls in vec(some_call(), 0..30)) {
        Runtime::new().expect("the runtime can be built").block_on(async {
            let ledger: Arc<MemoryLedger> = Arc::default();
            let mut payment = Opened::new(Sandbox::new(Arc::<MemoryLedger>::clone(&ledger), [7; 32])).await;
            let (mut reversed, mut captured) = (None, false);
            for call in calls {
                match call {
                    Call::Authorize(with) => drop(payment.authorize(with).await),
                    Call::Resume => drop(payment.resume().await),
                    Call::Capture => captured |= payment.capture().await.is_ok(),
                    Call::Reverse => {
                        let now = payment.reverse().await.expect("a reversal always succeeds");
                        assert_eq!(reversed.get_or_insert_with(|| now.clone()), &now, "each reversal returns the same answer");
                    }
                    Call::Restart => payment.sandbox = Sandbox::new(Arc::<MemoryLedger>::clone(&ledger), [7; 32]),
                }
                let (taken, returned) = payment.money().await;
                assert!(taken == 0 || taken == AMOUNT, "{taken}");
                assert!(returned == 0 || returned == taken, "{returned} of {taken}");
                assert!(!captured || taken == AMOUNT, "an acknowledged capture is in the ledger");
                match &reversed {
                    Some(Reversal::Voided) => assert_eq!(taken, 0),
                    Some(Reversal::Refunded { .. }) => assert_eq!(returned, AMOUNT),
                    None => assert_eq!(returned, 0),
                }
            }
        });
    }
}

#[cfg(feature = "failpoints")]
#[tokio::test]
async fn failpoints_exist_before_and_after_each_step() {
    let scenario = fail::FailScenario::setup();
    // Failpoints apply to the whole process. The payment id limits this one to the payment of this
    // test.
    let payment = Opened::of(in_memory(), charge(777)).await;
    let arm = |point: &str| {
        fail::cfg(point, &format!("return({})", payment.id)).expect("the failpoint can be set")
    };
    arm("sandbox::before_authorize");
    assert!(is_unknown(&payment.authorize("pm_card_visa").await));
    assert_eq!(
        payment.fetch().await,
        PaymentState::Open { declined: None },
        "before: the attempt was not made"
    );
    fail::remove("sandbox::before_authorize");
    arm("sandbox::after_authorize");
    assert!(is_unknown(&payment.authorize("pm_card_visa").await));
    assert_eq!(payment.fetch().await, PaymentState::Authorized, "after: the attempt was made");
    arm("sandbox::before_capture");
    assert!(is_unknown(&payment.capture().await));
    assert_eq!(payment.money().await, (0, 0));
    fail::remove("sandbox::before_capture");
    arm("sandbox::after_capture");
    assert!(is_unknown(&payment.capture().await));
    assert_eq!(payment.money().await, (AMOUNT, 0));
    arm("sandbox::before_reverse");
    assert!(is_unknown(&payment.reverse().await));
    assert_eq!(payment.money().await, (AMOUNT, 0));
    fail::remove("sandbox::before_reverse");
    arm("sandbox::after_reverse");
    assert!(is_unknown(&payment.reverse().await));
    assert_eq!(payment.money().await, (AMOUNT, AMOUNT));
    scenario.teardown();
}
