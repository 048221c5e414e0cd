//! Embedded files of `web/`, which `build.rs` collects and bundles.

use std::{collections::HashMap, sync::LazyLock};

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::http::{
    assets,
    encoded::{Effort, Encoded},
};

/// One embedded file.
#[derive(Debug)]
struct PageFile {
    /// Path relative to `web/`.
    path: &'static str,
    body: &'static [u8],
}

static FILES: &[PageFile] = include!(concat!(env!("OUT_DIR"), "/pages_files.rs"));

/// Template of the document of every page. Names in double braces are fields to fill.
pub(super) const SHELL: &str = include_str!("../../../web/index.html");

/// One file in the form in which it is sent.
#[derive(Debug)]
pub(super) struct ServedFile {
    pub(super) content_type: &'static str,
    pub(super) body: Encoded,
    pub(super) tag: String,
}

pub(super) static SERVED_FILES: LazyLock<HashMap<&str, ServedFile>> = LazyLock::new(|| {
    let served = |file: &'static PageFile| {
        let body = Encoded::new(Bytes::from_static(file.body), Effort::High);
        ServedFile { content_type: content_type(file.path), tag: assets::tag(file.body), body }
    };
    FILES.iter().map(|file| (file.path, served(file))).collect()
});

/// Hash of the template and all files together, which is a part of the address of each file.
pub(super) static VERSION: LazyLock<String> = LazyLock::new(|| {
    /// Enough to distinguish all versions.
    const DIGEST_BYTES: usize = 8;
    let mut all = Sha256::new();
    all.update(SHELL);
    for PageFile { path, body } in FILES {
        all.update(path);
        all.update(body);
    }
    hex::encode(&all.finalize()[..DIGEST_BYTES])
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
