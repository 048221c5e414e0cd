//! The fake Stripe as a program, for whoever wants to try GitTix against it by hand: see docs/money.md.

#![allow(dead_code, unused_imports, reason = "tests use more of it than its program")]
#![allow(clippy::print_stdout, reason = "it says where it listens")]

#[path = "../fake_stripe/mod.rs"]
mod fake_stripe;

use clap::Parser;

use fake_stripe::{FakeStripe, Manner, Odds, Post};

/// Listens on the loopback until it is ended.
#[derive(Debug, Parser)]
struct Arguments {
    /// 0 takes a free one.
    #[arg(long, default_value_t = 12_111)]
    port: u16,
    /// Makes about one request in eight go wrong, and webhooks come twice, late or never.
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
    println!("STRIPE_API_BASE={} STRIPE_SECRET_KEY={} STRIPE_WEBHOOK_SECRET={}", stripe.base(), FakeStripe::SECRET_KEY, Post::SECRET);
    println!(
        "its ledger: {0}/_ledger; where its events go: POST {0}/_webhooks?url=…; the buyer acts: POST {0}/_act/pi_…?agrees=true",
        stripe.base()
    );
    loop {
        std::thread::park();
    }
}
