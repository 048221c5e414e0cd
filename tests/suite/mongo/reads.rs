//! The queries: their results, their indexes, and the use of each index.

use std::collections::BTreeMap;

use bson::{Document, doc};
use futures_util::TryStreamExt;
use gittix::{
    domain::{
        ChargeId, Decision, Email, Millis, Policy, Sale, Ticket, TicketCommand, TicketId,
        Timestamp, TokenDigest, User, UserId, decide,
    },
    store::{Commit, OrderScope, Store, Write, mongo::MongoStore},
};
use uuid::Uuid;

use super::world::{World, lock_commit, now, on_sale, one, session, signed_up};

/// Returns the sale of a ticket that `buyer` has locked and whose payment has begun.
async fn sale_with_started_payment(store: &MongoStore, buyer: &User) -> Sale {
    let ticket = on_sale(store).await;
    let (order, lock) = lock_commit(&ticket, buyer.id);
    store.commit(lock).await.expect("the ticket is free");
    let locked = store.sale(ticket.id).await.expect("a read").expect("the ticket");
    assert_eq!(locked.order.as_ref().map(|held| held.id), Some(order));
    assert_eq!(locked.charge, None);
    let charge = ChargeId::new(Uuid::now_v7());
    apply(
        store,
        &locked,
        TicketCommand::SubmitPayment {
            order,
            by: buyer.id,
            charge,
            token: TokenDigest::new("digest"),
            processor: gittix::domain::ProcessorName::new("sandbox"),
        },
    )
    .await;
    store.sale(ticket.id).await.expect("a read").expect("the ticket")
}

async fn apply(store: &MongoStore, sale: &Sale, command: TicketCommand) -> Decision {
    let at = now();
    let decision = decide(sale, &command, &Policy::default(), at).expect("the command is allowed");
    store.commit(Commit::of(decision.clone(), at)).await.expect("only this test changes the sale");
    decision
}

#[tokio::test]
async fn sale_has_the_order_and_the_running_charge_of_its_ticket() {
    let world = World::new().await;
    let store = world.store().await;
    let buyer = signed_up(&*store).await;
    let sale = sale_with_started_payment(&store, &buyer).await;
    let (order, charge) =
        (sale.order.clone().expect("an order"), sale.charge.clone().expect("a charge"));
    assert_eq!((charge.order, charge.buyer), (order.id, buyer.id));
    assert_eq!(store.charges_of(order.id).await.expect("a read"), std::slice::from_ref(&charge));
    assert_eq!(
        store.charges_open(Timestamp(i64::MAX), None, 10).await.expect("a read"),
        std::slice::from_ref(&charge)
    );
    assert_eq!(
        store.orders_of(buyer.id, OrderScope::Active, None, 10).await.expect("a read"),
        std::slice::from_ref(&order)
    );

    let failure = gittix::domain::ChargeFailure::new("card_declined", "No.");
    apply(
        &store,
        &sale,
        TicketCommand::PaymentDeclined { charge: charge.id, payment: None, failure },
    )
    .await;
    let declined = store.sale(sale.ticket.id).await.expect("a read").expect("the ticket");
    assert_eq!(declined.charge, None, "a Final charge is not part of the sale");
    assert_eq!(store.charges_open(Timestamp(i64::MAX), None, 10).await.expect("a read"), []);

    apply(&store, &declined, TicketCommand::Cancel { order: order.id, by: buyer.id }).await;
    let free = store.sale(sale.ticket.id).await.expect("a read").expect("the ticket");
    assert_eq!((free.order, free.charge), (None, None));
    assert_eq!(store.orders_of(buyer.id, OrderScope::Active, None, 10).await.expect("a read"), []);
    assert_eq!(
        store.orders_of(buyer.id, OrderScope::All, None, 10).await.expect("a read").len(),
        1
    );
    assert_eq!(store.sale(TicketId::new(Uuid::now_v7())).await.expect("a read"), None);
    world.drop_database().await;
}

#[tokio::test]
async fn sale_is_read_from_one_snapshot_during_changes() {
    let world = World::new().await;
    let (store, other) = (world.store_named("reader").await, world.store_named("writer").await);
    let buyer = signed_up(&*store).await;
    let ticket = on_sale(&*store).await;
    let changes = async {
        let mut held: Ticket = ticket.clone();
        for _ in 0..40 {
            let (order, lock) = lock_commit(&Ticket { lapses: Vec::new(), ..held }, buyer.id);
            other.commit(lock).await.expect("only this test locks the ticket");
            let sale = other.sale(ticket.id).await.expect("a read").expect("the ticket");
            held = apply(&other, &sale, TicketCommand::Cancel { order, by: buyer.id })
                .await
                .ticket
                .expect("the ticket is free again");
        }
    };
    let reads = async {
        for _ in 0..200 {
            let sale = store.sale(ticket.id).await.expect("a read").expect("the ticket");
            let held = sale.order.as_ref().map(|order| order.id);
            assert_eq!(held, sale.ticket.lock().map(|lock| lock.order));
            assert!(
                sale.order.is_none_or(|order| order.is_active()),
                "the order and the ticket are from different snapshots"
            );
        }
    };
    tokio::join!(changes, reads);
    world.drop_database().await;
}

