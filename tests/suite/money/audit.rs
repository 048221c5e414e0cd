//! Holds what a store has against what the processor's ledger says: I1 to I8, with the fake's ledger in place of the
//! sandbox's, and what only a ledger with authorizations can tell.

use std::collections::BTreeMap;

use gittix::domain::{Charge, ChargeStatus, Millis, Policy, Version, invariants::LedgerEntry};
use uuid::Uuid;

use crate::{app::world::Found, fake_stripe::FakeStripe};

/// What does not agree, once nothing is in flight. `acknowledged` is what clients were told: document and version.
pub fn violations(found: &mut Found, stripe: &FakeStripe, policy: &Policy, acknowledged: &BTreeMap<Uuid, Version>) -> Vec<String> {
    /// A sweep may be so much behind a lock's time.
    const SWEEP: Millis = Millis::from_secs(1);
    let accounts = stripe.accounts();
    let charge_of = |intent: &String| {
        let named = |charge: &&Charge| charge.stripe_id.as_ref().is_some_and(|id| id.as_str() == intent);
        found.world.charges.iter().find(named)
    };
    let mut wrong = stripe.contradictions();
    let mut entries = Vec::new();
    for (intent, account) in &accounts {
        if account.held() > 0 {
            wrong.push(format!("{intent} still holds {} of somebody's money: {account:?}", account.held()));
        }
        match charge_of(intent) {
            Some(charge) => {
                wrong.extend(disagreement(charge, account));
                let (captured, refunded) = (account.captured, account.refunded);
                entries.push(LedgerEntry { order: charge.order, user: charge.buyer, captured, refunded });
            }
            None if account.kept() > 0 => wrong.push(format!("{intent} kept {} that no charge knows of: {account:?}", account.kept())),
            None => {}
        }
    }
    for charge in found.world.charges.iter().filter(|charge| charge.status == ChargeStatus::Completed) {
        if !charge.stripe_id.as_ref().is_some_and(|id| accounts.contains_key(id.as_str())) {
            wrong.push(format!("{} is Completed, and the ledger has nothing of it", charge.id));
        }
    }
    wrong.extend(
        found.world.charges.iter().filter(|charge| charge.is_open()).map(|charge| format!("{} is open: {:?}", charge.id, charge.step)),
    );
    found.world.payments = entries;
    wrong.extend(found.violations(policy, SWEEP, acknowledged));
    wrong
}

/// How a charge and its account differ.
fn disagreement(charge: &Charge, account: &crate::fake_stripe::Account) -> Option<String> {
    let owed = if charge.status == ChargeStatus::Completed { u64::from(charge.amount.minor()) } else { 0 };
    let told = charge.stripe_refund_id.is_some();
    let same = account.kept() == owed && account.currency == charge.currency.code() && told == (account.refunded > 0);
    (!same).then(|| {
        format!("{} is {:?} over {:?} (refund told of: {told}), the ledger has {account:?}", charge.id, charge.status, charge.amount)
    })
}
