//! Content that is sent many times and compressed once for each encoding.
//!
//! The content must not contain a secret. In content with a secret and with text chosen by an
//! attacker, the length of the compressed form would reveal the secret (BREACH).

use std::{io::Write, sync::OnceLock};

use actix_web::{
    HttpRequest, HttpResponse, HttpResponseBuilder,
    http::header::{self, AcceptEncoding, ContentEncoding, Encoding, Header, HeaderValue},
};
use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};

use crate::http::etag;

/// Minimum length of content that is compressed, in bytes. Compression of shorter content does not
/// save packets.
const COMPRESSED_BYTES_MIN: usize = 860;

/// Maximum length of changing content for which brotli is preferred, in bytes. For longer content
/// gzip takes a fifth of the time and produces a fifth more bytes: 1 ms instead of 5 for 300 KiB.
const BROTLI_BYTES_MAX: usize = 64 * 1024;

/// `Vary` of every response whose encoding depends on the request.
pub const VARY: HeaderValue = HeaderValue::from_static("accept-encoding");

/// Time that compression may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effort {
    /// About 5 µs for each KiB: for content that changes often.
    Low,
    /// For content that does not change while the process runs.
    High,
}

/// Content with its compressed forms, each created at its first use.
#[derive(Debug)]
pub struct Encoded {
    plain: Bytes,
    effort: Effort,
    brotli: OnceLock<Bytes>,
    gzip: OnceLock<Bytes>,
}

impl Encoded {
    pub fn new(plain: Bytes, effort: Effort) -> Self {
        Self { plain, effort, brotli: OnceLock::new(), gzip: OnceLock::new() }
    }

    /// Returns the content without compression.
    pub fn plain(&self) -> &Bytes {
        &self.plain
    }

    /// Completes a response with the content in the encoding that the request prefers.
    pub fn send(&self, req: &HttpRequest, response: &mut HttpResponseBuilder) -> HttpResponse {
        let (body, encoding) = self.for_request(req);
        response.insert_header((header::VARY, VARY));
        if let Some(encoding) = encoding {
            response.insert_header((header::CONTENT_ENCODING, encoding));
        }
        response.body(body)
    }

    /// Returns the response with the content, or 304 if the request has the entity tag `tag`.
    pub fn response(
        &self,
        req: &HttpRequest,
        tag: &str,
        content_type: &str,
        caching: HeaderValue,
    ) -> HttpResponse {
        let is_known = etag::if_none_match(req.headers(), tag);
        let mut response = if is_known { HttpResponse::NotModified() } else { HttpResponse::Ok() };
        response.insert_header((header::ETAG, tag)).insert_header((header::CACHE_CONTROL, caching));
        if is_known {
            return response.insert_header((header::VARY, VARY)).finish();
        }
        self.send(req, response.insert_header((header::CONTENT_TYPE, content_type)))
    }

    /// Compresses the content now, in the encoding of most clients. Blocks the caller.
    pub fn prepare(&self) {
        let is_long = self.effort == Effort::Low && self.plain.len() > BROTLI_BYTES_MAX;
        if is_long {
            self.gzip.get_or_init(|| gzip(&self.plain, self.effort));
        } else {
            self.brotli.get_or_init(|| brotli(&self.plain, self.effort));
        }
    }

    /// Returns the content in the encoding that the request prefers, with the value of
    /// `Content-Encoding` if it is compressed. Concurrent requests wait for one compression.
    pub fn for_request(&self, req: &HttpRequest) -> (Bytes, Option<HeaderValue>) {
        let len = self.plain.len();
        if len < COMPRESSED_BYTES_MIN {
            return (self.plain.clone(), None);
        }
        match preferred(req, self.effort == Effort::Low && len > BROTLI_BYTES_MAX) {
            Some(ContentEncoding::Brotli) => (
                self.brotli.get_or_init(|| brotli(&self.plain, self.effort)).clone(),
                Some(HeaderValue::from_static("br")),
            ),
            Some(ContentEncoding::Gzip) => (
                self.gzip.get_or_init(|| gzip(&self.plain, self.effort)).clone(),
                Some(HeaderValue::from_static("gzip")),
            ),
            _ => (self.plain.clone(), None),
        }
    }
}