#[tokio::test]
async fn overdue_tickets_are_sorted_by_deadline() {
    let world = World::new().await;
    let store = world.store().await;
    let buyers = [signed_up(&*store).await, signed_up(&*store).await, signed_up(&*store).await];
    let mut tickets = Vec::new();
    for buyer in &buyers {
        tickets.push(sale_with_started_payment(&store, buyer).await.ticket);
    }
    // The order of this ticket is unpaid, so its payment window ends before the locks of the
    // others.
    let ticket = on_sale(&*store).await;
    store.commit(lock_commit(&ticket, buyers[0].id).1).await.expect("the ticket is free");
    let lock = |ticket: &Ticket| ticket.lock().expect("the ticket is locked").unlocks_at;
    let paid: Vec<TicketId> = tickets.iter().map(|ticket| ticket.id).collect();

    assert_eq!(
        store.tickets_overdue(Timestamp(lock(&tickets[0]).0 - 1), 10).await.expect("a read"),
        [ticket.id]
    );
    assert_eq!(
        store.tickets_overdue(lock(&tickets[1]), 10).await.expect("a read"),
        [ticket.id, paid[0], paid[1]]
    );
    assert_eq!(
        store.tickets_overdue(lock(&tickets[2]), 2).await.expect("a read"),
        [ticket.id, paid[0]]
    );
    world.drop_database().await;
}

#[tokio::test]
async fn counter_restarts_after_its_window() {
    let world = World::new().await;
    let store = world.store().await;
    let (start, window) = (now(), Millis(1000));
    let mut hits = Vec::new();
    for after in [0, 10, 999, 1000, 1500, 2000] {
        hits.push(
            store.count_hit("client", window, Timestamp(start.0 + after)).await.expect("a count"),
        );
    }
    assert_eq!(hits, [1, 2, 3, 1, 2, 1]);
    let many =
        futures_util::future::join_all((0..50).map(|_| store.count_hit("other", window, start)))
            .await;
    let mut many: Vec<u64> = many.into_iter().map(|hit| hit.expect("a count")).collect();
    many.sort_unstable();
    assert_eq!(many, (1..=50).collect::<Vec<u64>>());
    world.drop_database().await;
}

#[tokio::test]
async fn every_query_uses_an_index_and_every_index_has_a_query() {
    let world = World::new().await;
    let store = world.store().await;
    world.db().run_command(doc! { "profile": 2 }).await.expect("the profiler is on");
    let buyer = signed_up(&*store).await;
    let sale = sale_with_started_payment(&store, &buyer).await;
    let order = sale.order.expect("an order");
    let opened = session(buyer.id);
    store
        .commit(one(Write::OpenSession { session: opened, user_version: 0 }))
        .await
        .expect("the version is current");
    store
        .commit(one(Write::CloseSessions { user: buyer.id, except: None }))
        .await
        .expect("closing sessions has no precondition");
    let far = Timestamp(i64::MAX / 2);
    store.tickets_after(Some(TicketId::new(Uuid::nil())), 10).await.expect("a read");
    store.sales(&[sale.ticket.id]).await.expect("a read");
    store.tickets_overdue(far, 10).await.expect("a read");
    store.orders_of(buyer.id, OrderScope::Active, Some(order.id), 10).await.expect("a read");
    store.orders_of(buyer.id, OrderScope::All, None, 10).await.expect("a read");
    store.charges_of(order.id).await.expect("a read");
    store.charges_open(far, None, 10).await.expect("a read");
    store
        .user_by_email(&Email::parse("unknown@example.com").expect("an address"))
        .await
        .expect("a read");
    store.idempotency(UserId::new(Uuid::nil()), "key").await.expect("a read");
    store.count_hit("key", Millis(1000), now()).await.expect("a count");
    store.count("key", now()).await.expect("a count");
    store.clear_count("key").await.expect("cleared");
    store.purge(Timestamp(0)).await.expect("a purge");
    world.db().run_command(doc! { "profile": 0 }).await.expect("the profiler is off");

    let scans = doc! { "planSummary": { "$regex": "COLLSCAN|SORT$" }, "ns": { "$not": { "$regex": "system" } }, "command.getMore": { "$exists": false } };
    // The filter excludes `getMore`, because a change stream reads the oplog, which has no index.
    let scans: Vec<Document> = world
        .raw("system.profile")
        .find(scans)
        .await
        .expect("a read")
        .try_collect()
        .await
        .expect("a read");
    let scans: Vec<_> =
        scans.iter().map(|scan| (scan.get("planSummary"), scan.get("command"))).collect();
    assert!(scans.is_empty(), "{scans:?}");
    let mut unused = BTreeMap::new();
    for collection in
        ["tickets", "orders", "charges", "users", "sessions", "idempotency", "counters", "events"]
    {
        let stats =
            world.raw(collection).aggregate([doc! { "$indexStats": {} }]).await.expect("a read");
        let stats: Vec<Document> = stats.try_collect().await.expect("a read");
        for index in stats {
            let (name, ops) = (
                index.get_str("name").expect("a name"),
                index.get_document("accesses").and_then(|uses| uses.get_i64("ops")),
            );
            if name != "_id_" && ops.expect("a count") == 0 {
                unused.insert((collection, name.to_owned()), ());
            }
        }
    }
    assert!(unused.is_empty(), "{unused:?}");
    world.drop_database().await;
}
