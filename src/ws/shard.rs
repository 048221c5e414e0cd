//! A worker thread's share of the hub: an actor that reads the feed and looks after the connections of its thread.
//!
//! Its messages: [`CloseAll`]. What the connections need from it they take from the [`ConnectionTable`] directly, since they are
//! on the same thread: no mailbox lies between an event and a socket.

use std::{cell::RefCell, rc::Rc, sync::Arc};

use actix::prelude::*;
use futures_util::stream;
use tokio::time::{Instant, sleep_until};

use super::{SocketLimits, closing::DisconnectReason, hub::Shared, table::ConnectionTable};
use crate::store::{Cursor, FeedReader, FeedStep, RecordedEvent};

/// Closes all connections with 1001; answered when they are gone, or when their time is over.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct CloseAll;

/// Something from the feed, and the place after it.
#[derive(Debug)]
pub(super) struct FeedProgress {
    step: FeedStep,
    position: Cursor,
}

/// A handle on a worker thread's share of the hub, for that thread alone. Clones are one shard.
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
        let table = ConnectionTable::new(shared.feed.clone(), shared.clock.clone(), shared.limits, reader.cursor());
        let table = Rc::new(RefCell::new(table));
        let actor = ShardActor { table: table.clone(), reader: Some(reader) }.start();
        shared.enlist(actor.clone());
        Self { table, shared: shared.clone(), actor: Rc::new(RefCell::new(actor)) }
    }

    /// Starts the actor anew if a panic ended it. Its connections were closed then; the clients come back and resume.
    pub(super) fn revive(&self) {
        if self.actor.borrow().connected() {
            return;
        }
        tracing::error!("a WebSocket shard had broken down and is started anew");
        let reader = self.shared.feed.subscribe();
        let actor = ShardActor { table: self.table.clone(), reader: Some(reader) }.start();
        self.shared.enlist(actor.clone());
        *self.actor.borrow_mut() = actor;
    }
}

impl Actor for ShardActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let limits = *self.table.borrow().limits();
        if let Some(reader) = self.reader.take() {
            ctx.add_stream(gathered(reader, limits));
        }
        ctx.run_interval(limits.tick, |shard, _| shard.table.borrow_mut().tick());
    }
}

impl Drop for ShardActor {
    /// Also runs when a panic ends the actor: better to send everybody away than to leave them without news.
    fn drop(&mut self) {
        if let Ok(table) = self.table.try_borrow() {
            table.close_all(DisconnectReason::Internal);
        }
    }
}

impl StreamHandler<FeedProgress> for ShardActor {
    fn handle(&mut self, received: FeedProgress, _: &mut Self::Context) {
        self.table.borrow_mut().announce(&received.step, received.position);
    }
}

impl Handler<CloseAll> for ShardActor {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: CloseAll, _: &mut Self::Context) -> Self::Result {
        let table = self.table.clone();
        table.borrow().close_all(DisconnectReason::Shutdown);
        let until = Instant::now() + table.borrow().limits().shutdown_max;
        Box::pin(async move {
            while table.borrow().len() > 0 {
                if Instant::now() >= until {
                    table.borrow().cut_all();
                    return;
                }
                tokio::time::sleep(CloseAll::POLL).await;
            }
        })
    }
}

impl CloseAll {
    /// Between two looks whether all are gone. It happens once in a process's life; a bell would have to be rung by
    /// every connection that leaves.
    const POLL: std::time::Duration = std::time::Duration::from_millis(10);
}

/// The feed, in slices. After what was there was told, what comes next is gathered for a moment, so that under load each
/// connection is written to once per moment and not once per event; after a pause the first is told of at once.
fn gathered(reader: FeedReader, limits: SocketLimits) -> impl Stream<Item = FeedProgress> {
    let gather = Gather { reader, limits, rested: Instant::now(), rest: Vec::new().into_iter() };
    stream::unfold(gather, |mut gather| async move { Some((gather.next().await, gather)) })
}

struct Gather {
    reader: FeedReader,
    limits: SocketLimits,
    /// Until then nothing is told.
    rested: Instant,
    /// What was read and not told yet.
    rest: std::vec::IntoIter<Arc<RecordedEvent>>,
}

impl Gather {
    /// Events that are told at once. Between two slices the connections may write, so that a great batch does not look
    /// like a backlog to a reader that keeps up.
    const SLICE: usize = 128;

    async fn next(&mut self) -> FeedProgress {
        if self.rest.len() > 0 {
            tokio::task::yield_now().await;
        } else {
            // A timer that is due already would still take a millisecond.
            if self.rested > Instant::now() {
                sleep_until(self.rested).await;
            }
            match self.reader.next().await {
                FeedStep::Reset => return FeedProgress { step: FeedStep::Reset, position: self.reader.cursor() },
                FeedStep::Events(events) => {
                    if events.len() < FeedReader::STEP_MAX {
                        // A single one is no load yet: what follows it soon waits for less.
                        let gather = if events.len() == 1 { self.limits.gather * 2 / 5 } else { self.limits.gather };
                        self.rested = Instant::now() + gather;
                    }
                    self.rest = events.into_iter();
                }
            }
        }
        let events: Vec<_> = self.rest.by_ref().take(Self::SLICE).collect();
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
        domain::{Event, TicketId, Timestamp, UserId},
        store::{FeedLog, feed::FeedLimits},
        ws::{Hub, task::ConnectionTask},
    };

    #[derive(Message)]
    #[rtype(result = "()")]
    struct Break;

    impl Handler<Break> for ShardActor {
        type Result = ();
        fn handle(&mut self, _: Break, _: &mut Self::Context) {
            panic!("as asked");
        }
    }

    fn event(time: u64) -> RecordedEvent {
        let id = uuid::Uuid::from_u128(1);
        let event = Event::TicketDeleted { ticket: TicketId::new(id), seller: UserId::new(id), version: time };
        RecordedEvent::new(Cursor { epoch: 1, time, ordinal: 0 }, Timestamp(0), event)
    }

    /// A connection that the shard takes in, and what its peer reads until a frame has this word in it.
    async fn told(shard: &Shard, act: impl FnOnce(), word: &str) -> String {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let mut peer = TcpStream::connect(listener.local_addr().expect("an address")).await.expect("a connection");
        let (socket, _) = listener.accept().await.expect("a connection");
        let connection = shard.table.borrow_mut().admit(None, socket, Bytes::new(), None);
        let task = actix::spawn(ConnectionTask::new(shard.clone(), connection, shard.shared.permit(None).expect("a place"), Box::new(())));
        act();
        let mut told = Vec::new();
        while !String::from_utf8_lossy(&told).contains(word) {
            assert_ne!(peer.read_buf(&mut told).await.expect("bytes"), 0, "{}", String::from_utf8_lossy(&told));
        }
        task.abort();
        String::from_utf8_lossy(&told).into_owned()
    }

    #[actix::test]
    async fn a_shard_that_panics_sends_its_connections_away_and_serves_the_next() {
        let feed = FeedLog::new(Cursor { epoch: 1, ..Cursor::default() }, FeedLimits { events_max: 10, silence_max: None, ahead_max: 0 });
        let shard = Hub::start(feed.clone(), Clock::starting_at(Timestamp(0)), SocketLimits::default()).shard();
        let before = told(&shard, || shard.actor.borrow().do_send(Break), "internal error").await;
        assert!(before.contains("Hello"), "{before:?}");
        assert!(!shard.actor.borrow().connected());

        shard.revive();
        let after = told(&shard, || feed.push([event(1)]), "TicketDeleted").await;
        assert!(after.contains("Hello"), "{after:?}");
    }
}
