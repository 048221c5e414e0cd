//! Position of the requests in the bytes of one connection: detects a part of the next head that
//! was read together with the previous request. Pure.
//!
//! The result selects a deadline only. The parser of actix-http separates the requests, never this
//! module, so a difference between the two cannot be used to smuggle a request.

use std::{mem, sync::LazyLock};

use memchr::memmem::Finder;

/// Body that a request announces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    None,
    Sized(u64),
    Chunked,
}

/// Position in the bytes of a connection.
#[derive(Debug)]
pub struct Framing {
    part: Part,
    /// Body of the request that is being processed.
    answering: Option<Body>,
    /// Bytes after the last known boundary: after a head whose body is not announced yet, or after
    /// a whole request. Empty, without an allocation, unless a body or a pipelined request was in
    /// the same read.
    ahead: Vec<u8>,
    /// Last four bytes that were read.
    tail: u32,
}

#[derive(Debug)]
enum Part {
    /// A head, or the time before its first byte.
    Head(HeadScan),
    /// The head is complete. The parser has not announced its body yet.
    HeadEnd,
    /// A body with the number of its missing bytes.
    Body(u64),
    /// The request is complete.
    RequestEnd,
    /// Unknown: after a chunked body, which this module does not parse.
    Unknown,
}

/// Whether the bytes after a finished request begin another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextRequest {
    NotBegun,
    Begun,
}

impl Framing {
    pub const fn new() -> Self {
        Self { part: Part::Head(HeadScan::new()), answering: None, ahead: Vec::new(), tail: 0 }
    }

    /// Processes bytes that were read. Returns whether they complete a request whose response was
    /// complete before its body.
    pub fn on_read(&mut self, bytes: &[u8]) -> bool {
        self.tail = match bytes.last_chunk() {
            Some(last) => u32::from_be_bytes(*last),
            None => bytes.iter().fold(self.tail, |tail, byte| tail << 8 | u32::from(*byte)),
        };
        match &mut self.part {
            Part::Head(scan) => {
                if let Some(end) = scan.find_end(bytes) {
                    self.part = Part::HeadEnd;
                    self.ahead.extend_from_slice(&bytes[end..]);
                }
            }
            Part::Body(missing) => {
                let (body, rest) = bytes.split_at(
                    usize::try_from(*missing)
                        .map_or(bytes.len(), |missing| missing.min(bytes.len())),
                );
                *missing -= body.len() as u64;
                if *missing == 0 {
                    self.part = Part::RequestEnd;
                    self.ahead.extend_from_slice(rest);
                    return self.answering.is_none() && self.next_head() == NextRequest::NotBegun;
                }
            }
            Part::HeadEnd | Part::RequestEnd => self.ahead.extend_from_slice(bytes),
            Part::Unknown => {}
        }
        false
    }

    /// Processes a request that the parser announced.
    pub fn on_request(&mut self, body: Body) {
        self.answering = Some(body);
        self.part = match (&self.part, body) {
            (Part::HeadEnd, Body::None) => Part::RequestEnd,
            (Part::HeadEnd, Body::Sized(length)) => match usize::try_from(length) {
                Ok(length) if length <= self.ahead.len() => {
                    self.ahead.drain(..length);
                    Part::RequestEnd
                }
                _ => {
                    let missing = length - self.ahead.len() as u64;
                    self.ahead = Vec::new();
                    Part::Body(missing)
                }
            },
            _ => {
                self.ahead = Vec::new();
                Part::Unknown
            }
        };
    }

    /// Processes the completion of a response.
    pub fn on_answer(&mut self) -> NextRequest {
        let body = self.answering.take();
        match self.part {
            Part::RequestEnd => self.next_head(),
            // The next bytes are the rest of the body.
            Part::Body(_) => NextRequest::NotBegun,
            // A head and a chunked body end with an empty line; a part of a head or of a chunk does
            // not. A body with a length may end with any bytes, so the shorter deadline applies
            // after it.
            _ if matches!(body, Some(Body::Sized(_))) || !self.ends_with_empty_line() => {
                NextRequest::Begun
            }
            _ => {
                self.part = Part::Head(HeadScan::new());
                NextRequest::NotBegun
            }
        }
    }

