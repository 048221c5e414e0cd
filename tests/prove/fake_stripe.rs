//! The fake Stripe as a program, for manual use with GitTix: see docs/money.md.

#![allow(dead_code, unused_imports, reason = "the tests use more of it than this program")]
#![allow(clippy::print_stdout, reason = "it prints its address")]

#[path = "../fake_stripe/mod.rs"]
mod fake_stripe;

use clap::Parser;

use fake_stripe::{FakeStripe, Manner, Odds, Post};

/// Listens on the loopback address until it is stopped.
#[derive(Debug, Parser)]
struct Arguments {
    /// The port; 0 selects a free one.
    #[arg(long, default_value_t = 12_111)]
    port: u16,
    /// Adds faults to about one request in eight, and delivers webhooks twice, late or never.
    #[arg(long)]
    faults: bool,
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn main() {
    let arguments = Arguments::parse();
    let odds = if arguments.faults { Odds::bad_day() } else { Odds::default() };
    let stripe = FakeStripe::start_with(arguments.seed, odds, arguments.port);
    stripe.deliver(if arguments.faults { Manner::BAD_DAY } else { Manner::AT_ONCE });
    println!(
        "STRIPE_API_BASE={} STRIPE_SECRET_KEY={} STRIPE_WEBHOOK_SECRET={}",
        stripe.base(),
        FakeStripe::SECRET_KEY,
        Post::SECRET
    );
    println!(
        "ledger: {0}/_ledger; set the address for events: POST {0}/_webhooks?url=…; let the buyer act: POST {0}/_act/pi_…?agrees=true",
        stripe.base()
    );
    loop {
        std::thread::park();
    }
}
