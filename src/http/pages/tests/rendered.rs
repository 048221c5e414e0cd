//! Tests of the pages that the server renders: the list, a ticket, and what crawlers read.

use super::*;

/// Returns the JSON in the element `script` that begins with `tag`.
fn data_in(html: &str, tag: &str) -> Value {
    let rest = html.split_once(tag).expect("the element is there").1;
    let text = rest
        .split_once('>')
        .expect("a tag ends")
        .1
        .split_once("</script>")
        .expect("an element ends")
        .0;
    serde_json::from_str(text).expect("JSON")
}

#[actix_web::test]
async fn ticket_that_does_not_exist_is_404_with_a_page() {
    let site = Site::open(&[]).await;
    for path in [
        "/tickets/0198c0de-0000-7000-8000-000000000000",
        "/tickets/none",
        "/tickets/%3Cscript%3Ealert(1)",
    ] {
        let answer = site.get(path).await;
        assert_eq!(
            (answer.status(), header_text(&answer, header::CONTENT_TYPE)),
            (StatusCode::NOT_FOUND, HTML.into()),
            "{path}"
        );
        let body = String::from_utf8(read_body(answer).await.to_vec()).expect("UTF-8");
        assert!(
            body.contains("<h1>Page not found</h1>")
                && body.contains("name=\"robots\" content=\"noindex\""),
            "{path}"
        );
        assert!(!body.contains("canonical") && !body.contains("<script>alert"), "{path}");
    }
}

#[actix_web::test]
async fn ticket_page_has_title_price_and_availability() {
    let site = Site::open(&["--public-origin", "https://tickets.example"]).await;
    let ticket = site.list("Café del Mar", 123_450).await;
    let path = format!("/tickets/{}", ticket.id);
    let html = site.text(&path).await;
    let address = format!("https://tickets.example{path}");
    for part in [
        "<title>Café del Mar · GitTix</title>",
        "<meta property=\"og:title\" content=\"Café del Mar\">",
        "<meta property=\"og:type\" content=\"product\">",
        "<meta property=\"og:site_name\" content=\"GitTix\">",
        &format!("<meta property=\"og:url\" content=\"{address}\">"),
        &format!("<link rel=\"canonical\" href=\"{address}\">"),
        "content=\"Café del Mar: a ticket for $1,234.50, available now.",
        "<h1 dir=\"auto\" lang=\"\">Café del Mar</h1>",
        "<p class=\"price\">$1,234.50</p>",
    ] {
        assert!(html.contains(part), "{part}\n{html}");
    }
    let image = html
        .split_once("<meta property=\"og:image\" content=\"https://tickets.example")
        .expect("a picture")
        .1;
    let image = site.get(image.split('"').next().expect("a value ends")).await;
    assert_eq!(
        (image.status(), header_text(&image, header::CONTENT_TYPE)),
        (StatusCode::OK, "image/png".into())
    );
    let data = data_in(&html, "<script type=\"application/ld+json\"");
    assert_eq!(data["@context"], "https://schema.org");
    assert_eq!((&data["name"], &data["url"]), (&"Café del Mar".into(), &address.into()));
    let offer = &data["offers"];
    assert_eq!((&offer["price"], &offer["priceCurrency"]), (&"1234.50".into(), &"USD".into()));
    assert_eq!(offer["availability"], "https://schema.org/InStock");
    site.lock(ticket.id).await;
    let html = site.text(&path).await;
    assert_eq!(
        data_in(&html, "<script type=\"application/ld+json\"")["offers"]["availability"],
        "https://schema.org/OutOfStock"
    );
    assert!(html.contains("status-locked") && !html.contains(">Buy<"));
}

#[actix_web::test]
async fn ticket_that_is_not_in_the_catalog_is_read_from_the_store() {
    let site = Site::open(&[]).await;
    let ticket = site.list("New elsewhere", 2000).await;
    site.forget(&ticket);
    assert!(
        site.text(&format!("/tickets/{}", ticket.id))
            .await
            .contains("<h1 dir=\"auto\" lang=\"\">New elsewhere</h1>")
    );
}

