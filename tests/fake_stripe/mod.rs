//! A fake Stripe that injects faults, for tests and proofs: PaymentIntents, refunds and webhooks over HTTP, with a ledger of
//! its own that nobody but it writes.
//!
//! It behaves as Stripe documents, in what is convenient and in what is not: an answer is kept under its idempotency key,
//! 500s too; a limit or a lock is told before that; an event may come twice, late, or never. What goes wrong is scripted,
//! or drawn from a seed. It runs in the test's process and outlives a GitTix that is killed; `tests/prove/fake_stripe.rs`
//! is the same as a program.

mod books;
mod cards;
pub mod faults;
mod intent;
mod keys;
mod ledger;
mod reply;
mod request;
mod server;
pub mod webhooks;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, mpsc},
    thread::JoinHandle,
};

use actix_web::dev::ServerHandle;
use tokio::sync::oneshot;

pub use books::Deceit;
pub use faults::{Fault, Held, Kind, Odds, Side, Timing, Verdict};
pub use ledger::{Account, Line, Movement};
pub use server::Seen;
pub use webhooks::{Event, Manner, Post};

use books::Books;
use faults::Faults;
use server::Shared;

/// A running fake. Dropping it ends it.
#[derive(Debug)]
pub struct FakeStripe {
    pub addr: SocketAddr,
    shared: Arc<Shared>,
    server: ServerHandle,
    thread: Option<JoinHandle<()>>,
}

impl FakeStripe {
    /// The secret key that tests use; any test key will do.
    pub const SECRET_KEY: &str = "sk_test_of_the_fake";

    /// One without faults, whose webhooks a test delivers by hand.
    pub fn start() -> Self {
        Self::start_with(1, Odds::default(), 0)
    }

    /// `seed` decides which requests go wrong, and how. Port 0 takes a free one.
    pub fn start_with(seed: u64, odds: Odds, port: u16) -> Self {
        let shared = Arc::new(Shared::new(Books::new(seed), Faults::new(seed, odds), Post::new(seed)));
        let (tell, told) = mpsc::channel();
        let served = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            server::serve(served, port, move |addr, handle| tell.send((addr, handle)).expect("somebody waits for it"));
        });
        let (addr, server) = told.recv().expect("it says where it listens");
        Self { addr, shared, server, thread: Some(thread) }
    }

    /// What `STRIPE_API_BASE` is to be.
    pub fn base(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Where events go, from now on: a server that was started again has another address.
    pub fn deliver_to(&self, server: SocketAddr) {
        self.shared.post().url = Some(format!("http://{server}/api/webhooks/stripe"));
    }

    pub fn deliver(&self, manner: Manner) {
        self.shared.post().manner = manner;
    }

    pub fn events(&self) -> Vec<Event> {
        self.shared.post().events.clone()
    }

    /// Event and status of every delivery that was answered.
    pub fn delivered(&self) -> Vec<(String, u16)> {
        self.shared.post().delivered.clone()
    }

    /// Delivers one event, once; the status of the answer.
    pub async fn post(&self, event: &Event) -> Option<u16> {
        self.shared.deliver_once(event).await
    }

    /// The next request of this kind goes wrong like this.
    pub fn script(&self, kind: Kind, fault: Fault) {
        self.shared.faults().script(kind, fault);
    }

    /// Holds the request of this kind that comes after `passing` others, as soon as it is there.
    pub fn hold(&self, side: Side, kind: Kind, passing: u32) -> oneshot::Receiver<Held> {
        self.shared.faults().hold(side, kind, passing)
    }

    /// Requests of this kind about an intent that names `subject` in its metadata are done and answered at these times.
    pub fn time(&self, subject: &str, kind: Kind, timing: Timing) {
        self.shared.faults().time(subject, kind, timing);
    }

    pub fn deceive(&self, deceit: Deceit) {
        self.shared.books().deceit = Some(deceit);
    }

    /// The buyer acts in their browser.
    ///
    /// # Panics
    /// If the intent does not wait for them.
    pub async fn act(&self, intent: &str, agrees: bool) {
        assert!(self.try_act(intent, agrees).await, "{intent} waits for nobody");
    }

    /// The buyer acts in their browser, if the intent still waits for them.
    pub async fn try_act(&self, intent: &str, agrees: bool) -> bool {
        // Over HTTP, so that what happens then is told from the server's own thread.
        let client = reqwest::Client::builder().no_proxy().build().expect("a plain client");
        let url = format!("{}/_act/{intent}?agrees={agrees}", self.base());
        client.post(url).send().await.expect("the fake answers").status() == 200
    }

    /// What each intent's lines come to.
    pub fn accounts(&self) -> BTreeMap<String, Account> {
        self.shared.books().ledger.accounts()
    }

    pub fn lines(&self) -> Vec<Line> {
        self.shared.books().ledger.lines.clone()
    }

    /// The metadata of every intent, by its id.
    pub fn intents(&self) -> BTreeMap<String, BTreeMap<String, String>> {
        self.shared.books().intents.iter().map(|(id, intent)| (id.clone(), intent.metadata.clone())).collect()
    }

    /// What no ledger may hold.
    pub fn contradictions(&self) -> Vec<String> {
        self.shared.books().ledger.contradictions()
    }

    /// Every request so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.seen().clone()
    }

    /// How many requests something was done to.
    pub fn faults(&self) -> u64 {
        self.shared.faults().count
    }
}

impl Drop for FakeStripe {
    fn drop(&mut self) {
        // The future need not be awaited: the command is sent at once.
        drop(self.server.stop(false));
        if let Some(thread) = self.thread.take() {
            // A server that panicked has said so already.
            let _ = thread.join();
        }
    }
}
