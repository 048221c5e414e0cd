//! Faults of the machine: wall clocks that step, and the access rights of the files in the data
//! folder.

use std::{
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use serde_json::json;
use tokio::time::Instant;

use crate::{
    app::{
        Backend, Client, Home, PATIENCE, Server, TestApp, millis, on_both_stores,
        stripe::{Stripe, sign},
    },
    replicas::{fleet, members, report_skipped},
};

on_both_stores!(ticket_goes_to_the_next_buyer_when_the_first_holds_too_many);

/// Wall clock that the test changes while processes use it. The monotonic clock stays correct.
struct WallClock(PathBuf);

impl WallClock {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("gittix-clock-{}-{name}", std::process::id()));
        let clock = Self(path);
        clock.set("+0");
        clock
    }

    /// Sets the offset in seconds.
    fn set(&self, off: &str) {
        let next = self.0.with_extension("next");
        std::fs::write(&next, off).expect("written");
        // The rename is atomic: a reader sees the old text or the new text.
        std::fs::rename(&next, &self.0).expect("renamed");
    }

    /// Returns the environment of a process that uses this clock.
    fn settings(&self) -> Vec<(&str, &str)> {
        vec![
            ("LD_PRELOAD", fleet::FAKETIME),
            ("FAKETIME_TIMESTAMP_FILE", self.0.to_str().expect("the path is UTF-8")),
            ("FAKETIME_NO_CACHE", "1"),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
            ("DONT_FAKE_MONOTONIC", "1"),
        ]
    }
}

impl Drop for WallClock {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Waits until `/readyz` reports that the clock is not sound.
async fn wait_until_clock_is_unsound(guest: &Client) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = guest.get("/readyz").await;
        if answer.status == 503 && answer.text.contains("the clock is not sound") {
            return;
        }
        assert!(Instant::now() < deadline, "the clock is still sound: {answer:?}");
    }
}

/// Returns by how many milliseconds the server's time is ahead of this process's time.
async fn ahead_ms(seller: &Client) -> i64 {
    let before = gittix::clock::wall_clock().0;
    millis(&seller.list_ticket("What time is it", 20).await.expect(201)["createdAt"]) - before
}

const HOUR_MS: i64 = 3_600_000;
/// Tolerance: longer than a call takes on a busy machine and than the permitted error of a server's
/// clock, and far shorter than the steps.
const CLOSE_MS: i64 = 120_000;

#[tokio::test]
async fn wall_clock_that_steps_forward_is_followed_and_overdue_locks_end() {
    if !fleet::has_faketime() {
        return report_skipped(
            "a wall clock that steps forward",
            "libfaketime is missing; install Debian's package faketime",
        );
    }
    let clock = WallClock::new("forward");
    let stripe = Stripe::start().await;
    let app = TestApp::start_with(
        Backend::Embedded,
        &[stripe.settings().as_slice(), &clock.settings()].concat(),
    )
    .await;
    let (seller, buyer) = (app.user().await, app.user().await);
    let mut socket = app.socket().await;
    let ticket = seller.sells("Front row").await;
    buyer.locks(&ticket).await;

    // The step is the same as after an hour of suspension. By the monotonic clock, the lock has
    // fifteen minutes left.
    clock.set("+3600");
    wait_until_clock_is_unsound(&app.guest()).await;
    socket.ticket(&ticket, "Available").await;
    assert!((ahead_ms(&seller).await - HOUR_MS).abs() < CLOSE_MS);
    let customer = json!({ "id": "cus_1", "object": "customer" });
    let body = json!({ "id": "evt_1", "object": "event", "type": "customer.created", "data": { "object": customer } }).to_string();
    let signature = sign(&body, Stripe::WEBHOOK_SECRET, -3_600);
    let delivered = app
        .guest()
        .call(reqwest::Method::POST, "/api/webhooks/stripe")
        .header("stripe-signature", &signature)
        .text(body)
        .await;
    delivered.expect(200);
    app.server.ready().await;
}

#[tokio::test]
async fn wall_clock_that_is_corrected_backwards_is_followed_and_locks_end_after_their_length() {
    if !fleet::has_faketime() {
        return report_skipped(
            "a wall clock that is corrected",
            "libfaketime is missing; install Debian's package faketime",
        );
    }
    let clock = WallClock::new("backwards");
    clock.set("+3600");
    let short = [("GITTIX_PAYMENT_WINDOW", "3s"), ("GITTIX_LOCK_DURATION", "3s")];
    let app =
        TestApp::start_with(Backend::Embedded, &[&short[..], &clock.settings()].concat()).await;
    let (seller, buyer) = (app.user().await, app.user().await);
    assert!(
        (ahead_ms(&seller).await - HOUR_MS).abs() < CLOSE_MS,
        "the clock is not an hour ahead at the start"
    );
    let mut socket = app.socket().await;
    let ticket = seller.sells("Front row").await;
    buyer.locks(&ticket).await;
    clock.set("+0");
    wait_until_clock_is_unsound(&app.guest()).await;
    assert!(ahead_ms(&seller).await.abs() < CLOSE_MS);
    // By the corrected clock, this is an hour early.
    socket.ticket(&ticket, "Available").await;
    app.server.ready().await;
}

