//! The WebSocket: who is told what, in which order, and how it ends for those who misbehave.

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{
    Bytes, Error, Message,
    protocol::frame::{
        Frame,
        coding::{Data, OpCode},
    },
};

use crate::app::{Backend, Socket, TestApp, millis, on_both_stores};

on_both_stores!(
    hello_comes_first,
    events_come_in_commit_order_with_ascending_cursors,
    a_resumed_socket_gets_every_step_that_it_missed,
    a_cursor_works_after_a_restart_or_says_so,
    a_cursor_that_is_not_known_is_not_resumed,
    watching_some_tickets_leaves_out_the_others,
    watching_all_again_widens,
    a_watch_list_holds_at_most_a_thousand,
    private_events_go_to_their_owner_alone,
    the_owner_of_an_expired_order_gets_one_frame_with_it,
    no_public_frame_says_who_the_buyer_is,
    private_events_come_whatever_is_watched,
    a_frame_counts_seconds_from_its_own_time,
    text_that_is_not_understood_is_answered_and_the_socket_stays,
    a_frame_over_48_kib_ends_the_socket_with_1009,
    a_binary_frame_ends_the_socket_with_1003,
    a_continuation_ends_the_socket_with_1003,
    too_many_frames_end_the_socket_with_1008,
    signing_out_ends_the_sockets_of_that_session_alone,
    a_foreign_origin_is_refused_before_the_upgrade,
    a_ping_is_answered,
    a_plain_request_is_no_socket,
);

async fn hello_comes_first(store: Backend) {
    let app = TestApp::start(store).await;
    app.user().await.sells("Front row").await;
    let mut socket = app.guest().socket_at("").await;
    let hello = socket.expect("Hello").await;
    assert_eq!(hello["resumed"], false);
    assert!(millis(&hello["serverTime"]) > 0);
    let cursor = hello["cursor"].as_str().expect("a cursor");
    assert!((1..=64).contains(&cursor.len()) && cursor.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)), "{cursor}");
}

async fn events_come_in_commit_order_with_ascending_cursors(store: Backend) {
    let app = TestApp::start(store).await;
    let mut socket = app.socket().await;
    let seller = app.user().await;
    let mut expected = Vec::new();
    for number in 0..10 {
        let ticket = seller.sells(&format!("Row {number}")).await;
        seller.edit_ticket(&ticket, "Renamed", 5).await.expect(200);
        expected.extend([(ticket.clone(), 0), (ticket, 1)]);
    }
    let mut seen = Vec::new();
    for _ in &expected {
        let frame = socket.next().await;
        seen.push((frame["ticket"]["id"].as_str().unwrap_or_default().to_owned(), frame["ticket"]["version"].as_i64().unwrap_or(-1)));
    }
    assert_eq!(seen, expected);
    let mut cursors: Vec<_> = socket.frames.iter().map(|frame| frame["cursor"].as_str().unwrap_or_default()).collect();
    cursors.dedup();
    assert_eq!(cursors.len(), expected.len() + 1, "each has its own");
    let times: Vec<_> = socket.frames[1..].iter().map(|frame| millis(&frame["at"])).collect();
    assert!(times.is_sorted(), "{times:?}");
}

async fn a_resumed_socket_gets_every_step_that_it_missed(store: Backend) {
    let app = TestApp::start(store).await;
    let (seller, buyer) = (app.user().await, app.user().await);
    let mut first = buyer.socket().await;
    let ticket = seller.sells("Front row").await;
    first.reached(&ticket).await;
    let cursor = first.last_cursor();
    drop(first);
    let order = buyer.locks(&ticket).await;
    buyer.cancel_order(&order).await.expect(204);
    seller.edit_ticket(&ticket, "Renamed", 5).await.expect(200);
    let mut second = buyer.socket_at(&format!("?after={cursor}")).await;
    assert_eq!(second.expect("Hello").await["resumed"], true);
    second.until(|frame| frame["ticket"]["title"] == "Renamed").await;
    let versions: Vec<_> = second.frames.iter().filter_map(|frame| frame["ticket"]["version"].as_i64()).collect();
    assert_eq!(versions, [1, 2, 3]);
    assert!(second.kinds().contains(&"OrderCreated") && second.kinds().contains(&"OrderCancelled"), "{:?}", second.kinds());
}

