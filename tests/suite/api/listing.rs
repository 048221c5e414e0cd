//! `GET /api/tickets`: search, filters, order and pages.

use std::collections::BTreeSet;

use gittix::{clock::wall_clock, domain::UserId};
use serde_json::Value;
use uuid::Uuid;

use crate::app::{Backend, Client, Home, TestApp, on_both_stores, world};

on_both_stores!(
    list_has_the_newest_tickets_first,
    list_is_a_bare_array_of_whole_tickets,
    sold_tickets_are_shown_on_request_only,
    acknowledged_change_is_in_the_list_at_once,
    search_finds_beginnings_of_words_in_any_case_and_order,
    search_finds_titles_in_other_spellings_and_nothing_without_letters,
    search_of_more_than_eight_words_is_refused,
    search_finds_the_first_32_words_of_a_title_only,
    search_of_many_tickets_has_short_pages_that_lead_to_the_only_match,
    seller_filter_finds_the_tickets_of_one_seller,
    price_bounds_are_inclusive,
    list_is_sorted_by_price,
    pages_hold_every_ticket_once,
    pages_sorted_by_price_hold_every_ticket_once,
    pages_stay_consistent_while_tickets_are_added_and_deleted,
    link_keeps_all_parameters,
    invalid_parameter_is_refused_with_its_name,
    unknown_parameter_is_ignored,
);

/// Lists ten tickets of one seller, in this order: `Row 0` for 1 to `Row 9` for 10.
async fn ten_rows(seller: &Client) -> Vec<String> {
    let mut ids = Vec::new();
    for number in 0..10 {
        ids.push(seller.list_ticket(&format!("Row {number}"), number + 1).await.expect(201).id());
    }
    ids
}

/// Returns all pages from `query` on.
async fn pages(client: &Client, query: &str) -> Vec<Vec<String>> {
    let mut pages = Vec::new();
    let mut next = Some(format!("/api/tickets{query}"));
    while let Some(path) = next {
        let page = client.get(&path).await.expect(200);
        next = page.next_page();
        pages.push(page.ids());
        assert!(pages.len() <= 100, "pages without end");
    }
    pages
}

async fn list_has_the_newest_tickets_first(store: Backend) {
    let app = TestApp::start(store).await;
    let mut ids = ten_rows(&app.user().await).await;
    ids.reverse();
    assert_eq!(app.guest().tickets("").await.expect(200).ids(), ids);
    assert_eq!(app.guest().tickets("?sort=newest").await.expect(200).ids(), ids);
}

async fn list_is_a_bare_array_of_whole_tickets(store: Backend) {
    let app = TestApp::start(store).await;
    assert_eq!(app.guest().tickets("").await.expect(200).items(), [] as [Value; 0]);
    let ticket = app.user().await.list_ticket("Front row", 20).await.expect(201);
    assert_eq!(app.guest().tickets("").await.expect(200).items(), [ticket.body]);
}

async fn sold_tickets_are_shown_on_request_only(store: Backend) {
    let app = TestApp::start(store).await;
    let (seller, buyer) = (app.user().await, app.user().await);
    let (free, locked, sold) =
        (seller.sells("Free").await, seller.sells("Locked").await, seller.sells("Sold").await);
    buyer.locks(&locked).await;
    let order = buyer.locks(&sold).await;
    buyer.pay(&order, "pm_card_visa").await.expect(201);
    let found = async |query: &str| app.guest().tickets(query).await.expect(200).ids();
    assert_eq!(found("").await, [locked.clone(), free.clone()]);
    assert_eq!(found("?status=Sold").await, [sold.as_str()]);
    assert_eq!(found("?status=Locked").await, [locked.as_str()]);
    assert_eq!(found("?status=Available,Sold").await, [sold.clone(), free.clone()]);
    assert_eq!(found("?status=Available,Locked,Sold").await, [sold, locked, free]);
}

