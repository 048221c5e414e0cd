//! MIME messages: a rendered mail with its headers, the same bytes each time.

use std::time::{Duration, UNIX_EPOCH};

use lettre::{
    Address, Message,
    message::{
        Body, Mailbox, MultiPart, SinglePart,
        header::{ContentTransferEncoding, ContentType, Header, HeaderName, HeaderValue},
    },
};

use super::template::RenderedMail;
use crate::domain::{Email, MailId, Timestamp};

/// Marks a mail that a program sent, so that no vacation notice answers it (RFC 3834, section 5).
#[derive(Debug, Clone)]
struct AutoSubmitted;

impl Header for AutoSubmitted {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("Auto-Submitted")
    }

    fn parse(_: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self)
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), "auto-generated".into())
    }
}

/// Builds the message of the mail `id`, which was written at `created_at`. The headers contain no text of a user but the address, which is
/// parsed here once more.
///
/// # Errors
/// One line: the address cannot be the address of a mail.
pub(super) fn message(
    id: MailId,
    to: &Email,
    created_at: Timestamp,
    rendered: &RenderedMail,
    from: &Mailbox,
) -> Result<Message, String> {
    let address: Address =
        to.as_str().parse().map_err(|error| format!("the address cannot receive mail: {error}"))?;
    let created_at = Duration::from_millis(u64::try_from(created_at.0).unwrap_or(0));
    let parts = MultiPart::alternative()
        // The default boundary is random.
        .boundary(format!("gittix-{id}"))
        .singlepart(plain(&rendered.text))
        .singlepart(SinglePart::html(rendered.html.clone()));
    Message::builder()
        .message_id(Some(format!("<{id}@{}>", from.email.domain())))
        .date(UNIX_EPOCH + created_at)
        .from(from.clone())
        .to(Mailbox::new(None, address))
        .subject(rendered.subject)
        .header(AutoSubmitted)
        .multipart(parts)
        .map_err(|error| format!("the message cannot be built: {error}"))
}

/// Returns the part of a text. ASCII is not encoded: in a file that is opened as text, a link can be
/// copied. lettre would break lines of more than 76 characters; RFC 5322 permits 998.
fn plain(text: &str) -> SinglePart {
    const LINE_MAX: usize = 998;
    if !text.is_ascii() || text.lines().any(|line| line.len() > LINE_MAX) {
        return SinglePart::plain(text.to_owned());
    }
    let lines = text.replace('\n', "\r\n").into_bytes();
    SinglePart::builder()
        .header(ContentType::TEXT_PLAIN)
        .body(Body::dangerous_pre_encoded(lines, ContentTransferEncoding::SevenBit))
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn formatted(email: &str, text: &str) -> String {
        let to = Email::parse(email).expect("an address");
        let rendered =
            RenderedMail { subject: "Hello", text: text.into(), html: "<p>Hello</p>".into() };
        let from = "GitTix <tickets@example.com>".parse().expect("a mailbox");
        let (id, created_at) = (MailId::new(Uuid::from_u128(1)), Timestamp(1_796_133_900_000));
        let message = message(id, &to, created_at, &rendered, &from).expect("a message");
        String::from_utf8(message.formatted()).expect("a message of text")
    }

    #[test]
    fn same_mail_has_the_same_bytes() {
        let mail = || formatted("ann@example.com", "Hello\n");
        assert_eq!(mail(), mail());
        assert!(mail().contains("Message-ID: <00000000-0000-0000-0000-000000000001@example.com>"));
        assert!(mail().contains("Date: Tue, 01 Dec 2026 14:05:00 +0000"), "{}", mail());
    }

    #[test]
    fn link_is_one_line_of_the_file() {
        let link = format!("https://tickets.example/verify#token={}", "a".repeat(64));
        let mail = formatted("ann@example.com", &format!("Open\n{link}\n"));
        assert!(mail.contains(&format!("\r\n{link}\r\n")), "{mail}");
    }

    #[test]
    fn address_adds_no_header() {
        // The parser of addresses refuses control characters; lettre encodes other characters.
        assert!(Email::parse("ann@example.com\r\nBcc: bob@example.com").is_err());
        let mail = formatted("a=?utf-8?q?x?=b@example.com", "Hello\n");
        let head = mail.split("\r\n\r\n").next().unwrap_or_default();
        assert_eq!(head.lines().filter(|line| line.starts_with("To:")).count(), 1, "{head}");
        assert!(!head.contains("Bcc"), "{head}");
    }
}
