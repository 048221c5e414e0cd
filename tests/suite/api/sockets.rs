//! The WebSocket: recipients and order of events, and closes after protocol violations.

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
    hello_is_the_first_frame,
    events_come_in_commit_order_with_ascending_cursors,
    resumed_socket_receives_every_missed_event,
    cursor_is_resumed_after_a_restart,
    unknown_cursor_is_not_resumed,
    watch_list_excludes_other_tickets,
    watch_all_adds_all_tickets_again,
    watch_list_holds_at_most_a_thousand,
    private_events_are_sent_to_their_owner_only,
    owner_of_an_expired_order_receives_one_frame_with_the_order,
    public_frames_do_not_identify_the_buyer,
    private_events_are_sent_with_any_watch_list,
    frame_counts_seconds_from_the_time_of_its_event,
    invalid_text_gets_an_error_and_the_socket_stays_open,
    frame_over_48_kib_closes_the_socket_with_1009,
    binary_frame_closes_the_socket_with_1003,
    fragmented_frame_closes_the_socket_with_1003,
    too_many_frames_close_the_socket_with_1008,
    signing_out_closes_the_sockets_of_that_session_only,
    foreign_origin_is_refused_before_the_upgrade,
    ping_is_answered,
    request_without_an_upgrade_is_refused,
);

async fn hello_is_the_first_frame(store: Backend) {
    let app = TestApp::start(store).await;
    app.user().await.sells("Front row").await;
    let mut socket = app.guest().socket_at("").await;
    let hello = socket.expect("Hello").await;
    assert_eq!(hello["resumed"], false);
    assert!(millis(&hello["serverTime"]) > 0);
    let cursor = hello["cursor"].as_str().expect("a cursor");
    assert!(
        (1..=64).contains(&cursor.len())
            && cursor.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)),
        "{cursor}"
    );
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
        seen.push((
            frame["ticket"]["id"].as_str().unwrap_or_default().to_owned(),
            frame["ticket"]["version"].as_i64().unwrap_or(-1),
        ));
    }
    assert_eq!(seen, expected);
    let mut cursors: Vec<_> =
        socket.frames.iter().map(|frame| frame["cursor"].as_str().unwrap_or_default()).collect();
    cursors.dedup();
    assert_eq!(cursors.len(), expected.len() + 1, "each has its own");
    let times: Vec<_> = socket.frames[1..].iter().map(|frame| millis(&frame["at"])).collect();
    assert!(times.is_sorted(), "{times:?}");
}

async fn resumed_socket_receives_every_missed_event(store: Backend) {
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
    let versions: Vec<_> =
        second.frames.iter().filter_map(|frame| frame["ticket"]["version"].as_i64()).collect();
    assert_eq!(versions, [1, 2, 3]);
    assert!(
        second.kinds().contains(&"OrderCreated") && second.kinds().contains(&"OrderCancelled"),
        "{:?}",
        second.kinds()
    );
}

async fn cursor_is_resumed_after_a_restart(store: Backend) {
    let mut app = TestApp::start(store).await;
    let seller = app.user().await;
    let mut socket = app.socket().await;
    let ticket = seller.sells("Front row").await;
    socket.reached(&ticket).await;
    let cursor = socket.last_cursor();
    seller.edit_ticket(&ticket, "Renamed", 5).await.expect(200);
    app.restart().await;
    let mut socket = app.guest().socket_at(&format!("?after={cursor}")).await;
    // At least the last five minutes can be resumed, on any replica.
    assert_eq!(socket.expect("Hello").await["resumed"], true);
    assert_eq!(socket.expect("TicketUpdated").await["ticket"]["title"], "Renamed");
}

