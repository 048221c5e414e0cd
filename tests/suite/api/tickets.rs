//! Tickets: putting on sale, changing, taking off sale.

use serde_json::{Value, json};

use crate::app::{Backend, TestApp, millis, on_both_stores};

on_both_stores!(
    new_ticket_is_available_at_version_0,
    created_ticket_is_found_at_its_location,
    ids_ascend_within_a_millisecond,
    prices_are_compared_by_value,
    invalid_price_is_refused,
    titles_are_trimmed_and_composed,
    invalid_title_is_refused,
    edit_increments_the_version,
    edit_requires_title_and_price,
    only_the_owner_can_change_a_ticket,
    ticket_taken_off_sale_is_not_found,
    locked_ticket_cannot_be_changed,
    sold_ticket_cannot_be_changed,
    if_match_with_an_older_version_is_refused,
    if_none_match_with_the_present_version_is_304,
    checks_are_in_the_order_of_the_contract,
    unknown_ticket_is_not_found,
);

async fn new_ticket_is_available_at_version_0(store: Backend) {
    let app = TestApp::start(store).await;
    let seller = app.user().await;
    let ticket = seller.list_ticket("Front row", 19.99).await.expect(201);
    let expected = json!({
        "id": ticket.id(), "title": "Front row", "price": 19.99, "currency": ticket["currency"], "userId": seller.id, "orderId": null,
        "status": "Available", "unlocksAt": null, "version": 0, "createdAt": ticket["createdAt"], "updatedAt": ticket["updatedAt"],
    });
    assert_eq!(ticket.body, expected);
    assert_eq!(millis(&ticket["createdAt"]), millis(&ticket["updatedAt"]));
    assert_eq!(ticket.header("etag"), "\"0\"");
}

async fn created_ticket_is_found_at_its_location(store: Backend) {
    let app = TestApp::start(store).await;
    let ticket = app.user().await.list_ticket("Front row", 20).await.expect(201);
    let location = ticket.header("location").to_owned();
    assert!(location.ends_with(&format!("/api/tickets/{}", ticket.id())), "{location}");
    let path = &location[location.find("/api/").expect("a path of the API")..];
    assert_eq!(app.guest().get(path).await.expect(200).body, ticket.body);
}

async fn ids_ascend_within_a_millisecond(store: Backend) {
    let app = TestApp::start(store).await;
    let seller = app.user().await;
    let mut ids = Vec::new();
    for number in 0..30 {
        ids.push(seller.sells(&format!("Row {number}")).await);
    }
    assert!(ids.is_sorted(), "{ids:?}");
}

