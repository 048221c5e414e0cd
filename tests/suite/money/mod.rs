//! Money: what is charged, what is given back, and that both agree with what was sold. The processor is a fake Stripe
//! with a ledger of its own (`tests/fake_stripe`), over HTTP.

pub mod audit;
pub mod buying;
#[cfg(feature = "failpoints")]
mod deaths;
mod fake;
mod localstripe;
mod others;
mod purchases;
#[cfg(feature = "failpoints")]
pub mod race;
#[cfg(feature = "failpoints")]
pub mod rounds;
mod signatures;
pub mod stage;
mod stateful;
mod webhooks;
