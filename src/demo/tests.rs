//! Tests of the demo against a small marketplace, which refuses some requests as busy.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, http::Method, rt, web};
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::*;

/// Number of new requests of which one is refused as busy.
const BUSY_EVERY: usize = 5;

#[derive(Debug, Default)]
struct Market {
    people: BTreeSet<String>,
    tickets: Vec<Value>,
    /// The ticket and the status of each order.
    orders: BTreeMap<String, (usize, &'static str)>,
    keys: BTreeMap<String, usize>,
    without_key: usize,
    signed_out: usize,
    declined: u64,
    sold: Vec<usize>,
}

impl Market {
    fn answer(&mut self, request: &HttpRequest, body: &Value) -> HttpResponse {
        let path: Vec<&str> = request.path().trim_matches('/').split('/').collect();
        if path == ["healthz"] {
            return HttpResponse::Ok().finish();
        }
        if request.method() != Method::GET {
            match request.headers().get("Idempotency-Key").and_then(|key| key.to_str().ok()) {
                Some(key) => *self.keys.entry(key.to_owned()).or_default() += 1,
                None => self.without_key += 1,
            }
            let newest = request
                .headers()
                .get("Idempotency-Key")
                .and_then(|key| self.keys.get(key.to_str().ok()?));
            if newest == Some(&1) && self.keys.len().is_multiple_of(BUSY_EVERY) {
                return HttpResponse::ServiceUnavailable()
                    .insert_header(("Retry-After", "0"))
                    .json(json!({ "code": "unavailable" }));
            }
        }
        if path[..2] != ["api", "users"] && request.cookie("session").is_none() {
            self.signed_out += 1;
        }
        match (request.method(), path.as_slice()) {
            (&Method::POST, ["api", "users", "signup"]) => self.sign_in(body, true),
            (&Method::POST, ["api", "users", "signin"]) => self.sign_in(body, false),
            (&Method::GET, ["api", "tickets"]) => HttpResponse::Ok().json(&self.tickets),
            (&Method::POST, ["api", "tickets"]) => {
                let id = self.tickets.len().to_string();
                self.tickets
                    .push(json!({ "id": id, "status": "Available", "price": body["price"] }));
                HttpResponse::Created().json(json!({ "id": id }))
            }
            (&Method::PUT, ["api", "tickets", id]) => self.edit(id, body),
            (&Method::POST, ["api", "orders"]) => self.lock(body),
            (&Method::GET, ["api", "orders", id]) => self.expire(id),
            (&Method::DELETE, ["api", "orders", id]) => {
                self.release(id, HttpResponse::NoContent().finish())
            }
            (&Method::POST, ["api", "charges"]) => self.pay(body),
            (&Method::POST, ["api", "charges", id, "confirm"]) => self.sell(id, true),
            _ => HttpResponse::NotFound().json(json!({ "code": "not_found" })),
        }
    }

    fn sign_in(&mut self, body: &Value, new: bool) -> HttpResponse {
        let fresh = self.people.insert(body["email"].as_str().expect("an email").to_owned());
        if new && !fresh {
            return HttpResponse::Conflict().json(json!({ "code": "email_in_use" }));
        }
        HttpResponse::Created()
            .insert_header(("Set-Cookie", "session=1; Path=/; HttpOnly"))
            .json(json!({ "id": "1" }))
    }

    fn edit(&mut self, id: &str, body: &Value) -> HttpResponse {
        let ticket = &mut self.tickets[id.parse::<usize>().expect("a number")];
        match ticket["status"].as_str() {
            Some("Available") => {
                ticket["price"] = body["price"].clone();
                HttpResponse::Ok().json(ticket)
            }
            Some("Locked") => HttpResponse::Conflict().json(json!({ "code": "ticket_locked" })),
            _ => HttpResponse::Conflict().json(json!({ "code": "ticket_sold" })),
        }
    }

    fn lock(&mut self, body: &Value) -> HttpResponse {
        let number: usize = body["ticketId"].as_str().expect("an id").parse().expect("a number");
        let ticket = &mut self.tickets[number];
        if ticket["status"] != "Available" {
            return HttpResponse::Conflict().json(json!({ "code": "ticket_locked" }));
        }
        if ticket["price"] != body["expectedPrice"] {
            return HttpResponse::Conflict().json(json!({ "code": "price_changed" }));
        }
        ticket["status"] = "Locked".into();
        let id = format!("order-{}", self.orders.len());
        self.orders.insert(id.clone(), (number, "Created"));
        HttpResponse::Created().json(json!({ "id": id }))
    }

