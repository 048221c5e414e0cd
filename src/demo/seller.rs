//! Somebody who sells: puts tickets on sale, some at once and the rest over time, and changes a price now and then.

use reqwest::StatusCode;
use serde_json::{Value, json};

use super::{ApiClient, Mood, titles};

/// So many of a hundred tickets are there from the start.
const LISTED_AT_ONCE_PERCENT: u32 = 50;

/// In so many of a hundred moments a seller changes a price instead of listing another ticket.
const EDIT_PERCENT: u32 = 35;

/// What a seller does after all tickets are listed: so many price changes for each of them.
const EDITS_PER_TICKET: u32 = 2;

#[derive(Debug)]
pub(super) struct Seller {
    client: ApiClient,
    mood: Mood,
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
    pub(super) fn new(client: ApiClient, mood: Mood, tickets: u32) -> Self {
        Self { client, mood, tickets, listed: Vec::new() }
    }

    pub(super) async fn live(mut self) {
        if self.client.enter().await.is_none() {
            return;
        }
        let at_once = self.tickets * LISTED_AT_ONCE_PERCENT / 100;
        let mut left = self.tickets;
        while left > 0 {
            if left <= self.tickets - at_once {
                self.mood.think().await;
            }
            if self.mood.happens(EDIT_PERCENT) {
                self.change_a_price().await;
            }
            if !self.list_one().await {
                break;
            }
            left -= 1;
        }
        for _ in 0..self.tickets * EDITS_PER_TICKET {
            self.mood.think().await;
            self.change_a_price().await;
        }
    }

    /// `false`: the seller has as many tickets on sale as they may.
    async fn list_one(&mut self) -> bool {
        let (title, minor) = titles::offer(&mut self.mood);
        let Some(answer) = self.client.post("api/tickets", &json!({ "title": title, "price": price(minor) })).await else { return true };
        if answer.status == StatusCode::CREATED {
            self.client.tally.listed.add();
            self.listed.push(Listed { id: answer.text("id").to_owned(), title, minor });
        } else if answer.code() == "too_many_listings" {
            return false;
        } else {
            self.client.surprised("list a ticket", &answer).unwrap_or_default()
        }
        true
    }

    /// A tenth up or down.
    async fn change_a_price(&mut self) {
        let Some(ticket) = self.mood.one_of(&self.listed).cloned() else { return };
        let minor = if self.mood.happens(50) { ticket.minor * 11 / 10 } else { ticket.minor * 9 / 10 };
        let body = json!({ "title": ticket.title, "price": price(minor) });
        let Some(answer) = self.client.put(&format!("api/tickets/{}", ticket.id), &body).await else { return };
        match (answer.status, answer.code()) {
            (StatusCode::OK, _) => self.client.tally.edited.add(),
            (StatusCode::CONFLICT, "ticket_locked") => self.client.tally.edits_refused.add(),
            (StatusCode::CONFLICT, "ticket_sold") => {
                self.client.tally.edits_refused.add();
                self.listed.retain(|other| other.id != ticket.id);
            }
            _ => self.client.surprised("change a price", &answer).unwrap_or_default(),
        }
    }
}

/// Major units with two decimals, as a text: no float comes between the cents and the wire.
fn price(minor: u32) -> Value {
    Value::String(format!("{}.{:02}", minor / 100, minor % 100))
}
