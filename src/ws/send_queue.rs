//! The bounded queue of frames that wait to be written to one connection. It merges frames for slow
//! readers.
//!
//! A client that reads fast enough gets every frame. When a backlog has built up, the newest queued
//! frame of a ticket replaces the older ones of that ticket. It keeps its position, so the cursors
//! that are sent always ascend. Private frames are never merged. When merging does not help, all
//! events are dropped for one `Reset`. Merging is done when the backlog exceeds a threshold, not
//! with every frame. Therefore the cost per frame is constant, and an idle connection needs no
//! index. Pure: no clock, no socket.

use std::collections::{HashSet, VecDeque};

use bytes::{Bytes, BytesMut};

use super::SocketLimits;
use crate::domain::TicketId;

/// The kind of a queued frame. It decides whether the frame may be merged or dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FrameKind {
    /// The public state of a ticket. A newer frame of the same ticket replaces it.
    Ticket(TicketId),
    /// The public event that an order for this ticket expired. A newer frame of this kind replaces
    /// it.
    Expired(TicketId),
    /// A frame for one user. It is never merged.
    Private,
    /// The frame that reports dropped frames.
    Reset,
    /// An answer, a ping or a close frame. It stays when events are dropped, since the client waits
    /// for it.
    Control,
}

impl FrameKind {
    fn is_merged(self) -> bool {
        matches!(self, Self::Ticket(_) | Self::Expired(_))
    }
}

/// The frames that were merged or dropped to bound the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reduction {
    /// Number of frames that newer ones replaced.
    pub merged: u64,
    /// Whether the event frames were dropped for a `Reset`.
    pub dropped: bool,
}

#[derive(Debug)]
struct Queued {
    kind: FrameKind,
    frame: Bytes,
}

/// The send queue of one connection.
#[derive(Debug)]
pub struct SendQueue {
    /// The answer to the handshake, or the unsent end of a piece of which the socket accepted the
    /// beginning. It is sent before everything else, and is never dropped while the connection is
    /// open.
    unsent: Bytes,
    queue: VecDeque<Queued>,
    /// Bytes of all frames in `queue`.
    bytes: usize,
    frames_max: usize,
    bytes_max: usize,
    /// Backlog beyond which the queue is merged next.
    merge_at: BacklogSize,
}

/// The size of a backlog, or a bound on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct BacklogSize {
    frames: usize,
    bytes: usize,
}

impl BacklogSize {
    fn exceeds(self, bound: Self) -> bool {
        self.frames > bound.frames || self.bytes > bound.bytes
    }
}

impl SendQueue {
    /// Maximum capacity that an empty queue keeps, in frames.
    const CAPACITY_KEPT_MAX: usize = 16;

    pub fn new(limits: &SocketLimits) -> Self {
        let (frames_max, bytes_max) = (limits.backlog_frames_max, limits.backlog_bytes_max);
        let merge_at = BacklogSize { frames: frames_max / 4, bytes: bytes_max / 4 };
        Self {
            unsent: Bytes::new(),
            queue: VecDeque::new(),
            bytes: 0,
            frames_max,
            bytes_max,
            merge_at,
        }
    }

    /// Queues an event's frame, and merges or drops frames if the backlog is too large. `reset`
    /// replaces dropped frames.
    pub fn enqueue(&mut self, kind: FrameKind, frame: Bytes, reset: &Bytes) -> Reduction {
        self.enqueue_unbounded(kind, frame);
        if !self.backlog().exceeds(self.merge_at) {
            return Reduction::default();
        }
        let merged = self.merge();
        let dropped = self
            .backlog()
            .exceeds(BacklogSize { frames: self.frames_max / 2, bytes: self.bytes_max / 2 });
        if dropped {
            self.drop_events();
            self.enqueue_unbounded(FrameKind::Reset, reset.clone());
        }
        // Merge again when the backlog has doubled: an earlier merge would find little.
        self.merge_at = BacklogSize {
            frames: (2 * self.queue.len()).clamp(self.frames_max / 4, self.frames_max),
            bytes: (2 * self.bytes).clamp(self.bytes_max / 4, self.bytes_max),
        };
        Reduction { merged, dropped }
    }

    /// Queues a frame without a check of the bounds: the caller bounds the number of such frames.
    pub fn enqueue_unbounded(&mut self, kind: FrameKind, frame: Bytes) {
        self.bytes += frame.len();
        self.queue.push_back(Queued { kind, frame });
    }

