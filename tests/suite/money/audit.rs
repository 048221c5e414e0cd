//! Compares the content of a store with the processor's ledger: the invariants
//! except I6, with the fake's ledger in
//! place of the sandbox's, and the checks that only a ledger with authorizations permits.

use std::collections::BTreeMap;

use gittix::domain::{Charge, ChargeStatus, Millis, Policy, Version, invariants::LedgerEntry};
use uuid::Uuid;

use crate::{app::world::Found, fake_stripe::FakeStripe};

/// Returns the contradictions when no request is in flight. `acknowledged` maps documents to the
/// greatest version that a client received.
pub fn violations(
    found: &mut Found,
    stripe: &FakeStripe,
    policy: &Policy,
    acknowledged: &BTreeMap<Uuid, Version>,
) -> Vec<String> {
    /// Maximum delay of a sweep after a lock's end.
    const SWEEP: Millis = Millis::from_secs(1);
    let accounts = stripe.accounts();
    let charge_of = |intent: &String| {
        let named = |charge: &&Charge| charge.payment().is_some_and(|id| id.as_str() == intent);
        found.world.charges.iter().find(named)
    };
    let mut contradictions = stripe.contradictions();
    let mut entries = Vec::new();
    for (intent, account) in &accounts {
        if account.held() > 0 {
            contradictions.push(format!(
                "{intent} still holds an authorization of {}: {account:?}",
                account.held()
            ));
        }
        match charge_of(intent) {
            Some(charge) => {
                contradictions.extend(disagreement(charge, account));
                let (captured, refunded) = (account.captured, account.refunded);
                entries.push(LedgerEntry {
                    order: charge.order,
                    user: charge.buyer,
                    captured,
                    refunded,
                });
            }
            None if account.kept() > 0 => contradictions
                .push(format!("{intent} kept {} without a charge: {account:?}", account.kept())),
            None => {}
        }
    }
    for charge in
        found.world.charges.iter().filter(|charge| charge.status() == ChargeStatus::Completed)
    {
        if !charge.payment().is_some_and(|id| accounts.contains_key(id.as_str())) {
            contradictions.push(format!("{} is Completed, but is not in the ledger", charge.id));
        }
    }
    contradictions.extend(
        found
            .world
            .charges
            .iter()
            .filter(|charge| charge.is_open())
            .map(|charge| format!("{} is open: {:?}", charge.id, charge.state)),
    );
    found.world.payments = entries;
    contradictions.extend(found.violations(policy, SWEEP, acknowledged));
    contradictions
}

/// Returns the difference between a charge and its account.
fn disagreement(charge: &Charge, account: &crate::fake_stripe::Account) -> Option<String> {
    let owed = if charge.status() == ChargeStatus::Completed {
        u64::from(charge.amount.minor())
    } else {
        0
    };
    let has_refund_id = charge.refund().is_some();
    let same = account.kept() == owed
        && account.currency == charge.currency.code()
        && has_refund_id == (account.refunded > 0);
    (!same).then(|| {
        format!(
            "{} is {:?} over {:?} (refund recorded: {has_refund_id}), the ledger has {account:?}",
            charge.id, charge.state, charge.amount
        )
    })
}
