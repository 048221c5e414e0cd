//! A frame decoder that bounds memory, in front of the frame parser.
//!
//! actix-http's parser checks the size of a frame when the whole frame is in memory. This decoder
//! checks the header first, byte by byte, and buffers permitted frames only: at most one frame of
//! the permitted size, and only while it arrives. Beyond the first 4 KiB of each connection, all
//! connections together buffer no more than [`Budget`] allows. Pure: bytes in, frames or a
//! violation out.

use actix_http::ws::{CloseReason, OpCode, Parser};
use bytes::{Bytes, BytesMut};

use super::{budget::Budget, closing::DisconnectReason};

/// Payload of a control frame (RFC 6455 §5.5).
const CONTROL_BYTES_MAX: u64 = 125;
/// Length of the masking key (RFC 6455 §5.3).
const MASK_BYTES: usize = 4;

/// A complete frame from the client.
#[derive(Debug, PartialEq, Eq)]
pub enum IncomingFrame {
    Text(String),
    Ping(Bytes),
    Pong,
    Close(Option<CloseReason>),
}

/// The decoder of one connection. It holds the bytes of the incomplete frame.
#[derive(Debug)]
pub struct FrameDecoder {
    frame_bytes_max: usize,
    buffer: BytesMut,
}

impl FrameDecoder {
    /// Bytes that a connection may buffer without the budget. Nearly all frames are shorter.
    pub const OWN_BYTES: usize = 4096;

    pub fn new(frame_bytes_max: usize) -> Self {
        Self { frame_bytes_max, buffer: BytesMut::new() }
    }

    /// Returns the next frame if `chunk` completes one. Removes from `chunk` only the bytes of that
    /// frame. Buffered bytes beyond [`Self::OWN_BYTES`] are taken from `budget`. Call
    /// [`Self::discard`] when the connection ends.
    ///
    /// # Errors
    /// The reason why the connection must end. Later bytes cannot be decoded.
    pub fn next(
        &mut self,
        chunk: &mut &[u8],
        budget: &Budget,
    ) -> Result<Option<IncomingFrame>, DisconnectReason> {
        loop {
            let needed = self.needed()?;
            if self.buffer.len() == needed {
                return self.complete(budget).map(Some);
            }
            let taken = (needed - self.buffer.len()).min(chunk.len());
            if taken == 0 {
                return Ok(None);
            }
            let (before, after) = (counted(self.buffer.len()), counted(self.buffer.len() + taken));
            if after > before && !budget.take(after - before) {
                self.discard(budget);
                return Err(DisconnectReason::Overloaded);
            }
            let (now, later) = chunk.split_at(taken);
            self.buffer.extend_from_slice(now);
            *chunk = later;
        }
    }

    /// Drops the buffered bytes, and gives them back to `budget`.
    pub fn discard(&mut self, budget: &Budget) {
        budget.give_back(counted(self.buffer.len()));
        self.buffer = BytesMut::new();
    }

    /// Returns the number of bytes that the buffer must hold before the next check: first for the
    /// header, then the frame.
    fn needed(&self) -> Result<usize, DisconnectReason> {
        let &[first, second, ref rest @ ..] = &self.buffer[..] else { return Ok(2) };
        let (is_final, opcode, masked) = (first & 0x80 != 0, first & 0x0f, second & 0x80 != 0);
        if first & 0x70 != 0 || !masked || !matches!(opcode, 0..=2 | 8..=10) {
            return Err(DisconnectReason::Protocol);
        }
        let (extended, length) = match second & 0x7f {
            126 => (2, rest.first_chunk::<2>().map(|bytes| u64::from(u16::from_be_bytes(*bytes)))),
            127 => (8, rest.first_chunk::<8>().map(|bytes| u64::from_be_bytes(*bytes))),
            short => (0, Some(u64::from(short))),
        };
        let Some(length) = length else { return Ok(2 + extended) };
        if length > self.frame_bytes_max as u64 {
            return Err(DisconnectReason::FrameTooBig);
        }
        let is_control = opcode >= 8;
        if is_control && (!is_final || length > CONTROL_BYTES_MAX) {
            return Err(DisconnectReason::Protocol);
        }
        // Text is opcode 1. A first fragment is refused like the continuation that would follow it.
        if !is_control && (opcode != 1 || !is_final) {
            return Err(DisconnectReason::Unsupported);
        }
        let length = usize::try_from(length).map_err(|_| DisconnectReason::FrameTooBig)?;
        Ok(2 + extended + MASK_BYTES + length)
    }