    /// Continues with the head that begins in the bytes ahead.
    fn next_head(&mut self) -> NextRequest {
        let ahead = mem::take(&mut self.ahead);
        let mut scan = HeadScan::new();
        let end = scan.find_end(&ahead);
        let next = if scan.has_begun { NextRequest::Begun } else { NextRequest::NotBegun };
        self.part = match end {
            Some(end) => {
                self.ahead.extend_from_slice(&ahead[end..]);
                Part::HeadEnd
            }
            None => Part::Head(scan),
        };
        next
    }

    fn ends_with_empty_line(&self) -> bool {
        let tail = self.tail.to_be_bytes();
        tail.ends_with(b"\n\n") || tail.ends_with(b"\n\r\n")
    }
}

static LINE_AND_EMPTY_LINE: LazyLock<[Finder<'static>; 2]> =
    LazyLock::new(|| [Finder::new(b"\n\r\n"), Finder::new(b"\n\n")]);

/// Search for the empty line that ends a head, in bytes that come in parts.
///
/// Lines end with LF or CRLF, and empty lines before a request line are skipped, as in httparse
/// (RFC 9112 §2.2).
#[derive(Debug)]
struct HeadScan {
    has_begun: bool,
    /// Whether the present line has no bytes except CR yet.
    is_line_empty: bool,
}

impl HeadScan {
    const fn new() -> Self {
        Self { has_begun: false, is_line_empty: true }
    }

    /// Returns the index after the last byte of the head.
    fn find_end(&mut self, bytes: &[u8]) -> Option<usize> {
        if !self.has_begun
            && let Some(end) = Self::find_whole(bytes)
        {
            self.has_begun = true;
            return Some(end);
        }
        let mut start = 0;
        for newline in memchr::memchr_iter(b'\n', bytes) {
            let is_empty = mem::replace(&mut self.is_line_empty, true)
                && matches!(&bytes[start..newline], b"" | b"\r");
            start = newline + 1;
            if is_empty && self.has_begun {
                return Some(start);
            }
            self.has_begun |= !is_empty;
        }
        self.is_line_empty &= matches!(&bytes[start..], b"" | b"\r");
        self.has_begun |= !self.is_line_empty;
        None
    }

    /// Returns the index after a complete head that begins with the first byte, as most heads do.
    /// This is faster than the search line by line.
    fn find_whole(bytes: &[u8]) -> Option<usize> {
        if matches!(bytes.first()?, b'\r' | b'\n') {
            return None;
        }
        let [with_cr, without] = &*LINE_AND_EMPTY_LINE;
        let end = with_cr.find(bytes)?;
        match without.find(&bytes[..end + 1]) {
            Some(end) => Some(end + 2),
            None => Some(end + 3),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    const POST: &[u8] = b"POST / HTTP/1.1\r\nContent-Length: 6\r\n\r\n{\n\r\n\n}";
    const BODY: Body = Body::Sized(6);
    const CHUNKED: &[u8] =
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n";
    const PARTS: [&[u8]; 3] =
        [b"G", b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nHost: x\r\nX: \r\n"];

    /// Returns the result after these requests, all read at once.
    fn after(requests: &[(&[u8], Body)], rest: &[u8]) -> NextRequest {
        let mut framing = Framing::new();
        let bytes: Vec<u8> =
            requests.iter().flat_map(|(bytes, _)| bytes.iter()).chain(rest).copied().collect();
        framing.on_read(&bytes);
        answer(&mut framing, requests)
    }

    fn answer(framing: &mut Framing, requests: &[(&[u8], Body)]) -> NextRequest {
        let nexts = requests.iter().map(|(_, body)| {
            framing.on_request(*body);
            framing.on_answer()
        });
        nexts.last().expect("at least one request")
    }

    #[test]
    fn part_of_a_head_in_the_same_read_is_detected_after_any_request() {
        let requests: [&[(&[u8], Body)]; 7] = [
            &[(GET, Body::None)],
            &[(POST, BODY)],
            &[(CHUNKED, Body::Chunked)],
            &[(GET, Body::None), (GET, Body::None)],
            &[(POST, BODY), (POST, BODY)],
            &[(GET, Body::None), (POST, BODY)],
            &[(POST, BODY), (CHUNKED, Body::Chunked)],
        ];
        for requests in requests {
            assert_eq!(after(requests, b""), NextRequest::NotBegun, "{requests:?}");
            assert_eq!(
                after(requests, b"\r\n"),
                NextRequest::NotBegun,
                "empty lines are skipped: {requests:?}"
            );
            for part in PARTS {
                assert_eq!(after(requests, part), NextRequest::Begun, "{requests:?} {part:?}");
            }
        }
    }

    #[test]
    fn requests_are_tracked_in_reads_of_any_size() {
        let requests = [(GET, Body::None), (POST, BODY), (GET, Body::None), (POST, BODY)];
        for size in 1..40 {
            for (rest, expected) in [(&b""[..], NextRequest::NotBegun), (b"P", NextRequest::Begun)]
            {
                let mut framing = Framing::new();
                for (index, (bytes, body)) in requests.iter().enumerate() {
                    let is_last = index + 1 == requests.len();
                    let bytes = [*bytes, if is_last { rest } else { b"" }].concat();
                    for read in bytes.chunks(size) {
                        framing.on_read(read);
                    }
                    framing.on_request(*body);
                    assert_eq!(
                        framing.on_answer(),
                        if is_last { expected } else { NextRequest::NotBegun },
                        "{size} {index}"
                    );
                }
            }
        }
    }

    #[test]
    fn request_announced_before_its_body_is_tracked_to_its_end() {
        let mut framing = Framing::new();
        framing.on_read(&POST[..POST.len() - 3]);
        framing.on_request(BODY);
        assert!(
            !framing.on_read(&[&POST[POST.len() - 3..], b"G"].concat()),
            "its response is not complete"
        );
        assert_eq!(framing.on_answer(), NextRequest::Begun);
    }

    #[test]
    fn rest_of_a_body_after_the_response_is_not_a_head() {
        for (rest, is_complete) in [(&b"\n}"[..], true), (b"\n}G", false)] {
            let mut framing = Framing::new();
            framing.on_read(&POST[..POST.len() - 4]);
            framing.on_request(BODY);
            assert_eq!(framing.on_answer(), NextRequest::NotBegun);
            assert!(!framing.on_read(b"\r\n"));
            assert_eq!(framing.on_read(rest), is_complete, "{rest:?}");
        }
    }

    #[test]
    fn sized_body_after_a_pipelined_chunked_body_counts_as_followed_by_a_head() {
        assert_eq!(
            after(&[(CHUNKED, Body::Chunked), (POST, BODY)], b""),
            NextRequest::Begun,
            "its end is unknown, so the shorter deadline applies"
        );
        assert_eq!(
            after(&[(CHUNKED, Body::Chunked), (POST, BODY), (GET, Body::None)], b""),
            NextRequest::NotBegun,
            "the position is known again"
        );
    }

    #[test]
    fn rest_of_a_chunked_body_after_the_response_has_the_deadline_of_a_head() {
        let mut framing = Framing::new();
        framing.on_read(&CHUNKED[..CHUNKED.len() - 6]);
        framing.on_request(Body::Chunked);
        assert_eq!(framing.on_answer(), NextRequest::Begun);
    }

    #[test]
    fn end_of_a_head_is_found_with_any_line_ending_in_any_reads() {
        for head in [
            "A\r\nB: c\r\n\r\n",
            "A\nB: c\n\n",
            "A\nB: c\n\r\n",
            "\r\n\r\nA\r\n\r\n",
            "\n\nA\n\n",
            "A\r\n\r\n",
        ] {
            let bytes = [head.as_bytes(), b"{}"].concat();
            for split in 0..=head.len() {
                let mut scan = HeadScan::new();
                let first = scan.find_end(&bytes[..split]);
                let end = first.or_else(|| scan.find_end(&bytes[split..]).map(|end| end + split));
                assert_eq!(end, Some(head.len()), "{head:?} {split}");
            }
        }
        assert_eq!(HeadScan::new().find_end(b"A\r\nB: \r\n \r\r\n"), None);
    }
}
