//! Documents in the form in which earlier versions stored them. Each store must still read them,
//! and write them in the same form.

use std::sync::Arc;

use bson::{Bson, Document, doc};
use gittix::{
    domain::{ChargeId, MailId, Order, OrderId, SessionDigest, TicketId, UserId},
    store::{Inspect, embedded::EmbeddedStore, mongo::MongoStore},
};
use redb::{Database, TableDefinition};
use serde::Serialize;
use uuid::Uuid;

use super::samples::order;
use crate::app::{Backend, Home};

const TICKET: &str = "01990000-0000-7000-8000-000000000001";
const LOCKED_TICKET: &str = "01990000-0000-7000-8000-000000000002";
const ORDER: &str = "01990000-0000-7000-8000-000000000003";
const CANCELLED_ORDER: &str = "01990000-0000-7000-8000-000000000004";
const CHARGE: &str = "01990000-0000-7000-8000-000000000005";
const FAILED_CHARGE: &str = "01990000-0000-7000-8000-000000000006";
const NEW_CHARGE: &str = "01990000-0000-7000-8000-000000000007";
const BUYER: &str = "01990000-0000-7000-8000-000000000009";
const NEW_USER: &str = "01990000-0000-7000-8000-00000000000a";
const MAIL: &str = "01990000-0000-7000-8000-00000000000b";
const DEAD_MAIL: &str = "01990000-0000-7000-8000-00000000000c";
const SESSION: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
const KEY: &str = "5f2c";
const EVENT: &str = "evt_1";

fn id(text: &str) -> Uuid {
    Uuid::parse_str(text).expect("a UUID")
}