/// Replica set of one member with its own wall clock.
struct Mongod {
    process: Child,
    folder: PathBuf,
    uri: String,
}

impl Mongod {
    fn start(clock: &WallClock) -> Self {
        let folder =
            std::env::temp_dir().join(format!("gittix-fast-mongod-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).expect("a folder among the temporary files");
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .and_then(|free| free.local_addr())
            .expect("a free port")
            .port()
            .to_string();
        let process = Command::new(members::mongod())
            .args(["--dbpath".as_ref(), folder.as_os_str()])
            .args([
                "--port",
                &port,
                "--bind_ip",
                "127.0.0.1",
                "--nounixsocket",
                "--replSet",
                "rs0",
                "--oplogSize",
                "64",
                "--quiet",
            ])
            .args([
                "--wiredTigerCacheSizeGB",
                "0.25",
                "--setParameter",
                "diagnosticDataCollectionEnabled=false",
            ])
            .envs(clock.settings())
            .stdout(Stdio::null())
            .spawn()
            .expect("mongod can be started");
        let mongod =
            Self { process, folder, uri: format!("mongodb://127.0.0.1:{port}/?replicaSet=rs0") };
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/initiate-replica-set");
        let made = Command::new("python3")
            .arg(script)
            .args([&port, "60"])
            .stdout(Stdio::null())
            .status()
            .expect("the script can be run");
        assert!(made.success(), "{made}");
        mongod
    }
}

impl Drop for Mongod {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lock_taken_while_the_primary_was_fast_ends_after_its_length() {
    if !fleet::has_faketime() {
        return report_skipped(
            "a primary whose clock is corrected",
            "libfaketime is missing; install Debian's package faketime",
        );
    }
    let clock = WallClock::new("primary");
    clock.set("+600");
    let mongod = Mongod::start(&clock);
    let short = [("GITTIX_PAYMENT_WINDOW", "4s"), ("GITTIX_LOCK_DURATION", "4s")];
    let app = TestApp::start_at(Home::on(&mongod.uri), &short).await;
    let (seller, buyer) = (app.user().await, app.user().await);
    let mut socket = app.socket().await;
    let ticket = seller.sells("Front row").await;
    let asked = Instant::now();
    let order = buyer.place_order(&ticket).await.expect(201);
    assert!(
        (millis(&order["createdAt"]) - gittix::clock::wall_clock().0 - 600_000).abs() < CLOSE_MS,
        "the server does not use the primary's time"
    );
    clock.set("+0");
    wait_until_clock_is_unsound(&app.guest()).await;
    // By the primary's time the lock ends in ten minutes; the socket waits for one minute.
    socket.ticket(&ticket, "Available").await;
    assert!(asked.elapsed().as_millis() >= 4_000, "the lock ended early: {:?}", asked.elapsed());
    buyer.pay(&order.id(), "pm_card_visa").await.refused(409, "order_expired");
    app.server.ready().await;
}

async fn ticket_goes_to_the_next_buyer_when_the_first_holds_too_many(store: Backend) {
    const ROUNDS: usize = 30;
    let app = TestApp::start_with(store, &[("GITTIX_MAX_LOCKS", "1")]).await;
    let (seller, first, second) = (app.user().await, app.user().await, app.user().await);
    first.locks(&seller.sells("Held").await).await;
    for _ in 0..ROUNDS {
        let ticket = seller.sells("Front row").await;
        let (refused, granted) = tokio::join!(
            first.place_order(&ticket).into_future(),
            second.place_order(&ticket).into_future()
        );
        // In either order, the first buyer never gets the ticket, so the second buyer always gets
        // it.
        assert!(["too_many_locks", "ticket_locked"].contains(&refused.code()), "{refused:?}");
        second.cancel_order(&granted.expect(201).id()).await.expect(204);
    }
}

#[tokio::test]
async fn data_folder_and_files_belong_to_their_owner_alone_under_any_umask() {
    let home = Home::new(Backend::Embedded);
    let mut command = Command::new("sh");
    command.args(["-c", r#"umask 000; exec "$0" serve"#, env!("CARGO_BIN_EXE_gittix")]).env_clear();
    command
        .env("GITTIX_ADDR", "127.0.0.1:0")
        .env("GITTIX_DATA_DIR", home.data())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut server = Server::spawn(command).await;
    server.ready().await;
    let mode = |path: &Path| std::fs::metadata(path).expect("the file exists").mode() & 0o777;
    let folder = mode(&home.data());
    let mut files: Vec<(String, u32)> = std::fs::read_dir(home.data())
        .expect("a folder")
        .map(|entry| entry.expect("readable"))
        .map(|entry| (entry.file_name().to_string_lossy().into_owned(), mode(&entry.path())))
        .collect();
    files.sort();
    server.kill();
    assert_eq!(folder, 0o700);
    assert_eq!(files, [("gittix.redb".to_owned(), 0o600), ("sandbox.redb".to_owned(), 0o600)]);
}
