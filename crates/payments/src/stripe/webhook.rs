//! The verification of Stripe's webhook events. Pure: it reads no clock.
//!
//! Of a verified event, the ids of event and payment, the mode and the account are used, and the
//! type is logged. The state of the payment is read from Stripe.
//!
//! Stripe's documentation, "Verify webhook signatures": `Stripe-Signature: t=<unix
//! seconds>,v1=<hex>,…`, where `v1` is HMAC-SHA-256 over `<t>.<the exact bytes of the body>`. While
//! a secret is being replaced there is a `v1` for each; other schemes (`v0`) are ignored.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use serde::Deserialize;
use sha2::Sha256;
use subtle::ConstantTimeEq;

use gittix_domain::{Millis, PaymentId, Timestamp};

use crate::webhook::{Notice, SignatureError, WebhookVerifier};

/// Maximum difference between a signature's time and the present: the default of Stripe's
/// libraries. It limits replays.
pub const TOLERANCE: Millis = Millis::from_secs(300);
/// Maximum number of signatures in a header. Stripe sends one for each valid secret, so a header
/// with more is not from Stripe.
const SIGNATURES_MAX: usize = 16;
const MAC_BYTES: usize = 32;

/// The secrets that sign events. There are several while a secret is being replaced.
#[derive(Clone, Default)]
pub struct Secrets(Vec<Vec<u8>>);

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secrets({})", self.0.len())
    }
}

impl Secrets {
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a str>) -> Self {
        Self(secrets.into_iter().map(|secret| secret.as_bytes().to_vec()).collect())
    }

    /// Parses the signature header of an event before the body is read, and checks that its time is
    /// near `now` and that a secret is configured. This is no proof: any client can send such a
    /// header.
    ///
    /// # Errors
    /// Any [`SignatureError`] except [`SignatureError::Wrong`]. The error is for the log and not
    /// for the sender.
    fn claim<'a>(&self, header: &'a str, now: Timestamp) -> Result<Claim<'a>, SignatureError> {
        if self.0.is_empty() {
            return Err(SignatureError::NoSecret);
        }
        let claim = Claim::parse(header)?;
        let secs: i64 = claim.at.parse().map_err(|_| SignatureError::Missing)?;
        let off = (now - Timestamp(secs.saturating_mul(1000))).0.saturating_abs();
        // The time is compared in whole seconds, as in Stripe's libraries.
        if off / 1000 > TOLERANCE.0 / 1000 { Err(SignatureError::OutOfTime) } else { Ok(claim) }
    }

    /// Checks that one of the secrets signed `body` as the claim states.
    ///
    /// # Errors
    /// [`SignatureError::Wrong`].
    fn verify_claim(&self, claim: &Claim<'_>, body: &[u8]) -> Result<(), SignatureError> {
        let Claim { at, macs } = claim;
        let fits = self.0.iter().fold(false, |fits, secret| {
            let mut mac =
                Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes a key of any length");
            mac.update(at.as_bytes());
            mac.update(b".");
            mac.update(body);
            let expected = mac.finalize().into_bytes();
            // Every signature is compared completely, so that the duration does not reveal which
            // one matches.
            macs.iter()
                .fold(fits, |fits, given| bool::from(given.as_slice().ct_eq(&expected)) | fits)
        });
        if fits { Ok(()) } else { Err(SignatureError::Wrong) }
    }
}

/// A parsed signature header that is not verified.
#[derive(Debug)]
struct Claim<'a> {
    /// The time exactly as written, because this text was signed.
    at: &'a str,
    macs: Vec<[u8; MAC_BYTES]>,
}

impl<'a> Claim<'a> {
    fn parse(header: &'a str) -> Result<Self, SignatureError> {
        let (mut at, mut macs) = (None, Vec::new());
        for item in header.split(',') {
            match item.trim().split_once('=') {
                Some(("t", time)) if at.is_none() => at = Some(time),
                // With two times in the header, the signed one is not known.
                Some(("t", _)) => return Err(SignatureError::Missing),
                Some(("v1", hex)) if macs.len() < SIGNATURES_MAX => macs.extend(bytes(hex)),
                Some(("v1", _)) => return Err(SignatureError::Missing),
                _ => {}
            }
        }
        let at = at
            .filter(|at| !at.is_empty() && at.bytes().all(|b| b.is_ascii_digit()))
            .ok_or(SignatureError::Missing)?;
        if macs.is_empty() { Err(SignatureError::Missing) } else { Ok(Self { at, macs }) }
    }
}

/// Returns the 32 bytes of 64 hex digits.
fn bytes(digits: &str) -> Option<[u8; MAC_BYTES]> {
    let mut mac = [0; MAC_BYTES];
    hex::decode_to_slice(digits, &mut mac).ok().map(|()| mac)
}

/// Maximum length of an id. Stripe's ids are not longer.
const ID_CHARS_MAX: usize = 255;

