//! SIGTERM: running requests are finished, open sockets are closed with a code, and the process
//! exits within a bound.

use std::time::Duration;

use tokio::time::Instant;

use crate::app::{Backend, Client, TestApp, on_both_stores};

on_both_stores!(
    terminated_server_exits_within_its_bound,
    sockets_are_closed_with_1001_at_shutdown,
    acknowledged_changes_survive_a_shutdown,
    stalled_reader_does_not_delay_the_shutdown,
);

/// Kubernetes waits 30 s by default before it sends SIGKILL.
const BOUND: Duration = Duration::from_secs(15);

async fn terminated_server_exits_within_its_bound(store: Backend) {
    let mut app = TestApp::start(store).await;
    app.user().await.sells("Front row").await;
    let asked = Instant::now();
    app.server.terminate();
    let status = app.server.ended().await;
    assert!(status.success(), "{status}");
    assert!(asked.elapsed() < BOUND, "{:?}", asked.elapsed());
}

async fn sockets_are_closed_with_1001_at_shutdown(store: Backend) {
    let mut app = TestApp::start(store).await;
    let mut sockets = [app.socket().await, app.user().await.socket().await];
    app.server.terminate();
    for socket in &mut sockets {
        assert_eq!(socket.closed().await, 1001);
    }
    assert!(app.server.ended().await.success());
}

async fn acknowledged_changes_survive_a_shutdown(store: Backend) {
    let mut app = TestApp::start(store).await;
    let seller = app.user().await;
    let sell = |seller: Client| async move {
        let mut listed = Vec::new();
        // Runs until the server exits: then a call fails or answers 503.
        while let Ok(answer) = seller.list_ticket("Row", 20).attempt().await {
            if answer.status != 201 {
                break;
            }
            listed.push(answer.id());
        }
        listed
    };
    let selling: Vec<_> = (0..4).map(|_| tokio::spawn(sell(seller.clone()))).collect();
    let mut socket = app.socket().await;
    for _ in 0..20 {
        socket.event("TicketCreated").await;
    }
    app.server.terminate();
    assert!(app.server.ended().await.success());
    let mut listed = Vec::new();
    for seller in selling {
        listed.extend(seller.await.expect("no panic"));
    }
    app.restart().await;
    let seller = seller.at(&app.server);
    assert!(!listed.is_empty());
    for ticket in listed {
        seller.ticket(&ticket).await.expect(200);
    }
}

async fn stalled_reader_does_not_delay_the_shutdown(store: Backend) {
    let mut app = TestApp::start(store).await;
    let stalled = super::flood::stalled_socket(app.server.addr).await;
    let seller = app.user().await;
    let ticket = seller.sells("Front row").await;
    for number in 0..200 {
        seller.edit_ticket(&ticket, &format!("{}{number}", "🎫".repeat(190)), 20).await.expect(200);
    }
    let asked = Instant::now();
    app.server.terminate();
    assert!(app.server.ended().await.success());
    assert!(asked.elapsed() < BOUND, "{:?}", asked.elapsed());
    drop(stalled);
}
