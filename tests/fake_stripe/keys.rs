//! Idempotency keys, as Stripe documents them (<https://docs.stripe.com/api/idempotent_requests>): the first answer under a
//! key is kept and replayed, errors included; another request under it is refused, and so is one that comes too early.

use std::collections::HashMap;

use super::reply::Reply;

/// What the keys know of one.
#[derive(Debug, Clone)]
enum Known {
    /// The request is being answered.
    Begun,
    Answered(Reply),
}

/// All keys so far. (Stripe forgets them after a day; no test lasts as long.)
#[derive(Debug, Default)]
pub struct Keys(HashMap<String, (String, Known)>);

/// What to do with a request that has a key.
#[derive(Debug, Clone, PartialEq)]
pub enum Entry {
    Fresh,
    Replay(Reply),
    /// Not to be answered by its endpoint at all.
    Refuse(Reply),
}

impl Keys {
    /// `request` is the path with its parameters: what must be the same.
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

    /// Keeps the answer, or forgets the key if that answer is none to keep.
    pub fn end(&mut self, key: &str, reply: &Reply) {
        if !reply.kept {
            self.0.remove(key);
        } else if let Some((_, known)) = self.0.get_mut(key) {
            *known = Known::Answered(reply.clone());
        }
    }
}
