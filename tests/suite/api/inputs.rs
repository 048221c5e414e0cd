//! Inputs with rules of their own: the expected version of an order, visible text, cookies.

use bson::doc;
use serde_json::{Value, json};

use crate::app::{
    Backend, Client, Home, TestApp, on_both_stores, raw,
    world::{self, Seeded},
};

on_both_stores!(
    lock_with_a_version_before_the_title_changed_is_refused,
    lock_with_a_version_that_differs_by_locks_or_price_is_granted,
    expected_version_that_is_not_a_whole_number_is_refused,
    ticket_stored_without_details_version_is_locked_by_its_present_version_only,
    title_that_is_invisible_or_changes_the_layout_is_refused,
    title_with_joiners_between_visible_characters_is_accepted,
    stored_ticket_with_an_invisible_title_can_be_read_sold_and_deleted,
    cookies_of_two_servers_on_one_host_are_separate,
    cookie_is_named_by_the_port_of_the_public_origin,
    session_is_found_among_cookies_of_any_content,
    session_is_found_after_expired_cookies_of_the_same_name,
    sign_out_ends_every_session_that_was_sent,
);

/// Orders a ticket as a buyer who saw it at `version`.
fn order_as_seen(buyer: &Client, ticket: &str, version: impl Into<Value>) -> crate::app::Call {
    buyer.post("/api/orders", &json!({ "ticketId": ticket, "expectedVersion": version.into() }))
}

async fn lock_with_a_version_before_the_title_changed_is_refused(store: Backend) {
    let app = TestApp::start_with(store, &[("GITTIX_MAX_LOCKS", "1")]).await;
    let (seller, buyer) = (app.user().await, app.user().await);
    let ticket = seller.sells("Front row").await;
    assert_eq!(seller.edit_ticket(&ticket, "Back row", 20).await.expect(200)["version"], 1);
    order_as_seen(&buyer, &ticket, 0).await.refused(409, "ticket_changed");
    order_as_seen(&buyer, &ticket, 2).await.refused(409, "ticket_changed");
    let both = json!({ "ticketId": ticket, "expectedVersion": 0, "expectedPrice": 1 });
    buyer.post("/api/orders", &both).await.refused(409, "price_changed");
    let order = order_as_seen(&buyer, &ticket, 1).await.expect(201);
    assert_eq!(order["ticket"]["title"], "Back row");
    // The contract defines the order: a lock comes before the version, the version before the
    // number of locks.
    order_as_seen(&app.user().await, &ticket, 0).await.refused(409, "ticket_locked");
    let other = seller.sells("Balcony").await;
    seller.edit_ticket(&other, "Box", 20).await.expect(200);
    order_as_seen(&buyer, &other, 0).await.refused(409, "ticket_changed");
    order_as_seen(&buyer, &other, 1).await.refused(429, "too_many_locks");
}

async fn lock_with_a_version_that_differs_by_locks_or_price_is_granted(store: Backend) {
    let app = TestApp::start(store).await;
    let (seller, buyer, other) = (app.user().await, app.user().await, app.user().await);
    let ticket = seller.sells("Front row").await;
    let order = other.locks(&ticket).await;
    other.cancel_order(&order).await.expect(204);
    assert_eq!(seller.edit_ticket(&ticket, "Front row", 30).await.expect(200)["version"], 3);
    let order = order_as_seen(&buyer, &ticket, 0).await.expect(201);
    assert_eq!((&order["price"], &order["ticket"]["version"]), (&json!(30), &json!(4)));
}

