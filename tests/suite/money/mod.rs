//! Money: what is charged, what is refunded, and that both agree with the sales. The processor is a
//! fake Stripe with its own ledger (`tests/fake_stripe`), over HTTP.

pub mod audit;
pub mod buying;
mod crashes;
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
