//! What waits to be written to one connection: a bounded queue that merges for the slow.
//!
//! A reader that keeps up gets every frame. Once a backlog has built up, the queued frames of a ticket give way to its
//! newest one, which keeps its place at the end, so that the cursors that are sent always ascend. Frames for one user
//! are never merged. When merging does not help, the events are dropped for one `Reset`. Merging is done when a
//! threshold is passed and not with every frame, so that its cost per frame is constant and an idle connection needs no
//! index. Pure: no clock, no socket.

use std::collections::{HashSet, VecDeque};

use bytes::Bytes;

use super::SocketLimits;
use crate::domain::TicketId;

/// What a queued frame is, and so what may become of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FrameKind {
    /// The public state of a ticket: a newer one replaces it.
    Ticket(TicketId),
    /// The public notice that an order on this ticket lapsed: a newer one replaces it.
    Expired(TicketId),
    /// For one user: never merged.
    Private,
    /// That frames were dropped.
    Reset,
    /// An answer, a ping: outlives the dropping of events, since somebody waits for it.
    Control,
}

impl FrameKind {
    fn is_merged(self) -> bool {
        matches!(self, Self::Ticket(_) | Self::Expired(_))
    }
}

/// What bounding the queue cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Bounded {
    /// Frames that a newer one replaced.
    pub merged: u64,
    /// The events were dropped.
    pub dropped: bool,
}

#[derive(Debug)]
struct Queued {
    kind: FrameKind,
    frame: Bytes,
}

/// The queue of one connection.
#[derive(Debug)]
pub struct SendQueue {
    /// The answer to the handshake, or what is left of bytes of which the peer has the beginning: goes before everything
    /// else, and is never dropped while there is somebody to write to.
    rest: Bytes,
    queue: VecDeque<Queued>,
    /// Of all queued frames.
    bytes: usize,
    frames_max: usize,
    bytes_max: usize,
    /// The backlog at which it is merged next.
    merge_at: Load,
}

/// A backlog, or a bound of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Load {
    frames: usize,
    bytes: usize,
}

impl Load {
    fn exceeds(self, bound: Self) -> bool {
        self.frames > bound.frames || self.bytes > bound.bytes
    }
}

impl SendQueue {
    /// An idle connection keeps no more room than this, in frames.
    const ROOM_KEPT_MAX: usize = 16;

    pub fn new(limits: &SocketLimits) -> Self {
        let (frames_max, bytes_max) = (limits.backlog_frames_max, limits.backlog_bytes_max);
        let merge_at = Load { frames: frames_max / 4, bytes: bytes_max / 4 };
        Self { rest: Bytes::new(), queue: VecDeque::new(), bytes: 0, frames_max, bytes_max, merge_at }
    }

    /// Queues an event's frame; if that is too much, makes room. `reset` is the frame that stands for what was dropped.
    pub fn push(&mut self, kind: FrameKind, frame: Bytes, reset: &Bytes) -> Bounded {
        self.append(kind, frame);
        if !self.load().exceeds(self.merge_at) {
            return Bounded::default();
        }
        let merged = self.merge();
        let dropped = self.load().exceeds(Load { frames: self.frames_max / 2, bytes: self.bytes_max / 2 });
        if dropped {
            self.drop_events();
            self.append(FrameKind::Reset, reset.clone());
        }
        // Twice what is left: merging again before as many frames came would find little.
        self.merge_at = Load {
            frames: (2 * self.queue.len()).clamp(self.frames_max / 4, self.frames_max),
            bytes: (2 * self.bytes).clamp(self.bytes_max / 4, self.bytes_max),
        };
        Bounded { merged, dropped }
    }

    /// Queues a frame without regard to the bounds: the caller has bounded how many there are.
    pub fn append(&mut self, kind: FrameKind, frame: Bytes) {
        self.bytes += frame.len();
        self.queue.push_back(Queued { kind, frame });
    }

    /// Puts back what was not written of bytes that were taken.
    pub fn put_back(&mut self, rest: Bytes) {
        debug_assert!(self.rest.is_empty(), "it would stand in the middle of a frame");
        self.rest = rest;
    }

