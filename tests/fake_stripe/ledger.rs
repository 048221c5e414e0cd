//! The ledger: every movement of money, by intent, and a check of its consistency.

use std::collections::BTreeMap;

use serde::Serialize;

/// The kind of a movement of money.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Movement {
    Authorized,
    Captured,
    Voided,
    Refunded,
}

/// One entry, which is never changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Line {
    pub intent: String,
    pub movement: Movement,
    /// The amount in minor units.
    pub amount: u64,
    pub currency: String,
}

/// The sums of one intent's entries, in minor units.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Account {
    pub authorized: u64,
    pub captured: u64,
    pub voided: u64,
    pub refunded: u64,
    pub currency: String,
}

impl Account {
    /// Returns the amount that is held and not captured.
    pub fn held(&self) -> u64 {
        self.authorized.saturating_sub(self.captured + self.voided)
    }

    /// Returns the amount that is captured and not refunded.
    pub fn kept(&self) -> u64 {
        self.captured.saturating_sub(self.refunded)
    }
}

/// All entries in their order.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    pub lines: Vec<Line>,
}

impl Ledger {
    pub fn enter(&mut self, intent: &str, movement: Movement, amount: u64, currency: &str) {
        self.lines.push(Line {
            intent: intent.to_owned(),
            movement,
            amount,
            currency: currency.to_owned(),
        });
    }

    pub fn accounts(&self) -> BTreeMap<String, Account> {
        let mut accounts: BTreeMap<String, Account> = BTreeMap::new();
        for line in &self.lines {
            let account = accounts.entry(line.intent.clone()).or_default();
            account.currency.clone_from(&line.currency);
            *match line.movement {
                Movement::Authorized => &mut account.authorized,
                Movement::Captured => &mut account.captured,
                Movement::Voided => &mut account.voided,
                Movement::Refunded => &mut account.refunded,
            } += line.amount;
        }
        accounts
    }

    /// Returns the contradictions that no processor's ledger may contain: captures above the
    /// authorized amount, refunds above the captured amount.
    pub fn contradictions(&self) -> Vec<String> {
        let wrong = |account: &Account| {
            account.captured + account.voided > account.authorized
                || account.refunded > account.captured
        };
        self.accounts()
            .iter()
            .filter(|(_, account)| wrong(account))
            .map(|(id, account)| format!("{id}: {account:?}"))
            .collect()
    }
}
