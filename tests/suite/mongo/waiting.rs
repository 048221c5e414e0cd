//! Starts of the server with a MongoDB that is not ready yet or cannot be used. The tests run real
//! servers and real mongods.

use std::{
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use bson::doc;
use mongodb::{Client as Driver, options::ClientOptions};
use tokio::time::{Instant, sleep};

use crate::{
    app::{Client, Home, PATIENCE, Server, bare_command, run},
    replicas::members,
};

/// A mongod of one test. It is killed and its folder is deleted when the test ends.
struct Mongod {
    process: Child,
    folder: PathBuf,
    port: u16,
}

/// Returns a port on which nothing listens.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a free port")
        .port()
}

impl Mongod {
    fn start(port: u16, more: &[&str]) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "gittix_mongod_{}_{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let folder = std::env::temp_dir().join(name);
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).expect("a folder among the temporary files");
        let mut command = Command::new(members::mongod());
        command.arg("--dbpath").arg(&folder).args([
            "--port",
            &port.to_string(),
            "--bind_ip",
            "127.0.0.1",
            "--nounixsocket",
        ]);
        command.args([
            "--wiredTigerCacheSizeGB",
            "0.25",
            "--oplogSize",
            "64",
            "--setParameter",
            "diagnosticDataCollectionEnabled=false",
        ]);
        command.args(more).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Self { process: command.spawn().expect("the mongod starts"), folder, port }
    }

    fn uri(&self) -> String {
        format!("mongodb://127.0.0.1:{}/gittix", self.port)
    }

    /// Runs a command when the mongod answers.
    async fn command(&self, command: bson::Document) {
        let mut options = ClientOptions::parse(self.uri()).await.expect("a URI");
        options.direct_connection = Some(true);
        let driver = Driver::with_options(options).expect("plain options");
        driver
            .database("admin")
            .run_command(command)
            .await
            .unwrap_or_else(|error| panic!("mongod refuses: {error}"));
    }

    async fn initiate(&self) {
        let host = format!("127.0.0.1:{}", self.port);
        self.command(
            doc! { "replSetInitiate": { "_id": "rs0", "members": [{ "_id": 0, "host": host }] } },
        )
        .await;
    }
}

impl Drop for Mongod {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Starts a server with this `MONGODB_URI` and this wait for the store.
async fn server(uri: &str, wait: &str) -> Server {
    let mut command = bare_command();
    command
        .arg("serve")
        .env("GITTIX_ADDR", "127.0.0.1:0")
        .env("MONGODB_URI", uri)
        .env("GITTIX_STORE_WAIT", wait);
    Server::spawn(command).await
}

async fn until(server: &Server, what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so().await {
        assert!(Instant::now() < deadline, "{what} did not happen in time: {:#?}", server.log());
        sleep(Duration::from_millis(10)).await;
    }
}

async fn until_logged(server: &Server, text: &str) {
    until(server, text, async || server.log().iter().any(|line| line.contains(text))).await;
}

async fn is_waiting(server: &Server) {
    let guest = Client::new(server.addr);
    guest.get("/healthz").await.expect(200);
    until(server, "the wait", async || {
        let answer = guest.get("/readyz").await.refused(503, "unavailable");
        answer.text.contains("Not ready: waiting for the store.")
    })
    .await;
    guest.get("/api/tickets").await.refused(503, "unavailable");
}

#[tokio::test]
async fn server_waits_for_a_late_mongod_and_for_its_replica_set() {
    let port = free_port();
    let server = server(&format!("mongodb://127.0.0.1:{port}/gittix?replicaSet=rs0"), "60s").await;
    is_waiting(&server).await;
    let mongod = Mongod::start(port, &["--replSet", "rs0"]);
    until_logged(&server, "the replica set is not initiated yet").await;
    is_waiting(&server).await;
    mongod.initiate().await;
    server.ready().await;
    let mut seller = Client::new(server.addr);
    seller.join().await;
    seller.sells("After the wait").await;
    // The log has one line for each reason, not for each attempt.
    let lines = server.log().iter().filter(|line| line.contains("not initiated yet")).count();
    assert!(lines <= 3, "{:#?}", server.log());
}

#[tokio::test]
async fn sigterm_during_the_wait_ends_the_server_with_status_zero() {
    let mut server = server(&format!("mongodb://127.0.0.1:{}/", free_port()), "10m").await;
    is_waiting(&server).await;
    server.terminate();
    assert!(server.ended().await.success(), "{:#?}", server.log());
}

#[tokio::test]
async fn start_without_mongodb_fails_after_the_wait_with_one_line() {
    let mut server = server(&format!("mongodb://127.0.0.1:{}/", free_port()), "1s").await;
    assert_eq!(server.ended().await.code(), Some(2));
    let reason = server.reason().await;
    assert!(reason.contains("MONGODB_URI") && reason.contains("GITTIX_STORE_WAIT"), "{reason}");
}

/// Runs a start that must end with status 2 and one line, without a wait for MongoDB. Returns that
/// line.
fn error_of_start(uri: &str) -> String {
    let (status, text) = run(
        &["serve"],
        &[("GITTIX_ADDR", "127.0.0.1:0"), ("MONGODB_URI", uri), ("GITTIX_STORE_WAIT", "10m")],
    );
    assert_eq!(status.code(), Some(2), "{uri} said {text}");
    assert!(!text.contains("waiting for MongoDB"), "the start waited for {uri}: {text}");
    let said: Vec<&str> = text.lines().filter(|line| line.starts_with("gittix: ")).collect();
    assert!(said.len() == 1 && said[0].starts_with("gittix: MONGODB_URI: "), "{uri} said {text}");
    said[0].to_owned()
}

#[tokio::test]
async fn standalone_mongod_ends_the_start_without_a_wait() {
    let mongod = Mongod::start(free_port(), &[]);
    mongod.command(doc! { "ping": 1 }).await;
    for options in ["", "?replicaSet=rs0", "?directConnection=true"] {
        let uri = format!("{}{options}", mongod.uri());
        let said =
            tokio::task::spawn_blocking(move || error_of_start(&uri)).await.expect("no panic");
        assert!(said.contains("no replica set"), "{said}");
    }
}

#[tokio::test]
async fn wrong_credentials_end_the_start_without_a_wait_and_are_not_logged() {
    let home = Home::new(crate::app::Backend::MongoDb);
    let uri = home.mongodb_uri().expect("a URI").replacen("://", "://stranger:hunter2@", 1);
    let uri = format!("{uri}{}authSource=admin", if uri.contains('?') { "&" } else { "?" });
    let said = tokio::task::spawn_blocking(move || error_of_start(&uri)).await.expect("no panic");
    assert!(!said.contains("hunter2"), "{said}");
}

#[test]
fn another_replica_set_ends_the_start_without_a_wait() {
    let home = Home::new(crate::app::Backend::MongoDb);
    let uri = home.mongodb_uri().expect("a URI").to_owned();
    assert!(uri.contains("replicaSet=rs0"), "{uri}");
    let said = error_of_start(&uri.replace("replicaSet=rs0", "replicaSet=another"));
    assert!(said.contains("replicaSet"), "{said}");
}