async fn acknowledged_change_is_in_the_list_at_once(store: Backend) {
    let app = TestApp::start(store).await;
    let (seller, buyer) = (app.user().await, app.user().await);
    for number in 0..10 {
        let ticket = seller.sells(&format!("Row {number}")).await;
        assert_eq!(app.guest().tickets("").await.ids().first(), Some(&ticket));
        let order = buyer.locks(&ticket).await;
        assert_eq!(app.guest().tickets("").await.body[0]["status"], "Locked");
        buyer.cancel_order(&order).await.expect(204);
        assert_eq!(app.guest().tickets("").await.body[0]["status"], "Available");
        seller.edit_ticket(&ticket, "Renamed", 7).await.expect(200);
        assert_eq!(app.guest().tickets("").await.body[0]["title"], "Renamed");
        seller.delist_ticket(&ticket).await.expect(204);
        assert!(!app.guest().tickets("").await.ids().contains(&ticket));
    }
}

async fn search_finds_beginnings_of_words_in_any_case_and_order(store: Backend) {
    let app = TestApp::start(store).await;
    let seller = app.user().await;
    let mut ids = Vec::new();
    for title in ["Café del Mar, front row", "FRONT ROW centre", "Frontier row", "Back row"] {
        ids.push(seller.sells(title).await);
    }
    let found = async |query: &str| app.guest().tickets(query).await.expect(200).ids();
    let ids_of =
        |numbers: &[usize]| numbers.iter().map(|number| ids[*number].clone()).collect::<Vec<_>>();
    assert_eq!(found("?q=front").await, ids_of(&[2, 1, 0]));
    assert_eq!(found("?q=ROW%20Front").await, ids_of(&[2, 1, 0]));
    assert_eq!(found("?q=front%20m").await, ids_of(&[0]));
    assert_eq!(found("?q=CAF%C3%89").await, ids_of(&[0]));
    assert_eq!(
        found("?q=Cafe%CC%81+mar").await,
        ids_of(&[0]),
        "the composed and the decomposed word are the same"
    );
    assert_eq!(found("?q=fron").await, ids_of(&[2, 1, 0]));
    assert_eq!(found("?q=ront").await, ids_of(&[]), "the middle of a word");
    assert_eq!(found("?q=front+back").await, ids_of(&[]), "the title must have each word");
    assert_eq!(found("?q=.*").await, ids_of(&[]), "the text is not a pattern");
}

async fn search_finds_titles_in_other_spellings_and_nothing_without_letters(store: Backend) {
    let app = TestApp::start(store).await;
    let seller = app.user().await;
    let mut ids = Vec::new();
    for title in [
        "\u{130}stanbul Caz",
        "Stra\u{df}enfest",
        "Beyonc\u{e9}",
        "Cup Final",
        "\u{1f3b8} Guitars!!!",
    ] {
        ids.push(seller.sells(title).await);
    }
    let finds = [
        ("istanbul", 0),
        ("%C4%B0STANBUL+caz", 0),
        ("STRASSENFEST", 1),
        ("stra%C3%9Fe", 1),
        ("beyonce", 2),
        ("BEYONC%C3%89", 2),
        ("cup+fin", 3),
        ("%F0%9F%8E%B8+guitar", 4),
    ];
    for (q, number) in finds {
        assert_eq!(
            app.guest().tickets(&format!("?q={q}")).await.expect(200).ids(),
            [ids[number].as_str()],
            "{q}"
        );
    }
    for q in ["!!!", "%F0%9F%8E%B8", "%E2%9A%BD%EF%B8%8F", "-", "%CC%81"] {
        for sort in ["newest", "price"] {
            let answer = app.guest().tickets(&format!("?q={q}&sort={sort}")).await.expect(200);
            assert_eq!((answer.ids(), answer.next_page()), (Vec::new(), None), "{q}");
        }
    }
    assert_eq!(
        app.guest().tickets("?q=").await.expect(200).ids().len(),
        ids.len(),
        "an empty search is no filter"
    );
}