#[actix_web::test]
async fn absolute_addresses_do_not_come_from_the_request() {
    let site = Site::open(&[]).await;
    let request = TestRequest::get().uri("/").append_header((header::HOST, "evil.example"));
    let html =
        String::from_utf8(read_body(site.answer(request).await).await.to_vec()).expect("UTF-8");
    assert!(
        html.contains("<link rel=\"canonical\" href=\"http://127.0.0.1:3000/\">")
            && !html.contains("evil")
    );
}

#[actix_web::test]
async fn list_page_has_tickets_and_a_link_to_the_next_page() {
    let site = Site::open(&["--rate-limit", "off"]).await;
    for n in 0..60 {
        site.list(&format!("Concert {n}"), 2000 + n * 100).await;
    }
    let html = site.text("/?q=concert&sort=price").await;
    assert_eq!(html.matches("<li class=\"row\"").count(), 50);
    assert!(
        html.contains("<span class=\"row-price\">$20</span>")
            && !html.contains("<span class=\"row-price\">$79</span>")
    );
    assert!(
        html.contains("<title>Tickets for “concert” · GitTix</title>")
            && html.contains("value=\"concert\"")
    );
    let next = html
        .split_once("<a class=\"button\" href=\"")
        .expect("a next page")
        .1
        .split('"')
        .next()
        .expect("an address");
    assert!(next.starts_with("/?q=concert&amp;sort=price&amp;cursor="), "{next}");
    let second = site.text(&next.replace("&amp;", "&")).await;
    assert_eq!(second.matches("<li class=\"row\"").count(), 10);
    assert!(
        second.contains("<span class=\"row-price\">$79</span>")
            && !second.contains("id=\"served\"")
    );
    let list = data_in(&html, "<script type=\"application/ld+json\"");
    assert_eq!(
        (&list["@type"], list["itemListElement"].as_array().map(Vec::len)),
        (&"ItemList".into(), Some(50))
    );
}

#[actix_web::test]
async fn data_for_the_script_is_the_response_of_the_api() {
    let site = Site::open(&["--rate-limit", "off"]).await;
    let ticket = site
        .list(
            "</script><script>alert(1)</script><!-- &amp; \u{2028}x"
                .replace('\u{2028}', "")
                .as_str(),
            2000,
        )
        .await;
    for n in 0..60 {
        site.list(&format!("Concert {n}"), 2000).await;
    }
    for path in [
        "/?q=script",
        "/?sort=price&q=Con+cert",
        "/",
        "/?q=a%26b%C3%A9~*",
        &format!("/tickets/{}", ticket.id),
    ] {
        let html = site.text(path).await;
        let tag = "<script type=\"application/json\" id=\"served\"";
        let attributes = html
            .split_once(tag)
            .expect("data")
            .1
            .split('>')
            .next()
            .expect("a tag")
            .replace("&amp;", "&");
        let value = |name: &str| {
            Some(attributes.split_once(&format!("{name}=\""))?.1.split('"').next()?.to_owned())
        };
        let address = value("data-path").expect("a path");
        let answer = site.get(&address).await;
        assert_eq!(answer.status(), StatusCode::OK, "{path}: {address}");
        let link = header_text(&answer, header::LINK);
        // The cursor is last in both; the other parameters are in the order of the request.
        assert_eq!(
            value("data-next").map(|next| format!("<{next}>; rel=\"next\"")).unwrap_or_default(),
            link,
            "{path}"
        );
        let body: Value = serde_json::from_slice(&read_body(answer).await).expect("JSON");
        assert_eq!(data_in(&html, tag), body, "{path}");
        assert!(!html.contains("<script>alert"), "{path}");
    }
}

#[actix_web::test]
async fn list_page_is_304_until_a_ticket_changes() {
    let site = Site::open(&[]).await;
    let tag = header_text(&site.get("/").await, header::ETAG);
    let again = || TestRequest::get().uri("/").append_header((header::IF_NONE_MATCH, tag.clone()));
    assert_eq!(site.answer(again()).await.status(), StatusCode::NOT_MODIFIED);
    site.list("New", 2000).await;
    assert_eq!(site.answer(again()).await.status(), StatusCode::OK);
}