impl WebhookVerifier for Secrets {
    fn signature_header(&self) -> &'static str {
        "stripe-signature"
    }

    fn check_signature_header(
        &self,
        signature: &str,
        now: Timestamp,
    ) -> Result<(), SignatureError> {
        self.claim(signature, now).map(drop)
    }

    fn verify(
        &self,
        signature: &str,
        body: &[u8],
        now: Timestamp,
    ) -> Result<Option<Notice>, SignatureError> {
        self.verify_claim(&self.claim(signature, now)?, body)?;
        Ok(parse(body))
    }
}

/// Parses an event. Returns `None` if the body is not an event of Stripe.
fn parse(body: &[u8]) -> Option<Notice> {
    let event: WebhookEvent = serde_json::from_slice(body).ok()?;
    let is_id = |id: &str| {
        (1..=ID_CHARS_MAX).contains(&id.len())
            && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    };
    if event.object.is_some_and(|object| object != "event") || !is_id(&event.id) {
        return None;
    }
    let object = event.data.object;
    let payment = match object.object.as_deref() {
        Some("payment_intent") => object.id,
        // A charge, a refund and a dispute name the PaymentIntent to which they belong, if
        // there is one.
        _ => object.payment_intent,
    };
    // The event belongs to a connected account, whose payments this marketplace's key cannot
    // read.
    let payment =
        payment.filter(|id| is_id(id) && event.account.is_none()).map(|id| PaymentId::new(&id));
    let kind = event.kind.chars().filter(|c| c.is_ascii_graphic()).take(ID_CHARS_MAX).collect();
    Some(Notice { event: event.id, kind, payment, is_live: event.livemode.unwrap_or_default() })
}

#[derive(Deserialize)]
struct WebhookEvent {
    id: String,
    object: Option<String>,
    #[serde(rename = "type")]
    kind: String,
    account: Option<String>,
    livemode: Option<bool>,
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    object: Object,
}

#[derive(Deserialize)]
struct Object {
    id: Option<String>,
    object: Option<String>,
    payment_intent: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &[u8] = br#"{"id":"evt_1","object":"event"}"#;
    const SIGNED_AT: i64 = 1_760_000_000;

    fn now() -> Timestamp {
        Timestamp(SIGNED_AT * 1000)
    }

