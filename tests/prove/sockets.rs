//! The driver of `scripts/prove-sockets`: thousands of WebSockets, one of which stops reading.

#![allow(
    dead_code,
    unused_imports,
    unused_macros,
    reason = "this program uses a part of the test support"
)]
#![allow(clippy::print_stdout, reason = "its output is its result")]

#[path = "../suite/app/mod.rs"]
mod app;
#[path = "../suite/fault/flood.rs"]
mod flood;

use clap::Parser;

/// Opens WebSockets at a server of its own, stops reading from one of them, and sends events to
/// all.
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
    flood.assert_bounds();
    println!("memory and delay stayed flat; the stalled socket was closed in time");
}