async fn search_of_more_than_eight_words_is_refused(store: Backend) {
    let app = TestApp::start(store).await;
    let ticket = app.user().await.sells("a b c d e f g h i").await;
    assert_eq!(app.guest().tickets("?q=a+b+c+d+e+f+g+h").await.expect(200).ids(), [ticket]);
    for q in ["a+b+c+d+e+f+g+h+i", "a,b,c,d,e,f,g,h,i", "a+a+a+a+a+a+a+a+a"] {
        let answer = app.guest().tickets(&format!("?q={q}")).await;
        assert_eq!(
            (answer.status, &answer.body["errors"][0]["field"]),
            (400, &Value::from("q")),
            "{q}: {}",
            answer.text
        );
    }
}

async fn search_finds_the_first_32_words_of_a_title_only(store: Backend) {
    let app = TestApp::start(store).await;
    let title = (1..=40).map(|number| format!("w{number}")).collect::<Vec<_>>().join(" ");
    let ticket = app.user().await.sells(&title).await;
    assert_eq!(app.guest().tickets("?q=w32+w1").await.expect(200).ids(), [ticket]);
    assert_eq!(app.guest().tickets("?q=w33").await.expect(200).ids(), [] as [String; 0]);
}

async fn search_of_many_tickets_has_short_pages_that_lead_to_the_only_match(store: Backend) {
    let home = Home::new(store);
    let people = world::seed_users(&home, 1).await;
    let ids =
        world::seed_tickets(&home, 6_000, wall_clock(), &[UserId::new(Uuid::now_v7())], |_| {
            "Front row".into()
        })
        .await;
    let (app, people) = TestApp::start_seeded(home, &[], people).await;
    people[0].locks(&ids[0]).await;
    for query in [
        "?status=Locked",
        "?status=Locked&q=fr+r&sort=price",
        "?status=Locked&q=row&sort=-price&limit=1",
    ] {
        let first = app.guest().tickets(query).await.expect(200);
        assert_eq!(
            (first.ids(), first.next_page().is_some()),
            (Vec::new(), true),
            "{query}: all were examined for one page"
        );
        assert_eq!(pages(&app.guest(), query).await.concat(), [ids[0].as_str()], "{query}");
    }
}

async fn seller_filter_finds_the_tickets_of_one_seller(store: Backend) {
    let app = TestApp::start(store).await;
    let (ann, bob) = (app.user().await, app.user().await);
    let (hers, his) = (ann.sells("Hers").await, bob.sells("His").await);
    assert_eq!(ann.tickets("?seller=me").await.expect(200).ids(), [hers]);
    assert_eq!(app.guest().tickets(&format!("?seller={}", bob.id)).await.expect(200).ids(), [his]);
    app.guest().tickets("?seller=me").await.refused(401, "not_signed_in");
}

async fn price_bounds_are_inclusive(store: Backend) {
    let app = TestApp::start(store).await;
    let ids = ten_rows(&app.user().await).await;
    let found = app.guest().tickets("?minPrice=3&maxPrice=5.00&sort=price").await.expect(200).ids();
    assert_eq!(found, ids[2..=4]);
}

async fn list_is_sorted_by_price(store: Backend) {
    let app = TestApp::start(store).await;
    let seller = app.user().await;
    let mut ids = Vec::new();
    for price in [30, 10, 20, 10] {
        ids.push(seller.list_ticket("Row", price).await.expect(201).id());
    }
    // Tickets with the same price are sorted newest first.
    let order = |numbers: [usize; 4]| numbers.map(|number| ids[number].clone());
    assert_eq!(app.guest().tickets("?sort=price").await.expect(200).ids(), order([3, 1, 2, 0]));
    assert_eq!(app.guest().tickets("?sort=-price").await.expect(200).ids(), order([0, 2, 3, 1]));
}

