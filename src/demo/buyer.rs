//! A simulated buyer: chooses a ticket, tries to lock it, and then pays, cancels or abandons the
//! order.

use reqwest::StatusCode;
use serde_json::{Value, json};

use super::{ApiClient, Chooser};

/// Chances of the actions after a lock, in percent. Each is drawn separately, in the order of
/// `decide`, and the first that happens is done. In the other cases the buyer pays at once.
const DECLINED_PERCENT: u32 = 14;
const AUTHENTICATED_PERCENT: u32 = 14;
const CANCELLED_PERCENT: u32 = 8;
const ABANDONED_PERCENT: u32 = 6;

/// Maximum number of orders that one buyer abandons at a time: fewer than the default of
/// `GITTIX_MAX_LOCKS`.
const ABANDONED_MAX: usize = 2;

/// Number of tickets at the top of a page from which all buyers choose, so that they compete.
const CHOICES_MAX: usize = 6;

/// Number of consecutive pages without an available ticket after which a buyer finishes, once all
/// tickets were listed.
const EMPTY_PAGES_MAX: u32 = 5;

const PAYING: [&str; 6] = [
    "pm_card_visa",
    "pm_card_mastercard",
    "pm_card_amex",
    "tok_visa",
    "pm_card_discover",
    "pm_card_de",
];
const DECLINING: [&str; 5] = [
    "pm_card_chargeDeclined",
    "pm_card_chargeDeclinedInsufficientFunds",
    "pm_card_chargeDeclinedExpiredCard",
    "pm_card_chargeDeclinedIncorrectCvc",
    "tok_chargeDeclined",
];
const AUTHENTICATING: [&str; 2] =
    ["pm_card_authenticationRequired", "pm_card_threeDSecure2Required"];
const PAGES: [&str; 3] = [
    "api/tickets?status=Available&limit=20",
    "api/tickets?status=Available&limit=20&sort=price",
    "api/tickets?limit=20",
];

#[derive(Debug)]
pub(super) struct Buyer {
    client: ApiClient,
    chooser: Chooser,
    /// Number of tickets that all sellers list together.
    tickets: u32,
    abandoned: Vec<String>,
}

impl Buyer {
    pub(super) fn new(client: ApiClient, chooser: Chooser, tickets: u32) -> Self {
        Self { client, chooser, tickets, abandoned: Vec::new() }
    }

    pub(super) async fn run(mut self) {
        if self.client.sign_in().await.is_none() {
            return;
        }
        let mut empty_pages = 0;
        while empty_pages < EMPTY_PAGES_MAX {
            self.chooser.pause().await;
            self.check_abandoned().await;
            let Some(ticket) = self.choose().await else {
                let all_listed = self.client.tally.listed.get() >= u64::from(self.tickets);
                empty_pages += u32::from(all_listed && self.abandoned.is_empty());
                continue;
            };
            empty_pages = 0;
            if let Some(order) = self.lock(&ticket).await {
                self.chooser.pause().await;
                self.decide(order).await;
            }
        }
    }

    /// Chooses an available ticket near the top of a page.
    async fn choose(&mut self) -> Option<Value> {
        let page = *self.chooser.one_of(&PAGES)?;
        let answer = self.client.get(page).await?;
        let Value::Array(tickets) = &answer.body else {
            return self.client.unexpected("list tickets", &answer);
        };
        let available: Vec<&Value> = tickets
            .iter()
            .filter(|ticket| ticket["status"] == "Available")
            .take(CHOICES_MAX)
            .collect();
        self.chooser.one_of(&available).map(|ticket| (*ticket).clone())
    }

    /// Tries to lock a ticket, and returns the order's id on success.
    async fn lock(&mut self, ticket: &Value) -> Option<String> {
        let body = json!({ "ticketId": ticket["id"], "expectedPrice": ticket["price"] });
        let answer = self.client.post("api/orders", &body).await?;
        match (answer.status, answer.code()) {
            (StatusCode::CREATED, _) => {
                self.client.tally.locked.add();
                Some(answer.text("id").to_owned())
            }
            (StatusCode::CONFLICT, "ticket_locked" | "ticket_sold" | "price_changed")
            | (StatusCode::NOT_FOUND, _) => {
                self.client.tally.lock_attempts_failed.add();
                None
            }
            (StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE, _) => None,
            _ => self.client.unexpected("lock a ticket", &answer),
        }
    }

    async fn decide(&mut self, order: String) {
        let chance =
            [ABANDONED_PERCENT, CANCELLED_PERCENT, DECLINED_PERCENT, AUTHENTICATED_PERCENT];
        let [abandons, cancels, is_declined, authenticates] =
            chance.map(|percent| self.chooser.happens(percent));
        if abandons && self.abandoned.len() < ABANDONED_MAX {
            self.client.tally.abandoned.add();
            self.abandoned.push(order);
        } else if cancels {
            self.cancel(&order).await;
        } else if is_declined {
            self.pay(&order, &DECLINING).await;
            self.chooser.pause().await;
            if self.chooser.happens(70) {
                self.pay(&order, &PAYING).await
            } else {
                self.cancel(&order).await
            }
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
            _ => self.client.unexpected("cancel an order", &answer).unwrap_or_default(),
        }
    }

    /// Pays with one of the tokens, and confirms the payment if 3-D Secure is required.
    async fn pay(&mut self, order: &str, tokens: &[&str]) {
        let Some(token) = self.chooser.one_of(tokens) else { return };
        let Some(mut answer) =
            self.client.post("api/charges", &json!({ "orderId": order, "token": token })).await
        else {
            return;
        };
        if answer.status == StatusCode::ACCEPTED {
            self.client.tally.authenticated.add();
            self.chooser.pause().await;
            let confirm = format!("api/charges/{}/confirm", answer.text("id"));
            let Some(confirmed) = self.client.post(&confirm, &json!({})).await else { return };
            answer = confirmed;
        }
        match (answer.status, answer.code()) {
            (StatusCode::CREATED | StatusCode::OK, _) => self.client.tally.sold.add(),
            (StatusCode::PAYMENT_REQUIRED, _) => self.client.tally.declined.add(),
            (StatusCode::CONFLICT, "order_expired") => self.client.tally.expired.add(),
            (
                StatusCode::ACCEPTED
                | StatusCode::TOO_MANY_REQUESTS
                | StatusCode::SERVICE_UNAVAILABLE,
                _,
            ) => {}
            _ => self.client.unexpected("pay", &answer).unwrap_or_default(),
        }
    }

    /// Checks whether the oldest abandoned order has expired.
    async fn check_abandoned(&mut self) {
        let Some(order) = self.abandoned.first() else { return };
        let Some(answer) = self.client.get(&format!("api/orders/{order}")).await else { return };
        if answer.text("cancelReason") == "expired" {
            self.client.tally.expired.add();
            self.abandoned.remove(0);
        }
    }
}
