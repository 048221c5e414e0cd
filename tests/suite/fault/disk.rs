//! A data folder without free space: a small file system in a mount namespace of the server (needs
//! root).

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::Command,
};

use tokio::time::Instant;

use crate::{
    app::{Answer, Backend, Client, Home, PATIENCE, Server, TestApp, bare_command},
    replicas::report_skipped,
};

/// Size of the file system: slightly more than the initial size of the two files.
const SIZE: &str = "8m";
/// Number of purchases after which the file system must be full.
const PURCHASES_MAX: usize = 5_000;

fn is_possible() -> bool {
    let mounted =
        Command::new("unshare").args(["--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]).output();
    mounted.is_ok_and(|output| output.status.success())
}

/// Starts a server whose data folder is a separate file system.
async fn start(home: &Home) -> Server {
    fs::create_dir_all(home.data()).expect("a folder");
    let mount =
        format!(r#"mount -t tmpfs -o size={SIZE} tmpfs "$GITTIX_DATA_DIR" && exec "$0" serve"#);
    let plain = bare_command();
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", &mount]).arg(plain.get_program()).env_clear();
    command.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command
        .env("GITTIX_ADDR", "127.0.0.1:0")
        .env("GITTIX_DATA_DIR", home.data())
        .env("GITTIX_RATE_LIMIT", "off");
    command.env("GITTIX_MAX_LOCKS", "1000").env("GITTIX_LOG_FORMAT", "json");
    command
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    let server = Server::spawn(command).await;
    server.ready().await;
    server
}

/// Returns the path of the data folder in the server's mount namespace.
fn folder_of(server: &Server, home: &Home) -> PathBuf {
    let inside = home.data();
    Path::new(&format!("/proc/{}/root", server.pid()))
        .join(inside.strip_prefix("/").expect("an absolute path"))
}

/// Fills the file system completely.
fn fill(filler: &Path) {
    let mut file = fs::File::create(filler).expect("made");
    for piece in [1 << 16, 1 << 12, 1] {
        let bytes = vec![b'x'; piece];
        while file.write_all(&bytes).is_ok() {}
    }
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("readable");
        if entry.path().extension().is_some_and(|extension| extension == "redb") {
            fs::copy(entry.path(), to.join(entry.file_name())).expect("copied");
        }
    }
}

/// Lists, locks and pays a ticket; returns the order's id, or the first answer that is not a
/// success.
async fn buy(seller: &Client, buyer: &Client) -> Result<String, Answer> {
    let listed = seller.list_ticket("Row", 20).await;
    if listed.status != 201 {
        return Err(listed);
    }
    let placed = buyer.place_order(&listed.id()).await;
    if placed.status != 201 {
        return Err(placed);
    }
    let paid = buyer.pay(&placed.id(), "pm_card_visa").await;
    if paid.status == 201 { Ok(placed.id()) } else { Err(paid) }
}

#[tokio::test]
async fn purchases_on_a_full_disk_answer_503_and_succeed_again_when_there_is_space() {
    if !is_possible() {
        return report_skipped(
            "a full disk",
            "a file system cannot be mounted; run as root on Linux",
        );
    }
    let home = Home::new(Backend::Embedded);
    let server = start(&home).await;
    let guest = Client::new(server.addr);
    let (mut seller, mut buyer) = (guest.stranger(), guest.stranger());
    seller.join().await;
    buyer.join().await;
    let mut bought = vec![buy(&seller, &buyer).await.expect("there is room")];
    let folder = folder_of(&server, &home);
    let filler = folder.join("filler");
    fill(&filler);

    let mut refused = None;
    for _ in 0..PURCHASES_MAX {
        match buy(&seller, &buyer).await {
            Ok(order) => bought.push(order),
            Err(answer) => {
                refused = Some(answer);
                break;
            }
        }
    }
    // `Answer` asserts that no answer is 500.
    let refused = refused.expect("the disk is full");
    assert!([202, 503].contains(&refused.status), "{refused:?}");
    while seller.list_ticket("Row", 20).await.status == 201 {}
    seller.list_ticket("Row", 20).await.refused(503, "unavailable");
    guest.get("/healthz").await.expect(200);

    // A copy of the files in this state, as a crash leaves them, contains everything that was
    // acknowledged.
    let crashed = Home::new(Backend::Embedded);
    fs::create_dir_all(crashed.data()).expect("a folder");
    server.pause();
    copy(&folder, &crashed.data());
    server.resume();
    let after_crash = TestApp::start_at(crashed, &[]).await;
    for order in &bought {
        assert_eq!(
            buyer.at(&after_crash.server).order(order).await.expect(200)["status"],
            "Completed"
        );
    }

    fs::remove_file(&filler).expect("removed");
    let deadline = Instant::now() + PATIENCE;
    let again = loop {
        match buy(&seller, &buyer).await {
            Ok(order) => break order,
            Err(answer) => assert!(
                [202, 409, 503].contains(&answer.status) && Instant::now() < deadline,
                "{answer:?}"
            ),
        }
    };
    bought.push(again);
    for order in &bought {
        assert_eq!(buyer.order(order).await.expect(200)["status"], "Completed");
    }
    server.ready().await;
}
