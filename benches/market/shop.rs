//! A server with tickets to sell and people to buy them, put there through the store itself.

use gittix::{
    clock::wall_clock,
    domain::{Timestamp, UserId},
};
use uuid::Uuid;

use super::load::Unsold;
use crate::app::{Backend, Client, Home, TestApp, world};

/// No limit is to be met, and no line to be logged, but what a load is about.
pub const SETTINGS: [(&str, &str); 2] = [("GITTIX_MAX_LOCKS", "1000"), ("GITTIX_LOG", "warn,gittix::app=info")];

/// A server, `buyers` who are signed in, and the ids of `tickets` of one seller.
pub async fn open(store: Backend, buyers: usize, tickets: usize) -> (TestApp, Vec<Client>, Vec<String>) {
    let home = Home::new(store);
    let seeded = world::seed_users(&home, buyers).await;
    let tickets = seed_tickets(&home, tickets).await;
    let (app, buyers) = TestApp::start_seeded(home, &SETTINGS, seeded).await;
    (app, buyers, tickets)
}

/// Who buys, when as many tickets are bought as can be: so many that each holds a few at a time.
pub const CROWD: usize = 4_096;

/// A server with a crowd of buyers, who have looked around, and `tickets` for them.
pub async fn crowded(store: Backend, tickets: usize) -> (TestApp, Unsold) {
    let (app, buyers, tickets) = open(store, CROWD, tickets).await;
    let unsold = Unsold::new(tickets, cookies(&buyers));
    unsold.look_around(app.server.addr).await;
    (app, unsold)
}

/// The cookies of those who ask.
pub fn cookies(buyers: &[Client]) -> Vec<String> {
    buyers.iter().filter_map(Client::cookie).collect()
}

/// Puts tickets on sale in a data folder that stays, and tells where that is.
pub async fn leave_seeded(tickets: usize) {
    let mut home = Home::new(Backend::Embedded);
    home.keep();
    seed_tickets(&home, tickets).await;
    println!("{}", home.data().display());
}

/// Puts tickets of one seller on sale; their ids.
pub async fn seed_tickets(home: &Home, count: usize) -> Vec<String> {
    // So long ago that the feed's history, which has a bound of its own, is not taken for a part of what tickets cost.
    let listed_at = Timestamp(wall_clock().0 - 600_000);
    world::seed_tickets(home, count, listed_at, &[UserId::new(Uuid::now_v7())], |_| "Front row".into()).await
}
