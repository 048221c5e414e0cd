//! The queue of the hashing threads: bounded, fair between networks, with a deadline for each job.
//!
//! Networks take turns, one job each, so that a flood from one network delays another network by
//! one job and not by the whole flood. When the queue is full, a network with fewer waiting jobs
//! displaces a job of the network with the most.

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
    /// Waiting jobs by network, the oldest first. A network without jobs has no entry.
    networks: HashMap<IpAddr, VecDeque<QueuedJob<J>>>,
    /// The networks with waiting jobs, each once, in the order in which they are served.
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
pub(super) struct QueuedJobId {
    network: IpAddr,
    id: u64,
}

impl<J> HashQueue<J> {
    /// Maximum number of waiting jobs. At 70 hashes a second, the last of them waits 1.8 s.
    pub(super) const WAITING_MAX: usize = 128;

    pub(super) fn new() -> Self {
        let state = QueueState {
            networks: HashMap::new(),
            turns: VecDeque::new(),
            waiting: 0,
            last_id: 0,
            closed: false,
        };
        Self { state: Mutex::new(state), ready: Condvar::new() }
    }

    /// Adds a job that has to begin before `deadline`. Returns `None` if the queue is full and
    /// `network` has as many waiting jobs as any other. A displaced job is dropped.
    pub(super) fn push(&self, network: IpAddr, deadline: Instant, job: J) -> Option<QueuedJobId> {
        let mut state = self.state.lock();
        let (id, displaced) = state.push(network, deadline, job)?;
        drop(state);
        drop(displaced);
        self.ready.notify_one();
        Some(id)
    }

    /// Waits for the next job whose deadline has not passed. Returns `None` once the queue is
    /// closed.
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

    /// Removes a job. Returns false if the job does not wait any more: it was taken, displaced or
    /// dropped.
    pub(super) fn remove(&self, id: QueuedJobId) -> bool {
        let mut state = self.state.lock();
        let removed = state.remove(id);
        drop(state);
        removed.is_some()
    }

    /// Makes [`HashQueue::next`] return `None` on all threads, and drops the waiting jobs.
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
    /// Adds a job. Returns its id and the job that it displaced, or `None` if the queue has no room
    /// for it.
    fn push(
        &mut self,
        network: IpAddr,
        deadline: Instant,
        job: J,
    ) -> Option<(QueuedJobId, Option<J>)> {
        let displaced = if self.waiting < HashQueue::<J>::WAITING_MAX {
            None
        } else {
            Some(self.displace(network)?)
        };
        self.last_id += 1;
        let id = QueuedJobId { network, id: self.last_id };
        let jobs = self.networks.entry(network).or_default();
        if jobs.is_empty() {
            self.turns.push_back(network);
        }
        jobs.push_back(QueuedJob { id: id.id, deadline, job });
        self.count(self.waiting + 1);
        Some((id, displaced))
    }

    /// Removes the newest job of the network with the most jobs, if `network` has fewer jobs than
    /// that network.
    fn displace(&mut self, network: IpAddr) -> Option<J> {
        let busiest = *self.turns.iter().max_by_key(|network| self.waiting_of(**network))?;
        if self.waiting_of(network) >= self.waiting_of(busiest) {
            return None;
        }
        let newest = self.networks.get(&busiest)?.back()?.id;
        self.remove(QueuedJobId { network: busiest, id: newest })
    }

    fn waiting_of(&self, network: IpAddr) -> usize {
        self.networks.get(&network).map_or(0, VecDeque::len)
    }

    /// Removes the oldest job of the next network in turn. Drops jobs whose deadline has passed.
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

    fn remove(&mut self, id: QueuedJobId) -> Option<J> {
        let jobs = self.networks.get_mut(&id.network)?;
        let index = jobs.iter().position(|waiting| waiting.id == id.id)?;
        let removed = jobs.remove(index)?;
        if jobs.is_empty() {
            self.networks.remove(&id.network);
            self.turns.retain(|network| *network != id.network);
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
        assert_eq!(
            (0..10).map(|_| queue.next().expect("a job")).collect::<Vec<_>>(),
            (0..10).collect::<Vec<_>>()
        );
    }

    #[test]
    fn full_queue_displaces_a_job_of_the_network_with_most_jobs() {
        let queue = HashQueue::new();
        for job in 0..MAX {
            queue.push(network(1), soon(), (1, job)).expect("there is room");
        }
        assert!(
            queue.push(network(1), soon(), (1, MAX)).is_none(),
            "the network has the most jobs"
        );
        for job in 0..MAX / 2 {
            assert!(queue.push(network(2), soon(), (2, job)).is_some(), "job {job}");
        }
        assert!(
            queue.push(network(2), soon(), (2, MAX)).is_none(),
            "both networks have half of the jobs"
        );
        let served: Vec<(u8, usize)> = (0..MAX).map(|_| queue.next().expect("a job")).collect();
        let expected: Vec<(u8, usize)> =
            (0..MAX / 2).flat_map(|job| [(1, job), (2, job)]).collect();
        assert_eq!(served, expected, "the newest jobs of the first network were displaced");
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
    fn removed_job_makes_room_for_another() {
        let queue = HashQueue::new();
        let ids: Vec<QueuedJobId> = (0..MAX)
            .map(|job| queue.push(network(1), soon(), job).expect("there is room"))
            .collect();
        assert!(queue.remove(ids[0]));
        assert!(!queue.remove(ids[0]), "the job was removed");
        assert!(queue.push(network(1), soon(), MAX).is_some());
        assert_eq!(queue.next(), Some(1));
        assert!(!queue.remove(ids[1]), "the job was taken");
    }

    #[test]
    fn closed_queue_ends_its_threads() {
        let queue = HashQueue::new();
        queue.push(network(1), soon(), ()).expect("there is room");
        queue.close();
        assert_eq!(queue.next(), None);
    }
}
