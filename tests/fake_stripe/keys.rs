//! Idempotency keys as documented by Stripe (<https://docs.stripe.com/api/idempotent_requests>):
//! the first answer under a key is stored and replayed, errors included. Another request with the
//! same key is refused, and so is a request during the execution of the first.

use std::collections::HashMap;

use super::reply::Reply;

/// The state of one key.
#[derive(Debug, Clone)]
enum Known {
    /// The request is being executed.
    Begun,
    Answered(Reply),
}

/// All keys so far. Stripe deletes keys after a day, which is longer than any test.
#[derive(Debug, Default)]
pub struct Keys(HashMap<String, (String, Known)>);

/// The decision about a request with a key.
#[derive(Debug, Clone, PartialEq)]
pub enum Entry {
    Fresh,
    Replay(Reply),
    /// The request is answered without its endpoint.
    Refuse(Reply),
}

impl Keys {
    /// Begins a request. `request` is the path with its parameters, which must be the same for each
    /// use of the key.
    pub fn begin(&mut self, key: &str, request: &str) -> Entry {
        match self.0.get(key) {
            None => {
                self.0.insert(key.to_owned(), (request.to_owned(), Known::Begun));
                Entry::Fresh
            }
            Some((first, _)) if first != request => Entry::Refuse(Reply::key_reused()),
            Some((_, Known::Begun)) => Entry::Refuse(Reply::key_in_use()),
            Some((_, Known::Answered(reply))) => Entry::Replay(reply.clone()),
        }
    }

    /// Stores the answer, or deletes the key if the answer is not one that Stripe stores.
    pub fn end(&mut self, key: &str, reply: &Reply) {
        if !reply.kept {
            self.0.remove(key);
        } else if let Some((_, known)) = self.0.get_mut(key) {
            *known = Known::Answered(reply.clone());
        }
    }
}