async fn a_cursor_works_after_a_restart_or_says_so(store: Backend) {
    let mut app = TestApp::start(store).await;
    let seller = app.user().await;
    let mut socket = app.socket().await;
    let ticket = seller.sells("Front row").await;
    socket.reached(&ticket).await;
    let cursor = socket.last_cursor();
    seller.edit_ticket(&ticket, "Renamed", 5).await.expect(200);
    app.restart().await;
    let mut socket = app.guest().socket_at(&format!("?after={cursor}")).await;
    // At least the last five minutes can be resumed, whoever answers.
    assert_eq!(socket.expect("Hello").await["resumed"], true);
    assert_eq!(socket.expect("TicketUpdated").await["ticket"]["title"], "Renamed");
}

async fn a_cursor_that_is_not_known_is_not_resumed(store: Backend) {
    let app = TestApp::start(store).await;
    app.user().await.sells("Front row").await;
    for cursor in ["", "x", &"A".repeat(22), "_____________________w", &"A".repeat(64), &"A".repeat(65), "%00", "826512", "%7B%7D"] {
        let mut socket = app.guest().socket_at(&format!("?after={cursor}")).await;
        assert_eq!(socket.expect("Hello").await["resumed"], false, "{cursor}");
    }
}

async fn watching_some_tickets_leaves_out_the_others(store: Backend) {
    let app = TestApp::start(store).await;
    let seller = app.user().await;
    let mut socket = app.socket().await;
    let (mine, other) = (seller.sells("Mine").await, seller.sells("Other").await);
    socket.reached(&other).await;
    socket.say(&json!({ "type": "Watch", "tickets": [mine] })).await;
    let watching = socket.expect("Watching").await;
    assert_eq!((&watching["tickets"], watching["cursor"].is_string()), (&json!(1), true));
    seller.edit_ticket(&other, "Changed", 5).await.expect(200);
    seller.sells("New").await;
    seller.delist_ticket(&other).await.expect(204);
    seller.edit_ticket(&mine, "Changed", 5).await.expect(200);
    assert_eq!(socket.expect("TicketUpdated").await["ticket"]["id"], json!(mine));
}

async fn watching_all_again_widens(store: Backend) {
    let app = TestApp::start(store).await;
    let seller = app.user().await;
    let mut socket = app.socket().await;
    socket.say(&json!({ "type": "Watch", "tickets": [] })).await;
    assert_eq!(socket.expect("Watching").await["tickets"], 0);
    socket.say(&json!({ "type": "WatchAll" })).await;
    assert_eq!(socket.expect("Watching").await["tickets"], json!(null));
    let ticket = seller.sells("Front row").await;
    assert_eq!(socket.expect("TicketCreated").await["ticket"]["id"], json!(ticket));
}

async fn a_watch_list_holds_at_most_a_thousand(store: Backend) {
    let app = TestApp::start(store).await;
    let seller = app.user().await;
    let ticket = seller.sells("Front row").await;
    let mut socket = app.socket().await;
    let others = |count| (0..count).map(|_| uuid::Uuid::now_v7().to_string()).chain([ticket.clone()]).collect::<Vec<_>>();
    socket.say(&json!({ "type": "Watch", "tickets": others(999) })).await;
    // The ticket's own frame may come after the answer to who listed it.
    let watching = socket.until(|frame| frame["type"] == "Watching").await;
    assert_eq!(watching["tickets"], 1000);
    seller.edit_ticket(&ticket, "Second row", 20).await.expect(200);
    socket.ticket(&ticket, "Available").await;
    socket.say(&json!({ "type": "Watch", "tickets": others(1000) })).await;
    assert_eq!(socket.until(|frame| frame["type"] == "Error").await["code"], "validation_failed");
    // Named twice counts once.
    socket.say(&json!({ "type": "Watch", "tickets": vec![ticket; 1_200] })).await;
    assert_eq!(socket.until(|frame| frame["type"] == "Watching").await["tickets"], 1);
}