    /// Puts back the taken bytes that were not written.
    pub fn put_back(&mut self, unsent: Bytes) {
        debug_assert!(
            self.unsent.is_empty(),
            "the queue holds the unsent end of another piece already"
        );
        self.unsent = unsent;
    }

    /// Joins `first`, which was taken, and the next frames into one piece. Frames are added until
    /// the piece has at least 64 KiB.
    pub fn take_after(&mut self, first: Bytes, scratch: &mut BytesMut) -> Bytes {
        /// About as much as the kernel accepts in one call.
        const PIECE_BYTES: usize = 64 * 1024;
        scratch.extend_from_slice(&first);
        while scratch.len() < PIECE_BYTES
            && let Some(next) = self.take()
        {
            scratch.extend_from_slice(&next);
        }
        scratch.split().freeze()
    }

    /// Removes and returns the next bytes to write: the unsent end of a piece, or one frame.
    pub fn take(&mut self) -> Option<Bytes> {
        if !self.unsent.is_empty() {
            return Some(std::mem::take(&mut self.unsent));
        }
        let queued = self.queue.pop_front()?;
        self.bytes -= queued.frame.len();
        if self.queue.is_empty() {
            self.merge_at = BacklogSize { frames: self.frames_max / 4, bytes: self.bytes_max / 4 };
            if self.queue.capacity() > Self::CAPACITY_KEPT_MAX {
                self.queue = VecDeque::new();
            }
        }
        Some(queued.frame)
    }

    /// Frees unused capacity.
    pub fn shrink(&mut self) {
        self.queue.shrink_to_fit();
    }

    /// Drops every queued frame, but not the unsent end of a piece.
    pub fn clear(&mut self) {
        self.queue = VecDeque::new();
        self.bytes = 0;
    }

    /// Drops everything, because the connection is over.
    pub fn clear_all(&mut self) {
        self.unsent = Bytes::new();
        self.clear();
    }

    pub fn is_empty(&self) -> bool {
        self.unsent.is_empty() && self.queue.is_empty()
    }

