//! `scripts/bench`, or `scripts/with-mongod cargo bench --bench market [-- SECTION…]`: every goal
//! of `docs/performance.md`. The real program and the upper limit of each figure are measured in
//! turn in one run.
//!
//! Absolute figures depend on the machine. The relevant figures are the ratio to the upper limit
//! and the CPU time per operation. The client runs on the same cores as the measured process, for
//! the upper limits as well; its cost is shown.

#![allow(
    dead_code,
    unused_imports,
    unused_macros,
    reason = "this program uses a part of the test support"
)]
#![allow(clippy::print_stdout, reason = "its output is its result")]

#[path = "../../tests/suite/app/mod.rs"]
mod app;
mod ceilings;
mod driver;
mod fanout;
mod growth;
mod load;
mod locks;
mod memory;
mod purchases;
mod reads;
mod replicas;
mod report;
mod shop;
mod signin;
mod sockets;

use std::time::Duration;

use report::Report;

/// Number of measurements of each figure; the medians are shown.
const ROUNDS: usize = 3;
/// Duration of one measurement.
const SPAN: Duration = Duration::from_secs(2);

/// The sections that run without a selection. `growth` and its parts, and `purchases-mongodb`, run
/// only if they are named. `growth` (or a part of it, such as `growth-locks`) runs only if it is
/// named: it takes minutes and has no goal.
const SECTIONS: [&str; 7] =
    ["purchases", "reads", "sockets", "memory", "locks", "signin", "replicas"];

fn main() {
    let arguments: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    // The upper limits run in processes of their own, like the server.
    match arguments.first().map(String::as_str) {
        Some("ceiling-handler") => {
            ceilings::bare_handler(arguments[1].parse().expect("a number of bytes"))
        }
        Some("ceiling-broadcaster") => ceilings::broadcaster(),
        Some("ceiling-hub") => ceilings::hub(),
        // Used by scripts/profile-heap.
        Some("seed-tickets") => runtime()
            .block_on(shop::leave_seeded(arguments[1].parse().expect("a number of tickets"))),
        Some("audience") => {
            let (addr, sockets) = (
                arguments[1].parse().expect("the address is valid"),
                arguments[2].parse().expect("a number of sockets"),
            );
            runtime().block_on(fanout::count_frames(addr, sockets));
        }
        _ => runtime().block_on(measure(&arguments)),
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("the runtime can be built")
}

async fn measure(wanted: &[String]) {
    if std::env::var_os("MONGODB_URI").is_none() {
        println!("MONGODB_URI is not set: the embedded store only");
    }
    let mut report = Report::open();
    let all: Vec<String> = SECTIONS.map(str::to_owned).to_vec();
    for section in if wanted.is_empty() { &all } else { wanted } {
        match section.as_str() {
            "purchases" => purchases::measure(&mut report).await,
            "purchases-mongodb" => purchases::mongodb(&mut report).await,
            "reads" => reads::measure(&mut report).await,
            "sockets" => sockets::measure(&mut report).await,
            "memory" => memory::measure(&mut report).await,
            "locks" => locks::measure(&mut report).await,
            "signin" => signin::measure(&mut report).await,
            "replicas" => replicas::measure(&mut report).await,
            "growth" => growth::measure(&mut report).await,
            "growth-tickets" => growth::over_tickets(&mut report).await,
            "growth-locks" => growth::over_locks(&mut report).await,
            "growth-buyers" => growth::over_buyers(&mut report).await,
            "growth-replicas" => growth::over_replicas(&mut report).await,
            other => panic!("there is no section {other}: {SECTIONS:?} and growth"),
        }
    }
    report.table();
}
