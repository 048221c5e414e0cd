//! A server whose MongoDB fails, hangs or is slow: every answer comes within a bound and reports
//! the failure, `/healthz` answers 200 and `/readyz` 503, and the server recovers without help when
//! MongoDB does. (The random rounds cover primaries that are killed, stopped, deposed or cut off.)

use std::time::Duration;

use bson::{Document, doc};
use futures_util::future::join_all;
use tokio::time::{Instant, sleep, timeout};

use crate::{
    app::{Answer, Call, Client, Home, PATIENCE, Socket, TestApp, with_app_name},
    mongo::world::{Turn, World},
};

/// Bound of an answer when the store does not answer at all: the reads of a session, a key and a
/// ticket time out after 2 s each, and the wait for a commit after 6 s.
const ANSWER_MAX: Duration = Duration::from_secs(14);
/// Additional time of two calls that change one ticket: if commits are slow but succeed, one call
/// waits for the other's commit (6 s).
const SERIALIZED_EXTRA_MAX: Duration = Duration::from_secs(6);
const SERIALIZED_CALLS: [&str; 2] = ["PUT /api/tickets/", "POST /api/orders"];
/// Bound of an answer to a probe of an orchestrator.
const PROBE_MAX: Duration = Duration::from_secs(3);
/// Bound from the end of the fault to readiness and a purchase.
const RECOVERY_MAX: Duration = Duration::from_secs(10);

/// All commands that the server sends in use.
const COMMANDS: [&str; 9] = [
    "find",
    "aggregate",
    "getMore",
    "insert",
    "update",
    "delete",
    "findAndModify",
    "commitTransaction",
    "hello",
];

/// Server whose driver has a name of its own, so that a fault affects only this server.
struct FaultedServer {
    app: TestApp,
    world: World,
    name: String,
    seller: Client,
    buyer: Client,
    socket: Socket,
}

impl FaultedServer {
    async fn start(name: &str) -> Self {
        let server = std::env::var("MONGODB_URI").expect(
            "MONGODB_URI must name a replica set; `scripts/with-mongod cargo test` starts one",
        );
        let app = TestApp::start_at(Home::on(&with_app_name(&server, name)), &[]).await;
        let (seller, buyer) = (app.user().await, app.user().await);
        let socket = app.socket().await;
        Self { app, world: World::new().await, name: name.into(), seller, buyer, socket }
    }

    /// Applies `fault_data` and checks the bounds during and after it. `is_total`: no call can
    /// succeed during the fault.
    async fn check_fault(mut self, turn: Turn, mut fault_data: Document, is_total: bool) {
        let (for_sale, held) =
            (self.seller.sells("For sale").await, self.seller.sells("Held").await);
        let order = self.buyer.locks(&held).await;
        fault_data.insert("failCommands", COMMANDS.to_vec());
        let fault = turn.set(&self.world, &self.name, "alwaysOn", fault_data).await;

        let began = Instant::now();
        let answers = self.call_all(&for_sale, &order).await;
        eprintln!(
            "{}: slowest answer {:?}",
            self.name,
            answers.iter().map(|(_, took)| *took).max().unwrap_or_default()
        );
        for (answer, took) in &answers {
            let is_serialized =
                !is_total && SERIALIZED_CALLS.iter().any(|call| answer.asked.starts_with(call));
            let max = if is_serialized { ANSWER_MAX + SERIALIZED_EXTRA_MAX } else { ANSWER_MAX };
            assert!(*took < max, "{} took {took:?}", answer.asked);
            // `Answer` checks that every 503 has Retry-After.
            assert!(answer.status == 503 || !is_total, "{} answered {}", answer.asked, answer.text);
        }
        if is_total {
            let (ready, took) = timed(self.app.guest().get("/readyz")).await;
            assert!(ready.status == 503 && took < PROBE_MAX, "{} after {took:?}", ready.status);
        }
        let (alive, took) = timed(self.app.guest().get("/healthz")).await;
        assert!(alive.status == 200 && took < PROBE_MAX, "{} after {took:?}", alive.status);
        eprintln!("{}: the fault lasted {:?}", self.name, began.elapsed());
        fault.heal().await;

        let healed = Instant::now();
        self.app.server.ready().await;
        let ticket = self.buy_with_retries().await;
        eprintln!("{}: recovered after {:?}", self.name, healed.elapsed());
        assert!(healed.elapsed() < RECOVERY_MAX, "{:?}", healed.elapsed());
        // The socket stayed open throughout, and receives all events without a gap.
        self.socket.ticket(&ticket, "Sold").await;
        assert!(!self.socket.kinds().contains(&"Reset"), "{:?}", self.socket.kinds());
    }

    /// Sends calls that read, calls that write and calls that do both, all at once.
    async fn call_all(&self, ticket: &str, order: &str) -> Vec<(Answer, Duration)> {
        let calls = [
            self.app.guest().ticket(ticket),
            self.buyer.order(order),
            self.buyer.orders(""),
            self.buyer.charges_of(order),
            self.seller.list_ticket("Another", 20),
            self.seller.edit_ticket(ticket, "Changed", 30),
            self.buyer.place_order(ticket).key("a-key"),
            self.buyer.pay(order, "pm_card_visa").key("another-key"),
            self.app.guest().sign_in(&self.buyer.email, Client::PASSWORD),
        ];
        join_all(calls.into_iter().map(timed)).await
    }

    /// Repeats a purchase until it succeeds; returns the ticket.
    async fn buy_with_retries(&self) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(ticket) = self.buy().await {
                return ticket;
            }
            assert!(
                Instant::now() < deadline,
                "no purchase succeeds: {:#?}",
                self.app.server.log()
            );
            sleep(Duration::from_millis(50)).await;
        }
    }

    async fn buy(&self) -> Option<String> {
        let listed =
            Some(self.seller.list_ticket("Row", 20).await).filter(|listed| listed.status == 201)?;
        let ordered = Some(self.buyer.place_order(&listed.id()).await)
            .filter(|ordered| ordered.status == 201)?;
        let paid = self.buyer.pay(&ordered.id(), "pm_card_visa").await;
        (paid.status == 201).then(|| listed.id())
    }
}

async fn timed(call: Call) -> (Answer, Duration) {
    let asked = Instant::now();
    let answer =
        timeout(PATIENCE, call.into_future()).await.expect("every answer comes within the timeout");
    (answer, asked.elapsed())
}

/// Runs one test of a fault. The turn is acquired before the server starts, because the wait for
/// the turn may be long and the server's socket is not read meanwhile.
async fn check_fault(name: &str, fault_data: Document, is_total: bool) {
    let turn = Turn::wait().await;
    FaultedServer::start(name).await.check_fault(turn, fault_data, is_total).await;
}

#[tokio::test]
async fn server_answers_503_and_recovers_when_the_store_closes_every_connection() {
    check_fault("fault-closes", doc! { "closeConnection": true }, true).await;
}

#[tokio::test]
async fn server_answers_503_and_recovers_when_the_store_fails_every_command() {
    // 91: ShutdownInProgress.
    check_fault("fault-fails", doc! { "errorCode": 91 }, true).await;
}

#[tokio::test]
async fn server_answers_503_within_a_bound_and_recovers_when_the_store_hangs() {
    check_fault("fault-hangs", doc! { "blockConnection": true, "blockTimeMS": 20_000 }, true).await;
}

#[tokio::test]
async fn server_answers_within_a_bound_when_the_store_is_slow() {
    check_fault("fault-slow", doc! { "blockConnection": true, "blockTimeMS": 700 }, false).await;
}