    /// The next frame to write.
    pub fn take(&mut self) -> Option<Bytes> {
        if !self.rest.is_empty() {
            return Some(std::mem::take(&mut self.rest));
        }
        let queued = self.queue.pop_front()?;
        self.bytes -= queued.frame.len();
        if self.queue.is_empty() {
            self.merge_at = Load { frames: self.frames_max / 4, bytes: self.bytes_max / 4 };
            if self.queue.capacity() > Self::ROOM_KEPT_MAX {
                self.queue = VecDeque::new();
            }
        }
        Some(queued.frame)
    }

    /// Gives back what room it does not need now.
    pub fn shrink(&mut self) {
        self.queue.shrink_to_fit();
    }

    /// Drops every frame that the peer has nothing of.
    pub fn clear(&mut self) {
        self.queue = VecDeque::new();
        self.bytes = 0;
    }

    /// Drops all: there is nobody to write to any more.
    pub fn give_up(&mut self) {
        self.rest = Bytes::new();
        self.clear();
    }

    pub fn is_empty(&self) -> bool {
        self.rest.is_empty() && self.queue.is_empty()
    }

    /// What is queued, in bytes, but for the rest of what is being written.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    fn load(&self) -> Load {
        Load { frames: self.queue.len(), bytes: self.bytes }
    }

    /// Keeps the last frame of each ticket, where it stands; returns how many gave way.
    fn merge(&mut self) -> u64 {
        let mut newer = HashSet::new();
        let mut kept = VecDeque::with_capacity(self.queue.len());
        let mut merged = 0;
        while let Some(queued) = self.queue.pop_back() {
            if queued.kind.is_merged() && !newer.insert(queued.kind) {
                self.bytes -= queued.frame.len();
                merged += 1;
            } else {
                kept.push_front(queued);
            }
        }
        self.queue = kept;
        merged
    }

    fn drop_events(&mut self) {
        self.queue.retain(|queued| queued.kind == FrameKind::Control);
        self.bytes = self.queue.iter().map(|queued| queued.frame.len()).sum();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    const FRAMES_MAX: usize = 64;

    fn send_queue() -> SendQueue {
        SendQueue::new(&SocketLimits { backlog_frames_max: FRAMES_MAX, backlog_bytes_max: 64 * 100, ..SocketLimits::default() })
    }

    fn ticket(n: u8) -> TicketId {
        TicketId::new(Uuid::from_u128(u128::from(n)))
    }

    /// A frame that tells its place in the feed and what it is about.
    fn frame(cursor: usize, about: &str) -> Bytes {
        Bytes::from(format!("{cursor} {about}"))
    }

    fn reset() -> Bytes {
        Bytes::from_static(b"reset")
    }

    fn drain(send_queue: &mut SendQueue) -> Vec<String> {
        std::iter::from_fn(|| send_queue.take()).map(|frame| String::from_utf8(frame.to_vec()).expect("text")).collect()
    }

    #[test]
    fn who_keeps_up_gets_every_frame() {
        let mut send_queue = send_queue();
        for cursor in 0..1000 {
            assert_eq!(send_queue.push(FrameKind::Ticket(ticket(1)), frame(cursor, "t"), &reset()), Bounded::default());
            assert_eq!(drain(&mut send_queue), [format!("{cursor} t")]);
        }
    }

    #[test]
    fn who_falls_behind_gets_the_newest_state_at_the_end() {
        let mut send_queue = send_queue();
        send_queue.push(FrameKind::Ticket(ticket(1)), frame(0, "other"), &reset());
        let merged: u64 = (1..200).map(|cursor| send_queue.push(FrameKind::Ticket(ticket(2)), frame(cursor, "t"), &reset()).merged).sum();
        let got = drain(&mut send_queue);
        assert_eq!((got.first().map(String::as_str), got.last().map(String::as_str)), (Some("0 other"), Some("199 t")));
        assert_eq!(usize::try_from(merged), Ok(200 - got.len()));
        assert!(got.len() <= FRAMES_MAX / 4, "{}", got.len());
    }

    #[test]
    fn private_frames_are_never_merged_but_dropped_for_one_reset() {
        let mut send_queue = send_queue();
        send_queue.append(FrameKind::Control, frame(0, "answer"));
        let dropped = (1..=40).filter(|cursor| send_queue.push(FrameKind::Private, frame(*cursor, "p"), &reset()).dropped).count();
        assert_eq!(dropped, 1);
        let got = drain(&mut send_queue);
        let after: Vec<_> = got.iter().skip_while(|frame| *frame != "reset").skip(1).cloned().collect();
        assert_eq!(got[..2], ["0 answer".to_owned(), "reset".to_owned()]);
        let missed = 40 - after.len();
        assert_eq!(after, (missed + 1..=40).map(|cursor| format!("{cursor} p")).collect::<Vec<_>>(), "what came later is complete");
    }

    #[test]
    fn the_rest_of_a_frame_goes_first_and_outlives_everything() {
        let mut send_queue = send_queue();
        send_queue.append(FrameKind::Control, frame(1, "c"));
        send_queue.put_back(Bytes::from_static(b"rest"));
        send_queue.clear();
        assert!(!send_queue.is_empty());
        send_queue.append(FrameKind::Control, frame(2, "close"));
        assert_eq!(drain(&mut send_queue), ["rest", "2 close"]);
    }

    #[test]
    fn a_drained_outbox_gives_its_memory_back() {
        let mut send_queue = send_queue();
        (0..60).for_each(|cursor| send_queue.append(FrameKind::Control, frame(cursor, "c")));
        drain(&mut send_queue);
        assert_eq!((send_queue.queue.capacity(), send_queue.bytes()), (0, 0));
    }

    #[derive(Debug, Clone)]
    enum Step {
        Ticket(u8),
        Expired(u8),
        Private,
        Take(usize),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            6 => (0u8..12).prop_map(Step::Ticket),
            1 => (0u8..4).prop_map(Step::Expired),
            1 => Just(Step::Private),
            1 => (0usize..40).prop_map(Step::Take),
        ];
        prop::collection::vec(step, 0..600)
    }

    proptest! {
        /// Against the model of an unbounded queue: what is sent ascends, is never more than the bound, ends with the
        /// newest state of every ticket, and lacks a private frame only if a `Reset` says so.
        #[test]
        fn merging_loses_nothing_that_still_matters(steps in steps()) {
            let (mut send_queue, mut sent) = (send_queue(), Vec::new());
            let (mut newest, mut private) = (HashMap::new(), Vec::new());
            for (cursor, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Ticket(n) => {
                        newest.insert(format!("t{n}"), cursor);
                        send_queue.push(FrameKind::Ticket(ticket(n)), frame(cursor, &format!("t{n}")), &reset());
                    }
                    Step::Expired(n) => {
                        newest.insert(format!("e{n}"), cursor);
                        send_queue.push(FrameKind::Expired(ticket(n)), frame(cursor, &format!("e{n}")), &reset());
                    }
                    Step::Private => {
                        private.push(cursor);
                        send_queue.push(FrameKind::Private, frame(cursor, "p"), &reset());
                    }
                    Step::Take(count) => sent.extend(std::iter::from_fn(|| send_queue.take()).take(count)),
                }
                prop_assert!(send_queue.queue.len() <= FRAMES_MAX && send_queue.bytes <= 64 * 100);
                prop_assert_eq!(send_queue.bytes, send_queue.queue.iter().map(|queued| queued.frame.len()).sum::<usize>());
            }
            sent.extend(std::iter::from_fn(|| send_queue.take()));
            let sent: Vec<String> = sent.iter().map(|frame| String::from_utf8(frame.to_vec()).expect("text")).collect();
            let since_reset = sent.iter().rposition(|frame| frame == "reset").map_or(0, |at| at + 1);
            let told: Vec<(usize, &str)> = sent
                .iter()
                .filter_map(|frame| frame.split_once(' '))
                .map(|(cursor, about)| (cursor.parse().expect("a number"), about))
                .collect();
            prop_assert!(told.windows(2).all(|pair| pair[0].0 < pair[1].0), "{:?}", sent);
            if since_reset == 0 {
                for (about, cursor) in &newest {
                    prop_assert_eq!(told.iter().rfind(|(_, told)| told == about).map(|told| told.0), Some(*cursor));
                }
                let got: Vec<usize> = told.iter().filter(|(_, about)| *about == "p").map(|told| told.0).collect();
                prop_assert_eq!(got, private);
            }
        }
    }
}
