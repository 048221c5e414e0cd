//! Money: what is charged, what is given back, and that both agree with what was sold. The processor is a fake Stripe
//! with a ledger of its own (`tests/fake_stripe`), over HTTP.

mod fake;
