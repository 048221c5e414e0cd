//! The program: flags, settings, and the first log line.

use std::process::Stdio;

use tokio_tungstenite::tungstenite::Error;

use crate::app::{Backend, Client, Home, Server, Socket, bare_command, run};

#[test]
fn help_lists_every_command_and_setting() {
    let (_, help) = run(&["--help"], &[]);
    for word in ["serve", "demo", "health"] {
        assert!(help.contains(word), "{word} in {help}");
    }
    let (_, serve) = run(&["serve", "--help"], &[]);
    for setting in [
        "GITTIX_ADDR",
        "GITTIX_DATA_DIR",
        "MONGODB_URI",
        "GITTIX_PUBLIC_ORIGIN",
        "GITTIX_REPLICA",
        "GITTIX_PAYMENT_WINDOW",
        "GITTIX_LOCK_DURATION",
        "GITTIX_SETTLE_GRACE",
        "GITTIX_EARLY_RELEASE",
        "GITTIX_MAX_LOCKS",
        "GITTIX_MAX_LOCKS_PER_NETWORK",
        "GITTIX_MAX_LISTINGS",
        "GITTIX_RELOCK_WAIT",
        "GITTIX_SESSION_TTL",
        "GITTIX_RATE_LIMIT",
        "GITTIX_TRUSTED_PROXIES",
        "GITTIX_STORE_WAIT",
        "GITTIX_ADMIN_ADDR",
        "GITTIX_ALLOW_SANDBOX",
        "GITTIX_LOG",
        "GITTIX_LOG_FORMAT",
        "STRIPE_SECRET_KEY",
    ] {
        assert!(serve.contains(setting), "{setting} in {serve}");
    }
}

#[test]
fn invalid_setting_stops_the_start_with_a_line_that_names_it() {
    let wrong = [
        ("GITTIX_ADDR", "nowhere"),
        ("GITTIX_PAYMENT_WINDOW", "ten minutes"),
        ("GITTIX_LOCK_DURATION", "0s"),
        ("GITTIX_SETTLE_GRACE", "-1s"),
        ("GITTIX_EARLY_RELEASE", "perhaps"),
        ("GITTIX_MAX_LOCKS", "0"),
        ("GITTIX_MAX_LOCKS_PER_NETWORK", "-1"),
        ("GITTIX_MAX_LISTINGS", "0"),
        ("GITTIX_RELOCK_WAIT", "15"),
        ("GITTIX_STORE_WAIT", "soon"),
        ("GITTIX_ADMIN_ADDR", "3001"),
        ("GITTIX_ALLOW_SANDBOX", "perhaps"),
        ("GITTIX_ADDR", "no-such-host.invalid:0"),
        ("GITTIX_SESSION_TTL", ""),
        ("GITTIX_RATE_LIMIT", "maybe"),
        ("GITTIX_TRUSTED_PROXIES", "everybody"),
        ("GITTIX_PUBLIC_ORIGIN", "tickets.example"),
        ("GITTIX_LOG_FORMAT", "xml"),
        ("GITTIX_LOG", "gittix=loud"),
        ("GITTIX_PAYMENT_WINDOW", "1h"),
        ("MONGODB_URI", "postgres://localhost/"),
        ("GITTIX_REPLICA", "two words"),
    ];
    let folder = Home::new(Backend::Embedded);
    let data = folder.data();
    for (name, value) in wrong {
        let (status, text) = run(
            &["serve"],
            &[
                ("GITTIX_ADDR", "127.0.0.1:0"),
                ("GITTIX_DATA_DIR", data.to_str().expect("UTF-8")),
                (name, value),
            ],
        );
        assert!(!status.success(), "{name}={value}");
        let naming: Vec<_> =
            text.lines().filter(|line| line.contains(name) || line.contains(&flag(name))).collect();
        assert!(!naming.is_empty() && !text.contains("panicked"), "{name}={value} said {text}");
    }
}

#[test]
fn unusable_database_is_reported_with_its_setting_once() {
    let (status, text) = run(
        &["serve"],
        &[("GITTIX_ADDR", "127.0.0.1:0"), ("MONGODB_URI", "mongodb://no user:@127.0.0.1/")],
    );
    assert!(!status.success() && text.matches("MONGODB_URI").count() == 1, "{text}");
}