async fn private_events_go_to_their_owner_alone(store: Backend) {
    let app = TestApp::start(store).await;
    let (seller, buyer) = (app.user().await, app.user().await);
    let mut owners = buyer.socket().await;
    let mut others = [app.socket().await, seller.socket().await, app.user().await.socket().await];
    let order = buyer.locks(&seller.sells("Front row").await).await;
    buyer.pay(&order, "pm_card_chargeDeclined").await.refused(402, "card_declined");
    buyer.cancel_order(&order).await.expect(204);
    let marker = seller.sells("A marker").await;
    owners.reached(&marker).await;
    for kind in ["OrderCreated", "ChargeCreated", "ChargeFailed", "OrderCancelled"] {
        assert!(owners.kinds().contains(&kind), "{kind} in {:?}", owners.kinds());
    }
    for socket in &mut others {
        socket.reached(&marker).await;
        assert_eq!(socket.kinds(), ["Hello", "TicketCreated", "TicketUpdated", "TicketUpdated", "TicketCreated"]);
    }
}

async fn the_owner_of_an_expired_order_gets_one_frame_with_it(store: Backend) {
    let app = TestApp::start_with(store, &[("GITTIX_PAYMENT_WINDOW", "500ms"), ("GITTIX_LOCK_DURATION", "1s")]).await;
    let (seller, buyer) = (app.user().await, app.user().await);
    let (mut owners, mut others) = (buyer.socket().await, app.socket().await);
    let ticket = seller.sells("Front row").await;
    let order = buyer.locks(&ticket).await;
    for socket in [&mut owners, &mut others] {
        socket.ticket(&ticket, "Locked").await;
        socket.ticket(&ticket, "Available").await;
    }
    let told = |socket: &Socket| socket.frames.iter().filter(|frame| frame["type"] == "OrderExpired").cloned().collect::<Vec<Value>>();
    let (mine, theirs) = (told(&owners), told(&others));
    assert_eq!((mine.len(), theirs.len()), (1, 1), "{mine:?} {theirs:?}");
    assert_eq!((&mine[0]["order"]["id"], &mine[0]["order"]["cancelReason"]), (&json!(order), &json!("expired")));
    assert_eq!((&mine[0]["orderId"], &theirs[0]["orderId"], theirs[0].get("order")), (&json!(order), &json!(order), None));
}

async fn no_public_frame_says_who_the_buyer_is(store: Backend) {
    let app = TestApp::start_with(store, &[("GITTIX_PAYMENT_WINDOW", "500ms"), ("GITTIX_LOCK_DURATION", "1s")]).await;
    let (seller, buyer) = (app.user().await, app.user().await);
    let mut socket = app.socket().await;
    let (lapsing, sold) = (seller.sells("Lapsing").await, seller.sells("Sold").await);
    let order = buyer.locks(&sold).await;
    buyer.pay(&order, "pm_card_visa").await.expect(201);
    buyer.locks(&lapsing).await;
    socket.ticket(&lapsing, "Locked").await;
    socket.ticket(&lapsing, "Available").await;
    for frame in &socket.frames {
        let text = frame.to_string();
        assert!(!text.contains(&buyer.id) && !text.contains(&buyer.email), "{text}");
    }
}

async fn private_events_come_whatever_is_watched(store: Backend) {
    let app = TestApp::start(store).await;
    let (seller, buyer) = (app.user().await, app.user().await);
    let ticket = seller.sells("Front row").await;
    let mut socket = buyer.socket().await;
    socket.say(&json!({ "type": "Watch", "tickets": [] })).await;
    socket.expect("Watching").await;
    let order = buyer.locks(&ticket).await;
    assert_eq!(socket.expect("OrderCreated").await["order"]["id"], json!(order));
}

async fn a_frame_counts_seconds_from_its_own_time(store: Backend) {
    let app = TestApp::start(store).await;
    let (seller, buyer) = (app.user().await, app.user().await);
    let cursor = buyer.socket().await.last_cursor();
    buyer.locks(&seller.sells("Front row").await).await;
    let mut late = buyer.socket_at(&format!("?after={cursor}")).await;
    let frame = late.event("OrderCreated").await;
    let (at, expires) = (millis(&frame["at"]), millis(&frame["order"]["expiresAt"]));
    assert_eq!(frame["order"]["expiresInSeconds"].as_i64(), Some((expires - at + 999) / 1000));
}