async fn prices_are_compared_by_value(store: Backend) {
    let app = TestApp::start(store).await;
    let seller = app.user().await;
    let prices = [
        ("0.5", 0.5),
        ("0.50", 0.5),
        ("2e1", 20.0),
        ("20.0", 20.0),
        ("20.000", 20.0),
        ("1999e-2", 19.99),
        ("999999.99", 999_999.99),
        ("\"20\"", 20.0),
        ("\"19.9\"", 19.9),
        ("\"000020.00\"", 20.0),
    ];
    for (written, value) in prices {
        let ticket = seller
            .call(reqwest::Method::POST, "/api/tickets")
            .text(format!(r#"{{"title":"Row","price":{written}}}"#))
            .await;
        let price = ticket.body["price"].as_f64();
        assert_eq!((ticket.status, price), (201, Some(value)), "{written}: {}", ticket.text);
    }
}

async fn invalid_price_is_refused(store: Backend) {
    let app = TestApp::start(store).await;
    let seller = app.user().await;
    let wrong = [
        "0",
        "0.49",
        "-1",
        "-0.5",
        "10.999",
        "1000000",
        "1e999",
        "-1e999",
        "1e-999",
        "1e400",
        "99999999999999999999",
        "null",
        "true",
        "[]",
        "{}",
        "[20]",
        r#"{"$gt":0}"#,
        r#""""#,
        r#""free""#,
        r#""20,00""#,
        r#"" 20""#,
        r#""2e1""#,
        r#""+20""#,
        r#""1000000""#,
        r#""0.49""#,
        r#""٢٠""#,
    ];
    for written in wrong {
        let call = seller
            .call(reqwest::Method::POST, "/api/tickets")
            .text(format!(r#"{{"title":"Row","price":{written}}}"#));
        let answer = call.await;
        assert_eq!(
            (answer.status, &answer.body["errors"][0]["field"]),
            (400, &json!("price")),
            "{written}: {}",
            answer.text
        );
    }
    seller.post("/api/tickets", &json!({ "title": "Row" })).await.invalid("price");
    assert_eq!(seller.tickets("?seller=me").await.items(), [] as [Value; 0]);
}

async fn titles_are_trimmed_and_composed(store: Backend) {
    let app = TestApp::start(store).await;
    let seller = app.user().await;
    assert_eq!(
        seller.list_ticket("  Cafe\u{301} del Mar\t", 20).await.expect(201)["title"],
        "Café del Mar"
    );
    seller.list_ticket(&"é".repeat(200), 20).await.expect(201);
}

async fn invalid_title_is_refused(store: Backend) {
    let app = TestApp::start(store).await;
    let seller = app.user().await;
    for title in ["", "   ", "a\u{0}b", "a\nb", "a\u{85}b", &"x".repeat(201)] {
        seller.list_ticket(title, 20).await.invalid("title");
    }
    for title in [json!(null), json!(7), json!(["a"]), json!({ "$gt": "" })] {
        seller.post("/api/tickets", &json!({ "title": title, "price": 20 })).await.invalid("title");
    }
    seller.post("/api/tickets", &json!({ "price": 20 })).await.invalid("title");
}

async fn edit_increments_the_version(store: Backend) {
    let app = TestApp::start(store).await;
    let seller = app.user().await;
    let before = seller.list_ticket("Front row", 20).await.expect(201);
    let after = seller.edit_ticket(&before.id(), "Second row", "15.50").await.expect(200);
    assert_eq!(
        (&after["version"], &after["title"], &after["price"]),
        (&json!(1), &json!("Second row"), &json!(15.5))
    );
    assert_eq!(after.header("etag"), "\"1\"");
    assert_eq!(after["createdAt"], before["createdAt"]);
    assert!(millis(&after["updatedAt"]) >= millis(&before["updatedAt"]));
    assert_eq!(app.guest().ticket(&before.id()).await.expect(200).body, after.body);
}

async fn edit_requires_title_and_price(store: Backend) {
    let app = TestApp::start(store).await;
    let seller = app.user().await;
    let ticket = seller.sells("Front row").await;
    let path = format!("/api/tickets/{ticket}");
    seller.put(&path, &json!({ "title": "Second row" })).await.invalid("price");
    seller.put(&path, &json!({ "price": 20 })).await.invalid("title");
    let both = seller.put(&path, &json!({})).await.refused(400, "validation_failed");
    assert_eq!(
        both.body["errors"].as_array().map(Vec::len),
        Some(2),
        "all errors are reported at once: {both:?}"
    );
}

async fn only_the_owner_can_change_a_ticket(store: Backend) {
    let app = TestApp::start(store).await;
    let (seller, other) = (app.user().await, app.user().await);
    let ticket = seller.sells("Front row").await;
    other.edit_ticket(&ticket, "Mine", 1).await.refused(403, "not_owner");
    other.delist_ticket(&ticket).await.refused(403, "not_owner");
    assert_eq!(app.guest().ticket(&ticket).await.expect(200)["version"], 0);
}

async fn ticket_taken_off_sale_is_not_found(store: Backend) {
    let app = TestApp::start(store).await;
    let (seller, buyer) = (app.user().await, app.user().await);
    let mut socket = app.socket().await;
    let ticket = seller.sells("Front row").await;
    let answer = seller.delist_ticket(&ticket).await.expect(204);
    assert_eq!(answer.text, "");
    app.guest().ticket(&ticket).await.refused(404, "not_found");
    assert!(!app.guest().tickets("").await.ids().contains(&ticket));
    seller.delist_ticket(&ticket).await.refused(404, "not_found");
    seller.edit_ticket(&ticket, "Front row", 20).await.refused(404, "not_found");
    buyer.place_order(&ticket).await.refused(404, "not_found");
    let frame = socket.event("TicketDeleted").await;
    assert_eq!((&frame["ticketId"], &frame["version"]), (&json!(ticket), &json!(1)));
}

async fn locked_ticket_cannot_be_changed(store: Backend) {
    let app = TestApp::start(store).await;
    let (seller, buyer) = (app.user().await, app.user().await);
    let ticket = seller.sells("Front row").await;
    let order = buyer.locks(&ticket).await;
    let locked = app.guest().ticket(&ticket).await.expect(200);
    assert_eq!(
        (&locked["status"], &locked["orderId"], &locked["version"]),
        (&json!("Locked"), &json!(order), &json!(1))
    );
    assert!(millis(&locked["unlocksAt"]) > millis(&locked["updatedAt"]));
    seller.edit_ticket(&ticket, "Front row", 25).await.refused(409, "ticket_locked");
    seller.delist_ticket(&ticket).await.refused(409, "ticket_locked");
}

async fn sold_ticket_cannot_be_changed(store: Backend) {
    let app = TestApp::start(store).await;
    let (seller, buyer) = (app.user().await, app.user().await);
    let ticket = seller.sells("Front row").await;
    let order = buyer.locks(&ticket).await;
    buyer.pay(&order, "pm_card_visa").await.expect(201);
    let sold = app.guest().ticket(&ticket).await.expect(200);
    assert_eq!(
        (&sold["status"], &sold["orderId"], &sold["unlocksAt"]),
        (&json!("Sold"), &json!(order), &json!(null))
    );
    seller.edit_ticket(&ticket, "Front row", 25).await.refused(409, "ticket_sold");
    seller.delist_ticket(&ticket).await.refused(409, "ticket_sold");
    app.user().await.place_order(&ticket).await.refused(409, "ticket_sold");
}

async fn if_match_with_an_older_version_is_refused(store: Backend) {
    let app = TestApp::start(store).await;
    let seller = app.user().await;
    let ticket = seller.sells("Front row").await;
    seller.edit_ticket(&ticket, "Second row", 20).header("if-match", "\"0\"").await.expect(200);
    seller
        .edit_ticket(&ticket, "Third row", 20)
        .header("if-match", "\"0\"")
        .await
        .refused(412, "version_mismatch");
    seller
        .delist_ticket(&ticket)
        .header("if-match", "\"0\"")
        .await
        .refused(412, "version_mismatch");
    // Strong comparison (RFC 9110, 13.1.1): a weak tag never matches.
    seller
        .delist_ticket(&ticket)
        .header("if-match", "W/\"1\"")
        .await
        .refused(412, "version_mismatch");
    seller.delist_ticket(&ticket).header("if-match", "\"7\", \"1\"").await.expect(204);
}

async fn if_none_match_with_the_present_version_is_304(store: Backend) {
    let app = TestApp::start(store).await;
    let seller = app.user().await;
    let ticket = seller.sells("Front row").await;
    let guest = app.guest();
    for known in ["\"0\"", "W/\"0\"", "\"9\", \"0\"", "*"] {
        let answer = guest.ticket(&ticket).header("if-none-match", known).await.expect(304);
        assert_eq!((answer.text.as_str(), answer.header("etag")), ("", "\"0\""), "{known}");
    }
    seller.edit_ticket(&ticket, "Second row", 20).await.expect(200);
    guest.ticket(&ticket).header("if-none-match", "\"0\"").await.expect(200);
}

async fn checks_are_in_the_order_of_the_contract(store: Backend) {
    let app = TestApp::start(store).await;
    let (seller, buyer) = (app.user().await, app.user().await);
    let ticket = seller.sells("Front row").await;
    buyer.locks(&ticket).await;
    let nowhere = uuid::Uuid::now_v7().to_string();
    // 401 before 404, 404 before 403, 403 before 412, 412 before 409.
    app.guest()
        .edit_ticket(&nowhere, "Row", 20)
        .header("if-match", "\"9\"")
        .await
        .refused(401, "not_signed_in");
    buyer
        .edit_ticket(&nowhere, "Row", 20)
        .header("if-match", "\"9\"")
        .await
        .refused(404, "not_found");
    buyer
        .edit_ticket(&ticket, "Row", 20)
        .header("if-match", "\"9\"")
        .await
        .refused(403, "not_owner");
    seller
        .edit_ticket(&ticket, "Row", 20)
        .header("if-match", "\"9\"")
        .await
        .refused(412, "version_mismatch");
    seller
        .edit_ticket(&ticket, "Row", 20)
        .header("if-match", "\"1\"")
        .await
        .refused(409, "ticket_locked");
}

async fn unknown_ticket_is_not_found(store: Backend) {
    let app = TestApp::start(store).await;
    let user = app.user().await;
    let simple = uuid::Uuid::now_v7().simple().to_string();
    for id in [
        "0",
        "null",
        "undefined",
        &uuid::Uuid::now_v7().to_string(),
        &simple,
        "%7B%22$gt%22:%22%22%7D",
        "%00",
        "..%2f..%2fetc%2fpasswd",
        &"x".repeat(3_000),
    ] {
        user.ticket(id).await.refused(404, "not_found");
        user.delist_ticket(id).await.refused(404, "not_found");
        user.order(id).await.refused(404, "not_found");
        user.charge(id).await.refused(404, "not_found");
        user.charges_of(id).await.refused(404, "not_found");
        user.confirm(id).await.refused(404, "not_found");
    }
}
