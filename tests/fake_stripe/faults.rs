//! What goes wrong, and when: by a script (the next capture loses its answer), by chance from a seed, or at a moment that a
//! test wants to hold on to.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use gittix::domain::Timestamp;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::sync::oneshot;

/// What a request is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    Create,
    Retrieve,
    Update,
    Confirm,
    Capture,
    Cancel,
    Refund,
    /// Payment methods, tokens, lists.
    Other,
}

/// One thing that goes wrong with one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The connection ends before anything is done.
    LostRequest,
    /// It is done, and the connection ends without an answer.
    LostAnswer,
    /// 429 with `Retry-After`, before anything is done.
    RateLimited,
    /// 409 `lock_timeout`, before anything is done.
    Locked,
    /// 503 of a gateway: nothing is done, nothing kept.
    Unavailable,
    /// 500 with nothing done; kept, so that the key is of no more use.
    BrokenBefore,
    /// 500 though it was done; kept likewise.
    BrokenAfter,
    /// Takes this long; its key is in use meanwhile.
    Slow(Duration),
    /// Done at once, answered this late.
    LateAnswer(Duration),
}

/// Faults in a thousand requests, for each kind of fault.
#[derive(Debug, Clone, Default)]
pub struct Odds(pub Vec<(Fault, u32)>);

impl Odds {
    /// About one request in eight has something wrong with it.
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

/// On which side of doing it a request is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    Before,
    After,
}

/// What becomes of a request that was held before it was done, once it is let go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is done, whether or not anybody still waits for the answer.
    Do,
    /// It never arrived.
    Forget,
}

/// A request that was held: whoever holds this lets it go. Dropping it lets it be done.
#[derive(Debug)]
pub struct Held(oneshot::Sender<Verdict>);

impl Held {
    pub fn let_go(self, verdict: Verdict) {
        // The connection may be gone, and with it whoever waited.
        let _ = self.0.send(verdict);
    }
}

/// When a request about some order is to be done, and when answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    pub done_at: Timestamp,
    pub answered_at: Timestamp,
}

/// A wait for the n-th request of a kind.
#[derive(Debug)]
struct Stop {
    side: Side,
    kind: Kind,
    passing: u32,
    tell: oneshot::Sender<Held>,
}

/// All that is to go wrong.
#[derive(Debug)]
pub struct Faults {
    random: StdRng,
    odds: Odds,
    script: VecDeque<(Kind, Fault)>,
    stop: Option<Stop>,
    timings: HashMap<(String, Kind), Timing>,
    /// How many went wrong.
    pub count: u64,
}

impl Faults {
    pub fn new(seed: u64, odds: Odds) -> Self {
        Self { random: StdRng::seed_from_u64(seed), odds, script: VecDeque::new(), stop: None, timings: HashMap::new(), count: 0 }
    }

    /// The next request of this kind that nothing was scripted for goes wrong like this.
    pub fn script(&mut self, kind: Kind, fault: Fault) {
        self.script.push_back((kind, fault));
    }

    /// What goes wrong with a request. A script goes before chance.
    pub fn draw(&mut self, kind: Kind) -> Option<Fault> {
        let scripted = self.script.iter().position(|(of, _)| *of == kind).and_then(|at| self.script.remove(at));
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
        let (tell, told) = oneshot::channel();
        self.stop = Some(Stop { side, kind, passing, tell });
        told
    }

    /// What a request must wait for here, if it is the one to be held.
    pub fn arrives(&mut self, side: Side, kind: Kind) -> Option<oneshot::Receiver<Verdict>> {
        let stop = self.stop.as_mut().filter(|stop| stop.side == side && stop.kind == kind)?;
        if stop.passing > 0 {
            stop.passing -= 1;
            return None;
        }
        let (go, wait) = oneshot::channel();
        let stop = self.stop.take()?;
        // Nobody waits for it any more: then nobody would let it go.
        stop.tell.send(Held(go)).is_ok().then_some(wait)
    }

    /// Requests of this kind about an intent that names `subject` in its metadata happen at these times.
    pub fn time(&mut self, subject: &str, kind: Kind, timing: Timing) {
        self.timings.insert((subject.to_owned(), kind), timing);
    }

    pub fn timing<'a>(&self, kind: Kind, mut subjects: impl Iterator<Item = &'a String>) -> Option<Timing> {
        subjects.find_map(|subject| self.timings.get(&(subject.clone(), kind)).copied())
    }
}
