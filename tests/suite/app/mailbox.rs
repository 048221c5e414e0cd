//! The mails of a server that writes them to files.

use std::path::{Path, PathBuf};

use mail_parser::{HeaderValue, Message, MessageParser};
use tokio::time::Instant;

use super::{Home, PATIENCE};

/// A received mail.
#[derive(Debug, Clone)]
pub struct ReceivedMail {
    pub message_id: String,
    pub from: String,
    pub to: String,
    pub subject: String,
    pub text: String,
    pub html: String,
    pub auto_submitted: String,
}

impl ReceivedMail {
    fn parse(bytes: &[u8]) -> Self {
        let message = MessageParser::default().parse(bytes).expect("a MIME message");
        let text = |value: Option<&str>| value.map(str::to_owned).unwrap_or_default();
        Self {
            message_id: text(message.message_id()),
            from: text(message.from().and_then(|from| from.first()?.address())),
            to: text(recipient(&message)),
            subject: text(message.subject()),
            text: message.body_text(0).unwrap_or_default().into_owned(),
            html: message.body_html(0).unwrap_or_default().into_owned(),
            auto_submitted: text(message.header("Auto-Submitted").and_then(HeaderValue::as_text)),
        }
    }

    /// Returns the token of the link in the text.
    pub fn token(&self) -> String {
        let after = self.text.split("#token=").nth(1).expect("the mail has a link with a token");
        after.split_whitespace().next().unwrap_or_default().to_owned()
    }
}

fn recipient<'m>(message: &'m Message<'_>) -> Option<&'m str> {
    message.to()?.first()?.address()
}

/// Returns the mails to `address` that the server of `home` has written so far, oldest first.
pub fn received(home: &Home, address: &str) -> Vec<ReceivedMail> {
    // The names are UUIDv7.
    let mails = mails_in(&home.data().join("outbox"));
    mails.into_iter().filter(|mail| mail.to == address).collect()
}

/// Returns the mails in a folder, in the order of their names.
pub fn mails_in(folder: &Path) -> Vec<ReceivedMail> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .map(|entry| entry.expect("a readable folder").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "eml"))
        .collect();
    files.sort();
    let mails = files.iter().map(|path| std::fs::read(path).expect("a file that was renamed"));
    mails.map(|bytes| ReceivedMail::parse(&bytes)).collect()
}

/// Waits for the `count`th mail to `address` with a subject, and returns it.
pub async fn mail(home: &Home, address: &str, subject: &str, count: usize) -> ReceivedMail {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mails = received(home, address);
        let mut of_subject = mails.into_iter().filter(|mail| mail.subject == subject);
        if let Some(mail) = of_subject.nth(count - 1) {
            return mail;
        }
        assert!(Instant::now() < deadline, "{address} got no mail {count} with {subject:?}");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}
