//! The queue in front of the hashing threads: bounded, fair between networks, with a deadline for each job.
//!
//! Networks take turns, one job each, so that a flood from one network delays another network by one job and not by the
//! whole flood. When the queue is full, a network with fewer waiting jobs displaces a job of the network with the most.

use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
};

use parking_lot::{Condvar, Mutex};
use tokio::time::Instant;

use crate::metrics::METRICS;

/// A queue of jobs. Threads take from it by [`HashQueue::next`].
#[derive(Debug)]
pub(super) struct HashQueue<J> {
    state: Mutex<QueueState<J>>,
    ready: Condvar,
}

#[derive(Debug)]
struct QueueState<J> {
    /// Waiting jobs by network, the oldest first; a network without jobs has no entry.
    networks: HashMap<IpAddr, VecDeque<QueuedJob<J>>>,
    /// The networks with waiting jobs, each once, the one to be served next in front.
    turns: VecDeque<IpAddr>,
    waiting: usize,
    last_id: u64,
    closed: bool,
}

#[derive(Debug)]
struct QueuedJob<J> {
    id: u64,
    deadline: Instant,
    job: J,
}

/// Identifies a waiting job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct QueuePlace {
    network: IpAddr,
    id: u64,
}

impl<J> HashQueue<J> {
    /// Maximum number of waiting jobs. At 70 hashes a second, the last of them waits 1.8 s.
    pub(super) const WAITING_MAX: usize = 128;

    pub(super) fn new() -> Self {
        let state = QueueState { networks: HashMap::new(), turns: VecDeque::new(), waiting: 0, last_id: 0, closed: false };
        Self { state: Mutex::new(state), ready: Condvar::new() }
    }

    /// Adds a job that is to begin before `deadline`. Returns `None` if the queue is full and `network` has as many
    /// waiting jobs as any other. A displaced job is dropped.
    pub(super) fn push(&self, network: IpAddr, deadline: Instant, job: J) -> Option<QueuePlace> {
        let mut state = self.state.lock();
        let (place, displaced) = state.push(network, deadline, job)?;
        drop(state);
        drop(displaced);
        self.ready.notify_one();
        Some(place)
    }

    /// Waits for the next job whose deadline has not passed. Returns `None` once the queue is closed.
    pub(super) fn next(&self) -> Option<J> {
        let mut state = self.state.lock();
        loop {
            if state.closed {
                return None;
            }
            if let Some(job) = state.take(Instant::now()) {
                return Some(job);
            }
            self.ready.wait(&mut state);
        }
    }

    /// Removes a job. Returns false if it is no longer waiting: it was taken, displaced or dropped.
    pub(super) fn remove(&self, place: QueuePlace) -> bool {
        let mut state = self.state.lock();
        let removed = state.remove(place);
        drop(state);
        removed.is_some()
    }

    /// Ends the threads that wait in [`HashQueue::next`], and drops what is waiting.
    pub(super) fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        state.turns.clear();
        let dropped = std::mem::take(&mut state.networks);
        state.count(0);
        drop(state);
        drop(dropped);
        self.ready.notify_all();
    }
}

impl<J> QueueState<J> {
    /// The place of the new job, and the job that it displaced.
    fn push(&mut self, network: IpAddr, deadline: Instant, job: J) -> Option<(QueuePlace, Option<J>)> {
        let displaced = if self.waiting < HashQueue::<J>::WAITING_MAX { None } else { Some(self.displace(network)?) };
        self.last_id += 1;
        let place = QueuePlace { network, id: self.last_id };
        let jobs = self.networks.entry(network).or_default();
        if jobs.is_empty() {
            self.turns.push_back(network);
        }
        jobs.push_back(QueuedJob { id: place.id, deadline, job });
        self.count(self.waiting + 1);
        Some((place, displaced))
    }

    /// Takes out the newest job of the network with the most, if `network` has fewer than that.
    fn displace(&mut self, network: IpAddr) -> Option<J> {
        let longest = *self.turns.iter().max_by_key(|network| self.waiting_of(**network))?;
        if self.waiting_of(network) >= self.waiting_of(longest) {
            return None;
        }
        let newest = self.networks.get(&longest)?.back()?.id;
        self.remove(QueuePlace { network: longest, id: newest })
    }

    fn waiting_of(&self, network: IpAddr) -> usize {
        self.networks.get(&network).map_or(0, VecDeque::len)
    }

