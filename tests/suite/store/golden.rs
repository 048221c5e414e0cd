//! Documents in the form of earlier versions. Each store must still read them.

use bson::{Document, doc};
use gittix::{
    domain::{Order, OrderStatus},
    store::{Store, embedded::EmbeddedStore, mongo::MongoStore},
};
use redb::{Database, TableDefinition};

use super::samples::*;
use crate::app::{Backend, Home};

const ID: u128 = 0x0199_0000_0000_7000_8000_0000_0000_0003;

/// An order in the form of version 0.1.0, which has no `declines`.
fn order_before_declines() -> Document {
    doc! {
        "_id": "01990000-0000-7000-8000-000000000003",
        "buyer": "01990000-0000-7000-8000-000000000009",
        "status": "AwaitingPayment",
        "cancelReason": null,
        "ticket": { "id": "01990000-0000-7000-8000-000000000001", "title": "Front row", "price": 1999_i64, "version": 1_i64 },
        "price": 1999_i64,
        "currency": "usd",
        "expiresAt": 1_800_000_600_000_i64,
        "unlocksAt": 1_800_000_900_000_i64,
        "settling": null,
        "version": 1_i64,
        "createdAt": 1_800_000_000_000_i64,
        "updatedAt": 1_800_000_001_000_i64,
    }
}

fn is_read(order: Option<Order>) {
    let order = order.expect("the order is found");
    assert_eq!(
        (order.declines, order.status, order.price.minor()),
        (0, OrderStatus::AwaitingPayment, 1999)
    );
    let stored = bson::serialize_to_document(&order).expect("an order is a document");
    assert_eq!(
        stored,
        order_before_declines(),
        "an order without declines is written in the form that an earlier version reads"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn order_without_declines_is_read_from_an_embedded_store() {
    let home = Home::new(Backend::Embedded);
    drop(EmbeddedStore::open(&home.data()).expect("a new store"));
    {
        let file = Database::open(home.data().join("gittix.redb")).expect("the store's file");
        let write = file.begin_write().expect("a transaction");
        let bytes = bson::serialize_to_vec(&order_before_declines()).expect("a document");
        let orders: TableDefinition<'_, u128, &[u8]> = TableDefinition::new("orders");
        write
            .open_table(orders)
            .expect("the table of orders")
            .insert(ID, bytes.as_slice())
            .expect("inserted");
        write.commit().expect("written");
    }
    let store = EmbeddedStore::open(&home.data()).expect("the same store");
    is_read(
        store.order(gittix::domain::OrderId::new(uuid::Uuid::from_u128(ID))).await.expect("read"),
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn order_without_declines_is_read_from_mongodb() {
    let home = Home::new(Backend::MongoDb);
    let store = MongoStore::connect(home.mongodb_uri().expect("a URI of a database"))
        .await
        .expect("the replica set answers");
    store
        .database()
        .collection::<Document>("orders")
        .insert_one(order_before_declines())
        .await
        .expect("inserted");
    is_read(
        store.order(gittix::domain::OrderId::new(uuid::Uuid::from_u128(ID))).await.expect("read"),
    );
    store.close().await;
}

#[test]
fn order_that_was_never_declined_is_stored_without_declines() {
    let stored = bson::serialize_to_document(&order(1)).expect("an order is a document");
    assert!(!stored.contains_key("declines"), "{stored}");
    let stored = bson::serialize_to_document(&Order { declines: 2, ..order(1) })
        .expect("an order is a document");
    assert_eq!(stored.get_i64("declines").ok(), Some(2), "{stored}");
}
