//! Memory budget for the bodies of webhook deliveries, which are read before their sender is
//! authenticated. The memory is bounded in total and for each client address.
//!
//! A share of the announced length is taken before the first byte of the body is read, and returned
//! when the body is dropped. An address that sends slowly, or sends many bodies at once, uses up
//! its own share only.
//!
//! Other bodies need no such budget: they are at most 16 KiB, less than the size to which the read
//! buffer of a connection may grow, and are bounded by the number of connections and the deadline
//! of a body.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
};

use parking_lot::Mutex;

use super::client::ClientAddress;

/// Budget of bytes. Clones share it.
#[derive(Debug, Clone)]
pub struct BodyBudget(Arc<BodyBudgetInner>);

#[derive(Debug)]
struct BodyBudgetInner {
    client_bytes_max: usize,
    total_bytes_max: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    total_bytes: usize,
    client_bytes: HashMap<ClientAddress, usize>,
}

/// Bound that a body exceeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exhausted {
    /// Bytes of one client address.
    ClientAddress,
    /// Bytes of all clients.
    Total,
}

/// Reserved bytes of one body, which are returned on drop.
#[derive(Debug)]
pub struct BodyShare {
    budget: BodyBudget,
    client: ClientAddress,
    bytes: usize,
}

impl BodyBudget {
    pub fn new(client_bytes_max: usize, total_bytes_max: usize) -> Self {
        Self(Arc::new(BodyBudgetInner {
            client_bytes_max,
            total_bytes_max,
            taken: Mutex::default(),
        }))
    }

    /// Reserves `bytes` for a body.
    ///
    /// # Errors
    /// [`Exhausted`] if a bound would be exceeded; then nothing is reserved.
    pub fn take(&self, client: ClientAddress, bytes: usize) -> Result<BodyShare, Exhausted> {
        let mut taken = self.0.taken.lock();
        let client_bytes = taken.client_bytes.get(&client).copied().unwrap_or_default() + bytes;
        if client_bytes > self.0.client_bytes_max {
            return Err(Exhausted::ClientAddress);
        }
        if taken.total_bytes + bytes > self.0.total_bytes_max {
            return Err(Exhausted::Total);
        }
        taken.total_bytes += bytes;
        taken.client_bytes.insert(client, client_bytes);
        Ok(BodyShare { budget: self.clone(), client, bytes })
    }
}

impl Drop for BodyShare {
    fn drop(&mut self) {
        let mut taken = self.budget.0.taken.lock();
        taken.total_bytes -= self.bytes;
        if let Entry::Occupied(mut client_bytes) = taken.client_bytes.entry(self.client) {
            *client_bytes.get_mut() -= self.bytes;
            if *client_bytes.get() == 0 {
                client_bytes.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn client(last: u8) -> ClientAddress {
        let peer = format!("198.51.100.{last}:1").parse().expect("an address");
        ClientAddress::of(Some(peer), TestRequest::get().to_http_request().headers(), &[])
    }

    #[test]
    fn exhausted_share_of_one_client_does_not_affect_others() {
        let budget = BodyBudget::new(100, 1_000);
        let first = budget.take(client(1), 60).expect("room");
        assert_eq!(budget.take(client(1), 41).expect_err("no room"), Exhausted::ClientAddress);
        let rest = budget.take(client(1), 40).expect("room for the last byte");
        budget.take(client(2), 100).expect("another client's share");
        drop(first);
        budget.take(client(1), 60).expect("the returned bytes");
        drop(rest);
        assert!(
            budget.0.taken.lock().client_bytes.is_empty(),
            "clients without a body have no entry"
        );
        assert_eq!(budget.0.taken.lock().total_bytes, 0);
    }

    #[test]
    fn total_is_bounded_for_any_number_of_clients() {
        let budget = BodyBudget::new(100, 250);
        let shares: Vec<_> =
            (1..=2).map(|last| budget.take(client(last), 100).expect("room")).collect();
        assert_eq!(budget.take(client(3), 51).expect_err("no room"), Exhausted::Total);
        budget.take(client(3), 50).expect("room for the last byte");
        drop(shares);
        budget.take(client(3), 100).expect("the returned bytes");
    }
}
