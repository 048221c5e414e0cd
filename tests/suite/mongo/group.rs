//! Group commit: many commits in one transaction, each with its own answer.

use bson::doc;
use futures_util::future::join_all;
use gittix::{
    domain::{Policy, Sale, Ticket, TicketCommand, UserId, Version, decide, invariants, samples},
    store::{Commit, CommitError, Inspect, Store, Write},
};
use uuid::Uuid;

use super::world::{
    World, idempotency_write, lock_commit, on_sale, one, session, signed_up, take, ticket_commit,
    user,
};

#[tokio::test]
async fn waiting_commits_share_a_transaction() {
    let world = World::new().await;
    let store = world.store().await;
    let commits: Vec<_> = (0..200).map(|_| ticket_commit()).collect();
    let answers = join_all(commits.iter().map(|(_, commit)| store.commit(commit.clone()))).await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    let transactions = world.raw("events").count_documents(doc! {}).await.expect("a count");
    assert!(transactions < 100, "200 commits took {transactions} transactions");
    let (stored, events) = store.dump().await.expect("a dump");
    assert_eq!(stored.tickets.len(), 200);
    assert_eq!(invariants::events_match_changes(&stored, &events), Ok(()));
    world.drop_database().await;
}

#[tokio::test]
async fn commits_of_a_conflicting_group_get_separate_answers() {
    let world = World::new().await;
    let store = world.store().await;
    let (buyer, full) = (signed_up(&*store).await, signed_up(&*store).await);
    store.commit(one(take(full.id, 1))).await.expect("the first slot is free");
    store.commit(one(idempotency_write(buyer.id, "used"))).await.expect("the key is unused");
    let ticket = on_sale(&*store).await;
    let (_, won) = lock_commit(&ticket, buyer.id);
    store.commit(won).await.expect("the ticket is free");

    let (_, stale) = lock_commit(&ticket, full.id);
    let taken = user(0, UserId::new(Uuid::now_v7()), buyer.email.as_str());
    let refused = [
        (stale, CommitError::Stale),
        (one(Write::User(taken)), CommitError::EmailInUse),
        (one(take(full.id, 1)), CommitError::SlotsFull),
        (one(idempotency_write(buyer.id, "used")), CommitError::KeyUsed),
        (
            one(Write::OpenSession { session: session(buyer.id), user_version: 7 }),
            CommitError::Stale,
        ),
    ];
    let good: Vec<_> = (0..40).map(|_| ticket_commit()).collect();
    let all: Vec<Commit> = good[..20]
        .iter()
        .map(|(_, commit)| commit)
        .chain(refused.iter().map(|(commit, _)| commit))
        .chain(good[20..].iter().map(|(_, commit)| commit))
        .cloned()
        .collect();
    let answers = join_all(all.into_iter().map(|commit| store.commit(commit))).await;

    let expected: Vec<Result<(), CommitError>> = (0..20)
        .map(|_| Ok(()))
        .chain(refused.iter().map(|(_, error)| Err(error.clone())))
        .chain((0..20).map(|_| Ok(())))
        .collect();
    assert_eq!(answers, expected);
    let (stored, events) = store.dump().await.expect("a dump");
    assert_eq!(stored.tickets.len(), 41);
    assert_eq!(invariants::events_match_changes(&stored, &events), Ok(()));
    world.drop_database().await;
}

