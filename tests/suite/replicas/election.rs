//! An election of a MongoDB primary with the default timeout: servers stay ready and still answer
//! reads.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{
    fleet::Fleet,
    members::Members,
    network::{self, Network},
    report_skipped,
};
use crate::app::{Client, Home, PATIENCE};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_stay_ready_and_serve_lists_during_an_election() {
    if let Err(why) = network::is_possible() {
        return report_skipped("an election among three members", &why);
    }
    let mut network = Network::new();
    // MongoDB's default for electionTimeoutMillis.
    let mut members = Members::start(&mut network, Duration::from_secs(10)).await;
    let mut fleet = Fleet::in_namespaces(&mut network);
    let home = Home::on(&members.uri());
    fleet.start(&home, &[]).await;
    let guests: Vec<Client> =
        fleet.endpoints().iter().map(|endpoint| Client::new(endpoint.addr)).collect();
    let mut seller = guests[0].stranger();
    seller.join().await;
    let ticket = seller.sells("During an election").await;
    for guest in &guests {
        while guest.tickets("").await.expect(200).items().is_empty() {
            sleep(Duration::from_millis(20)).await;
        }
    }

    let primary = members.primary().await;
    members.get_mut(primary).kill();
    let killed = Instant::now();
    let (mut refused, mut number) = (0, 0);
    loop {
        for guest in &guests {
            guest.get("/readyz").await.expect(200);
            let listed = guest.tickets("").await.expect(200);
            assert!(listed.items().iter().any(|item| item["id"] == ticket.as_str()), "{listed:?}");
            guest.get("/healthz").await.expect(200);
            guest.get("/").await.expect(200);
        }
        number += 1;
        let answer = seller.list_ticket(&format!("Row {number}"), 20).await;
        match answer.status {
            201 => break,
            503 => refused += 1,
            _ => panic!("{answer:?}"),
        }
        assert!(killed.elapsed() < PATIENCE, "no primary was elected: {:#?}", fleet.logs());
    }
    println!("{refused} writes refused within {:?}", killed.elapsed());
    assert!(refused > 0, "no write was refused, so no election took place");
    fleet.all_ready().await;
    drop(home);
}
