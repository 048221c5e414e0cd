//! The files of `web/` that are embedded, as `build.rs` found and joined them.

use std::{collections::HashMap, fmt::Write, sync::LazyLock};

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::http::{
    assets,
    encoded::{Effort, Encoded},
};

/// One file of the pages.
#[derive(Debug)]
struct PageFile {
    /// Relative to `web/`.
    path: &'static str,
    body: &'static [u8],
}

static FILES: &[PageFile] = include!(concat!(env!("OUT_DIR"), "/pages_files.rs"));

/// The document of every page. What stands in double braces is filled in.
pub(super) const SHELL: &str = include_str!("../../../web/index.html");

/// One file as it is sent.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) content_type: &'static str,
    pub(super) body: Encoded,
    pub(super) tag: String,
}

pub(super) static SENT: LazyLock<HashMap<&str, Sent>> = LazyLock::new(|| {
    let sent = |file: &'static PageFile| {
        let body = Encoded::new(Bytes::from_static(file.body), Effort::High);
        Sent { content_type: content_type(file.path), tag: assets::tag(file.body), body }
    };
    FILES.iter().map(|file| (file.path, sent(file))).collect()
});

/// The hash of all files and the shell together: a part of each file's address.
pub(super) static VERSION: LazyLock<String> = LazyLock::new(|| {
    /// Enough to tell all versions apart.
    const DIGEST_BYTES: usize = 8;
    let mut all = Sha256::new();
    all.update(SHELL);
    for PageFile { path, body } in FILES {
        all.update(path);
        all.update(body);
    }
    all.finalize()[..DIGEST_BYTES].iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").expect("a text takes what is written to it");
        hex
    })
});

fn content_type(path: &str) -> &'static str {
    match path.rsplit_once('.').map_or("", |(_, extension)| extension) {
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "ico" => "image/x-icon",
        "webmanifest" => "application/manifest+json",
        _ => "application/octet-stream",
    }
}
