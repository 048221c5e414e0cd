//! The table of index rows, one for each ticket. The indexes refer to a ticket by the number of its
//! row.
//!
//! A search reads rows instead of tickets: a row takes half a cache line, a ticket takes three in
//! four places.

use super::words::{SearchWords, Signature};
use crate::domain::{Money, TicketId};

/// The number of a row. Numbers are reused, and are not in the order of ids.
pub(super) type Slot = u32;

/// Number of rows in a chunk, whose texts share one allocation. The rows of a chunk take 2 KiB, 32
/// bytes each.
const CHUNK_ROWS: usize = 64;

#[derive(Debug, Clone, Copy)]
pub(super) struct Row {
    pub(super) id: TicketId,
    pub(super) signature: Signature,
    pub(super) price: Money,
    /// End of the row's text in the text of the chunk.
    text_end: u32,
}

#[derive(Debug, Default)]
struct Chunk {
    rows: Vec<Row>,
    /// The texts of all rows, one after another.
    text: String,
}

/// The rows of all tickets in the index.
#[derive(Debug, Default)]
pub(super) struct Rows {
    chunks: Vec<Chunk>,
    free: Vec<Slot>,
}

impl Rows {
    pub(super) fn row(&self, slot: Slot) -> &Row {
        let (chunk, at) = chunk_and_offset(slot);
        &self.chunks[chunk].rows[at]
    }

    pub(super) fn id(&self, slot: Slot) -> TicketId {
        self.row(slot).id
    }

    /// Returns the title's words, as in [`SearchWords::text`].
    pub(super) fn text(&self, slot: Slot) -> &str {
        let (chunk, at) = chunk_and_offset(slot);
        self.chunks[chunk].text_of(at)
    }

    /// Fills a free row, or a new one, and returns its number.
    pub(super) fn insert(&mut self, id: TicketId, price: Money, words: &SearchWords) -> Slot {
        let slot = self.free.pop().unwrap_or_else(|| self.append(id, price));
        let (chunk, at) = chunk_and_offset(slot);
        let chunk = &mut self.chunks[chunk];
        chunk.rows[at] = Row { id, signature: words.signature, price, ..chunk.rows[at] };
        chunk.set_text(at, &words.text);
        slot
    }

    /// Frees a row.
    pub(super) fn remove(&mut self, slot: Slot) {
        let (chunk, at) = chunk_and_offset(slot);
        self.chunks[chunk].set_text(at, "");
        self.free.push(slot);
    }

    fn append(&mut self, id: TicketId, price: Money) -> Slot {
        if self.chunks.last().is_none_or(|chunk| chunk.rows.len() == CHUNK_ROWS) {
            self.chunks.push(Chunk { rows: Vec::with_capacity(CHUNK_ROWS), text: String::new() });
        }
        let before = self.chunks.len() - 1;
        let chunk = &mut self.chunks[before];
        let text_end = chunk.rows.last().map_or(0, |row| row.text_end);
        chunk.rows.push(Row { id, signature: Signature::default(), price, text_end });
        Slot::try_from(before * CHUNK_ROWS + chunk.rows.len() - 1)
            .expect("more rows than u32 numbers do not fit in memory")
    }
}

fn chunk_and_offset(slot: Slot) -> (usize, usize) {
    let slot = slot as usize;
    (slot / CHUNK_ROWS, slot % CHUNK_ROWS)
}

impl Chunk {
    fn text_start(&self, at: usize) -> usize {
        at.checked_sub(1).map_or(0, |before| self.rows[before].text_end as usize)
    }

    fn text_of(&self, at: usize) -> &str {
        &self.text[self.text_start(at)..self.rows[at].text_end as usize]
    }

    fn set_text(&mut self, at: usize, text: &str) {
        let (start, end) = (self.text_start(at), self.rows[at].text_end as usize);
        let len = self.text.len() + text.len() - (end - start);
        if len > self.text.capacity() {
            // The text grows by an eighth, not to the double as the standard library does: there
            // are many chunks, and most are filled once.
            self.text.reserve_exact(len - self.text.len() + len / 8);
        }
        self.text.replace_range(start..end, text);
        for row in &mut self.rows[at..] {
            let moved = row.text_end as usize + text.len() - (end - start);
            row.text_end = u32::try_from(moved).expect("the text of 64 titles is less than 4 GiB");
        }
        if at + 1 == CHUNK_ROWS {
            self.text.shrink_to_fit();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn rows_return_the_inserted_values(changes in proptest::collection::vec((0usize..300, "[a-c ]{0,12}"), 1..400)) {
            let (mut rows, mut model, mut slots) = (Rows::default(), BTreeMap::new(), Vec::new());
            for (number, (choice, title)) in changes.into_iter().enumerate() {
                if choice < 80 && !slots.is_empty() {
                    let slot = slots.swap_remove(choice % slots.len());
                    rows.remove(slot);
                    model.remove(&slot);
                } else {
                    let id = TicketId::new(Uuid::from_u128(number as u128));
                    let words = SearchWords::of(&title);
                    let slot = rows.insert(id, Money::MIN, &words);
                    prop_assert!(model.insert(slot, (id, words)).is_none(), "a row in use was returned as free");
                    slots.push(slot);
                }
            }
            for (slot, (id, words)) in &model {
                prop_assert_eq!((rows.id(*slot), rows.row(*slot).signature), (*id, words.signature));
                prop_assert_eq!(rows.text(*slot), words.text.as_str());
            }
        }
    }
}