/// Stored documents with their collections. Do not change them. A new form gets documents of its
/// own: the first two charges are from before charges recorded their processor.
fn stored() -> Vec<(&'static str, Document)> {
    vec![
        (
            "tickets",
            doc! {
                "_id": TICKET, "seller": BUYER, "title": "Front row", "price": 1999_i64, "currency": "usd",
                "state": { "status": "Sold", "order": ORDER }, "version": 3_i64, "detailsVersion": 1_i64,
                "createdAt": 1_800_000_000_000_i64, "updatedAt": 1_800_000_001_000_i64,
            },
        ),
        (
            "tickets",
            doc! {
                "_id": LOCKED_TICKET, "seller": BUYER, "title": "Café", "price": 50_i64, "currency": "usd",
                "state": { "status": "Locked", "lock": {
                    "order": CANCELLED_ORDER, "buyer": BUYER, "unlocksAt": 1_800_000_900_000_i64, "replica": "gittix-0",
                } },
                "version": 5_i64, "detailsVersion": 0_i64,
                "createdAt": 1_800_000_000_000_i64, "updatedAt": 1_800_000_001_000_i64,
                "lapses": [{ "user": BUYER, "at": 1_799_999_000_000_i64 }],
            },
        ),
        (
            "orders",
            doc! {
                "_id": ORDER, "buyer": BUYER, "status": "AwaitingPayment", "cancelReason": Bson::Null,
                "ticket": { "id": TICKET, "title": "Front row", "price": 1999_i64, "version": 1_i64 },
                "price": 1999_i64, "currency": "usd",
                "expiresAt": 1_800_000_600_000_i64, "unlocksAt": 1_800_000_900_000_i64, "settling": CHARGE, "declines": 2_i64,
                "version": 4_i64, "createdAt": 1_800_000_000_000_i64, "updatedAt": 1_800_000_001_000_i64,
            },
        ),
        // Without `declines`, as an order is stored that was never declined.
        (
            "orders",
            doc! {
                "_id": CANCELLED_ORDER, "buyer": BUYER, "status": "Cancelled", "cancelReason": "expired",
                "ticket": { "id": LOCKED_TICKET, "title": "Café", "price": 50_i64, "version": 1_i64 },
                "price": 50_i64, "currency": "usd",
                "expiresAt": 1_800_000_600_000_i64, "unlocksAt": 1_800_000_900_000_i64, "settling": Bson::Null,
                "version": 1_i64, "createdAt": 1_800_000_000_000_i64, "updatedAt": 1_800_000_001_000_i64,
            },
        ),
        (
            "charges",
            doc! {
                "_id": CHARGE, "order": ORDER, "ticket": TICKET, "buyer": BUYER,
                "status": "Created", "step": { "step": "Capturing" }, "amount": 1999_i64, "currency": "usd",
                "token": "digest", "firstAttempt": true, "stripeId": "pi_1", "stripeRefundId": Bson::Null, "failure": Bson::Null,
                "version": 1_i64, "createdAt": 1_800_000_000_000_i64, "updatedAt": 1_800_000_001_000_i64,
            },
        ),
        (
            "charges",
            doc! {
                "_id": FAILED_CHARGE, "order": ORDER, "ticket": TICKET, "buyer": BUYER,
                "status": "Failed", "step": { "step": "Final" }, "amount": 1999_i64, "currency": "usd",
                "token": "digest", "firstAttempt": false, "stripeId": "pi_2", "stripeRefundId": "re_2",
                "failure": { "code": "lock_lost", "message": "The ticket's lock ended before the payment did." },
                "version": 4_i64, "createdAt": 1_800_000_000_000_i64, "updatedAt": 1_800_000_001_000_i64,
            },
        ),
        (
            "charges",
            doc! {
                "_id": NEW_CHARGE, "order": CANCELLED_ORDER, "ticket": LOCKED_TICKET, "buyer": BUYER,
                "status": "Created", "step": { "step": "Authorizing" }, "amount": 50_i64, "currency": "usd",
                "token": "digest", "processor": "stripe", "firstAttempt": true,
                "stripeId": Bson::Null, "stripeRefundId": Bson::Null, "failure": Bson::Null,
                "version": 0_i64, "createdAt": 1_800_000_000_000_i64, "updatedAt": 1_800_000_000_000_i64,
            },
        ),
        (
            "users",
            doc! {
                "_id": BUYER, "email": "bob@example.com", "passwordHash": "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaA",
                "version": 2_i64, "createdAt": 1_800_000_000_000_i64, "updatedAt": 1_800_000_001_000_i64,
            },
        ),
        (
            "users",
            doc! {
                "_id": NEW_USER, "email": "ann@example.com", "emailVerified": true,
                "pendingEmail": "ann@example.org", "passwordHash": "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaA",
                "tokens": [{ "purpose": "verify", "digest": "d1ge57", "email": "ann@example.com", "expiresAt": 1_800_086_400_000_i64 }],
                "version": 1_i64, "createdAt": 1_800_000_000_000_i64, "updatedAt": 1_800_000_001_000_i64,
            },
        ),
        (
            "mails",
            doc! {
                "_id": MAIL, "to": "ann@example.com",
                "content": {
                    "template": "verifyEmail", "templateVersion": 1, "user": NEW_USER, "nonce": "00ff",
                    "expiresAt": 1_800_086_400_000_i64,
                },
                "state": "Claimed", "by": "gittix-0", "until": 1_800_000_120_000_i64,
                "attempts": 1_i64, "version": 1_i64, "createdAt": 1_800_000_000_000_i64, "updatedAt": 1_800_000_000_000_i64,
            },
        ),
        (
            "mails",
            doc! {
                "_id": DEAD_MAIL, "to": "bob@example.com", "content": { "template": "resetRequested" },
                "state": "Dead", "since": 1_800_000_001_000_i64, "reason": "no such mailbox",
                "attempts": 20_i64, "version": 40_i64, "createdAt": 1_800_000_000_000_i64, "updatedAt": 1_800_000_001_000_i64,
            },
        ),
        (
            "sessions",
            doc! { "_id": SESSION, "user": BUYER, "createdAt": 1_800_000_000_000_i64, "expiresAt": 1_900_000_000_000_i64 },
        ),
        (
            "idempotency",
            doc! {
                "user": BUYER, "key": KEY, "fingerprint": "f00d", "outcome": { "type": "Charge", "charge": CHARGE },
                "createdAt": 1_800_000_000_000_i64,
            },
        ),
        ("deliveries", doc! { "_id": EVENT, "at": 1_800_000_000_000_i64 }),
    ]
}

