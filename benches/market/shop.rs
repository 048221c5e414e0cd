//! A server with tickets and buyers, which are written directly to the store.

use gittix::{
    clock::wall_clock,
    domain::{Timestamp, UserId},
};
use uuid::Uuid;

use super::load::Unsold;
use crate::app::{Backend, Client, Home, TestApp, world};

/// Raises the limit of locks, and hides log lines that are not part of the measured load.
pub const SETTINGS: [(&str, &str); 2] =
    [("GITTIX_MAX_LOCKS", "1000"), ("GITTIX_LOG", "warn,gittix::app=info")];

/// Starts a server. Returns it with `buyers` signed-in clients and the ids of `tickets` of one
/// seller.
pub async fn open(
    store: Backend,
    buyers: usize,
    tickets: usize,
) -> (TestApp, Vec<Client>, Vec<String>) {
    let home = Home::new(store);
    let seeded = world::seed_users(&home, buyers).await;
    let tickets = seed_tickets(&home, tickets).await;
    let (app, buyers) = TestApp::start_seeded(home, &SETTINGS, seeded).await;
    (app, buyers, tickets)
}

/// The number of buyers for loads with as many purchases as possible, so high that each buyer holds
/// only a few tickets at a time.
pub const CROWD: usize = 4_096;

/// Starts a server with many buyers, who have read the site, and with `tickets`.
pub async fn crowded(store: Backend, tickets: usize) -> (TestApp, Unsold) {
    let (app, buyers, tickets) = open(store, CROWD, tickets).await;
    let unsold = Unsold::new(tickets, cookies(&buyers));
    unsold.look_around(app.server.addr).await;
    (app, unsold)
}

/// Returns the cookies of the clients.
pub fn cookies(buyers: &[Client]) -> Vec<String> {
    buyers.iter().filter_map(Client::cookie).collect()
}

/// Puts tickets on sale in a data folder that is kept, and prints its path.
pub async fn leave_seeded(tickets: usize) {
    let mut home = Home::new(Backend::Embedded);
    home.keep();
    seed_tickets(&home, tickets).await;
    println!("{}", home.data().display());
}

/// Puts tickets of one seller on sale and returns their ids.
pub async fn seed_tickets(home: &Home, count: usize) -> Vec<String> {
    // The times are old, so that the feed's history, which has a bound of its own, is not counted
    // as memory of the tickets.
    let listed_at = Timestamp(wall_clock().0 - 600_000);
    world::seed_tickets(home, count, listed_at, &[UserId::new(Uuid::now_v7())], |_| {
        "Front row".into()
    })
    .await
}