async fn unknown_cursor_is_not_resumed(store: Backend) {
    let app = TestApp::start(store).await;
    app.user().await.sells("Front row").await;
    for cursor in [
        "",
        "x",
        &"A".repeat(22),
        "_____________________w",
        &"A".repeat(64),
        &"A".repeat(65),
        "%00",
        "826512",
        "%7B%7D",
    ] {
        let mut socket = app.guest().socket_at(&format!("?after={cursor}")).await;
        assert_eq!(socket.expect("Hello").await["resumed"], false, "{cursor}");
    }
}

async fn watch_list_excludes_other_tickets(store: Backend) {
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

async fn watch_all_adds_all_tickets_again(store: Backend) {
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

async fn watch_list_holds_at_most_a_thousand(store: Backend) {
    let app = TestApp::start(store).await;
    let seller = app.user().await;
    let ticket = seller.sells("Front row").await;
    let mut socket = app.socket().await;
    let others = |count| {
        (0..count)
            .map(|_| uuid::Uuid::now_v7().to_string())
            .chain([ticket.clone()])
            .collect::<Vec<_>>()
    };
    socket.say(&json!({ "type": "Watch", "tickets": others(999) })).await;
    // The frame of the ticket may arrive after the response to its listing.
    let watching = socket.until(|frame| frame["type"] == "Watching").await;
    assert_eq!(watching["tickets"], 1000);
    seller.edit_ticket(&ticket, "Second row", 20).await.expect(200);
    socket.ticket(&ticket, "Available").await;
    socket.say(&json!({ "type": "Watch", "tickets": others(1000) })).await;
    assert_eq!(socket.until(|frame| frame["type"] == "Error").await["code"], "validation_failed");
    // A repeated id counts once.
    socket.say(&json!({ "type": "Watch", "tickets": vec![ticket; 1_200] })).await;
    assert_eq!(socket.until(|frame| frame["type"] == "Watching").await["tickets"], 1);
}

async fn private_events_are_sent_to_their_owner_only(store: Backend) {
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
        assert_eq!(
            socket.kinds(),
            ["Hello", "TicketCreated", "TicketUpdated", "TicketUpdated", "TicketCreated"]
        );
    }
}

async fn owner_of_an_expired_order_receives_one_frame_with_the_order(store: Backend) {
    let app = TestApp::start_with(
        store,
        &[("GITTIX_PAYMENT_WINDOW", "500ms"), ("GITTIX_LOCK_DURATION", "1s")],
    )
    .await;
    let (seller, buyer) = (app.user().await, app.user().await);
    let (mut owners, mut others) = (buyer.socket().await, app.socket().await);
    let ticket = seller.sells("Front row").await;
    let order = buyer.locks(&ticket).await;
    for socket in [&mut owners, &mut others] {
        socket.ticket(&ticket, "Locked").await;
        socket.ticket(&ticket, "Available").await;
    }
    let expired = |socket: &Socket| {
        socket
            .frames
            .iter()
            .filter(|frame| frame["type"] == "OrderExpired")
            .cloned()
            .collect::<Vec<Value>>()
    };
    let (mine, theirs) = (expired(&owners), expired(&others));
    assert_eq!((mine.len(), theirs.len()), (1, 1), "{mine:?} {theirs:?}");
    assert_eq!(
        (&mine[0]["order"]["id"], &mine[0]["order"]["cancelReason"]),
        (&json!(order), &json!("expired"))
    );
    assert_eq!(
        (&mine[0]["orderId"], &theirs[0]["orderId"], theirs[0].get("order")),
        (&json!(order), &json!(order), None)
    );
}

async fn public_frames_do_not_identify_the_buyer(store: Backend) {
    let app = TestApp::start_with(
        store,
        &[("GITTIX_PAYMENT_WINDOW", "500ms"), ("GITTIX_LOCK_DURATION", "1s")],
    )
    .await;
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

async fn private_events_are_sent_with_any_watch_list(store: Backend) {
    let app = TestApp::start(store).await;
    let (seller, buyer) = (app.user().await, app.user().await);
    let ticket = seller.sells("Front row").await;
    let mut socket = buyer.socket().await;
    socket.say(&json!({ "type": "Watch", "tickets": [] })).await;
    socket.expect("Watching").await;
    let order = buyer.locks(&ticket).await;
    assert_eq!(socket.expect("OrderCreated").await["order"]["id"], json!(order));
}

async fn frame_counts_seconds_from_the_time_of_its_event(store: Backend) {
    let app = TestApp::start(store).await;
    let (seller, buyer) = (app.user().await, app.user().await);
    let cursor = buyer.socket().await.last_cursor();
    buyer.locks(&seller.sells("Front row").await).await;
    let mut late = buyer.socket_at(&format!("?after={cursor}")).await;
    let frame = late.event("OrderCreated").await;
    let (at, expires) = (millis(&frame["at"]), millis(&frame["order"]["expiresAt"]));
    assert_eq!(frame["order"]["expiresInSeconds"].as_i64(), Some((expires - at + 999) / 1000));
}

async fn invalid_text_gets_an_error_and_the_socket_stays_open(store: Backend) {
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

async fn frame_over_48_kib_closes_the_socket_with_1009(store: Backend) {
    let app = TestApp::start(store).await;
    let mut socket = app.socket().await;
    socket.send(Message::text(format!("{:49152}", r#"{"type":"WatchAll"}"#))).await;
    socket.expect("Watching").await;
    socket.try_send(Message::text("x".repeat(48 * 1024 + 1))).await;
    assert_eq!(socket.closed().await, 1009);
}

async fn binary_frame_closes_the_socket_with_1003(store: Backend) {
    let app = TestApp::start(store).await;
    let mut socket = app.socket().await;
    socket.send(Message::binary(Bytes::from_static(b"{}"))).await;
    assert_eq!(socket.closed().await, 1003);
}

async fn fragmented_frame_closes_the_socket_with_1003(store: Backend) {
    let app = TestApp::start(store).await;
    let mut socket = app.socket().await;
    socket
        .send(Message::Frame(Frame::message(
            Bytes::from_static(b"{\"type\":"),
            OpCode::Data(Data::Text),
            false,
        )))
        .await;
    assert_eq!(socket.closed().await, 1003);
}

async fn too_many_frames_close_the_socket_with_1008(store: Backend) {
    let app = TestApp::start(store).await;
    let mut socket = app.socket().await;
    for _ in 0..20 {
        socket.say(&json!({ "type": "WatchAll" })).await;
        socket.expect("Watching").await;
    }
    socket.try_send(Message::text(r#"{"type":"WatchAll"}"#)).await;
    assert_eq!(socket.closed().await, 1008);
}

async fn signing_out_closes_the_sockets_of_that_session_only(store: Backend) {
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

async fn foreign_origin_is_refused_before_the_upgrade(store: Backend) {
    let app = TestApp::start(store).await;
    let url = format!("ws://{}/ws", app.server.addr);
    for origin in ["null", "https://evil.example", "http://127.0.0.1:1"] {
        match Socket::connect(&url, None, Some(origin)).await {
            Err(Error::Http(answer)) => assert_eq!(answer.status(), 403, "{origin}"),
            other => panic!("{origin} got {other:?}"),
        }
    }
    Socket::connect(&url, None, Some(&format!("http://{}", app.server.addr)))
        .await
        .expect("the own origin is fine")
        .expect("Hello")
        .await;
}

async fn ping_is_answered(store: Backend) {
    let app = TestApp::start(store).await;
    let mut socket = app.socket().await;
    socket.send(Message::Ping(Bytes::from_static(b"there?"))).await;
    assert_eq!(socket.pong().await, b"there?");
}

async fn request_without_an_upgrade_is_refused(store: Backend) {
    let app = TestApp::start(store).await;
    let answer = app.guest().get("/ws").await;
    assert!(matches!(answer.status, 400 | 426), "{answer:?}");
}
