//! Pagination: cursors that clients send back, and the `Link` to the next page (RFC 8288).
//!
//! A cursor contains the position at which a page ended, and identifies its list (tickets: a digest
//! of the filters; orders: the scope). A request with other filters refuses it, because the
//! position belongs to another list. A cursor is not secret: a forged one leads to another page of
//! the same accessible list.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};

use super::query::decode;
use crate::{
    catalog::{Position, Query, Sort},
    domain::{Money, OrderId, TicketId},
    store::OrderScope,
};

/// First byte of a cursor: the kind of its list.
const TICKETS: u8 = 1;
const ORDERS: u8 = 2;
/// Length of the digest, enough to distinguish lists. It is not a protection against forgery.
const DIGEST_BYTES: usize = 8;

/// Returns the digest of the list that a query selects. The limit and the position do not count.
fn list_of(query: &Query) -> [u8; DIGEST_BYTES] {
    let Query { statuses, words, seller, min_price, max_price, sort, after: _, limit: _ } = query;
    let sort: u8 = match sort {
        Sort::Newest => 0,
        Sort::Price => 1,
        Sort::PriceDescending => 2,
    };
    let mut statuses: Vec<_> = statuses.iter().map(|status| status.as_str()).collect();
    statuses.sort_unstable();
    statuses.dedup();
    let bound = |price: &Option<Money>| price.map_or(0, Money::minor);
    let seller = seller.map(|seller| seller.to_string()).unwrap_or_default();
    // A search without words finds nothing, so it has no cursors.
    let words = words.as_ref().map(|words| words.join(" ")).unwrap_or_default();
    let text = format!(
        "{sort}|{}|{}|{}|{seller}|{words}",
        statuses.join(","),
        bound(min_price),
        bound(max_price)
    );
    let mut list = [0; DIGEST_BYTES];
    list.copy_from_slice(&Sha256::digest(text.as_bytes())[..DIGEST_BYTES]);
    list
}

/// Returns the cursor of a page of tickets that ended at `position`.
pub fn ticket_cursor(query: &Query, position: Position) -> String {
    let id = position.id.uuid();
    URL_SAFE_NO_PAD.encode(
        [&[TICKETS][..], &list_of(query), &position.price.minor().to_be_bytes(), id.as_bytes()]
            .concat(),
    )
}

/// Returns the position of a cursor; `None` if it is not a cursor of this list.
pub fn ticket_position(query: &Query, cursor: &str) -> Option<Position> {
    let bytes = URL_SAFE_NO_PAD.decode(cursor).ok()?;
    let rest = bytes.strip_prefix(&[TICKETS])?.strip_prefix(&list_of(query))?;
    let (price, id) = rest.split_first_chunk::<4>()?;
    let price = Money::from_minor(u64::from(u32::from_be_bytes(*price))).ok()?;
    Some(Position { price, id: TicketId::new(uuid::Uuid::from_slice(id).ok()?) })
}

/// Returns the cursor of a page of orders that ended with `last`.
pub fn order_cursor(scope: OrderScope, last: OrderId) -> String {
    URL_SAFE_NO_PAD.encode([&[ORDERS, scope_byte(scope)][..], last.uuid().as_bytes()].concat())
}

/// Returns the last order before the next page; `None` if the text is not a cursor of this list.
pub fn order_position(scope: OrderScope, cursor: &str) -> Option<OrderId> {
    let bytes = URL_SAFE_NO_PAD.decode(cursor).ok()?;
    let id = bytes.strip_prefix(&[ORDERS, scope_byte(scope)])?;
    Some(OrderId::new(uuid::Uuid::from_slice(id).ok()?))
}

fn scope_byte(scope: OrderScope) -> u8 {
    match scope {
        OrderScope::Active => 0,
        OrderScope::All => 1,
    }
}

/// Returns the `Link` to the page after `cursor`: the same request with another cursor.
pub fn next_link(path: &str, query: &str, cursor: &str) -> String {
    let mut link = format!("<{path}?");
    for part in query.split('&').filter(|part| !part.is_empty() && !is_cursor(part)) {
        for byte in part.bytes() {
            // The characters of a query (RFC 3986 §3.4), except those that end the target of a
            // link.
            if byte.is_ascii_alphanumeric() || b"-._~%!$'()*+,;=:@/?".contains(&byte) {
                link.push(char::from(byte));
            } else {
                link.push_str(&format!("%{byte:02X}"));
            }
        }
        link.push('&');
    }
    link + "cursor=" + cursor + ">; rel=\"next\""
}

/// Returns whether an encoded part of a query string is the parameter `cursor`.
fn is_cursor(part: &str) -> bool {
    let name = part.split_once('=').map_or(part, |(name, _)| name);
    decode(name).is_some_and(|name| name == "cursor")
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::domain::TicketStatus;

    fn query() -> Query {
        Query {
            statuses: vec![TicketStatus::Available, TicketStatus::Locked],
            words: Some(vec!["jazz".into()]),
            seller: None,
            min_price: None,
            max_price: None,
            sort: Sort::Price,
            after: None,
            limit: 10,
        }
    }

    fn position() -> Position {
        Position { price: Money::MAX, id: TicketId::new(Uuid::from_u128(7)) }
    }

    #[test]
    fn cursor_restores_its_position() {
        let cursor = ticket_cursor(&query(), position());
        assert!(
            cursor.len() <= 64
                && cursor.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'),
            "{cursor}"
        );
        assert_eq!(ticket_position(&query(), &cursor), Some(position()));
        let reordered = Query {
            statuses: vec![TicketStatus::Locked, TicketStatus::Available],
            limit: 3,
            ..query()
        };
        assert_eq!(ticket_position(&reordered, &cursor), Some(position()));
        let order = OrderId::new(Uuid::from_u128(9));
        assert_eq!(
            order_position(OrderScope::All, &order_cursor(OrderScope::All, order)),
            Some(order)
        );
    }

    #[test]
    fn cursor_of_another_list_is_refused() {
        let cursor = ticket_cursor(&query(), position());
        let others = [
            Query { sort: Sort::Newest, ..query() },
            Query { words: None, ..query() },
            Query { words: Some(vec!["jaz".into()]), ..query() },
            Query { statuses: vec![TicketStatus::Sold], ..query() },
            Query { max_price: Some(Money::MAX), ..query() },
            Query { min_price: Some(Money::MAX), ..query() },
        ];
        for other in others {
            assert_eq!(ticket_position(&other, &cursor), None, "{other:?}");
        }
        assert_eq!(order_position(OrderScope::All, &cursor), None);
        assert_eq!(
            order_position(
                OrderScope::All,
                &order_cursor(OrderScope::Active, OrderId::new(Uuid::nil()))
            ),
            None
        );
    }

    #[test]
    fn malformed_cursor_is_refused() {
        let cursor = ticket_cursor(&query(), position());
        for text in [
            "",
            "x",
            "%00",
            "=====",
            &cursor[1..],
            &cursor[..cursor.len() - 2],
            &format!("{cursor}AAAA"),
            "é",
        ] {
            assert_eq!(ticket_position(&query(), text), None, "{text:?}");
        }
    }

    #[test]
    fn link_keeps_every_other_parameter() {
        assert_eq!(
            next_link("/api/tickets", "q=a%20b&cursor=OLD&limit=2&c%75rsor=OLD&x=\"<>", "NEW"),
            "</api/tickets?q=a%20b&limit=2&x=%22%3C%3E&cursor=NEW>; rel=\"next\""
        );
        assert_eq!(next_link("/api/orders", "", "NEW"), "</api/orders?cursor=NEW>; rel=\"next\"");
    }
}