    /// Expires an order when it is read.
    fn expire(&mut self, id: &str) -> HttpResponse {
        self.release(id, HttpResponse::Ok().json(json!({ "id": id, "cancelReason": "expired" })))
    }

    fn release(&mut self, id: &str, answer: HttpResponse) -> HttpResponse {
        let (ticket, status) = self.orders.get_mut(id).expect("an order");
        *status = "Cancelled";
        self.tickets[*ticket]["status"] = "Available".into();
        answer
    }

    fn pay(&mut self, body: &Value) -> HttpResponse {
        let token = body["token"].as_str().expect("a token");
        let order = body["orderId"].as_str().expect("an order");
        if token.contains("Declined") {
            self.declined += 1;
            return HttpResponse::PaymentRequired().json(json!({ "code": "card_declined" }));
        }
        if token.contains("equired") {
            return HttpResponse::Accepted().json(json!({ "id": order }));
        }
        self.sell(order, false)
    }

    fn sell(&mut self, order: &str, confirmed: bool) -> HttpResponse {
        let (ticket, status) = self.orders.get_mut(order).expect("an order");
        assert_eq!(*status, "Created", "an order is paid only once");
        *status = "Completed";
        self.tickets[*ticket]["status"] = "Sold".into();
        self.sold.push(*ticket);
        if confirmed { HttpResponse::Ok() } else { HttpResponse::Created() }
            .json(json!({ "id": order }))
    }
}

/// Serves `market` on a free port until the test's runtime ends.
fn serve(market: &Arc<Mutex<Market>>) -> Url {
    let market = Arc::clone(market);
    let server = HttpServer::new(move || {
        let market = Arc::clone(&market);
        App::new().default_service(web::to(move |request: HttpRequest, body: web::Bytes| {
            let answer =
                market.lock().answer(&request, &serde_json::from_slice(&body).unwrap_or_default());
            async { answer }
        }))
    });
    let server = server.workers(1).disable_signals().bind(("127.0.0.1", 0)).expect("a free port");
    let address = server.addrs()[0];
    rt::spawn(server.run());
    Url::parse(&format!("http://{address}")).expect("a URL")
}

fn small(url: Url) -> Demo {
    Demo { url, sellers: 3, tickets: 40, buyers: 6, seconds: 60, pace: 3, seed: 7 }
}

#[actix_web::test]
async fn all_tickets_are_listed_and_sold_once_with_a_busy_server() {
    let market: Arc<Mutex<Market>> = Arc::default();
    let summary = simulate(small(serve(&market))).await.expect("the server answers");
    let market = market.lock();
    assert_eq!(
        (summary.people, summary.listed, summary.sold, summary.unexpected),
        (9, 40, 40, 0),
        "{summary:?}"
    );
    assert_eq!(market.sold.iter().collect::<BTreeSet<_>>().len(), 40);
    assert_eq!(summary.declined, market.declined);
    assert!(summary.locked >= summary.sold && summary.repeated > 0, "{summary:?}");
    assert_eq!((market.without_key, market.signed_out), (0, 0));
    let repeated = market.keys.values().filter(|times| **times == 2).count();
    assert_eq!(
        u64::try_from(repeated),
        Ok(summary.repeated),
        "a request is repeated under its own key"
    );
    assert!(market.keys.values().all(|times| *times <= 2));
}

#[actix_web::test]
async fn same_seed_uses_the_same_accounts() {
    let market: Arc<Mutex<Market>> = Arc::default();
    let url = serve(&market);
    for _ in 0..2 {
        let summary = simulate(small(url.clone())).await.expect("the server answers");
        assert_eq!((summary.people, summary.unexpected), (9, 0));
    }
    assert_eq!(market.lock().people.len(), 9);
}

#[actix_web::test]
async fn demo_ends_when_its_time_is_over() {
    let market: Arc<Mutex<Market>> = Arc::default();
    let demo = Demo { seconds: 1, pace: 60_000, ..small(serve(&market)) };
    let summary = simulate(demo).await.expect("the server answers");
    assert!(summary.listed < 40, "{summary:?}");
}

#[actix_web::test]
async fn demo_without_a_server_returns_an_error() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a free port");
    let unused = Url::parse(&format!("http://{closed}")).expect("a URL");
    let error = simulate(small(unused)).await.expect_err("there is no server");
    assert!(error.to_string().starts_with("there is no server at http://127.0.0.1:"), "{error}");
}

#[test]
fn tickets_are_shared_out_among_the_sellers() {
    assert_eq!((0..3).map(|number| share(10, 3, number)).collect::<Vec<_>>(), [4, 3, 3]);
}
