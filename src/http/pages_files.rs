//! The table of what is embedded of `web/`: a file that is not named here is not served, and a test says so.

/// One file of the pages.
#[derive(Debug)]
pub struct File {
    /// Relative to `web/`.
    pub path: &'static str,
    pub body: &'static [u8],
}

macro_rules! embedded {
    ($($path:literal),* $(,)?) => {
        &[$(File { path: $path, body: include_bytes!(concat!("../../web/", $path)) }),*]
    };
}

/// The document of every page. `{{version}}` and `{{preloads}}` are filled in.
pub const SHELL: &str = include_str!("../../web/index.html");

/// The style sheets in the order in which they build on each other; sent as one file, `app.css`.
pub const STYLES: &[&str] = &[
    include_str!("../../web/styles/tokens.css"),
    include_str!("../../web/styles/base.css"),
    include_str!("../../web/styles/shell.css"),
    include_str!("../../web/styles/controls.css"),
    include_str!("../../web/styles/list.css"),
    include_str!("../../web/styles/pass.css"),
    include_str!("../../web/styles/contrast.css"),
    include_str!("../../web/styles/print.css"),
];

/// All other files.
pub static FILES: &[File] = embedded![
    "app.js",
    "core/clock.js",
    "core/digest.js",
    "core/dom.js",
    "core/drafts.js",
    "core/kept.js",
    "core/router.js",
    "core/topics.js",
    "icon.svg",
    "manifest.webmanifest",
    "net/api.js",
    "net/backoff.js",
    "net/live.js",
    "net/once.js",
    "old-browser.js",
    "pages/account.js",
    "pages/for-sale.js",
    "pages/listings.js",
    "pages/new-ticket.js",
    "pages/not-found.js",
    "pages/order.js",
    "pages/orders.js",
    "pages/sign.js",
    "pages/ticket.js",
    "parts/announcer.js",
    "parts/cancel-order.js",
    "parts/countdown.js",
    "parts/covered.js",
    "parts/form.js",
    "parts/header.js",
    "parts/hold-panel.js",
    "parts/icon.js",
    "parts/keyed-list.js",
    "parts/listing-editor.js",
    "parts/more-button.js",
    "parts/notice.js",
    "parts/payment-panel.js",
    "parts/question.js",
    "parts/search-form.js",
    "parts/sell-tabs.js",
    "parts/session-notice.js",
    "parts/shared-field.js",
    "parts/status.js",
    "parts/stub.js",
    "parts/ticket-fields.js",
    "parts/ticket-row.js",
    "parts/trouble.js",
    "parts/virtual-list.js",
    "pay/sandbox.js",
    "pay/stripe.js",
    "robots.txt",
    "state/arrivals.js",
    "state/fresh.js",
    "state/listing.js",
    "state/live.js",
    "state/session.js",
    "state/settings.js",
    "state/store.js",
    "words/format.js",
    "words/locale.js",
    "words/price.js",
    "words/refusals.js",
    "words/texts.js",
    "words/title.js",
];
