//! A request to Stripe's API: its endpoint and its parameters.

use std::collections::BTreeMap;

use actix_web::web::Query;

use super::{faults::Kind, reply::Reply};

/// Parameters by their names with brackets: `metadata[order]`, `expand[]`.
pub type Form = BTreeMap<String, String>;

/// One endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    CreateIntent,
    ListIntents,
    RetrieveIntent(String),
    UpdateIntent(String),
    Confirm(String),
    Capture(String),
    Cancel(String),
    CreateRefund,
    ListRefunds,
    RetrieveRefund(String),
    CreateMethod,
    RetrieveMethod(String),
    RetrieveToken(String),
}

impl Endpoint {
    pub fn of(method: &str, path: &str) -> Option<Self> {
        let parts: Vec<&str> = path.strip_prefix("/v1/")?.split('/').collect();
        let own = |id: &&str| (*id).to_owned();
        Some(match (method, parts.as_slice()) {
            ("POST", ["payment_intents"]) => Self::CreateIntent,
            ("GET", ["payment_intents"]) => Self::ListIntents,
            ("GET", ["payment_intents", id]) => Self::RetrieveIntent(own(id)),
            ("POST", ["payment_intents", id]) => Self::UpdateIntent(own(id)),
            ("POST", ["payment_intents", id, "confirm"]) => Self::Confirm(own(id)),
            ("POST", ["payment_intents", id, "capture"]) => Self::Capture(own(id)),
            ("POST", ["payment_intents", id, "cancel"]) => Self::Cancel(own(id)),
            ("POST", ["refunds"]) => Self::CreateRefund,
            ("GET", ["refunds"]) => Self::ListRefunds,
            ("GET", ["refunds", id]) => Self::RetrieveRefund(own(id)),
            ("POST", ["payment_methods"]) => Self::CreateMethod,
            ("GET", ["payment_methods", id]) => Self::RetrieveMethod(own(id)),
            ("GET", ["tokens", id]) => Self::RetrieveToken(own(id)),
            _ => return None,
        })
    }

    pub fn kind(&self) -> Kind {
        match self {
            Self::CreateIntent => Kind::Create,
            Self::RetrieveIntent(_) => Kind::Retrieve,
            Self::UpdateIntent(_) => Kind::Update,
            Self::Confirm(_) => Kind::Confirm,
            Self::Capture(_) => Kind::Capture,
            Self::Cancel(_) => Kind::Cancel,
            Self::CreateRefund => Kind::Refund,
            _ => Kind::Other,
        }
    }

    /// Returns the intent that the path names.
    pub fn intent(&self) -> Option<&str> {
        match self {
            Self::RetrieveIntent(id)
            | Self::UpdateIntent(id)
            | Self::Confirm(id)
            | Self::Capture(id)
            | Self::Cancel(id) => Some(id),
            _ => None,
        }
    }

    /// Returns the documented parameters that a ticket shop may use. A name that ends in `[` stands
    /// for all names with that beginning.
    fn parameters(&self) -> &'static [&'static str] {
        const METHOD: [&str; 9] = [
            "payment_method",
            "payment_method_data[",
            "payment_method_options[",
            "metadata[",
            "expand[",
            "receipt_email",
            "return_url",
            "off_session",
            "use_stripe_sdk",
        ];
        const INTENT: [&str; 21] = [
            "amount",
            "currency",
            "capture_method",
            "confirm",
            "confirmation_method",
            "payment_method_types[",
            "automatic_payment_methods[",
            "description",
            "statement_descriptor",
            "statement_descriptor_suffix",
            "transfer_group",
            "error_on_requires_action",
            METHOD[0],
            METHOD[1],
            METHOD[2],
            METHOD[3],
            METHOD[4],
            METHOD[5],
            METHOD[6],
            METHOD[7],
            METHOD[8],
        ];
        match self {
            Self::CreateIntent | Self::UpdateIntent(_) => &INTENT,
            Self::Confirm(_) => &METHOD,
            Self::Capture(_) => &[
                "amount_to_capture",
                "final_capture",
                "statement_descriptor_suffix",
                "metadata[",
                "expand[",
            ],
            Self::Cancel(_) => &["cancellation_reason", "expand["],
            Self::CreateRefund => {
                &["payment_intent", "charge", "amount", "reason", "metadata[", "expand["]
            }
            Self::ListRefunds => &[
                "payment_intent",
                "charge",
                "limit",
                "starting_after",
                "ending_before",
                "created[",
                "expand[",
            ],
            Self::ListIntents => {
                &["limit", "starting_after", "ending_before", "created[", "customer", "expand["]
            }
            Self::CreateMethod => &["type", "card[", "billing_details[", "metadata[", "expand["],
            Self::RetrieveIntent(_) => &["client_secret", "expand["],
            Self::RetrieveRefund(_) | Self::RetrieveMethod(_) | Self::RetrieveToken(_) => {
                &["expand["]
            }
        }
    }

    /// Parses the parameters.
    ///
    /// # Errors
    /// As in Stripe: an undocumented parameter is refused, and so is a repeated one.
    pub fn form(&self, text: &str) -> Result<Form, Box<Reply>> {
        let pairs = Query::<Vec<(String, String)>>::from_query(text)
            .map_err(|_| Reply::invalid("parameter_invalid_string", "body"))?;
        let mut form = Form::new();
        for (name, value) in pairs.into_inner() {
            let known = self
                .parameters()
                .iter()
                .any(|known| *known == name || known.ends_with('[') && name.starts_with(known));
            if !known {
                return Err(Box::new(Reply::invalid("parameter_unknown", &name)));
            }
            if !name.ends_with("[]") && form.contains_key(&name) {
                return Err(Box::new(Reply::invalid("parameter_invalid_string", &name)));
            }
            form.entry(name).and_modify(|all| *all = format!("{all},{value}")).or_insert(value);
        }
        Ok(form)
    }
}