async fn pages_hold_every_ticket_once(store: Backend) {
    let app = TestApp::start(store).await;
    let mut ids = ten_rows(&app.user().await).await;
    ids.reverse();
    let pages = pages(&app.guest(), "?limit=3").await;
    assert_eq!(pages.concat(), ids);
    assert_eq!(pages[..3].iter().map(Vec::len).collect::<Vec<_>>(), [3, 3, 3]);
}

async fn pages_sorted_by_price_hold_every_ticket_once(store: Backend) {
    let app = TestApp::start(store).await;
    let seller = app.user().await;
    let mut ids = BTreeSet::new();
    for number in 0..10 {
        ids.insert(seller.list_ticket("Row", 5 + number % 3).await.expect(201).id());
    }
    for sort in ["price", "-price"] {
        let found = pages(&app.guest(), &format!("?limit=4&sort={sort}")).await.concat();
        assert_eq!(
            (found.len(), found.into_iter().collect::<BTreeSet<_>>()),
            (10, ids.clone()),
            "{sort}"
        );
    }
}

async fn pages_stay_consistent_while_tickets_are_added_and_deleted(store: Backend) {
    let app = TestApp::start(store).await;
    let seller = app.user().await;
    let ids = ten_rows(&seller).await;
    let first = app.guest().tickets("?limit=4").await.expect(200);
    seller.sells("A newer one").await;
    // The last ticket of the first page is deleted. The position of the cursor stays valid.
    seller.delist_ticket(&ids[6]).await.expect(204);
    let rest = app.guest().get(&first.next_page().expect("a next page")).await.expect(200);
    assert_eq!(rest.ids(), [&ids[5], &ids[4], &ids[3], &ids[2]].map(Clone::clone));
}

async fn link_keeps_all_parameters(store: Backend) {
    let app = TestApp::start(store).await;
    let seller = app.user().await;
    ten_rows(&seller).await;
    let first = app.guest().tickets("?limit=2&minPrice=4&q=row&sort=price").await.expect(200);
    let next = first.next_page().expect("a next page");
    let prices: Vec<_> = app
        .guest()
        .get(&next)
        .await
        .expect(200)
        .items()
        .iter()
        .map(|ticket| ticket["price"].as_f64())
        .collect();
    assert_eq!(prices, [Some(6.0), Some(7.0)], "{next}");
}

async fn invalid_parameter_is_refused_with_its_name(store: Backend) {
    let app = TestApp::start(store).await;
    let guest = app.guest();
    let bad = [
        ("limit", "0"),
        ("limit", "1001"),
        ("limit", "-1"),
        ("limit", "ten"),
        ("limit", "1e2"),
        ("limit", ""),
        ("limit", "99999999999999999999"),
        ("status", "available"),
        ("status", "Gone"),
        ("status", "Sold,Gone"),
        ("sort", "oldest"),
        ("seller", "unknown"),
        ("minPrice", "-1"),
        ("minPrice", "NaN"),
        ("maxPrice", "cheap"),
        ("maxPrice", "1.999"),
        ("cursor", "!"),
        ("cursor", "AAAA"),
    ];
    for (name, value) in bad {
        let answer = guest.tickets(&format!("?{name}={value}")).await;
        assert_eq!(
            (answer.status, &answer.body["errors"][0]["field"]),
            (400, &Value::from(name)),
            "{name}={value}: {}",
            answer.text
        );
    }
}

async fn unknown_parameter_is_ignored(store: Backend) {
    let app = TestApp::start(store).await;
    let ids = ten_rows(&app.user().await).await;
    for query in ["?foo=bar", "?limit[$gt]=0", "?Limit=1", "?%24where=sleep(1)"] {
        assert_eq!(
            app.guest().tickets(query).await.expect(200).items().len(),
            ids.len(),
            "{query}"
        );
    }
}