    /// Parses the frame in the buffer, and frees the buffer: most clients send one frame and then
    /// only receive.
    fn complete(&mut self, budget: &Budget) -> Result<IncomingFrame, DisconnectReason> {
        let mut frame = std::mem::take(&mut self.buffer);
        budget.give_back(counted(frame.len()));
        // The parser returns a frame here: the frame is complete, and `needed` has checked its
        // header.
        let Ok(Some((_, opcode, payload))) = Parser::parse(&mut frame, true, self.frame_bytes_max)
        else {
            return Err(DisconnectReason::Protocol);
        };
        let payload = payload.unwrap_or_default();
        match opcode {
            OpCode::Text => String::from_utf8(payload.into())
                .map(IncomingFrame::Text)
                .map_err(|_| DisconnectReason::NotUtf8),
            OpCode::Ping => Ok(IncomingFrame::Ping(payload.freeze())),
            OpCode::Pong => Ok(IncomingFrame::Pong),
            OpCode::Close if std::str::from_utf8(payload.get(2..).unwrap_or_default()).is_err() => {
                Err(DisconnectReason::NotUtf8)
            }
            OpCode::Close => Parser::try_parse_close_payload(&payload)
                .map(IncomingFrame::Close)
                .map_err(|_| DisconnectReason::Protocol),
            OpCode::Binary | OpCode::Continue | OpCode::Bad => Err(DisconnectReason::Unsupported),
        }
    }
}