#[actix_web::test]
async fn list_page_with_invalid_filters_shows_an_error() {
    let site = Site::open(&[]).await;
    site.list("Concert", 2000).await;
    for query in ["sort=bogus", "minPrice=x", "cursor=x", "q=1+2+3+4+5+6+7+8+9"] {
        let html = site.text(&format!("/?{query}")).await;
        assert!(
            html.contains("<h2>This search is not possible</h2>")
                && !html.contains("id=\"served\""),
            "{query}"
        );
    }
    assert!(site.text("/?q=nothing").await.contains("<h2>No tickets found</h2>"));
    assert!(site.text("/?q=&sort=newest&x=%FF").await.contains("<li class=\"row\""));
}

#[actix_web::test]
async fn private_pages_are_not_indexed_and_public_ones_are() {
    let site = Site::open(&[]).await;
    let ticket = format!("/tickets/{}", site.list("Concert", 2000).await.id);
    let is_indexed = async |path: &str| {
        !site.text(path).await.contains("<meta name=\"robots\" content=\"noindex\">")
    };
    for path in [
        "/orders",
        "/orders/x",
        "/account",
        "/signin",
        "/signup",
        "/listings",
        "/tickets/new",
        "/?q=concert",
    ] {
        assert!(!is_indexed(path).await, "{path}");
    }
    for path in ["/", &ticket] {
        assert!(is_indexed(path).await, "{path}");
    }
}

#[actix_web::test]
async fn page_of_a_user_preloads_the_requests_of_its_script() {
    let site = Site::open(&[]).await;
    let account =
        serde_json::json!({ "email": "ann@example.com", "password": "correct horse battery" });
    let answer = site.answer(TestRequest::post().uri("/api/users/signup").set_json(account)).await;
    let cookie = header_text(&answer, header::SET_COOKIE);
    let preloads = async |path: &str, cookie: &str| -> Vec<String> {
        let request = TestRequest::get().uri(path).append_header((header::COOKIE, cookie));
        let html =
            String::from_utf8(read_body(site.answer(request).await).await.to_vec()).expect("UTF-8");
        let links = html
            .split("<link rel=\"preload\" as=\"fetch\" crossorigin=\"anonymous\" href=\"")
            .skip(1);
        links.map(|rest| rest.split('"').next().expect("a value ends").to_owned()).collect()
    };
    let id = "0198c0de-0000-7000-8000-000000000000";
    let (order, charges) = (format!("/api/orders/{id}"), format!("/api/orders/{id}/charges"));
    let signed_in = preloads(&format!("/orders/{id}"), &cookie).await;
    assert_eq!(signed_in, [CURRENT_USER, &order, &charges, SETTINGS]);
    assert_eq!(
        preloads("/orders", &cookie).await,
        [CURRENT_USER, "/api/orders", "/api/orders?status=all", SETTINGS]
    );
    assert_eq!(
        preloads(&format!("/orders/{id}"), "").await,
        [CURRENT_USER],
        "the others would be refused"
    );
    assert_eq!(
        preloads("/orders/..%2F..%2Fws", &cookie).await,
        [CURRENT_USER],
        "not the id of an order"
    );
    assert_eq!(preloads("/", &cookie).await, [""; 0], "the list is rendered already");
}

#[actix_web::test]
async fn sitemap_lists_the_tickets_on_sale() {
    let site = Site::open(&["--public-origin", "https://tickets.example"]).await;
    let id = site.list("Concert", 2000).await.id;
    let answer = site.get("/sitemap.xml").await;
    assert_eq!(header_text(&answer, header::CONTENT_TYPE), "application/xml; charset=utf-8");
    let xml = String::from_utf8(read_body(answer).await.to_vec()).expect("UTF-8");
    assert!(xml.contains("<loc>https://tickets.example/</loc>"));
    assert!(xml.contains(&format!("<loc>https://tickets.example/tickets/{id}</loc>")), "{xml}");
}
