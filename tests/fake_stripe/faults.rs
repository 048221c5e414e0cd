//! The faults and their times: scripted by a test (the next capture loses its answer), drawn from a
//! seed, or at a request that a test holds.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use gittix::domain::Timestamp;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::sync::oneshot;

/// The kind of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    Create,
    Retrieve,
    Update,
    Confirm,
    Capture,
    Cancel,
    Refund,
    /// Requests for payment methods, tokens and lists.
    Other,
}

/// A fault of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The connection ends before the request is executed.
    LostRequest,
    /// The request is executed, and the connection ends without an answer.
    LostAnswer,
    /// 429 with `Retry-After`, before the request is executed.
    RateLimited,
    /// 409 `lock_timeout`, before the request is executed.
    Locked,
    /// 503 of a gateway: the request is not executed, and the answer is not stored.
    Unavailable,
    /// 500 without execution. The answer is stored, so that the key cannot be used any more.
    BrokenBefore,
    /// 500 after execution. The answer is stored too.
    BrokenAfter,
    /// The execution takes this long. The key is in use in the meantime.
    Slow(Duration),
    /// The request is executed at once and answered after this time.
    LateAnswer(Duration),
}

/// The number of faults in a thousand requests, for each kind of fault.
#[derive(Debug, Clone, Default)]
pub struct Odds(pub Vec<(Fault, u32)>);

impl Odds {
    /// Returns odds with which about one request in eight has a fault.
    pub fn bad_day() -> Self {
        Self(vec![
            (Fault::LostRequest, 15),
            (Fault::LostAnswer, 25),
            (Fault::RateLimited, 20),
            (Fault::Locked, 15),
            (Fault::Unavailable, 10),
            (Fault::BrokenBefore, 8),
            (Fault::BrokenAfter, 8),
            (Fault::Slow(Duration::from_millis(40)), 20),
            (Fault::LateAnswer(Duration::from_millis(40)), 10),
        ])
    }
}

/// The time at which a request is held: before or after its execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    Before,
    After,
}

/// The fate of a request that was held before its execution, after its release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The request is executed, whether or not the client still waits for the answer.
    Do,
    /// The request is dropped, as if it had not arrived.
    Forget,
}

/// A held request. The test that owns this value releases it; dropping the value lets the request
/// be executed.
#[derive(Debug)]
pub struct Held(oneshot::Sender<Verdict>);

impl Held {
    pub fn let_go(self, verdict: Verdict) {
        // The connection may be closed, and the waiting task gone.
        let _ = self.0.send(verdict);
    }
}

/// The times at which a request about an order is executed and answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    pub done_at: Timestamp,
    pub answered_at: Timestamp,
}

/// A hold of the n-th request of a kind.
#[derive(Debug)]
struct Stop {
    side: Side,
    kind: Kind,
    passing: u32,
    sender: oneshot::Sender<Held>,
}

/// All planned faults.
#[derive(Debug)]
pub struct Faults {
    random: StdRng,
    odds: Odds,
    script: VecDeque<(Kind, Fault)>,
    stop: Option<Stop>,
    timings: HashMap<(String, Kind), Timing>,
    /// The number of faults so far.
    pub count: u64,
}

impl Faults {
    pub fn new(seed: u64, odds: Odds) -> Self {
        Self {
            random: StdRng::seed_from_u64(seed),
            odds,
            script: VecDeque::new(),
            stop: None,
            timings: HashMap::new(),
            count: 0,
        }
    }

    /// Plans a fault for the next request of this kind that has none.
    pub fn script(&mut self, kind: Kind, fault: Fault) {
        self.script.push_back((kind, fault));
    }

    /// Returns the fault of a request. A scripted fault takes precedence over a random one.
    pub fn draw(&mut self, kind: Kind) -> Option<Fault> {
        let scripted = self
            .script
            .iter()
            .position(|(of, _)| *of == kind)
            .and_then(|at| self.script.remove(at));
        let drawn = scripted.map(|(_, fault)| fault).or_else(|| self.by_chance());
        self.count += u64::from(drawn.is_some());
        drawn
    }

    fn by_chance(&mut self) -> Option<Fault> {
        let mut left: u32 = self.random.random_range(0..1_000);
        for (fault, per_mille) in &self.odds.0 {
            match left.checked_sub(*per_mille) {
                Some(rest) => left = rest,
                None => return Some(*fault),
            }
        }
        None
    }

    /// Holds the request of this kind that comes after `passing` others.
    pub fn hold(&mut self, side: Side, kind: Kind, passing: u32) -> oneshot::Receiver<Held> {
        let (sender, receiver) = oneshot::channel();
        self.stop = Some(Stop { side, kind, passing, sender });
        receiver
    }

    /// Returns the release for which a request has to wait, if it is the one to hold.
    pub fn arrives(&mut self, side: Side, kind: Kind) -> Option<oneshot::Receiver<Verdict>> {
        let stop = self.stop.as_mut().filter(|stop| stop.side == side && stop.kind == kind)?;
        if stop.passing > 0 {
            stop.passing -= 1;
            return None;
        }
        let (go, wait) = oneshot::channel();
        let stop = self.stop.take()?;
        // The test no longer waits for the request, so it would never release it.
        stop.sender.send(Held(go)).is_ok().then_some(wait)
    }

    /// Sets the times of requests of this kind about an intent that names `subject` in its
    /// metadata.
    pub fn time(&mut self, subject: &str, kind: Kind, timing: Timing) {
        self.timings.insert((subject.to_owned(), kind), timing);
    }

    pub fn timing<'a>(
        &self,
        kind: Kind,
        mut subjects: impl Iterator<Item = &'a String>,
    ) -> Option<Timing> {
        subjects.find_map(|subject| self.timings.get(&(subject.clone(), kind)).copied())
    }
}