    /// The oldest job of the network whose turn it is. Jobs whose deadline has passed are dropped.
    fn take(&mut self, now: Instant) -> Option<J> {
        while let Some(network) = self.turns.pop_front() {
            let jobs = self.networks.get_mut(&network)?;
            let oldest = jobs.pop_front();
            if jobs.is_empty() {
                self.networks.remove(&network);
            } else {
                self.turns.push_back(network);
            }
            self.count(self.waiting - 1);
            if let Some(waiting) = oldest.filter(|waiting| now < waiting.deadline) {
                return Some(waiting.job);
            }
        }
        None
    }

    fn remove(&mut self, place: QueuePlace) -> Option<J> {
        let jobs = self.networks.get_mut(&place.network)?;
        let index = jobs.iter().position(|waiting| waiting.id == place.id)?;
        let removed = jobs.remove(index)?;
        if jobs.is_empty() {
            self.networks.remove(&place.network);
            self.turns.retain(|network| *network != place.network);
        }
        self.count(self.waiting - 1);
        Some(removed.job)
    }

    fn count(&mut self, waiting: usize) {
        self.waiting = waiting;
        METRICS.passwords_waiting.set(i64::try_from(waiting).unwrap_or(i64::MAX));
    }
}

#[cfg(test)]
mod tests {
    use std::{net::Ipv4Addr, time::Duration};

    use super::*;

    const MAX: usize = HashQueue::<()>::WAITING_MAX;

    fn network(number: u8) -> IpAddr {
        Ipv4Addr::new(192, 0, 2, number).into()
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(3600)
    }

    #[test]
    fn network_with_one_job_is_served_after_one_job_of_each_flooding_network() {
        let queue = HashQueue::new();
        for _ in 0..5 {
            for flooding in 1..=24 {
                queue.push(network(flooding), soon(), flooding).expect("there is room");
            }
        }
        queue.push(network(100), soon(), 100).expect("there is room");
        let served: Vec<u8> = (0..121).map(|_| queue.next().expect("a job")).collect();
        assert_eq!(served.iter().position(|job| *job == 100), Some(24), "{served:?}");
    }

    #[test]
    fn jobs_of_one_network_are_served_in_the_order_of_their_arrival() {
        let queue = HashQueue::new();
        for job in 0..10 {
            queue.push(network(1), soon(), job).expect("there is room");
        }
        assert_eq!((0..10).map(|_| queue.next().expect("a job")).collect::<Vec<_>>(), (0..10).collect::<Vec<_>>());
    }

    #[test]
    fn full_queue_gives_a_place_of_the_longest_network_to_a_shorter_one() {
        let queue = HashQueue::new();
        for job in 0..MAX {
            queue.push(network(1), soon(), (1, job)).expect("there is room");
        }
        assert!(queue.push(network(1), soon(), (1, MAX)).is_none(), "the longest network has no claim to more");
        for job in 0..MAX / 2 {
            assert!(queue.push(network(2), soon(), (2, job)).is_some(), "place {job}");
        }
        assert!(queue.push(network(2), soon(), (2, MAX)).is_none(), "both networks have half of the places");
        let served: Vec<(u8, usize)> = (0..MAX).map(|_| queue.next().expect("a job")).collect();
        let expected: Vec<(u8, usize)> = (0..MAX / 2).flat_map(|job| [(1, job), (2, job)]).collect();
        assert_eq!(served, expected, "the newest jobs of the longest network were displaced");
    }

    #[test]
    fn job_past_its_deadline_is_dropped_without_being_served() {
        let queue = HashQueue::new();
        queue.push(network(1), Instant::now(), "late").expect("there is room");
        queue.push(network(1), soon(), "in time").expect("there is room");
        assert_eq!(queue.next(), Some("in time"));
        assert_eq!(queue.state.lock().waiting, 0);
    }

    #[test]
    fn removed_job_frees_its_place() {
        let queue = HashQueue::new();
        let places: Vec<QueuePlace> = (0..MAX).map(|job| queue.push(network(1), soon(), job).expect("there is room")).collect();
        assert!(queue.remove(places[0]));
        assert!(!queue.remove(places[0]), "it is gone");
        assert!(queue.push(network(1), soon(), MAX).is_some());
        assert_eq!(queue.next(), Some(1));
        assert!(!queue.remove(places[1]), "it was taken");
    }

    #[test]
    fn closed_queue_ends_its_threads() {
        let queue = HashQueue::new();
        queue.push(network(1), soon(), ()).expect("there is room");
        queue.close();
        assert_eq!(queue.next(), None);
    }
}
