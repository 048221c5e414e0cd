//! Texts of pages that the server renders. The scripts have their texts in `web/`; a text that both
//! show must be the same.

use crate::domain::{Currency, Money, TicketStatus};

pub(super) const SITE: &str = "GitTix";
pub(super) const PREVIEW_IMAGE: &str = "GitTix: buy and sell tickets, live";
pub(super) const SITE_DESCRIPTION: &str = "Buy and sell tickets for concerts, games and shows. See live which tickets are available, locked or sold.";

pub(super) const TICKETS_FOR_SALE: &str = "Tickets for sale";
pub(super) const TICKET: &str = "Ticket";
pub(super) const NEW_TICKET: &str = "Create a ticket";
pub(super) const MY_LISTINGS: &str = "My listings";
pub(super) const MY_ORDERS: &str = "My orders";
pub(super) const ORDER: &str = "Order";
pub(super) const SIGN_UP: &str = "Sign up";
pub(super) const SIGN_IN: &str = "Sign in";
pub(super) const ACCOUNT: &str = "Account";
pub(super) const FORGOT: &str = "Forgot your password?";
pub(super) const RESET: &str = "Set a new password";
pub(super) const VERIFY: &str = "Confirm your email address";

pub(super) const SEARCH_LABEL: &str = "Search tickets";
pub(super) const SEARCH: &str = "Search";
pub(super) const SORT_LABEL: &str = "Sort by";
pub(super) const SORTS: [(&str, &str); 3] = [
    ("newest", "Newest first"),
    ("price", "Lowest price first"),
    ("-price", "Highest price first"),
];
pub(super) const FILTERS: &str = "Filters";
/// Filters of an address for which the search form has no field.
pub(super) const OTHER_FILTERS: [&str; 3] = ["minPrice", "maxPrice", "seller"];
pub(super) const ONE_SELLER: &str = "Tickets from one seller";
pub(super) const LIST_LABEL: &str = "Tickets";
pub(super) const MORE_TICKETS: &str = "Show more tickets";
pub(super) const ALL_TICKETS: &str = "Show all tickets";
pub(super) const NOTHING_LISTED: &str = "No tickets for sale yet";
pub(super) const NOTHING_FOUND: &str = "No tickets found";
pub(super) const SEARCH_NOT_VALID: &str = "This search is not possible";
pub(super) const LIST_ENDS: &str = "These are all the tickets for sale right now.";

pub(super) const BUY: &str = "Buy";
pub(super) const BUYING_NEEDS_JAVASCRIPT: &str =
    "To buy this ticket, turn on JavaScript in your browser and reload the page.";
pub(super) const PAGE_NEEDS_JAVASCRIPT: &str =
    "This page needs JavaScript. Turn it on in your browser and reload the page.";

pub(super) const NOT_FOUND: &str = "Page not found";
pub(super) const NOT_FOUND_MORE: &str = "It may have been removed, or the address may be wrong.";
pub(super) const SEE_TICKETS: &str = "See tickets for sale";

/// Returns the title of the browser window or tab.
pub(super) fn window_title(title: &str) -> String {
    format!("{title} · {SITE}")
}

/// Returns the label of one of [`OTHER_FILTERS`].
pub(super) fn filter(name: &str, value: &str) -> String {
    match name {
        "minPrice" => format!("Price from {value}"),
        "maxPrice" => format!("Price up to {value}"),
        _ => ONE_SELLER.to_owned(),
    }
}

pub(super) fn remove_filter(label: &str) -> String {
    format!("Remove filter: {label}")
}

pub(super) fn status(status: TicketStatus) -> &'static str {
    match status {
        TicketStatus::Available => "Available",
        TicketStatus::Locked => "Locked",
        TicketStatus::Sold => "Sold",
    }
}

pub(super) fn ticket_description(title: &str, price: Money, sale: TicketStatus) -> String {
    let now = match sale {
        TicketStatus::Available => "available now",
        TicketStatus::Locked => "reserved for another buyer",
        TicketStatus::Sold => "sold",
    };
    format!("{title}: a ticket for {}, {now}. Buy and sell tickets on {SITE}.", money(price))
}

/// Returns the ISO 4217 code in upper case, as schema.org requires.
pub(super) fn currency(currency: Currency) -> &'static str {
    match currency {
        Currency::Usd => "USD",
    }
}

/// Returns a price as the scripts format it in English: whole amounts without decimals.
pub(super) fn money(price: Money) -> String {
    let (whole, cents) = (price.minor() / 100, price.minor() % 100);
    let grouped = if whole >= 1000 {
        format!("{},{:03}", whole / 1000, whole % 1000)
    } else {
        whole.to_string()
    };
    if cents == 0 { format!("${grouped}") } else { format!("${grouped}.{cents:02}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The visible page must not change when the script starts.
    #[test]
    fn texts_shared_with_the_script_are_the_same() {
        let script = include_str!("../../../web/words/texts.js");
        let sorts = SORTS.map(|(_, label)| label);
        let screens = [
            TICKETS_FOR_SALE,
            TICKET,
            NEW_TICKET,
            MY_LISTINGS,
            MY_ORDERS,
            ORDER,
            SIGN_UP,
            SIGN_IN,
            ACCOUNT,
            NOT_FOUND,
        ];
        let templates = [
            filter("minPrice", "${price}"),
            filter("maxPrice", "${price}"),
            remove_filter("${filter}"),
        ];
        for text in templates {
            assert!(script.contains(&format!("`{text}`")), "{text}");
        }
        let list = [
            FILTERS,
            ONE_SELLER,
            SEARCH_LABEL,
            SEARCH,
            SORT_LABEL,
            LIST_LABEL,
            MORE_TICKETS,
            ALL_TICKETS,
            NOTHING_LISTED,
            LIST_ENDS,
        ];
        let others = [
            BUY,
            NOT_FOUND_MORE,
            SEE_TICKETS,
            status(TicketStatus::Available),
            status(TicketStatus::Locked),
            status(TicketStatus::Sold),
        ];
        for text in sorts.iter().chain(&screens).chain(&list).chain(&others) {
            assert!(script.contains(&format!("\"{text}\"")), "{text}");
        }
    }

    #[test]
    fn price_has_digit_groups_and_no_zero_decimals() {
        for (minor, expected) in [
            (50, "$0.50"),
            (2000, "$20"),
            (1999, "$19.99"),
            (100_000, "$1,000"),
            (100_105, "$1,001.05"),
            (99_999_999, "$999,999.99"),
        ] {
            assert_eq!(money(Money::from_minor(minor).expect("in range")), expected);
        }
    }
}
