//! `gittix demo`: simulates sellers, tickets and competing buyers on a running server, so that its
//! pages show changes. It uses the public API only. The number of simulated people, the number of
//! tickets and the time are bounded.

mod buyer;
mod client;
mod seller;
mod tally;
#[cfg(test)]
mod tests;
mod titles;

use std::{sync::Arc, time::Duration};

use clap::Args;
use futures_util::{
    FutureExt,
    stream::{FuturesUnordered, StreamExt},
};
use rand::{RngExt, SeedableRng, rngs::SmallRng, seq::IndexedRandom};
use reqwest::Url;
use tokio::time::Instant;

use buyer::Buyer;
use client::{ApiClient, Person, Role};
use seller::Seller;
pub use tally::Summary;
use tally::Tally;

/// Simulate users of a running server: sellers list tickets, buyers compete for them and pay with
/// test tokens.
#[derive(Debug, Clone, Args)]
pub struct Demo {
    /// URL of the server.
    #[arg(long, default_value = "http://127.0.0.1:3000", value_name = "URL")]
    pub url: Url,
    /// Number of sellers.
    #[arg(long, default_value_t = 4, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=100))]
    pub sellers: u16,
    /// Number of tickets that all sellers list together.
    #[arg(long, default_value_t = 60, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub tickets: u32,
    /// Number of buyers.
    #[arg(long, default_value_t = 16, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(0..=1000))]
    pub buyers: u16,
    /// Maximum duration of the demo, in seconds; ctrl-c ends it sooner.
    #[arg(long, default_value_t = 60, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub seconds: u32,
    /// Maximum pause of a person between two actions, in milliseconds.
    #[arg(long, default_value_t = 2000, value_name = "MILLISECONDS", value_parser = clap::value_parser!(u32).range(1..=60_000))]
    pub pace: u32,
    /// Seed of all random choices; the same seed uses the same accounts again.
    #[arg(long, default_value_t = 1, value_name = "NUMBER")]
    pub seed: u64,
}

/// The reason why the demo could not start.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    #[error("there is no server at {url}: {cause}")]
    Unreachable { url: Url, cause: String },
    #[error("cannot make HTTP requests: {0}")]
    ApiClient(#[from] reqwest::Error),
}

/// Runs the demo until its time is over, all people have finished, or ctrl-c. Then logs a summary.
///
/// # Errors
/// No server answers at the URL, or no HTTP client can be created.
pub async fn run(demo: Demo) -> Result<(), DemoError> {
    tracing::info!(url = %demo.url, sellers = demo.sellers, tickets = demo.tickets, buyers = demo.buyers, seed = demo.seed, "the demo starts");
    let summary = simulate(demo).await?;
    summary.log();
    Ok(())
}

async fn simulate(demo: Demo) -> Result<Summary, DemoError> {
    let tally = Arc::new(Tally::default());
    let deadline = Instant::now() + Duration::from_secs(u64::from(demo.seconds));
    let client = |role, number| {
        let person = Person::new(role, number, demo.seed);
        let random = SmallRng::seed_from_u64(demo.seed ^ person.salt());
        ApiClient::new(demo.url.clone(), person, deadline, Arc::clone(&tally))
            .map(|client| (client, Chooser::new(random, demo.pace)))
    };
    let (watcher, _) = client(Role::Watcher, 0)?;
    watcher.ping().await?;

    let mut people = FuturesUnordered::new();
    for number in 0..demo.sellers {
        let (client, chooser) = client(Role::Seller, number)?;
        let tickets = share(demo.tickets, demo.sellers, number);
        people.push(Seller::new(client, chooser, tickets).run().boxed());
    }
    for number in 0..demo.buyers {
        let (client, chooser) = client(Role::Buyer, number)?;
        people.push(Buyer::new(client, chooser, demo.tickets).run().boxed());
    }
    let all_finished = async { while people.next().await.is_some() {} };
    tokio::select! {
        () = all_finished => {}
        () = tokio::time::sleep_until(deadline) => {}
        _ = tokio::signal::ctrl_c() => tracing::info!("ctrl-c received; the demo stops"),
    }
    Ok(tally.summary())
}

/// Returns the number of tickets that the seller of this number lists.
fn share(tickets: u32, sellers: u16, number: u16) -> u32 {
    let (sellers, number) = (u32::from(sellers), u32::from(number));
    tickets / sellers + u32::from(number < tickets % sellers)
}

/// The random choices of one person, all from the seed.
#[derive(Debug)]
struct Chooser {
    random: SmallRng,
    pace_ms: u32,
}

impl Chooser {
    fn new(random: SmallRng, pace_ms: u32) -> Self {
        Self { random, pace_ms }
    }

    /// Waits for a random time up to the pace.
    async fn pause(&mut self) {
        let millis = self.random.random_range(0..=self.pace_ms);
        tokio::time::sleep(Duration::from_millis(u64::from(millis))).await;
    }

    /// Returns `true` in `percent` of a hundred cases on average.
    fn happens(&mut self, percent: u32) -> bool {
        self.random.random_range(0..100) < percent
    }

    fn one_of<'a, T>(&mut self, things: &'a [T]) -> Option<&'a T> {
        things.choose(&mut self.random)
    }
}
