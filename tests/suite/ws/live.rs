//! Tests of the delivery of live events.

use gittix::{domain::DomainEvent, ws::SocketLimits};
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use super::{
    samples::{order, public_user, ticket, ticket_id, updated, user_id},
    stage::{Stage, user},
};

#[actix_web::test]
async fn hello_is_first_and_events_follow_in_order() {
    let stage = Stage::start(SocketLimits::default()).await;
    stage.push(updated(1, 0));
    let (mut client, hello) = stage.connect(Default::default()).await;
    assert_eq!(
        (&hello["resumed"], &hello["cursor"]),
        (&json!(false), &json!(stage.feed.cursor().to_string()))
    );
    let server_time = hello["serverTime"].as_str().expect("a time");
    assert!(
        server_time.starts_with("2026-09-01T12:34:5") && server_time.ends_with('Z'),
        "{server_time}"
    );
    let first = stage.push(DomainEvent::TicketCreated { ticket: ticket(2, 0) });
    let second = stage.push(DomainEvent::TicketDeleted {
        ticket: ticket_id(2),
        seller: user_id(0),
        version: 1,
    });
    let created = client.next().await;
    assert_eq!(
        (&created["type"], &created["cursor"]),
        (&json!("TicketCreated"), &json!(first.to_string()))
    );
    assert_eq!(
        client.next().await,
        json!({"type": "TicketDeleted", "cursor": second.to_string(), "at": "2026-09-01T12:34:56.789Z", "ticketId": ticket_id(2), "version": 1})
    );
    stage.stop().await;
}

#[actix_web::test]
async fn private_events_reach_all_connections_of_their_owner_only() {
    let stage = Stage::start(SocketLimits::default()).await;
    let (mut phone, _) = stage.connect(user(1)).await;
    let (mut laptop, _) = stage.connect(user(1)).await;
    let (mut stranger, _) = stage.connect(user(2)).await;
    let mut watcher = stage.watcher().await;
    assert_eq!(phone.ask(json!({"type": "Watch", "tickets": []})).await["tickets"], json!(0));
    stage.push_all([
        DomainEvent::OrderCreated { order: order(1, 5) },
        DomainEvent::UserUpdated { user: public_user(1) },
        updated(9, 1),
    ]);
    for mine in [&mut phone, &mut laptop] {
        assert_eq!(mine.next().await["order"]["userId"], json!(user_id(1)));
        let user = mine.next().await["user"].clone();
        assert_eq!((&user["id"], &user["email"]), (&json!(user_id(1)), &json!("bob@example.com")));
    }
    phone.assert_no_frame_queued().await;
    for other in [&mut stranger, &mut watcher] {
        assert_eq!(
            other.next().await["ticket"]["id"],
            json!(ticket_id(9)),
            "the ticket's event is the first one that others receive"
        );
    }
    stage.stop().await;
}

#[actix_web::test]
async fn expired_order_is_one_frame_for_each_connection() {
    let stage = Stage::start(SocketLimits::default()).await;
    let (mut owner, _) = stage.connect(user(1)).await;
    let (mut narrow_owner, _) = stage.connect(user(1)).await;
    narrow_owner.ask(json!({"type": "Watch", "tickets": [ticket_id(5)]})).await;
    let mut watcher = stage.watcher().await;
    stage.push(DomainEvent::OrderExpired { order: order(1, 5) });
    for mine in [&mut owner, &mut narrow_owner] {
        let frame = mine.next().await;
        assert_eq!(
            (&frame["type"], &frame["order"]["id"]),
            (&json!("OrderExpired"), &frame["orderId"])
        );
        mine.assert_no_frame_queued().await;
    }
    let frame = watcher.next().await;
    assert_eq!((&frame["ticketId"], frame.get("order")), (&json!(ticket_id(5)), None));
    stage.stop().await;
}

#[actix_web::test]
async fn watch_commands_select_the_public_events() {
    let stage = Stage::start(SocketLimits::default()).await;
    let mut client = stage.watcher().await;
    let cursor = stage.push(updated(7, 0));
    assert_eq!(client.next().await["ticket"]["id"], json!(ticket_id(7)));
    let watching = client
        .ask(json!({"type": "Watch", "tickets": [ticket_id(1), ticket_id(2), ticket_id(1)]}))
        .await;
    assert_eq!(watching, json!({"type": "Watching", "tickets": 2, "cursor": cursor.to_string()}));
    stage.push_all([updated(3, 1), updated(2, 1), updated(3, 2), updated(1, 1)]);
    assert_eq!(client.next().await["ticket"]["id"], json!(ticket_id(2)));
    assert_eq!(client.next().await["ticket"]["id"], json!(ticket_id(1)));
    client.ask(json!({"type": "Watch", "tickets": [ticket_id(3)]})).await;
    stage.push_all([updated(1, 2), updated(3, 3)]);
    assert_eq!(client.next().await["ticket"]["id"], json!(ticket_id(3)));
    assert_eq!(client.ask(json!({"type": "WatchAll"})).await["tickets"], json!(null));
    stage.push(updated(4, 1));
    assert_eq!(client.next().await["ticket"]["id"], json!(ticket_id(4)));
    stage.stop().await;
}

#[actix_web::test]
async fn invalid_command_is_answered_and_the_connection_stays_open() {
    let stage = Stage::start(SocketLimits::default()).await;
    let mut client = stage.watcher().await;
    for (text, code) in [
        ("{", "malformed_json"),
        (r#"{"type":"Sing"}"#, "unknown_type"),
        (r#"{"type":"Watch","tickets":["x"]}"#, "validation_failed"),
    ] {
        client.send(text).await;
        let error = client.next().await;
        assert_eq!((&error["type"], &error["code"]), (&json!("Error"), &json!(code)));
        assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()));
    }
    stage.push(updated(1, 1));
    assert_eq!(client.next().await["type"], json!("TicketUpdated"));
    stage.stop().await;
}

#[actix_web::test]
async fn ping_is_answered_with_its_data() {
    let stage = Stage::start(SocketLimits::default()).await;
    let mut client = stage.watcher().await;
    futures_util::SinkExt::send(&mut client.0, Message::Ping("hello".into())).await.expect("sent");
    assert_eq!(client.message().await, Message::Pong("hello".into()));
    stage.stop().await;
}

#[actix_web::test]
async fn burst_reaches_every_connection_completely() {
    let stage = Stage::start(SocketLimits::default()).await;
    let mut clients = Vec::new();
    for _ in 0..20 {
        clients.push(stage.watcher().await);
    }
    for round in 0..100 {
        stage.push_all((0..5).map(|n| updated(n, round)));
        tokio::task::yield_now().await;
    }
    for client in &mut clients {
        for at in 0..500u64 {
            let frame = client.next().await;
            assert_eq!(
                (&frame["ticket"]["id"], &frame["ticket"]["version"]),
                (&json!(ticket_id(at % 5)), &json!(at / 5))
            );
        }
    }
    stage.stop().await;
}
