//! Mails: from an entry of the outbox to the mail server.
//!
//! 1. The commit of a change also writes a [`crate::domain::Mail`], made by [`Outbox`]. It holds
//!    the name of a template and its values, no text.
//! 2. [`MailSender`] claims the mail by a conditional write, so that one replica sends it.
//! 3. `template` renders it, with the texts in `templates/mail`. `message` makes a MIME message of
//!    it. The same entry always gives the same bytes, with the same Message-ID.
//! 4. `transport` hands the message to the mail server, or writes it to a file.
//! 5. A second write records that the mail was sent, or when it is tried again.
//!
//! If the process ends between 2 and 5, another replica, or this one after a restart, takes the
//! claim over after [`crate::domain::Mail::CLAIM_MAX`]. A mail is thus sent at least once, and once
//! more at most for each take-over.
//!
//! | file | contents |
//! | --- | --- |
//! | `config` | the settings, and the command `gittix mail test` |
//! | `token` | the secrets in links, and what is stored of them |
//! | `outbox` | new entries |
//! | `template`, `message` | texts and MIME |
//! | `transport` | SMTP, and files |
//! | `sender` | the task that sends |

pub mod config;
mod message;
mod outbox;
mod sender;
mod template;
mod token;
mod transport;

pub use config::{MailConfig, MailTest};
pub use outbox::Outbox;
pub use sender::MailSender;
pub use token::{TokenKey, digest_of, user_of};
pub use transport::{MailTransport, SendError};
