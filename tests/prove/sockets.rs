//! The driver of `scripts/prove-sockets`: thousands of sockets, one of which has stopped reading.

#![allow(dead_code, unused_imports, unused_macros, reason = "it uses a part of the suite's support")]
#![allow(clippy::print_stdout, reason = "its output is what it is for")]

#[path = "../suite/app/mod.rs"]
mod app;
#[path = "../suite/fault/flood.rs"]
mod flood;

use clap::Parser;

/// Opens sockets at a server of its own, stalls one, and sends events to all.
#[derive(Debug, Parser)]
struct Arguments {
    #[arg(long, default_value_t = 2_000)]
    sockets: usize,
    #[arg(long, default_value_t = 1_000)]
    events: usize,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let Arguments { sockets, events } = Arguments::parse();
    let app = app::TestApp::start(app::Backend::Embedded).await;
    let flood = flood::flood(&app, sockets, events).await;
    println!("{flood:#?}");
    flood.assert_promises();
    println!("memory and delay stayed flat; the stalled socket was closed in time");
}