    fn mac(secret: &str, at: &str, body: &[u8]) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any length");
        mac.update(at.as_bytes());
        mac.update(b".");
        mac.update(body);
        hex::encode(mac.finalize().into_bytes())
    }

    fn header(secret: &str, body: &[u8]) -> String {
        let at = SIGNED_AT.to_string();
        format!("t={at},v1={}", mac(secret, &at, body))
    }

    /// Verifies a body as the receiver does.
    fn verify(
        secrets: &Secrets,
        header: &str,
        body: &[u8],
        now: Timestamp,
    ) -> Result<(), SignatureError> {
        secrets.check_signature_header(header, now)?;
        secrets.verify(header, body, now).map(drop)
    }

    fn secrets() -> Secrets {
        Secrets::new(["whsec_old", "whsec_new"])
    }

    /// Computed with Stripe's own library:
    /// `stripe.WebhookSignature._compute_signature("1760000000.{\"id\":\"evt_1\"}", "whsec_test")`.
    #[test]
    fn signature_of_stripes_library_is_accepted() {
        let body = br#"{"id":"evt_1"}"#;
        let given =
            "t=1760000000,v1=66e880d7175fffb43ce10c4e14db1cfb230c8804b5aafb116affbc9a836c7690";
        verify(&Secrets::new(["whsec_test"]), given, body, now())
            .expect("the signature of Stripe's library is valid");
    }

    #[test]
    fn one_matching_secret_and_signature_of_several_is_enough() {
        for secret in ["whsec_old", "whsec_new"] {
            verify(&secrets(), &header(secret, BODY), BODY, now()).expect("the body is signed");
        }
        let (at, right) = (SIGNED_AT.to_string(), mac("whsec_new", &SIGNED_AT.to_string(), BODY));
        let wrong = mac("whsec_other", &at, BODY);
        for fine in [
            format!("t={at},v1={wrong},v1={right}"),
            format!("t={at},v1={right},v1={wrong}"),
            format!("v1={right},t={at}"),
            format!("t={at}, v1={}", right.to_uppercase()),
            format!("t={at},v0={wrong},v1={right},scheme=other,,"),
        ] {
            verify(&secrets(), &fine, BODY, now())
                .unwrap_or_else(|error| panic!("{fine}: {error}"));
        }
    }

    #[test]
    fn modified_event_or_header_is_refused() {
        let header = header("whsec_new", BODY);
        let later = header.replace(&SIGNED_AT.to_string(), &(SIGNED_AT + 1).to_string());
        let cases: [(&str, &[u8]); 4] = [
            (&header, br#"{"id":"evt_2","object":"event"}"#),
            (&header, br#"{"id":"evt_1","object":"event"} "#),
            (&header, b""),
            (&later, BODY),
        ];
        for (header, body) in cases {
            assert_eq!(
                verify(&secrets(), header, body, now()),
                Err(SignatureError::Wrong),
                "{header}"
            );
        }
        assert_eq!(
            verify(&Secrets::new(["whsec_other"]), &header, BODY, now()),
            Err(SignatureError::Wrong)
        );
        assert_eq!(
            verify(&Secrets::default(), &header, BODY, now()),
            Err(SignatureError::NoSecret)
        );
        assert_eq!(verify(&Secrets::new([""]), &header, BODY, now()), Err(SignatureError::Wrong));
    }

    #[test]
    fn unparsable_header_is_refused() {
        let (at, right) = (SIGNED_AT.to_string(), mac("whsec_new", &SIGNED_AT.to_string(), BODY));
        for bad in [
            String::new(),
            "nonsense".into(),
            format!("t={at}"),
            format!("v1={right}"),
            format!("t=,v1={right}"),
            format!("t=-{at},v1={right}"),
            format!("t={at},t={at},v1={right}"),
            format!("t={at},v1={}", &right[1..]),
            format!("t={at},v1={}zz", &right[2..]),
            format!("t={at},v0={right}"),
            format!("t={at}{}", format!(",v1={right}").repeat(SIGNATURES_MAX + 1)),
        ] {
            assert_eq!(
                verify(&secrets(), &bad, BODY, now()),
                Err(SignatureError::Missing),
                "{bad}"
            );
        }
    }

    #[test]
    fn signature_is_accepted_within_five_minutes_before_and_after() {
        let header = header("whsec_new", BODY);
        for within in [-300_999, -1_000, 0, 300_000, 300_999] {
            verify(&secrets(), &header, BODY, now() + Millis(within))
                .unwrap_or_else(|error| panic!("{within}: {error}"));
        }
        for beyond in [-301_000, 301_000, i64::MAX / 2] {
            assert_eq!(
                verify(&secrets(), &header, BODY, now() + Millis(beyond)),
                Err(SignatureError::OutOfTime),
                "{beyond}"
            );
        }
        let far = "9".repeat(30);
        let forged = format!("t={far},v1={}", mac("whsec_new", &far, BODY));
        assert_eq!(
            verify(&secrets(), &forged, BODY, now()),
            Err(SignatureError::Missing),
            "a time that cannot be parsed"
        );
    }

    #[test]
    fn event_is_refused_by_its_header_alone() {
        let header = header("whsec_new", BODY);
        assert!(secrets().check_signature_header(&header, now()).is_ok());
        assert_eq!(
            secrets()
                .check_signature_header(&header, now() + Millis(301_000))
                .expect_err("too old"),
            SignatureError::OutOfTime
        );
        assert_eq!(
            secrets().check_signature_header("t=1", now()).expect_err("no signature"),
            SignatureError::Missing
        );
        assert_eq!(
            Secrets::default().check_signature_header(&header, now()).expect_err("no secret"),
            SignatureError::NoSecret
        );
    }

    #[test]
    fn event_names_its_payment() {
        let event = |object: &str| {
            format!(
                r#"{{"id":"evt_1","object":"event","type":"some.thing","livemode":false,"data":{{"object":{object}}}}}"#
            )
        };
        let payment = |text: String| {
            parse(text.as_bytes())
                .expect("the event can be parsed")
                .payment
                .map(|id| id.to_string())
        };
        assert_eq!(
            payment(event(r#"{"object":"payment_intent","id":"pi_1","status":"lies"}"#)).as_deref(),
            Some("pi_1")
        );
        assert_eq!(
            payment(event(r#"{"object":"charge","id":"ch_1","payment_intent":"pi_2"}"#)).as_deref(),
            Some("pi_2")
        );
        assert_eq!(
            payment(event(r#"{"object":"refund","id":"re_1","payment_intent":"pi_3"}"#)).as_deref(),
            Some("pi_3")
        );
        assert_eq!(payment(event(r#"{"object":"customer","id":"cus_1"}"#)), None);
        assert_eq!(payment(event(r#"{"object":"payment_intent","id":"../pi_1"}"#)), None);
        let connected = event(r#"{"object":"payment_intent","id":"pi_1"}"#)
            .replace("\"livemode\"", "\"account\":\"acct_1\",\"livemode\"");
        assert_eq!(payment(connected), None, "another account's");
        for bad in
            ["", "[]", "{}", r#"{"id":"evt_1"}"#, r#"{"id":"","type":"a","data":{"object":{}}}"#]
        {
            assert_eq!(parse(bad.as_bytes()), None, "{bad}");
        }
    }
}