/// Reads the document of `collection` with the id of `stored`, and writes it again.
async fn written_again(store: &dyn Inspect, collection: &str, stored: &Document) -> Document {
    let text = stored.get_str("_id").unwrap_or_default();
    match collection {
        "tickets" => document(store.ticket(TicketId::new(id(text))).await),
        "orders" => document(store.order(OrderId::new(id(text))).await),
        "charges" => document(store.charge(ChargeId::new(id(text))).await),
        "users" => document(store.user(UserId::new(id(text))).await),
        "mails" => document(store.mail(MailId::new(id(text))).await),
        "sessions" => document(store.session(&SessionDigest::new(text.into())).await),
        "idempotency" => document(store.idempotency(UserId::new(id(BUYER)), KEY).await),
        "deliveries" => document(store.delivery(text).await),
        other => panic!("no read of {other}"),
    }
}

fn document<T: Serialize, E: std::fmt::Debug>(read: Result<Option<T>, E>) -> Document {
    let found = read.expect("the document is readable").expect("the document is found");
    bson::serialize_to_document(&found).expect("a document")
}

async fn are_read(store: Arc<dyn Inspect>) {
    for (collection, stored) in stored() {
        let again = written_again(&*store, collection, &stored).await;
        assert_eq!(again, stored, "a document of {collection} is written in another form");
    }
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn documents_of_each_kind_are_read_from_an_embedded_store() {
    let home = Home::new(Backend::Embedded);
    drop(EmbeddedStore::open(&home.data()).expect("a new store"));
    {
        let file = Database::open(home.data().join("gittix.redb")).expect("the store's file");
        let write = file.begin_write().expect("a transaction");
        for (collection, document) in stored() {
            let bytes = bson::serialize_to_vec(&document).expect("a document");
            let key = document.get_str("_id").unwrap_or_default();
            match collection {
                "sessions" | "deliveries" => {
                    let table: TableDefinition<'_, &str, &[u8]> = TableDefinition::new(collection);
                    let mut table = write.open_table(table).expect("the table");
                    table.insert(key, bytes.as_slice()).expect("inserted");
                }
                "idempotency" => {
                    let table: TableDefinition<'_, (u128, &str), &[u8]> =
                        TableDefinition::new(collection);
                    let mut table = write.open_table(table).expect("the table");
                    table.insert((id(BUYER).as_u128(), KEY), bytes.as_slice()).expect("inserted");
                }
                _ => {
                    let table: TableDefinition<'_, u128, &[u8]> = TableDefinition::new(collection);
                    let mut table = write.open_table(table).expect("the table");
                    table.insert(id(key).as_u128(), bytes.as_slice()).expect("inserted");
                }
            }
        }
        write.commit().expect("written");
    }
    are_read(EmbeddedStore::open(&home.data()).expect("the same store")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn documents_of_each_kind_are_read_from_mongodb() {
    let home = Home::new(Backend::MongoDb);
    let uri = home.mongodb_uri().expect("a URI of a database");
    let store = MongoStore::connect(uri).await.expect("the replica set answers");
    for (collection, mut document) in stored() {
        if collection == "idempotency" {
            document.insert("_id", format!("{BUYER} {KEY}"));
        }
        let collection = store.database().collection::<Document>(collection);
        collection.insert_one(document).await.expect("inserted");
    }
    are_read(store).await;
}

#[test]
fn order_that_was_never_declined_is_stored_without_declines() {
    let stored = bson::serialize_to_document(&order(1)).expect("an order is a document");
    assert!(!stored.contains_key("declines"), "{stored}");
    let stored = bson::serialize_to_document(&Order { declines: 2, ..order(1) })
        .expect("an order is a document");
    assert_eq!(stored.get_i64("declines").ok(), Some(2), "{stored}");
}
