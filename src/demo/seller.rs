//! A simulated seller: lists some tickets at once and the others over time, and changes prices.

use reqwest::StatusCode;
use serde_json::{Value, json};

use super::{ApiClient, Chooser, titles};

/// Percentage of tickets that are listed at once.
const LISTED_AT_ONCE_PERCENT: u32 = 50;

/// Chance of a price change before each listing, in percent.
const EDIT_PERCENT: u32 = 35;

/// Price changes per ticket after all tickets are listed.
const EDITS_PER_TICKET: u32 = 2;

#[derive(Debug)]
pub(super) struct Seller {
    client: ApiClient,
    chooser: Chooser,
    tickets: u32,
    listed: Vec<Listed>,
}

#[derive(Debug, Clone)]
struct Listed {
    id: String,
    title: String,
    minor: u32,
}

impl Seller {
    pub(super) fn new(client: ApiClient, chooser: Chooser, tickets: u32) -> Self {
        Self { client, chooser, tickets, listed: Vec::new() }
    }

    pub(super) async fn run(mut self) {
        if self.client.sign_in().await.is_none() {
            return;
        }
        let at_once = self.tickets * LISTED_AT_ONCE_PERCENT / 100;
        let mut left = self.tickets;
        while left > 0 {
            if left <= self.tickets - at_once {
                self.chooser.pause().await;
            }
            if self.chooser.happens(EDIT_PERCENT) {
                self.change_a_price().await;
            }
            if !self.list_one().await {
                break;
            }
            left -= 1;
        }
        for _ in 0..self.tickets * EDITS_PER_TICKET {
            self.chooser.pause().await;
            self.change_a_price().await;
        }
    }

    /// Lists one ticket. Returns `false` if the seller has the maximum of tickets on sale.
    async fn list_one(&mut self) -> bool {
        let (title, minor) = titles::offer(&mut self.chooser);
        let Some(answer) = self
            .client
            .post("api/tickets", &json!({ "title": title, "price": price(minor) }))
            .await
        else {
            return true;
        };
        if answer.status == StatusCode::CREATED {
            self.client.tally.listed.add();
            self.listed.push(Listed { id: answer.text("id").to_owned(), title, minor });
        } else if answer.code() == "too_many_listings" {
            return false;
        } else {
            self.client.unexpected("list a ticket", &answer).unwrap_or_default()
        }
        true
    }

    /// Sets the price of one ticket to 9/10 or 11/10 of the price at which it was listed.
    async fn change_a_price(&mut self) {
        let Some(ticket) = self.chooser.one_of(&self.listed).cloned() else { return };
        let minor =
            if self.chooser.happens(50) { ticket.minor * 11 / 10 } else { ticket.minor * 9 / 10 };
        let body = json!({ "title": ticket.title, "price": price(minor) });
        let Some(answer) = self.client.put(&format!("api/tickets/{}", ticket.id), &body).await
        else {
            return;
        };
        match (answer.status, answer.code()) {
            (StatusCode::OK, _) => self.client.tally.edited.add(),
            (StatusCode::CONFLICT, "ticket_locked") => self.client.tally.edits_refused.add(),
            (StatusCode::CONFLICT, "ticket_sold") => {
                self.client.tally.edits_refused.add();
                self.listed.retain(|other| other.id != ticket.id);
            }
            _ => self.client.unexpected("change a price", &answer).unwrap_or_default(),
        }
    }
}

/// Returns a price in major units with two decimals, as a text, so that no floating-point number is
/// used.
fn price(minor: u32) -> Value {
    Value::String(format!("{}.{:02}", minor / 100, minor % 100))
}
