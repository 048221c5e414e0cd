//! The start: responses during the start, first log lines, and the admin address.

use serde_json::json;

use crate::app::{Backend, Client, Home, Server, TestApp, on_both_stores, run};

on_both_stores!(
    metrics_are_served_on_the_admin_address_only,
    admin_address_serves_only_health_and_metrics,
    health_command_uses_the_admin_address
);

/// Waits for the admin address in the server's log, which follows the line with the public address.
async fn admin_of(server: &Server) -> std::net::SocketAddr {
    let line = server.logged(|line| line.contains("admin_addr")).await;
    let line: serde_json::Value = serde_json::from_str(&line).expect("a line of JSON");
    line["admin_addr"].as_str().expect("a text").parse().expect("an address")
}

async fn with_admin(store: Backend) -> (TestApp, Client) {
    let app = TestApp::start_with(store, &[("GITTIX_ADMIN_ADDR", "localhost:0")]).await;
    let admin = Client::new(admin_of(&app.server).await);
    (app, admin)
}

async fn metrics_are_served_on_the_admin_address_only(store: Backend) {
    let (app, admin) = with_admin(store).await;
    let metrics = admin.get("/metrics").await.expect(200);
    assert!(metrics.text.contains("gittix_payment_mode{mode=\"sandbox\"} 1"), "{}", metrics.text);
    assert!(metrics.text.contains("gittix_payment_mode{mode=\"live\"} 0"), "{}", metrics.text);
    app.guest().get("/metrics").await.refused(404, "not_found");
    for path in ["/healthz", "/readyz"] {
        let (here, there) =
            (app.guest().get(path).await.expect(200), admin.get(path).await.expect(200));
        assert_eq!(here.body["status"], there.body["status"]);
    }
    // Without an admin address, the public address serves the metrics.
    TestApp::start(store).await.guest().get("/metrics").await.expect(200);
}

async fn admin_address_serves_only_health_and_metrics(store: Backend) {
    let (_app, admin) = with_admin(store).await;
    for path in ["/", "/api/tickets", "/ws", "/docs", "/api/settings"] {
        admin.get(path).await.refused(404, "not_found");
    }
    admin
        .post(
            "/api/users/signup",
            &json!({ "email": "a@example.com", "password": "correct horse" }),
        )
        .await
        .refused(404, "not_found");
    admin.post("/metrics", &json!({})).await.refused(405, "method_not_allowed");
}

async fn health_command_uses_the_admin_address(store: Backend) {
    let (app, _) = with_admin(store).await;
    let (addr, admin) = (app.server.addr.to_string(), admin_of(&app.server).await.to_string());
    for question in [&["health"][..], &["health", "--ready"]] {
        let (status, text) =
            run(question, &[("GITTIX_ADDR", "127.0.0.1:1"), ("GITTIX_ADMIN_ADDR", &admin)]);
        assert!(status.success(), "{question:?}: {text}");
        let (status, text) = run(question, &[("GITTIX_ADDR", &addr)]);
        assert!(status.success(), "{question:?}: {text}");
    }
}

#[tokio::test]
async fn first_log_lines_contain_the_address_and_then_the_limits() {
    let program = crate::app::bare_command();
    let home = Home::new(Backend::Embedded);
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "ulimit -n 1000 && exec \"$0\" serve"]).arg(program.get_program());
    command.env_clear().envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.env("GITTIX_ADDR", "127.0.0.1:0").env("GITTIX_DATA_DIR", home.data());
    command
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    let server = Server::spawn(command).await;
    server.ready().await;
    let log = server.log();
    assert!(
        log[0].contains(&format!("open=http://localhost:{}", server.addr.port())),
        "{}",
        log[0]
    );
    assert!(
        log[1].contains("open file limit allows") && log[1].contains("ulimit -n"),
        "{}",
        log[1]
    );
    assert!(
        log[2].contains("built-in sandbox") && log[2].contains("STRIPE_SECRET_KEY"),
        "{}",
        log[2]
    );
}

#[cfg(feature = "failpoints")]
mod loading {
    use std::time::Duration;

    use super::*;
    use crate::app::{PATIENCE, raw};

    on_both_stores!(
        server_responds_while_the_tickets_are_loaded,
        failing_load_of_the_tickets_ends_the_start
    );

    fn settings(more: &[(&str, &str)]) -> Vec<(String, String)> {
        let all =
            [&[("FAILPOINTS", "catalog::load=return"), ("GITTIX_ADMIN_ADDR", "127.0.0.1:0")], more]
                .concat();
        all.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    /// Repeats a request until the start waits for `reason`.
    async fn waits_for(client: &Client, reason: &str) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let answer = client.get("/readyz").await.refused(503, "unavailable");
            if answer.text.contains(reason) {
                return;
            }
            assert!(tokio::time::Instant::now() < deadline, "{answer:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn server_responds_while_the_tickets_are_loaded(store: Backend) {
        let home = Home::new(store);
        let mut server = Server::start_unready(&home, &settings(&[])).await;
        let (public, admin) = (Client::new(server.addr), Client::new(admin_of(&server).await));
        for client in [&public, &admin] {
            assert_eq!(client.get("/healthz").await.expect(200).body, json!({ "status": "ok" }));
            waits_for(client, "Not ready: loading tickets, 0 so far.").await;
            for path in ["/", "/api/tickets", "/nothing", "/metrics", "/api/openapi.json"] {
                client.get(path).await.refused(503, "unavailable");
            }
        }
        public.sign_up("a@example.com", "correct horse").await.refused(503, "unavailable");
        // A handshake gets a response too.
        let (status, answer) = raw::request(server.addr, &raw::upgrade(server.addr)).await;
        assert_eq!(status, 503, "{answer}");
        assert!(
            server.log().iter().any(|line| line.contains("the tickets could not be loaded")),
            "{:#?}",
            server.log()
        );
        server.terminate();
        assert!(server.ended().await.success(), "{:#?}", server.log());
    }

    async fn failing_load_of_the_tickets_ends_the_start(store: Backend) {
        let home = Home::new(store);
        let mut server =
            Server::start_unready(&home, &settings(&[("GITTIX_STORE_WAIT", "1s")])).await;
        assert_eq!(server.ended().await.code(), Some(2));
        let reason = server.reason().await;
        assert!(reason.contains("GITTIX_STORE_WAIT"), "{reason}");
    }

    /// A connection that was opened during the start gets responses of the full application
    /// afterwards.
    #[tokio::test]
    async fn connection_opened_during_the_start_stays_open() {
        use tokio::{
            io::{AsyncReadExt, AsyncWriteExt},
            net::TcpStream,
        };
        let home = Home::new(Backend::Embedded);
        let settings = [("FAILPOINTS".to_owned(), "catalog::load=3*return".to_owned())];
        let server = Server::start_unready(&home, &settings).await;
        let mut stream = TcpStream::connect(server.addr).await.expect("the server listens");
        let mut ask = async || {
            let request = format!("GET /readyz HTTP/1.1\r\nHost: {}\r\n\r\n", server.addr);
            stream.write_all(request.as_bytes()).await.expect("the connection is open");
            let mut answer = Vec::new();
            // A JSON body ends with its last brace.
            while !answer.ends_with(b"}") {
                assert_ne!(
                    stream.read_buf(&mut answer).await.expect("an answer"),
                    0,
                    "the connection was closed"
                );
            }
            String::from_utf8(answer).expect("text")
        };
        let first = ask().await;
        assert!(first.starts_with("HTTP/1.1 503 "), "the start was over too soon: {first}");
        while !ask().await.starts_with("HTTP/1.1 200 ") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}