/// Returns the number of buffered bytes that count against the budget.
fn counted(buffered: usize) -> usize {
    buffered.saturating_sub(FrameDecoder::OWN_BYTES)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MAX: usize = 48 * 1024;

    /// Returns a masked client frame.
    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mask = [0x1b, 0x2c, 0x3d, 0x4e];
        let mut frame = vec![first];
        match payload.len() {
            short @ 0..126 => frame.push(0x80 | u8::try_from(short).expect("short")),
            long => {
                frame.push(0x80 | 126);
                frame.extend(u16::try_from(long).expect("at most 64 KiB").to_be_bytes());
            }
        }
        frame.extend(mask);
        frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        frame
    }

    /// Decodes the chunks. Returns the frames, the reason of a violation, and the maximum of
    /// buffered bytes.
    fn read(
        chunks: impl IntoIterator<Item = Vec<u8>>,
    ) -> (Vec<IncomingFrame>, Option<DisconnectReason>, usize) {
        let (mut frame_decoder, mut decoded, mut buffered) =
            (FrameDecoder::new(MAX), Vec::new(), 0);
        let budget = Budget::new(MAX);
        for chunk in chunks {
            let mut chunk = &chunk[..];
            loop {
                match frame_decoder.next(&mut chunk, &budget) {
                    Ok(Some(one)) => decoded.push(one),
                    Ok(None) => break,
                    Err(reason) => return (decoded, Some(reason), buffered),
                }
                buffered = buffered.max(frame_decoder.buffer.len());
            }
            buffered = buffered.max(frame_decoder.buffer.len());
            assert_eq!(
                budget.taken(),
                counted(frame_decoder.buffer.len()),
                "the budget does not match the buffered bytes"
            );
        }
        (decoded, None, buffered)
    }

    fn text(text: &str) -> IncomingFrame {
        IncomingFrame::Text(text.into())
    }

    #[test]
    fn text_ping_pong_and_close_frames_are_decoded() {
        let bytes = [
            frame(0x81, b"{}"),
            frame(0x89, b"hi"),
            frame(0x8a, b""),
            frame(0x81, "é".as_bytes()),
            frame(0x88, &[0x03, 0xe8]),
        ]
        .concat();
        let (decoded, reason, _) = read([bytes]);
        let close = IncomingFrame::Close(Some(CloseReason {
            code: actix_http::ws::CloseCode::Normal,
            description: None,
        }));
        assert_eq!(
            (decoded, reason),
            (
                vec![
                    text("{}"),
                    IncomingFrame::Ping(Bytes::from_static(b"hi")),
                    IncomingFrame::Pong,
                    text("é"),
                    close
                ],
                None
            )
        );
    }

    #[test]
    fn each_invalid_frame_has_its_disconnect_reason() {
        let unmasked = vec![0x81, 0x02, b'{', b'}'];
        let control_too_long = frame(0x89, &[0; 126]);
        let cases = [
            (unmasked, DisconnectReason::Protocol),
            (frame(0xc1, b"{}"), DisconnectReason::Protocol),
            (frame(0x83, b"{}"), DisconnectReason::Protocol),
            (frame(0x09, b""), DisconnectReason::Protocol),
            (control_too_long, DisconnectReason::Protocol),
            (frame(0x88, &[0x03]), DisconnectReason::Protocol),
            (frame(0x88, &[0x03, 0xed]), DisconnectReason::Protocol),
            (frame(0x88, &[0x03, 0xe8, 0xff]), DisconnectReason::NotUtf8),
            (frame(0x82, b"{}"), DisconnectReason::Unsupported),
            (frame(0x01, b"{"), DisconnectReason::Unsupported),
            (frame(0x80, b"}"), DisconnectReason::Unsupported),
            (frame(0x81, &[0xff]), DisconnectReason::NotUtf8),
            (frame(0x81, &[b'x'; MAX + 1]), DisconnectReason::FrameTooBig),
        ];
        for (bytes, reason) in cases {
            assert_eq!(read([bytes.clone()]).1, Some(reason), "{bytes:02x?}");
        }
    }

    #[test]
    fn frame_of_the_maximum_size_is_decoded() {
        assert_eq!(read([frame(0x81, &[b'x'; MAX])]).0, [text(&"x".repeat(MAX))]);
    }

    #[test]
    fn frame_of_a_terabyte_is_refused_by_its_header() {
        let mut header = vec![0x81, 0xff];
        header.extend((1u64 << 40).to_be_bytes());
        let (decoded, reason, buffered) = read(header.iter().map(|byte| vec![*byte]));
        assert_eq!((decoded, reason), (vec![], Some(DisconnectReason::FrameTooBig)));
        assert!(buffered <= header.len(), "{buffered}");
    }

    #[test]
    fn incomplete_frame_is_taken_from_the_budget_and_given_back() {
        let (budget, bytes) = (Budget::new(MAX), frame(0x81, &[b'x'; MAX]));
        let mut frame_decoder = FrameDecoder::new(MAX);
        let (almost, last) = bytes.split_at(bytes.len() - 1);
        assert_eq!(frame_decoder.next(&mut &almost[..FrameDecoder::OWN_BYTES], &budget), Ok(None));
        assert_eq!(budget.taken(), 0, "the first bytes do not count against the budget");
        assert_eq!(frame_decoder.next(&mut &almost[FrameDecoder::OWN_BYTES..], &budget), Ok(None));
        assert_eq!(budget.taken(), almost.len() - FrameDecoder::OWN_BYTES);
        assert_eq!(frame_decoder.next(&mut &last[..], &budget), Ok(Some(text(&"x".repeat(MAX)))));
        assert_eq!(
            (budget.taken(), frame_decoder.buffer.capacity()),
            (0, 0),
            "the buffer is freed"
        );
        assert_eq!(frame_decoder.next(&mut &almost[..], &budget), Ok(None));
        frame_decoder.discard(&budget);
        assert_eq!((budget.taken(), frame_decoder.buffer.capacity()), (0, 0));
    }

    #[test]
    fn frame_beyond_the_shared_budget_is_refused_and_its_buffer_is_freed() {
        let (budget, bytes) = (Budget::new(MAX), frame(0x81, &[b'x'; MAX]));
        let mut others: Vec<FrameDecoder> = (0..3).map(|_| FrameDecoder::new(MAX)).collect();
        let half = &bytes[..MAX / 2 + FrameDecoder::OWN_BYTES];
        assert_eq!(others[0].next(&mut &half[..], &budget), Ok(None));
        assert_eq!(others[1].next(&mut &half[..], &budget), Ok(None));
        assert_eq!(
            others[2].next(&mut &bytes[..=FrameDecoder::OWN_BYTES], &budget),
            Err(DisconnectReason::Overloaded)
        );
        assert_eq!((budget.taken(), others[2].buffer.capacity()), (MAX, 0));
        let small = frame(0x81, b"{}");
        assert_eq!(
            FrameDecoder::new(MAX).next(&mut &small[..], &budget),
            Ok(Some(text("{}"))),
            "short frames are decoded without the budget"
        );
    }

    fn frames() -> impl Strategy<Value = Vec<u8>> {
        let text = "\\PC{0,60}".prop_map(|text| frame(0x81, text.as_bytes()));
        let long = prop_oneof![100usize..5_000, MAX - 40..MAX + 40]
            .prop_map(|len| frame(0x81, &vec![b'x'; len]));
        let control = (8u8..11, prop::collection::vec(any::<u8>(), 0..130))
            .prop_map(|(opcode, data)| frame(0x80 | opcode, &data));
        let any = prop::collection::vec(any::<u8>(), 0..40);
        prop::collection::vec(prop_oneof![4 => text, 1 => long, 1 => control, 1 => any], 0..6)
            .prop_map(|frames| frames.concat())
    }

    proptest! {
        #[test]
        fn frames_do_not_depend_on_how_the_bytes_are_split(
            bytes in frames(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12)
        ) {
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            cuts.sort_unstable();
            let mut chunks = Vec::new();
            let mut from = 0;
            for cut in cuts.into_iter().chain([bytes.len()]) {
                chunks.push(bytes[from..cut].to_vec());
                from = cut;
            }
            let (whole, whole_reason, _) = read([bytes]);
            let (decoded, reason, buffered) = read(chunks);
            prop_assert_eq!((decoded, reason), (whole, whole_reason));
            prop_assert!(buffered <= MAX + 14, "{}", buffered);
        }
    }
}
