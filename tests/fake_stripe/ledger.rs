//! The ledger: every movement of money, by intent, and what is right in itself.

use std::collections::BTreeMap;

use serde::Serialize;

/// What happened to money.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Movement {
    Authorized,
    Captured,
    Voided,
    Refunded,
}

/// One line, never changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Line {
    pub intent: String,
    pub movement: Movement,
    /// In minor units.
    pub amount: u64,
    pub currency: String,
}

/// What the lines of one intent come to, in minor units.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Account {
    pub authorized: u64,
    pub captured: u64,
    pub voided: u64,
    pub refunded: u64,
    pub currency: String,
}

impl Account {
    /// Held on the buyer's card and not yet taken.
    pub fn held(&self) -> u64 {
        self.authorized.saturating_sub(self.captured + self.voided)
    }

    /// Taken and not given back.
    pub fn kept(&self) -> u64 {
        self.captured.saturating_sub(self.refunded)
    }
}

/// All lines in their order.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    pub lines: Vec<Line>,
}

impl Ledger {
    pub fn enter(&mut self, intent: &str, movement: Movement, amount: u64, currency: &str) {
        self.lines.push(Line { intent: intent.to_owned(), movement, amount, currency: currency.to_owned() });
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

    /// What no processor's ledger may hold: more taken than was held, more given back than was taken.
    pub fn contradictions(&self) -> Vec<String> {
        let wrong = |account: &Account| account.captured + account.voided > account.authorized || account.refunded > account.captured;
        self.accounts().iter().filter(|(_, account)| wrong(account)).map(|(id, account)| format!("{id}: {account:?}")).collect()
    }
}
