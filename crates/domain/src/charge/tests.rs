//! Tests of the stored form of a charge.

use serde_json::{Value, json};

use super::*;
use crate::FailureCode;

/// Members of stored charges, one for each state. Golden documents: do not change them.
fn stored_states() -> [Value; 7] {
    let stored = |status: &str,
                  step: Value,
                  payment: Option<&str>,
                  refund: Option<&str>,
                  failure: Value| {
        json!({
            "_id": "01990000-0000-7000-8000-000000000005", "order": "01990000-0000-7000-8000-000000000003",
            "ticket": "01990000-0000-7000-8000-000000000001", "buyer": "01990000-0000-7000-8000-000000000009",
            "status": status, "step": step, "amount": 1999, "currency": "usd", "token": "digest", "firstAttempt": true,
            "stripeId": payment, "stripeRefundId": refund, "failure": failure,
            "version": 1, "createdAt": 1, "updatedAt": 2,
        })
    };
    let lost = json!({ "code": "lock_lost", "message": "Too late." });
    let declined = json!({ "code": "insufficient_funds", "message": "No funds." });
    [
        stored("Created", json!({ "step": "Authorizing" }), None, None, Value::Null),
        stored("Created", json!({ "step": "AwaitingAction" }), Some("pi_1"), None, Value::Null),
        stored("Created", json!({ "step": "Capturing" }), Some("pi_1"), None, Value::Null),
        stored("Created", json!({ "step": "Reversing", "failure": lost }), None, None, Value::Null),
        stored("Failed", json!({ "step": "Final" }), Some("pi_1"), Some("re_1"), lost),
        stored("Failed", json!({ "step": "Final" }), None, None, declined),
        stored("Completed", json!({ "step": "Final" }), Some("pi_1"), None, Value::Null),
    ]
}

#[test]
fn stored_charge_of_each_state_is_read_and_written_unchanged() {
    let payment = || PaymentId::new("pi_1");
    let lost = || ChargeFailure::new("lock_lost", "Too late.");
    let declined = ChargeFailure::new("insufficient_funds", "No funds.");
    assert!(matches!(declined.code, FailureCode::Declined(_)));
    let states = [
        ChargeState::Authorizing { payment: None },
        ChargeState::AwaitingAction { payment: payment() },
        ChargeState::Capturing { payment: payment() },
        ChargeState::Reversing { payment: None, failure: lost() },
        ChargeState::Failed {
            payment: Some(payment()),
            failure: lost(),
            refund: Some(RefundId::new("re_1")),
        },
        ChargeState::Failed { payment: None, failure: declined, refund: None },
        ChargeState::Completed { payment: payment() },
    ];
    for (stored, state) in stored_states().into_iter().zip(states) {
        let charge: Charge = serde_json::from_value(stored.clone()).expect("a stored charge");
        assert_eq!((&charge.state, &charge.processor), (&state, &None));
        assert_eq!(serde_json::to_value(&charge).expect("JSON"), stored);
    }
}

#[test]
fn contradictory_charge_is_not_read() {
    let [authorizing, ..] = stored_states();
    for (member, value) in [
        ("status", json!("Completed")),
        ("step", json!({ "step": "Capturing" })),
        ("step", json!({ "step": "Final" })),
        ("stripeRefundId", json!("re_1")),
        ("failure", json!({ "code": "lock_lost", "message": "" })),
    ] {
        let mut stored = authorizing.clone();
        stored[member] = value;
        assert!(serde_json::from_value::<Charge>(stored.clone()).is_err(), "{stored}");
    }
}
