//! Responses to payments: their statuses, and the content of a declined payment.

use actix_web::{ResponseError, body::MessageBody};
use serde_json::Value;

use super::*;
use crate::{
    domain::{ChargeFailure, ChargeState, PaymentId, samples},
    payments::ClientSecret,
};

fn result(state: ChargeState) -> PaymentResult {
    PaymentResult { charge: Charge { state, ..samples::charge() }, client_secret: None }
}

fn status_and_body(answer: HandlerResult) -> (u16, bool, Value) {
    let answer = answer.unwrap_or_else(|error| error.error_response());
    let (status, located) =
        (answer.status().as_u16(), answer.headers().contains_key(header::LOCATION));
    let body = answer.into_body().try_into_bytes().expect("a body in memory");
    (status, located, serde_json::from_slice(&body).expect("JSON"))
}

#[test]
fn completed_charge_is_201_when_created_and_200_when_confirmed() {
    let completed = || result(ChargeState::Completed { payment: PaymentId::new("pi_1") });
    let (status, located, body) = status_and_body(payment_response(completed()));
    assert_eq!(
        (status, located, &body["status"], body.get("clientSecret")),
        (201, true, &Value::from("Completed"), None)
    );
    assert_eq!(status_and_body(confirmation_response(completed())).0, 200);
}

#[test]
fn waiting_charge_is_202_with_the_client_secret() {
    let payment = PaymentId::new("pi_1");
    let waiting = PaymentResult {
        client_secret: Some(ClientSecret("secret".into())),
        ..result(ChargeState::AwaitingAction { payment })
    };
    let (status, _, body) = status_and_body(payment_response(waiting.clone()));
    assert_eq!(
        (status, &body["clientSecret"], &body["orderId"]),
        (202, &"secret".into(), &body["orderId"])
    );
    assert_eq!(status_and_body(confirmation_response(waiting)).0, 202);
}

#[test]
fn declined_charge_is_402_with_the_reason_and_the_charge() {
    let declined = || result(samples::failed(ChargeFailure::new("card_declined", "No money.")));
    for (status, _, body) in [
        status_and_body(payment_response(declined())),
        status_and_body(confirmation_response(declined())),
    ] {
        assert_eq!(
            (status, &body["code"], &body["errors"][0]["message"]),
            (402, &"card_declined".into(), &"No money.".into())
        );
        assert_eq!(
            (&body["charge"]["status"], &body["charge"]["failure"]["code"]),
            (&"Failed".into(), &"card_declined".into())
        );
    }
}

#[test]
fn payment_whose_order_ended_has_the_status_of_the_order() {
    for (failure, code) in [
        (ChargeFailure::lock_lost(), "order_expired"),
        (ChargeFailure::cancelled(), "order_not_payable"),
    ] {
        let lost = || result(samples::failed(failure.clone()));
        for (status, _, body) in [
            status_and_body(payment_response(lost())),
            status_and_body(confirmation_response(lost())),
        ] {
            assert_eq!((status, &body["code"]), (409, &code.into()));
        }
    }
}
