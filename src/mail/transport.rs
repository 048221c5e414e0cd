//! The ways of a message out of the program: a mail server, or a folder of `.eml` files.

use std::{
    io::{self, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};

use lettre::{
    AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor,
    transport::smtp::AsyncSmtpTransportBuilder,
};

use crate::{data_folder, domain::MailId};

/// The reason why a message was not sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct SendError {
    pub reason: String,
    /// Whether another attempt would fail too.
    pub is_permanent: bool,
}

impl SendError {
    fn transient(reason: impl ToString) -> Self {
        Self { reason: reason.to_string(), is_permanent: false }
    }
}

/// Where messages go.
#[derive(Debug, Clone)]
pub enum MailTransport {
    Smtp(AsyncSmtpTransport<Tokio1Executor>),
    /// Each message is a file in this folder.
    Folder(PathBuf),
}

impl MailTransport {
    /// Time limit of one attempt. It is shorter than the time after which a claim may be taken
    /// over.
    const SEND_MAX: Duration = Duration::from_secs(60);

    /// Returns the transport to the mail server of `url`, as `gittix serve --help` describes it.
    ///
    /// # Errors
    /// The URL is not valid.
    ///
    /// # Panics
    /// If it is not called within a runtime: the pool of connections has a task.
    pub fn smtp(url: &str) -> Result<Self, String> {
        Ok(Self::Smtp(smtp_builder(url)?.build()))
    }

    /// Checks the URL of a mail server.
    ///
    /// # Errors
    /// The URL is not valid.
    pub fn check_smtp(url: &str) -> Result<(), String> {
        smtp_builder(url).map(drop)
    }

    /// Returns the transport to a folder of files, which is created with the first message.
    pub fn folder(folder: PathBuf) -> Self {
        Self::Folder(folder)
    }

    /// Sends `message`. The mail server has accepted it when this returns `Ok`.
    ///
    /// # Errors
    /// [`SendError`]. After a timeout the server may have accepted the message nevertheless.
    pub async fn send(&self, id: MailId, message: Message) -> Result<(), SendError> {
        match self {
            Self::Smtp(server) => {
                let sending = server.send(message);
                match tokio::time::timeout(Self::SEND_MAX, sending).await {
                    Ok(Ok(_)) => Ok(()),
                    Ok(Err(error)) => Err(SendError {
                        is_permanent: error.is_permanent(),
                        reason: with_causes(&error),
                    }),
                    Err(_) => Err(SendError::transient(format!(
                        "the mail server did not answer within {:?}",
                        Self::SEND_MAX
                    ))),
                }
            }
            Self::Folder(folder) => {
                let (folder, bytes) = (folder.clone(), message.formatted());
                let written = tokio::task::spawn_blocking(move || write_file(&folder, id, &bytes));
                match written.await {
                    Ok(Ok(path)) => {
                        let file = path.display();
                        tracing::info!(%file, "mail written to a file, because GITTIX_SMTP_URL is not set; open it to use its link");
                        Ok(())
                    }
                    Ok(Err(error)) => Err(SendError::transient(error)),
                    Err(error) => Err(SendError::transient(error)),
                }
            }
        }
    }
}

fn smtp_builder(url: &str) -> Result<AsyncSmtpTransportBuilder, String> {
    if !url.starts_with("smtps://") && !url.starts_with("smtp://") {
        return Err("must begin with smtps:// or smtp://".into());
    }
    let builder = AsyncSmtpTransport::<Tokio1Executor>::from_url(url);
    let builder = builder.map_err(|error| with_causes(&error))?;
    Ok(builder.timeout(Some(MailTransport::SEND_MAX / 2)))
}

/// Writes a message as a whole: under another name first, then renamed.
fn write_file(folder: &Path, id: MailId, bytes: &[u8]) -> io::Result<PathBuf> {
    data_folder::prepare(folder)?;
    let (path, unfinished) = (folder.join(format!("{id}.eml")), folder.join(format!("{id}.part")));
    let mut file = data_folder::open_file(&unfinished)?;
    file.set_len(0)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&unfinished, &path)?;
    Ok(path)
}

/// Returns an error with all its causes, in one line.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        // Some errors already contain the text of their cause, and some causes that of their error.
        if inner_text.starts_with(&text) {
            text = inner_text;
        } else if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        cause = inner.source();
    }
    text.replace(['\r', '\n'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Failure {
        text: &'static str,
        source: Option<Box<Failure>>,
    }

    fn failure(texts: &[&'static str]) -> Option<Box<Failure>> {
        let (first, rest) = texts.split_first()?;
        Some(Box::new(Failure { text: first, source: failure(rest) }))
    }

    #[test]
    fn error_with_its_causes_is_one_line_without_repetitions() {
        for (texts, line) in [
            (&["connection error", "refused"][..], "connection error: refused"),
            (&["error", "error: unknown issuer", "unknown issuer"], "error: unknown issuer"),
            (&["error: refused", "refused"], "error: refused"),
            (&["no\r\nsuch mailbox"], "no  such mailbox"),
        ] {
            assert_eq!(with_causes(&*failure(texts).expect("a text")), line);
        }
    }

    #[test]
    fn url_of_a_mail_server_is_checked() {
        for url in ["smtps://user:password@mail.example", "smtp://mail.example:587?tls=required"] {
            assert_eq!(MailTransport::check_smtp(url), Ok(()), "{url}");
        }
        for url in ["mail.example", "https://mail.example", "smtp://", "smtps://mail.example:x"] {
            assert!(MailTransport::check_smtp(url).is_err(), "{url}");
        }
    }
}
