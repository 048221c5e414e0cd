//! The database driver alone: the documents of a lock, with the same indexes, written with the
//! fewest commands, while a change stream is read.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bson::{Document, doc, serialize_to_document};
use futures_util::future::join_all;
use gittix::{
    domain::{
        DomainEvent, Email, Order, OrderId, Policy, ReplicaName, Sale, Ticket, TicketCommand,
        TicketId, Timestamp, User, UserId, decide, decide::list_ticket, samples,
    },
    store::{Commit, Write},
};
use mongodb::{
    Database,
    options::{Acknowledgment, ReadConcern, WriteConcern},
};
use tokio::time::Instant;
use uuid::Uuid;

const AT: Timestamp = Timestamp(4_000_000_000_000);

/// Stores `count` tickets and buyers, and returns the commit of a lock for each.
pub async fn stored_tickets(db: &Database, count: usize) -> Vec<Commit> {
    let seller = UserId::new(Uuid::now_v7());
    let (mut tickets, mut users, mut slots, mut commits) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..count {
        let listed =
            list_ticket(TicketId::new(Uuid::now_v7()), seller, samples::details("A concert"), AT);
        let (ticket, buyer) = (listed.ticket.expect("a ticket"), UserId::new(Uuid::now_v7()));
        let email = Email::parse(&format!("{}@example.com", buyer.uuid().simple()))
            .expect("the address is valid");
        let user = User {
            id: buyer,
            email,
            email_verified: false,
            pending_email: None,
            password_hash: "none".into(),
            tokens: Vec::new(),
            version: 0,
            created_at: AT,
            updated_at: AT,
        };
        tickets.push(serialize_to_document(&ticket).expect("the document is valid BSON"));
        users.push(serialize_to_document(&user).expect("the document is valid BSON"));
        slots.push(doc! { "_id": buyer.to_string(), "locks": [] });
        commits.push(lock(ticket, buyer));
    }
    for (collection, documents) in [("tickets", tickets), ("users", users), ("slots", slots)] {
        for chunk in documents.chunks(10_000) {
            db.collection::<Document>(collection)
                .insert_many(chunk)
                .await
                .expect("the insert succeeds");
        }
    }
    commits
}

fn lock(ticket: Ticket, buyer: UserId) -> Commit {
    let order = OrderId::new(Uuid::now_v7());
    let command = TicketCommand::Lock {
        order,
        buyer,
        expected_price: None,
        expected_version: None,
        replica: ReplicaName::new("bench"),
    };
    Commit::of(
        decide(&Sale::unlocked(ticket), &command, &Policy::default(), AT)
            .expect("the ticket is available"),
        AT,
    )
}

/// Writes `commits` with `callers` concurrent callers, `group` commits in one transaction. Returns
/// the total time and the latency of each transaction.
pub async fn write(
    db: &Database,
    callers: usize,
    group: usize,
    commits: Vec<Commit>,
) -> (Duration, Vec<Duration>) {
    let done = Arc::new(AtomicBool::new(false));
    let reader = tokio::spawn(read_changes(db.clone(), Arc::clone(&done)));
    let next = Arc::new(AtomicUsize::new(0));
    let groups: Arc<Vec<Vec<Commit>>> =
        Arc::new(commits.chunks(group).map(<[Commit]>::to_vec).collect());
    let started = Instant::now();
    let tasks = (0..callers).map(|_| {
        let (db, groups, next) = (db.clone(), Arc::clone(&groups), Arc::clone(&next));
        tokio::spawn(async move {
            let mut latencies = Vec::new();
            while let Some(group) = groups.get(next.fetch_add(1, Ordering::Relaxed)) {
                let asked = Instant::now();
                transaction(&db, group).await;
                latencies.push(asked.elapsed());
            }
            latencies
        })
    });
    let latencies = join_all(tasks)
        .await
        .into_iter()
        .flat_map(|task| task.expect("the task does not panic"))
        .collect();
    let took = started.elapsed();
    done.store(true, Ordering::Relaxed);
    reader.await.expect("the task does not panic");
    (took, latencies)
}

async fn read_changes(db: Database, done: Arc<AtomicBool>) {
    let mut stream = db
        .collection::<Document>("events")
        .watch()
        .max_await_time(Duration::from_millis(100))
        .await
        .expect("the change stream opens");
    while !done.load(Ordering::Relaxed) {
        stream.next_if_any().await.expect("a change");
    }
}

async fn transaction(db: &Database, group: &[Commit]) {
    let (mut tickets, mut slots, mut orders, mut entries) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for commit in group {
        for write in &commit.writes {
            match write {
                Write::Ticket(ticket) => tickets.push(doc! {
                    "q": { "_id": ticket.id.to_string(), "version": i64::try_from(ticket.version - 1).expect("the version is small") },
                    "u": serialize_to_document(ticket).expect("the document is valid BSON"),
                }),
                Write::Order(order) => {
                    slots.push(doc! { "q": { "_id": order.buyer.to_string() }, "u": { "$addToSet": { "locks": order.id.to_string() } } });
                    orders.push(serialize_to_document::<Order>(order).expect("the document is valid BSON"));
                }
                _ => {}
            }
        }
        let events: Vec<_> = commit
            .events
            .iter()
            .map(|event| {
                serialize_to_document::<DomainEvent>(event).expect("the document is valid BSON")
            })
            .collect();
        entries.push(doc! { "at": commit.at.0, "events": events });
    }
    let mut session = db.client().start_session().await.expect("the session starts");
    let durable = WriteConcern::builder().w(Acknowledgment::Majority).build();
    session
        .start_transaction()
        .read_concern(ReadConcern::snapshot())
        .write_concern(durable)
        .await
        .expect("the transaction starts");
    for command in [
        doc! { "update": "tickets", "updates": tickets },
        doc! { "update": "slots", "updates": slots },
        doc! { "insert": "orders", "documents": orders },
        doc! { "insert": "events", "documents": [{ "commits": entries }] },
    ] {
        let reply = db
            .run_command(command)
            .session(&mut session)
            .await
            .expect("no other client writes these documents");
        assert!(reply.get("writeErrors").is_none(), "{reply}");
    }
    session.commit_transaction().await.expect("no conflict");
}
