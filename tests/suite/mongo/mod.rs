//! The MongoDB store on a real replica set: what the contract suite of all stores cannot ask for. Run by
//! `scripts/with-mongod cargo test --test suite mongo`.

mod fault;
mod feed;
mod group;
mod race;
mod reads;
mod start;
mod waiting;
pub mod world;
