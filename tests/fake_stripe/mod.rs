//! A fake Stripe that injects faults, for tests and proofs: PaymentIntents, refunds and webhooks
//! over HTTP, with a ledger of its own.
//!
//! It behaves as Stripe documents: an answer is stored under its idempotency key, including answers
//! with status 500; rate limits and lock time-outs are checked before the key; an event may arrive
//! twice, late, or never. Faults are scripted or drawn from a seed. It runs in the test's process
//! and continues after a GitTix process is killed. `tests/prove/fake_stripe.rs` is the same server
//! as a program.

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

/// A running server. It ends when the value is dropped.
#[derive(Debug)]
pub struct FakeStripe {
    pub addr: SocketAddr,
    shared: Arc<Shared>,
    server: ServerHandle,
    thread: Option<JoinHandle<()>>,
}

impl FakeStripe {
    /// The secret key that tests use. Any test key is accepted.
    pub const SECRET_KEY: &str = "sk_test_of_the_fake";

    /// Starts a server without faults, whose webhooks the test delivers itself.
    pub fn start() -> Self {
        Self::start_with(1, Odds::default(), 0)
    }

    /// Starts a server. `seed` determines the faults. Port 0 selects a free port.
    pub fn start_with(seed: u64, odds: Odds, port: u16) -> Self {
        let shared =
            Arc::new(Shared::new(Books::new(seed), Faults::new(seed, odds), Post::new(seed)));
        let (report, address) = mpsc::channel();
        let served = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            server::serve(served, port, move |addr, handle| {
                report.send((addr, handle)).expect("the starter waits for the address")
            });
        });
        let (addr, server) = address.recv().expect("the server reports its address");
        Self { addr, shared, server, thread: Some(thread) }
    }

    /// Returns the value for `STRIPE_API_BASE`.
    pub fn base(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Sets the address to which events are sent from now on. A restarted server has another
    /// address.
    pub fn deliver_to(&self, server: SocketAddr) {
        self.shared.post().url = Some(format!("http://{server}/api/webhooks/stripe"));
    }

    pub fn deliver(&self, manner: Manner) {
        self.shared.post().manner = manner;
    }

    pub fn events(&self) -> Vec<Event> {
        self.shared.post().events.clone()
    }

    /// Returns event and status of every answered delivery.
    pub fn delivered(&self) -> Vec<(String, u16)> {
        self.shared.post().delivered.clone()
    }

    /// Delivers one event once and returns the status of the answer.
    pub async fn post(&self, event: &Event) -> Option<u16> {
        self.shared.deliver_once(event).await
    }

    /// Plans a fault for the next request of this kind.
    pub fn script(&self, kind: Kind, fault: Fault) {
        self.shared.faults().script(kind, fault);
    }

    /// Holds the request of this kind that comes after `passing` others, as soon as it arrives.
    pub fn hold(&self, side: Side, kind: Kind, passing: u32) -> oneshot::Receiver<Held> {
        self.shared.faults().hold(side, kind, passing)
    }

    /// Sets the times of execution and answer of requests of this kind about an intent that names
    /// `subject` in its metadata.
    pub fn time(&self, subject: &str, kind: Kind, timing: Timing) {
        self.shared.faults().time(subject, kind, timing);
    }

    pub fn deceive(&self, deceit: Deceit) {
        self.shared.books().deceit = Some(deceit);
    }

    /// Lets the buyer act in the browser.
    ///
    /// # Panics
    /// If the intent does not wait for an action.
    pub async fn act(&self, intent: &str, agrees: bool) {
        assert!(self.try_act(intent, agrees).await, "{intent} does not wait for its buyer");
    }

    /// Lets the buyer act in the browser, if the intent still waits for the action.
    pub async fn try_act(&self, intent: &str, agrees: bool) -> bool {
        // The request uses HTTP, so that the resulting events are sent from the server's own
        // thread.
        let client =
            gittix::http_client::builder().no_proxy().build().expect("the client can be built");
        let url = format!("{}/_act/{intent}?agrees={agrees}", self.base());
        client.post(url).send().await.expect("the fake answers").status() == 200
    }

    /// Returns the sums of each intent's entries.
    pub fn accounts(&self) -> BTreeMap<String, Account> {
        self.shared.books().ledger.accounts()
    }

    pub fn lines(&self) -> Vec<Line> {
        self.shared.books().ledger.lines.clone()
    }

    /// Returns the metadata of every intent, by its id.
    pub fn intents(&self) -> BTreeMap<String, BTreeMap<String, String>> {
        self.shared
            .books()
            .intents
            .iter()
            .map(|(id, intent)| (id.clone(), intent.metadata.clone()))
            .collect()
    }

    /// Returns the contradictions in the ledger.
    pub fn contradictions(&self) -> Vec<String> {
        self.shared.books().ledger.contradictions()
    }

    /// Returns every request so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.seen().clone()
    }

    /// Returns the number of requests with a fault.
    pub fn faults(&self) -> u64 {
        self.shared.faults().count
    }
}

impl Drop for FakeStripe {
    fn drop(&mut self) {
        // The future is not awaited, because the command is sent at once.
        drop(self.server.stop(false));
        if let Some(thread) = self.thread.take() {
            // A server that panicked has already printed its message.
            let _ = thread.join();
        }
    }
}