async fn text_that_is_not_understood_is_answered_and_the_socket_stays(store: Backend) {
    let app = TestApp::start(store).await;
    let mut socket = app.socket().await;
    let deep = "[".repeat(2_000);
    let lines = [
        "hello",
        "{}",
        r#"{"type":"Watch"}"#,
        r#"{"type":"Watch","tickets":"all"}"#,
        r#"{"type":"Watch","tickets":["x"]}"#,
        r#"{"type":"Buy"}"#,
        "null",
        &deep,
    ];
    for line in lines {
        socket.send(Message::text(line)).await;
        let error = socket.expect("Error").await;
        assert!(error["code"].is_string() && error["message"].is_string(), "{line}: {error}");
    }
    socket.say(&json!({ "type": "WatchAll" })).await;
    socket.expect("Watching").await;
}

async fn a_frame_over_48_kib_ends_the_socket_with_1009(store: Backend) {
    let app = TestApp::start(store).await;
    let mut socket = app.socket().await;
    socket.send(Message::text(format!("{:49152}", r#"{"type":"WatchAll"}"#))).await;
    socket.expect("Watching").await;
    socket.try_send(Message::text("x".repeat(48 * 1024 + 1))).await;
    assert_eq!(socket.closed().await, 1009);
}

async fn a_binary_frame_ends_the_socket_with_1003(store: Backend) {
    let app = TestApp::start(store).await;
    let mut socket = app.socket().await;
    socket.send(Message::binary(Bytes::from_static(b"{}"))).await;
    assert_eq!(socket.closed().await, 1003);
}

async fn a_continuation_ends_the_socket_with_1003(store: Backend) {
    let app = TestApp::start(store).await;
    let mut socket = app.socket().await;
    socket.send(Message::Frame(Frame::message(Bytes::from_static(b"{\"type\":"), OpCode::Data(Data::Text), false))).await;
    assert_eq!(socket.closed().await, 1003);
}

async fn too_many_frames_end_the_socket_with_1008(store: Backend) {
    let app = TestApp::start(store).await;
    let mut socket = app.socket().await;
    for _ in 0..20 {
        socket.say(&json!({ "type": "WatchAll" })).await;
        socket.expect("Watching").await;
    }
    socket.try_send(Message::text(r#"{"type":"WatchAll"}"#)).await;
    assert_eq!(socket.closed().await, 1008);
}

async fn signing_out_ends_the_sockets_of_that_session_alone(store: Backend) {
    let app = TestApp::start(store).await;
    let here = app.user().await;
    let there = here.elsewhere().await;
    let (mut mine, mut also_mine, mut other, mut nobodys) =
        (here.socket().await, here.socket().await, there.socket().await, app.socket().await);
    here.sign_out().await.expect(200);
    assert_eq!((mine.closed().await, also_mine.closed().await), (1008, 1008));
    let marker = there.sells("A marker").await;
    other.reached(&marker).await;
    nobodys.reached(&marker).await;
}

async fn a_foreign_origin_is_refused_before_the_upgrade(store: Backend) {
    let app = TestApp::start(store).await;
    let url = format!("ws://{}/ws", app.server.addr);
    for origin in ["null", "https://evil.example", "http://127.0.0.1:1"] {
        match Socket::connect(&url, None, Some(origin)).await {
            Err(Error::Http(answer)) => assert_eq!(answer.status(), 403, "{origin}"),
            other => panic!("{origin} got {other:?}"),
        }
    }
    Socket::connect(&url, None, Some(&format!("http://{}", app.server.addr))).await.expect("the own origin is fine").expect("Hello").await;
}

async fn a_ping_is_answered(store: Backend) {
    let app = TestApp::start(store).await;
    let mut socket = app.socket().await;
    socket.send(Message::Ping(Bytes::from_static(b"there?"))).await;
    assert_eq!(socket.pong().await, b"there?");
}

async fn a_plain_request_is_no_socket(store: Backend) {
    let app = TestApp::start(store).await;
    let answer = app.guest().get("/ws").await;
    assert!(matches!(answer.status, 400 | 426), "{answer:?}");
}
