//! The part of the hub on one worker thread: an actor that reads the feed and delivers events to
//! the thread's connections.
//!
//! Its only message is [`CloseAll`]. Connections use the [`ConnectionTable`] directly, since they
//! run on the same thread: no mailbox is between an event and a socket.

use std::{cell::RefCell, rc::Rc, sync::Arc};

use actix::prelude::*;
use futures_util::stream;
use tokio::time::{Instant, sleep_until};

use super::{
    SocketLimits,
    closing::DisconnectReason,
    shared::{CloseAll, Shared},
    table::ConnectionTable,
};
use crate::store::{Cursor, FeedReader, FeedStep, RecordedEvent};

/// A step of the feed, and the cursor after it.
#[derive(Debug)]
pub(super) struct FeedProgress {
    step: FeedStep,
    position: Cursor,
}

/// A handle on the shard of a worker thread, for use on that thread only. All clones refer to the
/// same shard.
#[derive(Debug, Clone)]
pub struct Shard {
    pub(super) table: Rc<RefCell<ConnectionTable>>,
    pub(super) shared: Arc<Shared>,
    actor: Rc<RefCell<Addr<ShardActor>>>,
}

#[derive(Debug)]
pub(super) struct ShardActor {
    table: Rc<RefCell<ConnectionTable>>,
    reader: Option<FeedReader>,
}

impl Shard {
    /// Starts a shard on this thread, which must run an actix system.
    pub(super) fn start(shared: &Arc<Shared>) -> Self {
        let reader = shared.feed.subscribe();
        let table = ConnectionTable::new(
            shared.feed.clone(),
            shared.clock.clone(),
            shared.limits,
            reader.cursor(),
        );
        let table = Rc::new(RefCell::new(table));
        let actor = ShardActor { table: table.clone(), reader: Some(reader) }.start();
        shared.register(actor.clone().recipient());
        Self { table, shared: shared.clone(), actor: Rc::new(RefCell::new(actor)) }
    }

    /// Starts a new actor if a panic stopped the old one. The panic closed the connections; the
    /// clients reconnect and resume.
    pub(super) fn restart_if_stopped(&self) {
        if self.actor.borrow().connected() {
            return;
        }
        tracing::error!(
            "a WebSocket shard panicked and closed its connections; a new one starts, please report the panic"
        );
        let reader = self.shared.feed.subscribe();
        let actor = ShardActor { table: self.table.clone(), reader: Some(reader) }.start();
        self.shared.register(actor.clone().recipient());
        *self.actor.borrow_mut() = actor;
    }
}

impl Actor for ShardActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let limits = *self.table.borrow().limits();
        if let Some(reader) = self.reader.take() {
            ctx.add_stream(feed_progress(reader, limits));
        }
        ctx.run_interval(limits.tick, |shard, _| shard.table.borrow_mut().tick());
    }
}

impl Drop for ShardActor {
    /// Closes all connections. Also runs after a panic: without the actor, open connections would
    /// get no more events.
    fn drop(&mut self) {
        if let Ok(mut table) = self.table.try_borrow_mut() {
            table.close_all(DisconnectReason::Internal);
        }
    }
}

impl StreamHandler<FeedProgress> for ShardActor {
    fn handle(&mut self, received: FeedProgress, _: &mut Self::Context) {
        self.table.borrow_mut().deliver(&received.step, received.position);
    }
}

impl Handler<CloseAll> for ShardActor {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: CloseAll, _: &mut Self::Context) -> Self::Result {
        let table = self.table.clone();
        table.borrow_mut().close_all(DisconnectReason::Shutdown);
        let until = Instant::now() + table.borrow().limits().shutdown_max;
        Box::pin(async move {
            while table.borrow().len() > 0 {
                if Instant::now() >= until {
                    table.borrow().abort_all();
                    return;
                }
                tokio::time::sleep(CloseAll::POLL).await;
            }
        })
    }
}

impl CloseAll {
    /// Time between two checks whether all connections have ended. The shutdown happens once per
    /// process; with a notification instead, each connection would have to notify when it ends.
    const POLL: std::time::Duration = std::time::Duration::from_millis(10);
}

/// Returns the feed as a stream of steps. After each read of the feed, events are gathered for
/// [`SocketLimits::gather`], so that under load each connection is written to once for many events.
/// The first event after a pause is delivered at once.
fn feed_progress(reader: FeedReader, limits: SocketLimits) -> impl Stream<Item = FeedProgress> {
    let batcher = FeedBatcher {
        reader,
        limits,
        gather_until: Instant::now(),
        undelivered: Vec::new().into_iter(),
    };
    stream::unfold(batcher, |mut batcher| async move { Some((batcher.next().await, batcher)) })
}

