//! Memory for request bodies that may be read before it is known who sent them: bounded in all and for each client address.
//!
//! A share is taken for the length that a request announces, before a byte of its body is read, and given back when the
//! body is dropped. So one address that sends slowly, or many bodies at once, uses up its own share only.
//!
//! Other bodies need no such budget: they are at most 16 KiB, less than the connection's own read buffer, and are bounded by
//! the number of connections and the deadline of a body.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
};

use parking_lot::Mutex;

use super::client::ClientAddress;

/// The bytes that are taken. Clones share them.
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

/// Why there is no room for a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exhausted {
    /// The client's own share is used up.
    ClientAddress,
    Total,
}

/// Room for one body, given back when this is dropped.
#[derive(Debug)]
pub struct BodyShare {
    budget: BodyBudget,
    client: ClientAddress,
    bytes: usize,
}

impl BodyBudget {
    pub fn new(client_bytes_max: usize, total_bytes_max: usize) -> Self {
        Self(Arc::new(BodyBudgetInner { client_bytes_max, total_bytes_max, taken: Mutex::default() }))
    }

    /// Takes room for a body of at most `bytes`.
    ///
    /// # Errors
    /// [`Exhausted`]: nothing is taken.
    pub fn take(&self, client: ClientAddress, bytes: usize) -> Result<BodyShare, Exhausted> {
        let mut taken = self.0.taken.lock();
        let of_client = taken.client_bytes.get(&client).copied().unwrap_or_default() + bytes;
        if of_client > self.0.client_bytes_max {
            return Err(Exhausted::ClientAddress);
        }
        if taken.total_bytes + bytes > self.0.total_bytes_max {
            return Err(Exhausted::Total);
        }
        taken.total_bytes += bytes;
        taken.client_bytes.insert(client, of_client);
        Ok(BodyShare { budget: self.clone(), client, bytes })
    }
}

impl Drop for BodyShare {
    fn drop(&mut self) {
        let mut taken = self.budget.0.taken.lock();
        taken.total_bytes -= self.bytes;
        if let Entry::Occupied(mut of_client) = taken.client_bytes.entry(self.client) {
            *of_client.get_mut() -= self.bytes;
            if *of_client.get() == 0 {
                of_client.remove();
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
    fn client_with_its_share_used_up_leaves_room_for_others() {
        let budget = BodyBudget::new(100, 1_000);
        let first = budget.take(client(1), 60).expect("room");
        assert_eq!(budget.take(client(1), 41).expect_err("no room"), Exhausted::ClientAddress);
        let rest = budget.take(client(1), 40).expect("room to the last byte");
        budget.take(client(2), 100).expect("another client's share");
        drop(first);
        budget.take(client(1), 60).expect("the room that was given back");
        drop(rest);
        assert!(budget.0.taken.lock().client_bytes.is_empty(), "nothing is kept of clients without a body");
        assert_eq!(budget.0.taken.lock().total_bytes, 0);
    }

    #[test]
    fn total_is_bounded_however_many_clients_there_are() {
        let budget = BodyBudget::new(100, 250);
        let shares: Vec<_> = (1..=2).map(|last| budget.take(client(last), 100).expect("room")).collect();
        assert_eq!(budget.take(client(3), 51).expect_err("no room"), Exhausted::Total);
        budget.take(client(3), 50).expect("room to the last byte");
        drop(shares);
        budget.take(client(3), 100).expect("the room that was given back");
    }
}