/// Returns the flag of a setting, such as `--data-dir` of `GITTIX_DATA_DIR`.
fn flag(name: &str) -> String {
    format!("--{}", name.trim_start_matches("GITTIX_").to_lowercase().replace('_', "-"))
}

#[test]
fn help_does_not_show_secrets() {
    let secrets = [
        ("STRIPE_SECRET_KEY", "sk_test_secret"),
        ("MONGODB_URI", "mongodb://user:secret@localhost/"),
    ];
    let (_, text) = run(&["serve", "--help"], &secrets);
    assert!(!text.contains("secret@") && !text.contains("sk_test_secret"), "{text}");
}

#[tokio::test]
async fn first_log_line_contains_the_address_in_both_formats() {
    for format in ["text", "json"] {
        let home = Home::new(Backend::Embedded);
        let server =
            Server::start_unready(&home, &[("GITTIX_LOG_FORMAT".into(), format.into())]).await;
        let first = server.log().first().cloned().unwrap_or_default();
        assert!(first.contains(&server.addr.to_string()), "{first}");
    }
}

#[tokio::test]
async fn second_process_with_the_same_folder_does_not_start() {
    let home = Home::new(Backend::Embedded);
    let server = Server::start(&home, &[]).await;
    let data = home.data();
    let (status, text) = run(
        &["serve"],
        &[("GITTIX_ADDR", "127.0.0.1:0"), ("GITTIX_DATA_DIR", data.to_str().expect("UTF-8"))],
    );
    assert!(
        !status.success() && text.contains("GITTIX_DATA_DIR") && !text.contains("panicked"),
        "{text}"
    );
    server.ready().await;
}

#[tokio::test]
async fn serve_is_the_default_command() {
    let home = Home::new(Backend::Embedded);
    let mut command = bare_command();
    command.env("GITTIX_ADDR", "127.0.0.1:0").env("GITTIX_DATA_DIR", home.data());
    Server::spawn(command).await.ready().await;
}

#[tokio::test]
async fn socket_uses_one_file_descriptor_and_a_quarter_remains_for_requests() {
    const DESCRIPTORS: usize = 1000;
    let home = Home::new(Backend::Embedded);
    let program = bare_command();
    let mut command = std::process::Command::new("sh");
    command
        .args(["-c", &format!("ulimit -n {DESCRIPTORS} && exec \"$0\" serve")])
        .arg(program.get_program());
    command.env_clear().envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command
        .env("GITTIX_ADDR", "127.0.0.1:0")
        .env("GITTIX_DATA_DIR", home.data())
        .env("GITTIX_RATE_LIMIT", "off");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let server = Server::spawn(command).await;
    server.ready().await;
    let guest = Client::new(server.addr);

    let mut sockets = vec![guest.socket().await];
    let before = server.descriptors();
    let refused = loop {
        match Socket::connect(&format!("ws://{}/ws", server.addr), None, None).await {
            Ok(socket) => sockets.push(socket),
            Err(error) => break error,
        }
    };
    assert!(matches!(&refused, Error::Http(answer) if answer.status() == 503), "{refused}");
    let (taken, more) = (server.descriptors() - before, sockets.len() - 1);
    // The connection of a readiness check may still be open.
    assert!(more > 100 && taken.abs_diff(more) < 10, "{taken} descriptors for {more} sockets");
    assert!(server.descriptors() <= DESCRIPTORS / 4 * 3, "{}", server.descriptors());
    // Each request uses a new connection.
    for _ in 0..20 {
        assert_eq!(Client::new(server.addr).get("/api/tickets").await.status, 200);
    }
}

#[tokio::test]
async fn health_command_succeeds_with_a_running_server_and_fails_without_one() {
    let home = Home::new(Backend::Embedded);
    let mut server = Server::start(&home, &[]).await;
    let addr = server.addr.to_string();
    for question in [&["health"][..], &["health", "--ready"]] {
        let (status, text) = run(question, &[("GITTIX_ADDR", &addr)]);
        assert!(status.success(), "{question:?}: {text}");
    }
    server.kill();
    let (status, text) = run(&["health"], &[("GITTIX_ADDR", &addr)]);
    assert_eq!(status.code(), Some(1), "{text}");
    assert!(text.contains(&addr), "{text}");
}
