//! What tests talk to: a server of their own ([`TestApp`]), people who use it ([`Client`]), sockets ([`Socket`]) and, for
//! what no well-behaved client sends, bare bytes ([`raw`]).
//!
//! Every answer that passes through here is held against what the contract promises of all answers ([`Answer`]).

mod answer;
mod client;
mod database;
pub mod raw;
mod server;
mod socket;
pub mod stripe;
pub mod world;

use std::time::Duration;

pub use answer::{Answer, millis};
pub use client::{Call, Client};
pub use database::{Backend, Home};
pub use server::{Server, bare_command, listening_at, run};
pub use socket::Socket;

/// How long a test waits for what must come before it fails.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// One server with a store of its own.
#[derive(Debug)]
pub struct TestApp {
    // Before `home`, so that the process is gone when its folder or database is removed.
    pub server: Server,
    pub home: Home,
    settings: Vec<(String, String)>,
    /// All people of a test share its connections.
    guest: Client,
}

impl TestApp {
    /// With the default lengths of the lock, and without limits on rates.
    pub async fn start(store: Backend) -> Self {
        Self::start_with(store, &[]).await
    }

    /// With settings of its own: pairs of environment variable and value.
    pub async fn start_with(store: Backend, settings: &[(&str, &str)]) -> Self {
        Self::start_at(Home::new(store), settings).await
    }

    /// On a store that may hold something already.
    pub async fn start_at(home: Home, settings: &[(&str, &str)]) -> Self {
        let mut all = vec![("GITTIX_RATE_LIMIT".to_owned(), "off".to_owned()), ("GITTIX_REPLICA".to_owned(), "test".to_owned())];
        all.extend(settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let server = Server::start(&home, &all).await;
        let guest = Client::new(server.addr);
        Self { server, home, settings: all, guest }
    }

    /// A server, and people who are signed in without having typed a password: a thousand real ones take a minute to hash.
    pub async fn start_with_people(store: Backend, settings: &[(&str, &str)], count: usize) -> (Self, Vec<Client>) {
        let home = Home::new(store);
        let seeded = world::seed_users(&home, count).await;
        Self::start_seeded(home, settings, seeded).await
    }

    /// On a store that was seeded: the server, and the people who are in it.
    pub async fn start_seeded(home: Home, settings: &[(&str, &str)], seeded: Vec<world::Seeded>) -> (Self, Vec<Client>) {
        let app = Self::start_at(home, settings).await;
        let people = Client::seeded(app.server.addr, seeded).await;
        (app, people)
    }

    /// Another process on the same store, with the same settings but for its name.
    pub async fn replica(&self, name: &str) -> Server {
        self.replica_with(name, &[]).await
    }

    /// And but for some others.
    pub async fn replica_with(&self, name: &str, others: &[(&str, &str)]) -> Server {
        let mut settings = self.settings.clone();
        settings.push(("GITTIX_REPLICA".into(), name.into()));
        settings.extend(others.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        Server::start(&self.home, &settings).await
    }

    /// Kills the process at once, as a crash would.
    pub fn crash(&mut self) {
        self.server.kill();
    }

    /// Starts a process anew on the same store.
    pub async fn restart(&mut self) {
        self.server.kill();
        self.server = Server::start(&self.home, &self.settings).await;
    }

    /// Starts a process anew on the same store, which is to end by itself, perhaps before it listens.
    #[cfg(feature = "failpoints")]
    pub async fn restart_to_its_end(&mut self) {
        self.server.kill();
        server::run_to_its_end(&self.home, &self.settings).await;
    }

    /// Changes a setting of the next start.
    #[cfg(feature = "failpoints")]
    pub fn set(&mut self, name: &str, value: &str) {
        self.settings.push((name.into(), value.into()));
    }

    /// Somebody who is not signed in.
    pub fn guest(&self) -> Client {
        self.guest.stranger().at(&self.server)
    }

    /// Somebody new, signed up under an address that nobody else has.
    pub async fn user(&self) -> Client {
        let mut guest = self.guest();
        guest.join().await;
        guest
    }

    /// A socket that watches everything, signed in by nobody.
    pub async fn socket(&self) -> Socket {
        self.guest().socket().await
    }
}

/// Runs each named `async fn(Backend)` of this module as a test on either store. One that is not named is dead code, so
/// the compiler finds it.
macro_rules! on_both_stores {
    ($($name:ident),* $(,)?) => {
        mod embedded {
            $(#[tokio::test] async fn $name() { super::$name($crate::app::Backend::Embedded).await })*
        }
        mod mongodb {
            $(#[tokio::test] async fn $name() { super::$name($crate::app::Backend::MongoDb).await })*
        }
    };
}
pub(crate) use on_both_stores;