/// Returns the supported encoding that the request prefers. With `is_fast`, gzip comes before
/// brotli if the request accepts both. `None`: the request accepts none, or its header is invalid.
fn preferred(req: &HttpRequest, is_fast: bool) -> Option<ContentEncoding> {
    const SUPPORTED: [Encoding; 3] = [Encoding::brotli(), Encoding::gzip(), Encoding::identity()];
    if !req.headers().contains_key(header::ACCEPT_ENCODING) {
        return None;
    }
    let accepted = AcceptEncoding::parse(req).ok()?;
    let among = |encodings: &[Encoding]| accepted.negotiate(encodings.iter());
    let gzip = if is_fast {
        among(&SUPPORTED[1..]).filter(|encoding| *encoding == Encoding::gzip())
    } else {
        None
    };
    match gzip.or_else(|| among(&SUPPORTED))? {
        Encoding::Known(encoding) => Some(encoding),
        Encoding::Unknown(_) => None,
    }
}

fn brotli(plain: &[u8], effort: Effort) -> Bytes {
    // The second number is the logarithm of the window's size. The allocation of a large window is
    // slow: with 22 instead of 18, 16 KiB take 450 µs instead of 70.
    let (quality, lgwin) = match effort {
        Effort::Low => (2, 18),
        Effort::High => (9, 22),
    };
    let params = brotli::enc::BrotliEncoderParams {
        quality,
        lgwin,
        size_hint: plain.len(),
        ..Default::default()
    };
    let mut compressed = Vec::with_capacity(plain.len() / 2);
    brotli::BrotliCompress(&mut &*plain, &mut compressed, &params)
        .expect("reading and writing memory does not fail");
    compressed.into()
}

fn gzip(plain: &[u8], effort: Effort) -> Bytes {
    let level = match effort {
        Effort::Low => Compression::fast(),
        Effort::High => Compression::best(),
    };
    let mut encoder = GzEncoder::new(Vec::with_capacity(plain.len() / 2), level);
    encoder
        .write_all(plain)
        .and_then(|()| encoder.finish())
        .expect("writing to memory does not fail")
        .into()
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn content_is_compressed_once_for_each_encoding() {
        let content = Encoded::new(Bytes::from(vec![b'x'; 10_000]), Effort::Low);
        let pointer = |accepted: &str| {
            let request = TestRequest::get()
                .insert_header((header::ACCEPT_ENCODING, accepted))
                .to_http_request();
            content.for_request(&request).0.as_ptr()
        };
        assert_eq!(pointer("br"), pointer("gzip, br"));
        assert_eq!(pointer("gzip"), pointer("gzip"));
        assert_eq!(pointer("identity"), content.plain().as_ptr());
    }

    #[test]
    fn long_changing_content_is_sent_as_gzip_if_accepted() {
        let encoding = |effort, accepted: &str| {
            let request = TestRequest::get()
                .insert_header((header::ACCEPT_ENCODING, accepted))
                .to_http_request();
            let (_, encoding) = Encoded::new(Bytes::from(vec![b'x'; BROTLI_BYTES_MAX + 1]), effort)
                .for_request(&request);
            encoding.map(|encoding| encoding.to_str().expect("ASCII").to_owned())
        };
        assert_eq!(encoding(Effort::Low, "gzip, br"), Some("gzip".into()));
        assert_eq!(encoding(Effort::Low, "br"), Some("br".into()));
        assert_eq!(encoding(Effort::Low, "br, gzip;q=0"), Some("br".into()));
        assert_eq!(encoding(Effort::High, "gzip, br"), Some("br".into()));
        assert_eq!(encoding(Effort::Low, "identity"), None);
    }
}
