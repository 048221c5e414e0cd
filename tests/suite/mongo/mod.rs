//! Tests of the MongoDB store on a real replica set, beyond the contract suite of all stores. They
//! run with `scripts/with-mongod cargo test --test suite mongo`.

mod fault;
mod feed;
mod group;
mod race;
mod reads;
mod start;
mod waiting;
pub mod world;
