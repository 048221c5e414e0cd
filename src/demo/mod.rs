//! `gittix demo`: fills a running server with sellers, tickets and racing buyers over its public API, so that whoever
//! watches sees life. Knows nothing of the server but the contract; bounded in count and time.

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

/// Brings a running server to life: sellers list tickets, buyers race for them and pay with test tokens.
#[derive(Debug, Clone, Args)]
pub struct Demo {
    /// The server.
    #[arg(long, default_value = "http://127.0.0.1:3000", value_name = "URL")]
    pub url: Url,
    /// How many people sell.
    #[arg(long, default_value_t = 4, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=100))]
    pub sellers: u16,
    /// How many tickets they list, all together.
    #[arg(long, default_value_t = 60, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub tickets: u32,
    /// How many people buy.
    #[arg(long, default_value_t = 16, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(0..=1000))]
    pub buyers: u16,
    /// When it ends at the latest; ctrl-c ends it sooner.
    #[arg(long, default_value_t = 60, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub seconds: u32,
    /// How long somebody thinks at most before doing the next thing, in milliseconds.
    #[arg(long, default_value_t = 2000, value_name = "MILLISECONDS", value_parser = clap::value_parser!(u32).range(1..=60_000))]
    pub pace: u32,
    /// Decides who does what; the same seed comes back as the same people.
    #[arg(long, default_value_t = 1, value_name = "NUMBER")]
    pub seed: u64,
}

/// Why nothing could be shown.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    #[error("there is no server at {url}: {cause}")]
    Unreachable { url: Url, cause: String },
    #[error("cannot make HTTP requests: {0}")]
    ApiClient(#[from] reqwest::Error),
}

/// Plays until the time is over, all tickets are sold, or ctrl-c; then says what happened.
///
/// # Errors
/// If there is no server at the URL.
pub async fn run(demo: Demo) -> Result<(), DemoError> {
    tracing::info!(url = %demo.url, sellers = demo.sellers, tickets = demo.tickets, buyers = demo.buyers, seed = demo.seed, "the demo begins");
    let summary = play(demo).await?;
    summary.log();
    Ok(())
}

async fn play(demo: Demo) -> Result<Summary, DemoError> {
    let tally = Arc::new(Tally::default());
    let deadline = Instant::now() + Duration::from_secs(u64::from(demo.seconds));
    let client = |role, number| {
        let person = Person::new(role, number, demo.seed);
        let random = SmallRng::seed_from_u64(demo.seed ^ person.salt());
        ApiClient::new(demo.url.clone(), person, deadline, Arc::clone(&tally)).map(|client| (client, Mood::new(random, demo.pace)))
    };
    let (watcher, _) = client(Role::Watcher, 0)?;
    watcher.ping().await?;

    let mut people = FuturesUnordered::new();
    for number in 0..demo.sellers {
        let (client, mood) = client(Role::Seller, number)?;
        let tickets = share(demo.tickets, demo.sellers, number);
        people.push(Seller::new(client, mood, tickets).live().boxed());
    }
    for number in 0..demo.buyers {
        let (client, mood) = client(Role::Buyer, number)?;
        people.push(Buyer::new(client, mood, demo.tickets).live().boxed());
    }
    let everybody = async { while people.next().await.is_some() {} };
    tokio::select! {
        () = everybody => {}
        () = tokio::time::sleep_until(deadline) => {}
        _ = tokio::signal::ctrl_c() => tracing::info!("stopping"),
    }
    Ok(tally.summary())
}

/// How many of `tickets` the seller of this number lists.
fn share(tickets: u32, sellers: u16, number: u16) -> u32 {
    let (sellers, number) = (u32::from(sellers), u32::from(number));
    tickets / sellers + u32::from(number < tickets % sellers)
}

/// One person's chances and choices, all from the seed.
#[derive(Debug)]
struct Mood {
    random: SmallRng,
    pace_ms: u32,
}

impl Mood {
    fn new(random: SmallRng, pace_ms: u32) -> Self {
        Self { random, pace_ms }
    }

    /// Thinks for a while.
    async fn think(&mut self) {
        let millis = self.random.random_range(0..=self.pace_ms);
        tokio::time::sleep(Duration::from_millis(u64::from(millis))).await;
    }

    /// Happens in so many of a hundred cases.
    fn happens(&mut self, percent: u32) -> bool {
        self.random.random_range(0..100) < percent
    }

    fn one_of<'a, T>(&mut self, things: &'a [T]) -> Option<&'a T> {
        things.choose(&mut self.random)
    }
}