/// Updates of one kind are one statement. It must not exchange documents, and must not evaluate
/// their contents as expressions.
#[tokio::test]
async fn updates_of_one_statement_change_only_their_own_documents() {
    const TITLES: [&str; 6] =
        ["$price", "$$ROOT", "a.b.c", "{ $literal: 1 }", "Zoë – 東京", "$_id"];
    let world = World::new().await;
    let store = world.store().await;
    let mut tickets: Vec<Ticket> = Vec::new();
    for number in 0..40 {
        let (mut ticket, mut commit) = ticket_commit();
        ticket.details = samples::details(&format!("{} {number}", TITLES[number % TITLES.len()]));
        commit.writes = vec![Write::Ticket(ticket.clone())];
        commit.events = Vec::new();
        store.commit(commit).await.expect("a new ticket is committed");
        // Every third ticket has another version, so the updates have different version conditions.
        if number % 3 == 0 {
            ticket.version += 1;
            store
                .commit(one(Write::Ticket(ticket.clone())))
                .await
                .expect("the version is the next one");
        }
        tickets.push(ticket);
    }
    let mut buyers = Vec::new();
    for _ in 0..tickets.len() {
        buyers.push(signed_up(&*store).await);
    }
    let before = world.raw("events").count_documents(doc! {}).await.expect("a count");
    // One commit is stale, and it must not affect the others.
    let mut late = tickets[7].clone();
    late.version += 5;
    let locks: Vec<_> =
        tickets.iter().zip(&buyers).map(|(ticket, buyer)| lock_commit(ticket, buyer.id)).collect();
    let mut commits: Vec<Commit> = locks.iter().map(|(_, commit)| commit.clone()).collect();
    commits.insert(20, lock_commit(&late, buyers[0].id).1);
    let mut answers = join_all(commits.into_iter().map(|commit| store.commit(commit))).await;
    assert_eq!(answers.remove(20), Err(CommitError::Stale));
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    let transactions =
        world.raw("events").count_documents(doc! {}).await.expect("a count") - before;
    assert!(
        transactions < 20,
        "40 locks took {transactions} transactions, so hardly any shared a statement"
    );

    let mut cancels = Vec::new();
    for ((ticket, buyer), (order, lock)) in tickets.iter().zip(&buyers).zip(&locks) {
        let locked = lock.writes.iter().find_map(|write| match write {
            Write::Ticket(ticket) => Some(ticket),
            _ => None,
        });
        let sale = store.sale(ticket.id).await.expect("a read").expect("the document exists");
        assert_eq!(Some(&sale.ticket), locked);
        assert_eq!(
            sale.order.as_ref().map(|order| (order.id, order.buyer)),
            Some((*order, buyer.id))
        );
        let at = super::world::now();
        let decision = decide(
            &sale,
            &TicketCommand::Cancel { order: *order, by: buyer.id },
            &Policy::default(),
            at,
        )
        .expect("the buyer may cancel the order");
        cancels.push((
            Sale::unlocked(decision.ticket.clone().expect("the ticket is free again")),
            Commit::of(decision, at),
        ));
    }
    let mut slots = store.dump().await.expect("a dump").0.slots;
    let mut held: Vec<_> =
        buyers.iter().zip(&locks).map(|(buyer, (order, _))| (buyer.id, *order)).collect();
    slots.sort_unstable();
    held.sort_unstable();
    assert_eq!(slots, held);

    let answers = join_all(cancels.iter().map(|(_, commit)| store.commit(commit.clone()))).await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    for (free, _) in &cancels {
        assert_eq!(
            store.ticket(free.ticket.id).await.expect("a read").as_ref(),
            Some(&free.ticket)
        );
    }
    assert_eq!(store.dump().await.expect("a dump").0.slots, []);
    world.drop_database().await;
}

#[tokio::test]
async fn failed_commit_writes_nothing() {
    let world = World::new().await;
    let store = world.store().await;
    let buyer = signed_up(&*store).await;
    store.commit(one(idempotency_write(buyer.id, "used"))).await.expect("the key is unused");
    let (ticket, mut commit) = ticket_commit();
    commit.writes.push(take(buyer.id, 4));
    commit.writes.push(idempotency_write(buyer.id, "used"));
    assert_eq!(store.commit(commit).await, Err(CommitError::KeyUsed));
    assert_eq!(store.ticket(ticket.id).await.expect("a read"), None);
    let (stored, events) = store.dump().await.expect("a dump");
    assert!(stored.slots.is_empty() && events.is_empty(), "{stored:?} {events:?}");
    world.drop_database().await;
}

#[tokio::test]
async fn change_of_a_user_keeps_the_locks() {
    let world = World::new().await;
    let store = world.store().await;
    let before = signed_up(&*store).await;
    let ticket = on_sale(&*store).await;
    let (order, lock) = lock_commit(&ticket, before.id);
    store.commit(lock).await.expect("the ticket is free");
    let after = user(1, before.id, before.email.as_str());
    store.commit(one(Write::User(after.clone()))).await.expect("the version is the next one");
    assert_eq!(store.user(before.id).await.expect("a read"), Some(after));
    assert_eq!(store.dump().await.expect("a dump").0.slots, [(before.id, order)]);
    world.drop_database().await;
}

#[tokio::test]
async fn sign_up_opens_its_session_in_the_same_commit() {
    let world = World::new().await;
    let store = world.store().await;
    let id = UserId::new(Uuid::now_v7());
    let opened = session(id);
    let first: Version = 0;
    let writes = vec![
        Write::User(user(first, id, "new@example.com")),
        Write::OpenSession { session: opened.clone(), user_version: first },
    ];
    store
        .commit(Commit { writes, events: Vec::new(), at: opened.created_at })
        .await
        .expect("the email is not in use");
    assert_eq!(store.session(&opened.digest).await.expect("a read"), Some(opened));
    world.drop_database().await;
}

#[tokio::test]
async fn commits_on_one_document_are_written_in_their_order_of_arrival() {
    let world = World::new().await;
    let store = world.store().await;
    let (ticket, commit) = ticket_commit();
    let mut commits = vec![commit];
    for version in 1..=30 {
        commits.push(one(Write::Ticket(Ticket { version, ..ticket.clone() })));
    }
    let answers = join_all(commits.into_iter().map(|commit| store.commit(commit))).await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    assert_eq!(
        store.ticket(ticket.id).await.expect("a read").expect("the document exists").version,
        30
    );
    world.drop_database().await;
}

#[tokio::test]
async fn queued_commits_are_written_before_the_store_closes_and_later_ones_refused() {
    let world = World::new().await;
    let store = world.store().await;
    let commits: Vec<_> = (0..100).map(|_| ticket_commit().1).collect();
    let (answers, ()) = tokio::join!(
        join_all(commits.into_iter().map(|commit| store.commit(commit))),
        store.close()
    );
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    let late = store.commit(ticket_commit().1).await;
    assert!(matches!(late, Err(CommitError::Unavailable(_))), "{late:?}");
    world.drop_database().await;
}
