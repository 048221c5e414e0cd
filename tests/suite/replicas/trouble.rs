//! A server whose MongoDB fails, hangs or is slow: every answer comes within a bound and says so, the process says that it
//! is alive and not ready, and all is well again by itself when MongoDB is. (Primaries that are killed, stopped, deposed
//! or cut off are in the rounds at random.)

use std::time::Duration;

use bson::{Document, doc};
use futures_util::future::join_all;
use tokio::time::{Instant, sleep, timeout};

use crate::{
    app::{Answer, Call, Client, Home, PATIENCE, Socket, TestApp},
    mongo::world::{Turn, World},
};

/// No answer takes longer when the store does not answer at all: a session, a key and a ticket are read (2 s each) and a
/// commit is waited for (6 s).
const ANSWER_MAX: Duration = Duration::from_secs(14);
/// Two of the calls change one ticket, and while commits succeed, if slowly, one of them waits for the other's (6 s).
const TURN_MAX: Duration = Duration::from_secs(6);
const TAKE_TURNS: [&str; 2] = ["PUT /api/tickets/", "POST /api/orders"];
/// How soon an orchestrator has its answer.
const PROBE_MAX: Duration = Duration::from_secs(3);
/// From the end of the trouble to readiness and a purchase.
const RECOVERY_MAX: Duration = Duration::from_secs(10);

/// All commands that the server sends when it is used.
const COMMANDS: [&str; 9] = ["find", "aggregate", "getMore", "insert", "update", "delete", "findAndModify", "commitTransaction", "hello"];

/// A server that can be told apart from all others by its driver's name.
struct Scene {
    app: TestApp,
    world: World,
    name: String,
    seller: Client,
    buyer: Client,
    socket: Socket,
}

impl Scene {
    async fn start(name: &str) -> Self {
        let server =
            std::env::var("MONGODB_URI").expect("MONGODB_URI must name a replica set; `scripts/with-mongod cargo test` starts one");
        let separator = if server.contains('?') { '&' } else { '?' };
        let app = TestApp::start_at(Home::on(&format!("{server}{separator}appName={name}")), &[]).await;
        let (seller, buyer) = (app.user().await, app.user().await);
        let socket = app.socket().await;
        Self { app, world: World::new().await, name: name.into(), seller, buyer, socket }
    }

    /// While `trouble` lasts and after it, all that was promised holds; `is_total`: nothing can be done while it lasts.
    async fn endures(mut self, turn: Turn, mut trouble: Document, is_total: bool) {
        let (for_sale, held) = (self.seller.sells("For sale").await, self.seller.sells("Held").await);
        let order = self.buyer.locks(&held).await;
        trouble.insert("failCommands", COMMANDS.to_vec());
        let fault = turn.set(&self.world, &self.name, "alwaysOn", trouble).await;

        let began = Instant::now();
        let answers = self.ask_for_everything(&for_sale, &order).await;
        eprintln!("{}: slowest answer {:?}", self.name, answers.iter().map(|(_, took)| *took).max().unwrap_or_default());
        for (answer, took) in &answers {
            let takes_turns = !is_total && TAKE_TURNS.iter().any(|call| answer.asked.starts_with(call));
            let max = if takes_turns { ANSWER_MAX + TURN_MAX } else { ANSWER_MAX };
            assert!(*took < max, "{} took {took:?}", answer.asked);
            // That it has Retry-After is checked for every 503.
            assert!(answer.status == 503 || !is_total, "{} answered {}", answer.asked, answer.text);
        }
        if is_total {
            let (ready, took) = timed(self.app.guest().get("/readyz")).await;
            assert!(ready.status == 503 && took < PROBE_MAX, "{} after {took:?}", ready.status);
        }
        let (alive, took) = timed(self.app.guest().get("/healthz")).await;
        assert!(alive.status == 200 && took < PROBE_MAX, "{} after {took:?}", alive.status);
        eprintln!("{}: it lasted {:?}", self.name, began.elapsed());
        fault.heal().await;

        let healed = Instant::now();
        self.app.server.ready().await;
        let ticket = self.bought().await;
        eprintln!("{}: recovered after {:?}", self.name, healed.elapsed());
        assert!(healed.elapsed() < RECOVERY_MAX, "{:?}", healed.elapsed());
        // The socket was open all the while, and goes on without a gap.
        self.socket.ticket(&ticket, "Sold").await;
        assert!(!self.socket.kinds().contains(&"Reset"), "{:?}", self.socket.kinds());
    }

    /// What reads, what writes and what does both, all at once.
    async fn ask_for_everything(&self, ticket: &str, order: &str) -> Vec<(Answer, Duration)> {
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

    /// A purchase that succeeds; its ticket.
    async fn bought(&self) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(ticket) = self.buy().await {
                return ticket;
            }
            assert!(Instant::now() < deadline, "no purchase succeeds: {:#?}", self.app.server.log());
            sleep(Duration::from_millis(50)).await;
        }
    }

    async fn buy(&self) -> Option<String> {
        let listed = Some(self.seller.list_ticket("Row", 20).await).filter(|listed| listed.status == 201)?;
        let ordered = Some(self.buyer.place_order(&listed.id()).await).filter(|ordered| ordered.status == 201)?;
        let paid = self.buyer.pay(&ordered.id(), "pm_card_visa").await;
        (paid.status == 201).then(|| listed.id())
    }
}

async fn timed(call: Call) -> (Answer, Duration) {
    let asked = Instant::now();
    let answer = timeout(PATIENCE, call.into_future()).await.expect("every answer is bounded");
    (answer, asked.elapsed())
}

/// The socket of a scene is read from again when the fault is over: so the turn comes first, however long it is waited for.
async fn endures(name: &str, trouble: Document, is_total: bool) {
    let turn = Turn::wait().await;
    Scene::start(name).await.endures(turn, trouble, is_total).await;
}

#[tokio::test]
async fn a_store_that_closes_every_connection_is_said_to_be_unavailable_and_recovers_by_itself() {
    endures("trouble-closes", doc! { "closeConnection": true }, true).await;
}

#[tokio::test]
async fn a_store_that_fails_every_command_is_said_to_be_unavailable_and_recovers_by_itself() {
    // 91: it is shutting down.
    endures("trouble-fails", doc! { "errorCode": 91 }, true).await;
}

#[tokio::test]
async fn a_store_that_hangs_is_said_to_be_unavailable_within_a_bound_and_recovers_by_itself() {
    endures("trouble-hangs", doc! { "blockConnection": true, "blockTimeMS": 20_000 }, true).await;
}

#[tokio::test]
async fn a_store_that_is_slow_is_used_or_said_to_be_unavailable_within_a_bound() {
    endures("trouble-slow", doc! { "blockConnection": true, "blockTimeMS": 700 }, false).await;
}
