//! Money: what is charged, what is given back, and that both agree with what was sold. The processor is a fake Stripe
//! with a ledger of its own (`tests/fake_stripe`), over HTTP.

pub mod audit;
pub mod buying;
mod deaths;
mod fake;
mod localstripe;
mod others;
mod purchases;
pub mod race;
pub mod rounds;
mod signatures;
pub mod stage;
mod stateful;
mod webhooks;
