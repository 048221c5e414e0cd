//! A worker thread's share of the hub: an actor that reads the feed and looks after the connections of its thread.
//!
//! Its messages: [`CloseAll`]. What the connections need from it they take from the [`Table`] directly, since they are
//! on the same thread: no mailbox lies between an event and a socket.

use std::{cell::RefCell, rc::Rc, sync::Arc};

use actix::prelude::*;
use futures_util::stream;
use tokio::time::{Instant, sleep_until};

use super::{Limits, closing::Cause, hub::Shared, table::Table};
use crate::store::{Cursor, FeedReader, Step};

/// Closes all connections with 1001; answered when they are gone, or when their time is over.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct CloseAll;

/// What the feed said, and the place after it.
#[derive(Debug)]
pub(super) struct Heard {
    step: Step,
    position: Cursor,
}

/// A handle on a worker thread's share of the hub, for that thread alone. Clones are one shard.
#[derive(Debug, Clone)]
pub struct Shard {
    pub(super) table: Rc<RefCell<Table>>,
    pub(super) shared: Arc<Shared>,
    actor: Rc<RefCell<Addr<ShardActor>>>,
}

#[derive(Debug)]
pub(super) struct ShardActor {
    table: Rc<RefCell<Table>>,
    reader: Option<FeedReader>,
}

impl Shard {
    /// Starts a shard on this thread, which must run an actix system.
    pub(super) fn start(shared: &Arc<Shared>) -> Self {
        let reader = shared.feed.subscribe();
        let table = Table::new(shared.feed.clone(), shared.clock.clone(), shared.limits, reader.cursor());
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
            table.close_all(Cause::Internal);
        }
    }
}

impl StreamHandler<Heard> for ShardActor {
    fn handle(&mut self, heard: Heard, _: &mut Self::Context) {
        self.table.borrow_mut().announce(&heard.step, heard.position);
    }
}

impl Handler<CloseAll> for ShardActor {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: CloseAll, _: &mut Self::Context) -> Self::Result {
        let table = self.table.clone();
        table.borrow().close_all(Cause::Shutdown);
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

/// The feed, step by step. After a step the next ones are gathered for a moment, so that under load each connection is
/// written to once per moment and not once per event; after a pause the first is told of at once.
fn gathered(reader: FeedReader, limits: Limits) -> impl Stream<Item = Heard> {
    stream::unfold((reader, Instant::now()), move |(mut reader, rested)| async move {
        sleep_until(rested).await;
        let step = reader.next().await;
        let is_full = matches!(&step, Step::Events(events) if events.len() == FeedReader::STEP_MAX);
        let rested = if is_full { rested } else { Instant::now() + limits.gather };
        let position = reader.cursor();
        Some((Heard { step, position }, (reader, rested)))
    })
}
