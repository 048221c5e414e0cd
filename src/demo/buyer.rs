//! Somebody who buys: looks for a ticket, races for it, and pays, or thinks better of it.

use reqwest::StatusCode;
use serde_json::{Value, json};

use super::{ApiClient, Mood};

/// What comes after a lock, in so many of a hundred cases; the rest pays at once.
const DECLINED_PERCENT: u32 = 14;
const AUTHENTICATED_PERCENT: u32 = 14;
const CANCELLED_PERCENT: u32 = 8;
const ABANDONED_PERCENT: u32 = 6;

/// Orders that one buyer leaves alone at a time: fewer than anybody may hold.
const ABANDONED_MAX: usize = 2;

/// Of the tickets on a page, everybody looks at the first ones: so they race.
const LOOKED_AT_MAX: usize = 6;

/// How often an empty shelf is looked at before a buyer goes home, if it was full once.
const EMPTY_LOOKS_MAX: u32 = 5;

const PAYING: [&str; 6] = ["pm_card_visa", "pm_card_mastercard", "pm_card_amex", "tok_visa", "pm_card_discover", "pm_card_de"];
const DECLINING: [&str; 5] = [
    "pm_card_chargeDeclined",
    "pm_card_chargeDeclinedInsufficientFunds",
    "pm_card_chargeDeclinedExpiredCard",
    "pm_card_chargeDeclinedIncorrectCvc",
    "tok_chargeDeclined",
];
const AUTHENTICATING: [&str; 2] = ["pm_card_authenticationRequired", "pm_card_threeDSecure2Required"];
const PAGES: [&str; 3] =
    ["api/tickets?status=Available&limit=20", "api/tickets?status=Available&limit=20&sort=price", "api/tickets?limit=20"];

#[derive(Debug)]
pub(super) struct Buyer {
    client: ApiClient,
    mood: Mood,
    /// How many tickets there will be, all together.
    tickets: u32,
    abandoned: Vec<String>,
}

impl Buyer {
    pub(super) fn new(client: ApiClient, mood: Mood, tickets: u32) -> Self {
        Self { client, mood, tickets, abandoned: Vec::new() }
    }

    pub(super) async fn live(mut self) {
        if self.client.enter().await.is_none() {
            return;
        }
        let mut empty_looks = 0;
        while empty_looks < EMPTY_LOOKS_MAX {
            self.mood.think().await;
            self.look_after_the_abandoned().await;
            let Some(ticket) = self.choose().await else {
                let all_listed = self.client.tally.listed.get() >= u64::from(self.tickets);
                empty_looks += u32::from(all_listed && self.abandoned.is_empty());
                continue;
            };
            empty_looks = 0;
            if let Some(order) = self.lock(&ticket).await {
                self.mood.think().await;
                self.decide(order).await;
            }
        }
    }

    /// A ticket near the top of the list.
    async fn choose(&mut self) -> Option<Value> {
        let page = *self.mood.one_of(&PAGES)?;
        let answer = self.client.get(page).await?;
        let Value::Array(tickets) = &answer.body else { return self.client.surprised("look at the tickets", &answer) };
        let available: Vec<&Value> = tickets.iter().filter(|ticket| ticket["status"] == "Available").take(LOOKED_AT_MAX).collect();
        self.mood.one_of(&available).map(|ticket| (*ticket).clone())
    }

    /// The order's id, if the race was won.
    async fn lock(&mut self, ticket: &Value) -> Option<String> {
        let body = json!({ "ticketId": ticket["id"], "expectedPrice": ticket["price"] });
        let answer = self.client.post("api/orders", &body).await?;
        match (answer.status, answer.code()) {
            (StatusCode::CREATED, _) => {
                self.client.tally.locked.add();
                Some(answer.text("id").to_owned())
            }
            (StatusCode::CONFLICT, "ticket_locked" | "ticket_sold" | "price_changed") | (StatusCode::NOT_FOUND, _) => {
                self.client.tally.lost_races.add();
                None
            }
            (StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE, _) => None,
            _ => self.client.surprised("lock a ticket", &answer),
        }
    }

    async fn decide(&mut self, order: String) {
        let chance = [ABANDONED_PERCENT, CANCELLED_PERCENT, DECLINED_PERCENT, AUTHENTICATED_PERCENT];
        let [abandons, cancels, is_declined, authenticates] = chance.map(|percent| self.mood.happens(percent));
        if abandons && self.abandoned.len() < ABANDONED_MAX {
            self.client.tally.abandoned.add();
            self.abandoned.push(order);
        } else if cancels {
            self.cancel(&order).await;
        } else if is_declined {
            self.pay(&order, &DECLINING).await;
            self.mood.think().await;
            if self.mood.happens(70) { self.pay(&order, &PAYING).await } else { self.cancel(&order).await }
        } else if authenticates {
            self.pay(&order, &AUTHENTICATING).await;
        } else {
            self.pay(&order, &PAYING).await;
        }
    }

    async fn cancel(&mut self, order: &str) {
        let Some(answer) = self.client.delete(&format!("api/orders/{order}")).await else { return };
        match answer.status {
            StatusCode::NO_CONTENT => self.client.tally.cancelled.add(),
            _ => self.client.surprised("cancel an order", &answer).unwrap_or_default(),
        }
    }

    /// With one of these tokens; the buyer acts if they have to.
    async fn pay(&mut self, order: &str, tokens: &[&str]) {
        let Some(token) = self.mood.one_of(tokens) else { return };
        let Some(mut answer) = self.client.post("api/charges", &json!({ "orderId": order, "token": token })).await else { return };
        if answer.status == StatusCode::ACCEPTED {
            self.client.tally.authenticated.add();
            self.mood.think().await;
            let confirm = format!("api/charges/{}/confirm", answer.text("id"));
            let Some(confirmed) = self.client.post(&confirm, &json!({})).await else { return };
            answer = confirmed;
        }
        match (answer.status, answer.code()) {
            (StatusCode::CREATED | StatusCode::OK, _) => self.client.tally.sold.add(),
            (StatusCode::PAYMENT_REQUIRED, _) => self.client.tally.declined.add(),
            (StatusCode::CONFLICT, "order_expired") => self.client.tally.lapsed.add(),
            (StatusCode::ACCEPTED | StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE, _) => {}
            _ => self.client.surprised("pay", &answer).unwrap_or_default(),
        }
    }

    /// Sees whether the order that was left alone first has lapsed.
    async fn look_after_the_abandoned(&mut self) {
        let Some(order) = self.abandoned.first() else { return };
        let Some(answer) = self.client.get(&format!("api/orders/{order}")).await else { return };
        if answer.text("cancelReason") == "expired" {
            self.client.tally.lapsed.add();
            self.abandoned.remove(0);
        }
    }
}