struct FeedBatcher {
    reader: FeedReader,
    limits: SocketLimits,
    /// The feed is not read before this time.
    gather_until: Instant,
    /// Events that were read and are not delivered yet.
    undelivered: std::vec::IntoIter<Arc<RecordedEvent>>,
}

impl FeedBatcher {
    /// Maximum number of events of one step. Between two steps the connections' tasks run and
    /// write, so that many events at once do not make a client that reads fast look slow.
    const SLICE: usize = 128;

    async fn next(&mut self) -> FeedProgress {
        if self.undelivered.len() > 0 {
            tokio::task::yield_now().await;
        } else {
            // Without this check, a timer that is due already would still take a millisecond.
            if self.gather_until > Instant::now() {
                sleep_until(self.gather_until).await;
            }
            match self.reader.next().await {
                FeedStep::Reset => {
                    return FeedProgress { step: FeedStep::Reset, position: self.reader.cursor() };
                }
                FeedStep::Events(events) => {
                    if events.len() < FeedReader::STEP_MAX {
                        // A single event does not mean load, so the next events wait for a shorter
                        // time.
                        let gather = if events.len() == 1 {
                            self.limits.gather * 2 / 5
                        } else {
                            self.limits.gather
                        };
                        self.gather_until = Instant::now() + gather;
                    }
                    self.undelivered = events.into_iter();
                }
            }
        }
        let events: Vec<_> = self.undelivered.by_ref().take(Self::SLICE).collect();
        let position = events.last().map_or(self.reader.cursor(), |last| last.cursor);
        FeedProgress { step: FeedStep::Events(events), position }
    }
}

#[cfg(test)]
mod tests {
    use actix_web::rt::net::TcpStream;
    use bytes::Bytes;
    use tokio::{io::AsyncReadExt, net::TcpListener};

    use super::*;
    use crate::{
        clock::Clock,
        domain::{DomainEvent, TicketId, Timestamp, UserId},
        store::{FeedLog, feed::FeedLimits},
        ws::{Hub, task::ConnectionTask},
    };

    #[derive(Message)]
    #[rtype(result = "()")]
    struct Panic;

    impl Handler<Panic> for ShardActor {
        type Result = ();
        fn handle(&mut self, _: Panic, _: &mut Self::Context) {
            panic!("the test asked for a panic");
        }
    }

    fn event(time: u64) -> RecordedEvent {
        let id = uuid::Uuid::from_u128(1);
        let event = DomainEvent::TicketDeleted {
            ticket: TicketId::new(id),
            seller: UserId::new(id),
            version: time,
        };
        RecordedEvent::new(Cursor { epoch: 1, time, ordinal: 0 }, Timestamp(0), event)
    }

    /// Connects a client to the shard, calls `act`, and returns the bytes that the client receives
    /// up to `word`.
    async fn received_until(shard: &Shard, act: impl FnOnce(), word: &str) -> String {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let mut peer = TcpStream::connect(listener.local_addr().expect("an address"))
            .await
            .expect("a connection");
        let (socket, _) = listener.accept().await.expect("a connection");
        let connection = shard.table.borrow_mut().admit(None, socket, Bytes::new(), None);
        let task = actix::spawn(ConnectionTask::new(
            shard.clone(),
            connection,
            shard.shared.permit(None).expect("a permit"),
            Box::new(()),
        ));
        act();
        let mut received = Vec::new();
        while !String::from_utf8_lossy(&received).contains(word) {
            assert_ne!(
                peer.read_buf(&mut received).await.expect("bytes"),
                0,
                "{}",
                String::from_utf8_lossy(&received)
            );
        }
        task.abort();
        String::from_utf8_lossy(&received).into_owned()
    }

    #[actix::test]
    async fn shard_that_panics_closes_its_connections_and_serves_the_next_one() {
        let feed = FeedLog::new(
            Cursor { epoch: 1, ..Cursor::default() },
            FeedLimits { events_max: 10, silence_max: None, ahead_max: 0 },
        );
        let shard =
            Hub::new(feed.clone(), Clock::starting_at(Timestamp(0)), SocketLimits::default())
                .start_shard();
        let before =
            received_until(&shard, || shard.actor.borrow().do_send(Panic), "internal error").await;
        assert!(before.contains("Hello"), "{before:?}");
        assert!(!shard.actor.borrow().connected());

        shard.restart_if_stopped();
        let after = received_until(&shard, || feed.push([event(1)]), "TicketDeleted").await;
        assert!(after.contains("Hello"), "{after:?}");
    }
}