async fn expected_version_that_is_not_a_whole_number_is_refused(store: Backend) {
    let app = TestApp::start(store).await;
    let (seller, buyer) = (app.user().await, app.user().await);
    let ticket = seller.sells("Front row").await;
    for version in [
        json!(-1),
        json!(0.5),
        json!("0"),
        json!(null),
        json!(true),
        json!([0]),
        json!({ "$gt": 0 }),
    ] {
        order_as_seen(&buyer, &ticket, version).await.invalid("expectedVersion");
    }
    let twice = format!(r#"{{"ticketId":"{ticket}","expectedVersion":0,"expectedVersion":0}}"#);
    buyer.post("/api/orders", &json!({})).text(twice).await.invalid("expectedVersion");
    order_as_seen(&buyer, &ticket, 0).await.expect(201);
}

/// Golden document of an earlier version: a ticket stored before `detailsVersion` existed, and
/// before titles needed a visible character. It must not be changed.
fn stored_before(number: u8, seller: &Seeded, title: &str) -> bson::Document {
    doc! {
        "_id": format!("0198c0de-0000-7000-8000-0000000000{number:02}"), "seller": seller.id.to_string(), "title": title, "price": 2_000_i64,
        "currency": "usd", "state": { "status": "Available" }, "version": 3_i64,
        "createdAt": 1_790_000_000_000_i64, "updatedAt": 1_790_000_060_000_i64,
    }
}

/// Starts a server on a store with such tickets. Returns it with their seller, a buyer and the ids
/// of the tickets.
async fn with_stored_before(
    store: Backend,
    titles: &[&str],
) -> (TestApp, Client, Client, Vec<String>) {
    let home = Home::new(store);
    let people = world::seed_users(&home, 2).await;
    let tickets: Vec<bson::Document> = titles
        .iter()
        .zip(1..)
        .map(|(title, number)| stored_before(number, &people[0], title))
        .collect();
    world::insert_tickets(&home, &tickets).await;
    let ids =
        tickets.iter().map(|ticket| ticket.get_str("_id").expect("a text").to_owned()).collect();
    let (app, mut people) = TestApp::start_seeded(home, &[], people).await;
    let (buyer, seller) = (people.pop().expect("two"), people.pop().expect("two"));
    (app, seller, buyer, ids)
}

async fn ticket_stored_without_details_version_is_locked_by_its_present_version_only(
    store: Backend,
) {
    let (app, seller, buyer, tickets) = with_stored_before(store, &["Front row", "Back row"]).await;
    let [seen, edited] = &tickets[..] else { panic!("{tickets:?}") };
    assert_eq!(app.guest().ticket(seen).await.expect(200)["version"], 3);
    for version in [0, 2, 4] {
        order_as_seen(&buyer, seen, version).await.refused(409, "ticket_changed");
    }
    let order = order_as_seen(&buyer, seen, 3).await.expect(201).id();
    buyer.cancel_order(&order).await.expect(204);
    // From here on locks do not count as changes.
    order_as_seen(&buyer, seen, 2).await.refused(409, "ticket_changed");
    order_as_seen(&buyer, seen, 3).await.expect(201);
    seller.edit_ticket(edited, "Back row", 30).await.expect(200);
    order_as_seen(&buyer, edited, 2).await.refused(409, "ticket_changed");
    order_as_seen(&buyer, edited, 3).await.expect(201);
}

async fn title_that_is_invisible_or_changes_the_layout_is_refused(store: Backend) {
    let app = TestApp::start(store).await;
    let seller = app.user().await;
    let ticket = seller.sells("Front row").await;
    let invisible = [
        "\u{200B}",
        "\u{3164}",
        "\u{2060}",
        "\u{AD}",
        "\u{180E}",
        "\u{2800}",
        "\u{FFA0}\u{A0}\u{115F}",
        "\u{301}",
        "\u{FEFF} \u{200D}",
    ];
    let lines = ["a\u{2028}b", "a\u{2029}b", "a\u{85}b", "a\nb"];
    let directions = [
        "\u{200E}",
        "Final \u{202E}4202 tekciT",
        "a\u{61C}",
        "\u{200F}a",
        "a\u{2066}b\u{2069}",
        "\u{202A}a\u{202C}",
    ];
    for title in [&invisible[..], &lines, &directions].concat() {
        seller.list_ticket(title, 20).await.invalid("title");
        seller.edit_ticket(&ticket, title, 20).await.invalid("title");
    }
    assert_eq!(app.guest().ticket(&ticket).await.expect(200)["title"], "Front row");
}

async fn title_with_joiners_between_visible_characters_is_accepted(store: Backend) {
    let app = TestApp::start(store).await;
    let seller = app.user().await;
    for title in [
        "می\u{200C}خواهم",
        "👩\u{200D}👩\u{200D}👧 family ticket",
        "क\u{94D}\u{200D}ष",
        "co\u{AD}operate",
        "❤\u{FE0F}",
    ] {
        assert_eq!(seller.list_ticket(title, 20).await.expect(201)["title"], title);
    }
}

async fn stored_ticket_with_an_invisible_title_can_be_read_sold_and_deleted(store: Backend) {
    let (app, seller, buyer, tickets) =
        with_stored_before(store, &["\u{200B}", "a\u{2028}\u{202E}b", "\u{3164}"]).await;
    let [sold, deleted, edited] = &tickets[..] else { panic!("{tickets:?}") };
    let listed = app.guest().tickets("").await.expect(200);
    assert_eq!(listed.items().len(), 3, "{listed:?}");
    assert_eq!(app.guest().ticket(deleted).await.expect(200)["title"], "a\u{2028}\u{202E}b");
    let order = buyer.locks(sold).await;
    buyer.pay(&order, "pm_card_visa").await.expect(201);
    assert_eq!(app.guest().ticket(sold).await.expect(200)["status"], "Sold");
    seller.delist_ticket(deleted).await.expect(204);
    seller.edit_ticket(edited, "\u{3164}", 20).await.invalid("title");
    assert_eq!(seller.edit_ticket(edited, "Balcony", 20).await.expect(200)["title"], "Balcony");
}

/// Returns the email address of the user whom this `Cookie` header signs in.
async fn signed_in_by(app: &TestApp, cookie: &str) -> Value {
    let client = app.guest();
    client.set_cookie(Some(cookie.to_owned()));
    client.current_user().await.expect(200)["currentUser"]["email"].clone()
}

async fn cookies_of_two_servers_on_one_host_are_separate(store: Backend) {
    let (one, two) = (TestApp::start(store).await, TestApp::start(store).await);
    let (ann, bob) = (one.user().await, two.user().await);
    // Cookies do not depend on ports: a browser sends both cookies to both servers.
    let (cookie, other) = (ann.cookie().expect("signed in"), bob.cookie().expect("signed in"));
    assert!(cookie.starts_with(&format!("gittix_session_{}=", one.server.addr.port())), "{cookie}");
    for both in [format!("{cookie}; {other}"), format!("{other}; {cookie}")] {
        assert_eq!(signed_in_by(&one, &both).await, ann.email.as_str());
        assert_eq!(signed_in_by(&two, &both).await, bob.email.as_str());
    }
    let signed_out = ann.sign_out().await.expect(200);
    let name = cookie.split_once('=').expect("name=value").0;
    assert!(signed_out.header("set-cookie").starts_with(&format!("{name}=;")), "{signed_out:?}");
    assert_eq!(signed_in_by(&two, &format!("{cookie}; {other}")).await, bob.email.as_str());
}

async fn cookie_is_named_by_the_port_of_the_public_origin(store: Backend) {
    for (origin, name) in [
        ("http://tickets.example:8080,https://x.example", "gittix_session_8080"),
        ("http://tickets.example", "gittix_session_80"),
    ] {
        let app = TestApp::start_with(store, &[("GITTIX_PUBLIC_ORIGIN", origin)]).await;
        let user = app.user().await;
        let cookie = user.cookie().expect("signed in");
        assert!(cookie.starts_with(&format!("{name}=")), "{cookie}");
        assert_eq!(
            user.current_user().await.expect(200)["currentUser"]["email"],
            user.email.as_str()
        );
    }
}

/// Returns whether `Cookie` header lines with these bytes sign in a user.
async fn signed_in_by_lines(app: &TestApp, lines: &[&[u8]]) -> bool {
    let mut request =
        format!("GET /api/orders HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", app.server.addr)
            .into_bytes();
    for line in lines {
        request.extend([&b"Cookie: "[..], line, b"\r\n"].concat());
    }
    request.extend(b"\r\n");
    match raw::request(app.server.addr, &request).await {
        (200, _) => true,
        (401, _) => false,
        (status, text) => panic!("{status}: {text}"),
    }
}

async fn session_is_found_among_cookies_of_any_content(store: Backend) {
    let app = TestApp::start(store).await;
    let own = app.user().await.cookie().expect("signed in").into_bytes();
    let foreign: [&[u8]; 7] = [
        "city=Köln".as_bytes(),
        b"city=K\xf6ln",
        b"a=\"x, y\"",
        b"b=\"half",
        b"=;;=",
        b"c={\"d\": [1, 2]}",
        b"\xff\xfe",
    ];
    for other in foreign {
        for line in [[other, b"; ", &own].concat(), [&own, &b"; "[..], other].concat()] {
            assert!(signed_in_by_lines(&app, &[&line]).await, "{}", String::from_utf8_lossy(&line));
        }
        assert!(
            signed_in_by_lines(&app, &[other, &own]).await
                && signed_in_by_lines(&app, &[&own, other]).await,
            "two lines"
        );
        assert!(!signed_in_by_lines(&app, &[other]).await);
    }
}

async fn session_is_found_after_expired_cookies_of_the_same_name(store: Backend) {
    let app = TestApp::start(store).await;
    let user = app.user().await;
    let stale = user.elsewhere().await;
    let (good, ended) = (user.cookie().expect("signed in"), stale.cookie().expect("signed in"));
    stale.sign_out().await.expect(200);
    let name = good.split_once('=').expect("name=value").0;
    let forged = format!("{name}={}", "A".repeat(43));
    assert_eq!(signed_in_by(&app, &format!("{ended}; {good}")).await, user.email.as_str());
    assert_eq!(
        signed_in_by(&app, &format!("{name}=; {name}=\"; {forged}; {good}")).await,
        user.email.as_str()
    );
    assert!(
        signed_in_by_lines(&app, &[ended.as_bytes(), forged.as_bytes(), good.as_bytes()]).await
    );
    // The number of looked-up cookies is bounded.
    let many = vec![forged; 20].join("; ");
    assert_eq!(signed_in_by(&app, &format!("{many}; {good}")).await, Value::Null);
}

async fn sign_out_ends_every_session_that_was_sent(store: Backend) {
    let app = TestApp::start(store).await;
    let here = app.user().await;
    let (mine, other) =
        (here.cookie().expect("signed in"), here.elsewhere().await.cookie().expect("signed in"));
    let kept = here.elsewhere().await;
    here.set_cookie(Some(format!("{mine}; {other}")));
    here.sign_out().await.expect(200);
    for ended in [mine, other] {
        assert_eq!(signed_in_by(&app, &ended).await, Value::Null);
    }
    kept.current_user().await.expect(200)["currentUser"]["id"]
        .as_str()
        .expect("the session that was not sent continues");
}
