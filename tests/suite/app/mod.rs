//! Tools that tests use: a server with its own store ([`TestApp`]), users ([`Client`]), sockets
//! ([`Socket`]) and, for requests that no correct client sends, raw bytes ([`raw`]).
//!
//! Every answer that passes through this module is checked against the rules for all answers
//! ([`Answer`]).

mod answer;
mod client;
mod database;
pub mod mailbox;
pub mod raw;
mod server;
pub mod smtp;
mod socket;
pub mod stripe;
pub mod world;

use std::time::Duration;

pub use answer::{Answer, millis};
pub use client::{Call, Client};
pub use database::{Backend, Home, TestDatabase, with_app_name};
pub use server::{Server, bare_command, listening_at, run};
pub use socket::Socket;

/// Maximum time that a test waits for an expected result before it fails.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// One server with its own store.
#[derive(Debug)]
pub struct TestApp {
    // The server is declared before `home`: the process must have exited when its folder or
    // database is removed.
    pub server: Server,
    pub home: Home,
    settings: Vec<(String, String)>,
    /// All users of a test share the connections of this client.
    guest: Client,
}

impl TestApp {
    /// Starts a server with the default lock lengths and without rate limits.
    pub async fn start(store: Backend) -> Self {
        Self::start_with(store, &[]).await
    }

    /// Starts a server with additional settings: pairs of environment variable and value.
    pub async fn start_with(store: Backend, settings: &[(&str, &str)]) -> Self {
        Self::start_at(Home::new(store), settings).await
    }

    /// Starts a server on existing storage.
    pub async fn start_at(home: Home, settings: &[(&str, &str)]) -> Self {
        let mut all = vec![
            ("GITTIX_RATE_LIMIT".to_owned(), "off".to_owned()),
            ("GITTIX_REPLICA".to_owned(), "test".to_owned()),
        ];
        all.extend(settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let server = Server::start(&home, &all).await;
        let guest = Client::new(server.addr);
        Self { server, home, settings: all, guest }
    }

    /// Starts a server with `count` users whose sessions were written into the store: to hash a
    /// thousand passwords takes a minute.
    pub async fn start_with_people(
        store: Backend,
        settings: &[(&str, &str)],
        count: usize,
    ) -> (Self, Vec<Client>) {
        let home = Home::new(store);
        let seeded = world::seed_users(&home, count).await;
        Self::start_seeded(home, settings, seeded).await
    }

    /// Starts a server on storage that was seeded; returns it with a client for each seeded user.
    pub async fn start_seeded(
        home: Home,
        settings: &[(&str, &str)],
        seeded: Vec<world::Seeded>,
    ) -> (Self, Vec<Client>) {
        let app = Self::start_at(home, settings).await;
        let people = Client::seeded(app.server.addr, seeded).await;
        (app, people)
    }

    /// Starts another process on the same store, with the same settings except its name.
    pub async fn replica(&self, name: &str) -> Server {
        self.replica_with(name, &[]).await
    }

    /// Starts another process on the same store, with another name and the other settings in
    /// `others`.
    pub async fn replica_with(&self, name: &str, others: &[(&str, &str)]) -> Server {
        let mut settings = self.settings.clone();
        settings.push(("GITTIX_REPLICA".into(), name.into()));
        settings
            .extend(others.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        Server::start(&self.home, &settings).await
    }

    /// Kills the process at once, as a crash does.
    pub fn crash(&mut self) {
        self.server.kill();
    }

    /// Kills the process and starts a new one on the same store.
    pub async fn restart(&mut self) {
        self.server.kill();
        self.server = Server::start(&self.home, &self.settings).await;
    }

    /// Kills the process and starts one on the same store that exits at a failpoint, perhaps before
    /// it listens. Waits for its exit.
    #[cfg(feature = "failpoints")]
    pub async fn restart_until_exit(&mut self) {
        self.server.kill();
        server::run_until_exit(&self.home, &self.settings).await;
    }

    /// Changes a setting for the next start.
    #[cfg(feature = "failpoints")]
    pub fn set(&mut self, name: &str, value: &str) {
        self.settings.push((name.into(), value.into()));
    }

    /// Returns a client that is not signed in.
    pub fn guest(&self) -> Client {
        self.guest.stranger().at(&self.server)
    }

    /// Returns a new user, signed up with an email address that no other user has.
    pub async fn user(&self) -> Client {
        let mut guest = self.guest();
        guest.join().await;
        guest
    }

    /// Returns a socket that is not signed in and watches everything.
    pub async fn socket(&self) -> Socket {
        self.guest().socket().await
    }
}

/// Runs each named `async fn(Backend)` of this module as a test on both stores. A function that is
/// not named here is dead code, which the compiler reports.
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