    /// Returns the size of the queued frames, in bytes, without the unsent end of a piece.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    fn backlog(&self) -> BacklogSize {
        BacklogSize { frames: self.queue.len(), bytes: self.bytes }
    }

    /// Keeps the newest frame of each kind and ticket, at its position. Returns the number of
    /// removed frames.
    fn merge(&mut self) -> u64 {
        let mut kinds = HashSet::new();
        let mut kept = VecDeque::with_capacity(self.queue.len());
        let mut merged = 0;
        while let Some(queued) = self.queue.pop_back() {
            if queued.kind.is_merged() && !kinds.insert(queued.kind) {
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
        SendQueue::new(&SocketLimits {
            backlog_frames_max: FRAMES_MAX,
            backlog_bytes_max: 64 * 100,
            ..SocketLimits::default()
        })
    }

    fn ticket(n: u8) -> TicketId {
        TicketId::new(Uuid::from_u128(u128::from(n)))
    }

    /// Returns a frame that holds its cursor and its subject.
    fn frame(cursor: usize, subject: &str) -> Bytes {
        Bytes::from(format!("{cursor} {subject}"))
    }

    fn reset() -> Bytes {
        Bytes::from_static(b"reset")
    }

    fn drain(send_queue: &mut SendQueue) -> Vec<String> {
        std::iter::from_fn(|| send_queue.take())
            .map(|frame| String::from_utf8(frame.to_vec()).expect("text"))
            .collect()
    }

    #[test]
    fn fast_reader_gets_every_frame() {
        let mut send_queue = send_queue();
        for cursor in 0..1000 {
            assert_eq!(
                send_queue.enqueue(FrameKind::Ticket(ticket(1)), frame(cursor, "t"), &reset()),
                Reduction::default()
            );
            assert_eq!(drain(&mut send_queue), [format!("{cursor} t")]);
        }
    }

    #[test]
    fn slow_reader_gets_the_newest_state_last() {
        let mut send_queue = send_queue();
        send_queue.enqueue(FrameKind::Ticket(ticket(1)), frame(0, "other"), &reset());
        let merged: u64 = (1..200)
            .map(|cursor| {
                send_queue
                    .enqueue(FrameKind::Ticket(ticket(2)), frame(cursor, "t"), &reset())
                    .merged
            })
            .sum();
        let got = drain(&mut send_queue);
        assert_eq!(
            (got.first().map(String::as_str), got.last().map(String::as_str)),
            (Some("0 other"), Some("199 t"))
        );
        assert_eq!(usize::try_from(merged), Ok(200 - got.len()));
        assert!(got.len() <= FRAMES_MAX / 4, "{}", got.len());
    }

    #[test]
    fn private_frames_are_not_merged_but_dropped_for_one_reset() {
        let mut send_queue = send_queue();
        send_queue.enqueue_unbounded(FrameKind::Control, frame(0, "answer"));
        let dropped = (1..=40)
            .filter(|cursor| {
                send_queue.enqueue(FrameKind::Private, frame(*cursor, "p"), &reset()).dropped
            })
            .count();
        assert_eq!(dropped, 1);
        let got = drain(&mut send_queue);
        let after: Vec<_> =
            got.iter().skip_while(|frame| *frame != "reset").skip(1).cloned().collect();
        assert_eq!(got[..2], ["0 answer".to_owned(), "reset".to_owned()]);
        let missed = 40 - after.len();
        assert_eq!(
            after,
            (missed + 1..=40).map(|cursor| format!("{cursor} p")).collect::<Vec<_>>(),
            "no frame is missing after the reset"
        );
    }

    #[test]
    fn unsent_end_of_a_frame_is_kept_by_clear_and_sent_first() {
        let mut send_queue = send_queue();
        send_queue.enqueue_unbounded(FrameKind::Control, frame(1, "c"));
        send_queue.put_back(Bytes::from_static(b"rest"));
        send_queue.clear();
        assert!(!send_queue.is_empty());
        send_queue.enqueue_unbounded(FrameKind::Control, frame(2, "close"));
        assert_eq!(drain(&mut send_queue), ["rest", "2 close"]);
    }

    #[test]
    fn drained_queue_frees_its_memory() {
        let mut send_queue = send_queue();
        (0..60).for_each(|cursor| {
            send_queue.enqueue_unbounded(FrameKind::Control, frame(cursor, "c"))
        });
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
        /// Compares with an unbounded queue: the sent cursors ascend, the queue stays within its
        /// bounds, the last frame of each ticket is its newest state, and a private frame is
        /// missing only if a `Reset` was sent.
        #[test]
        fn merging_keeps_newest_states_and_private_frames_or_sends_a_reset(steps in steps()) {
            let (mut send_queue, mut sent) = (send_queue(), Vec::new());
            let (mut newest, mut private) = (HashMap::new(), Vec::new());
            for (cursor, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Ticket(n) => {
                        newest.insert(format!("t{n}"), cursor);
                        send_queue.enqueue(FrameKind::Ticket(ticket(n)), frame(cursor, &format!("t{n}")), &reset());
                    }
                    Step::Expired(n) => {
                        newest.insert(format!("e{n}"), cursor);
                        send_queue.enqueue(FrameKind::Expired(ticket(n)), frame(cursor, &format!("e{n}")), &reset());
                    }
                    Step::Private => {
                        private.push(cursor);
                        send_queue.enqueue(FrameKind::Private, frame(cursor, "p"), &reset());
                    }
                    Step::Take(count) => sent.extend(std::iter::from_fn(|| send_queue.take()).take(count)),
                }
                prop_assert!(send_queue.queue.len() <= FRAMES_MAX && send_queue.bytes <= 64 * 100);
                prop_assert_eq!(send_queue.bytes, send_queue.queue.iter().map(|queued| queued.frame.len()).sum::<usize>());
            }
            sent.extend(std::iter::from_fn(|| send_queue.take()));
            let sent: Vec<String> = sent.iter().map(|frame| String::from_utf8(frame.to_vec()).expect("text")).collect();
            let since_reset = sent.iter().rposition(|frame| frame == "reset").map_or(0, |at| at + 1);
            let events: Vec<(usize, &str)> = sent
                .iter()
                .filter_map(|frame| frame.split_once(' '))
                .map(|(cursor, subject)| (cursor.parse().expect("a number"), subject))
                .collect();
            prop_assert!(events.windows(2).all(|pair| pair[0].0 < pair[1].0), "{:?}", sent);
            if since_reset == 0 {
                for (subject, cursor) in &newest {
                    prop_assert_eq!(events.iter().rfind(|(_, of)| of == subject).map(|event| event.0), Some(*cursor));
                }
                let got: Vec<usize> = events.iter().filter(|(_, subject)| *subject == "p").map(|event| event.0).collect();
                prop_assert_eq!(got, private);
            }
        }
    }
}
