//! The browser's pages: one shell for all of their addresses, and the files that it loads, embedded into the binary. What
//! the pages show and do lives in `web/`; nothing of it is decided here.
//!
//! The files are served under the hash of all of them together: a browser keeps them for ever, and one that loaded the
//! shell of another version gets that version's answer at least by name, never a mixture from its cache.

use std::{collections::HashMap, fmt::Write, sync::LazyLock};

use actix_web::{
    HttpRequest, HttpResponse,
    http::{
        Method, StatusCode,
        header::{self, HeaderValue},
    },
    web::{Data, Path},
};
use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::{
    Front,
    answer::{Answer, NO_CACHE},
    assets,
    error::{ApiError, Code},
    pages_files::{FILES, SHELL, STYLES},
};
use crate::config::Config;

/// The addresses of pages. `web/app.js` tells them apart; each of them is the shell here.
pub const ADDRESSES: [&str; 9] =
    ["/", "/tickets/new", "/tickets/{id}", "/listings", "/orders", "/orders/{id}", "/signup", "/signin", "/account"];

/// Where the files are.
pub const FILE_ADDRESS: &str = "/assets/{version}/{path:.*}";

const HTML: &str = "text/html; charset=utf-8";
/// Its content never changes under this address (RFC 8246).
const FOR_EVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");

/// One file as it is sent.
#[derive(Debug)]
struct Sent {
    content_type: &'static str,
    body: Bytes,
    tag: String,
}

static SENT: LazyLock<HashMap<&str, Sent>> = LazyLock::new(|| {
    let style = Bytes::from(STYLES.concat());
    let files = FILES.iter().map(|file| (file.path, Bytes::from_static(file.body)));
    files
        .chain([("app.css", style)])
        .map(|(path, body)| (path, Sent { content_type: content_type(path), tag: assets::tag(&body), body }))
        .collect()
});

/// The hash of all files together.
static VERSION: LazyLock<String> = LazyLock::new(|| {
    /// Enough to tell all versions apart.
    const DIGEST_BYTES: usize = 8;
    let mut paths: Vec<_> = SENT.keys().copied().collect();
    paths.sort_unstable();
    let mut all = Sha256::new();
    for path in paths {
        all.update(path);
        all.update(&SENT[path].tag);
    }
    all.finalize()[..DIGEST_BYTES].iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").expect("a text takes what is written to it");
        hex
    })
});

/// The shell, with the addresses of this version's files: all modules are named in it, so that none waits for another.
static RENDERED: LazyLock<Sent> = LazyLock::new(|| {
    // The script for old browsers is no module.
    let modules = FILES.iter().filter(|file| file.path.ends_with(".js") && file.path != "old-browser.js");
    let preloads: Vec<String> =
        modules.map(|file| format!("<link rel=\"modulepreload\" href=\"/assets/{}/{}\">", *VERSION, file.path)).collect();
    let body = Bytes::from(SHELL.replace("{{version}}", &VERSION).replace("{{preloads}}", &preloads.join("\n")));
    Sent { content_type: HTML, tag: assets::tag(&body), body }
});

/// What pages may load: files of ours, and Stripe's own element where a publishable key is set (Stripe's documentation
/// names the hosts). Without it, nothing can turn text into a script either.
pub fn policy(config: &Config) -> HeaderValue {
    const COMMON: &str = "default-src 'none'; style-src 'self'; img-src 'self' data:; manifest-src 'self'; form-action 'self'; \
                          base-uri 'none'; frame-ancestors 'none'";
    const OURS: &str = "script-src 'self'; connect-src 'self'; require-trusted-types-for 'script'; trusted-types 'none'";
    const STRIPE: &str = "script-src 'self' https://js.stripe.com https://*.js.stripe.com; connect-src 'self' https://api.stripe.com; \
                          frame-src https://js.stripe.com https://*.js.stripe.com https://hooks.stripe.com";
    let sources = if config.stripe.publishable_key.is_some() { STRIPE } else { OURS };
    HeaderValue::from_str(&format!("{COMMON}; {sources}")).expect("visible ASCII")
}

/// The shell.
pub async fn shell(req: HttpRequest, front: Data<Front>) -> HttpResponse {
    let page = &*RENDERED;
    let mut answer = assets::serve_bytes(&req, page.body.clone(), page.content_type, &page.tag);
    answer.headers_mut().insert(header::CONTENT_SECURITY_POLICY, front.page_policy.clone());
    assets::isolate(answer.headers_mut(), front.has_stripe_element);
    answer
}

/// One file.
pub async fn file(req: HttpRequest, named: Path<(String, String)>) -> Answer {
    let (version, path) = named.into_inner();
    let file = SENT.get(path.as_str()).ok_or_else(|| ApiError::new(Code::NotFound))?;
    let mut answer = assets::serve_bytes(&req, file.body.clone(), file.content_type, &file.tag);
    // Another version is asked for while replicas of two versions run: what is here is better than nothing, this once.
    let caching = if version == *VERSION { FOR_EVER } else { NO_CACHE };
    answer.headers_mut().insert(header::CACHE_CONTROL, caching);
    Ok(answer)
}

/// What crawlers ask for by its fixed address.
pub async fn robots(req: HttpRequest) -> HttpResponse {
    let file = &SENT["robots.txt"];
    assets::serve_bytes(&req, file.body.clone(), file.content_type, &file.tag)
}

/// The shell as a 404, if it is a person who came to an address of nothing.
pub async fn lost(req: &HttpRequest, front: Data<Front>) -> Option<HttpResponse> {
    let accepts = req.headers().get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let machine = ["/api/", "/assets/", "/docs/"].iter().any(|prefix| req.path().starts_with(prefix));
    if machine || req.method() != Method::GET || !accepts.contains("text/html") {
        return None;
    }
    let mut answer = shell(req.clone(), front).await;
    *answer.status_mut() = StatusCode::NOT_FOUND;
    Some(answer)
}

fn content_type(path: &str) -> &'static str {
    match path.rsplit_once('.').map_or("", |(_, extension)| extension) {
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        "webmanifest" => "application/manifest+json",
        _ => "text/plain; charset=utf-8",
    }
}

#[cfg(test)]
#[path = "pages_tests.rs"]
mod tests;
