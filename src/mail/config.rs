//! The settings of mails.

use std::path::{Path, PathBuf};

use lettre::message::Mailbox;

use super::{MailTransport, message::message, outbox::new_mail_id, template::test_mail};
use crate::{clock::wall_clock, data_folder::OUTBOX, domain::Email, settings::Secret};

/// The settings of mails.
#[derive(Debug, Clone, clap::Args)]
pub struct MailConfig {
    /// Mail server: `smtps://user:password@host`, or `smtp://host:port?tls=required` for STARTTLS;
    /// needs `GITTIX_PUBLIC_ORIGIN` and `GITTIX_MAIL_FROM`. Unset: each mail is a file in the
    /// folder `outbox` of the data folder.
    #[arg(
        long = "smtp-url",
        env = "GITTIX_SMTP_URL",
        value_name = "URL",
        hide_env_values = true,
        id = "smtp_url"
    )]
    pub smtp_url: Option<Secret>,
    /// Sender of all mails, such as `GitTix <tickets@example.com>`.
    #[arg(long = "mail-from", env = "GITTIX_MAIL_FROM", value_name = "ADDRESS", id = "mail_from")]
    pub from: Option<Mailbox>,
}

impl MailConfig {
    /// Checks that the settings are consistent. `has_origin` is whether the server has a public
    /// origin, which the links of mails begin with.
    ///
    /// # Errors
    /// One line that names the setting.
    pub fn check(&self, has_origin: bool) -> Result<(), String> {
        let Some(url) = &self.smtp_url else { return Ok(()) };
        MailTransport::check_smtp(url.expose())
            .map_err(|error| format!("GITTIX_SMTP_URL: {error}"))?;
        if self.from.is_none() {
            return Err("GITTIX_MAIL_FROM must be set with GITTIX_SMTP_URL".into());
        }
        if !has_origin {
            return Err(
                "GITTIX_PUBLIC_ORIGIN must be set with GITTIX_SMTP_URL: links in mails begin with it"
                    .into(),
            );
        }
        Ok(())
    }

    /// Returns the transport of the settings.
    ///
    /// # Errors
    /// One line that names the setting.
    pub fn transport(&self, data_dir: &Path) -> Result<MailTransport, String> {
        match &self.smtp_url {
            Some(url) => MailTransport::smtp(url.expose())
                .map_err(|error| format!("GITTIX_SMTP_URL: {error}")),
            None => Ok(MailTransport::folder(data_dir.join(OUTBOX))),
        }
    }

    /// Returns the sender of all mails.
    ///
    /// # Panics
    /// Never: the default is an address.
    pub fn sender(&self) -> Mailbox {
        let default = || "GitTix <gittix@localhost>".parse().expect("the default is an address");
        self.from.clone().unwrap_or_else(default)
    }
}

/// `gittix mail test`: sends one mail with the settings of the server.
#[derive(Debug, clap::Args)]
pub struct MailTest {
    /// Address that gets the mail.
    #[arg(value_name = "EMAIL", value_parser = Email::parse)]
    to: Email,
    #[command(flatten)]
    mail: MailConfig,
    /// Data folder of the server, where the mail is written if there is no mail server.
    #[arg(long, env = "GITTIX_DATA_DIR", default_value = "data", value_name = "DIR")]
    data_dir: PathBuf,
}

impl MailTest {
    /// Sends the mail.
    ///
    /// # Errors
    /// One line with the setting or the answer of the mail server.
    pub async fn run(&self) -> Result<(), String> {
        // The mail has no link, so that it needs no origin.
        self.mail.check(true)?;
        let transport = self.mail.transport(&self.data_dir)?;
        let (id, text) = (new_mail_id(), test_mail());
        let message = message(id, &self.to, wall_clock(), &text, &self.mail.sender())?;
        let setting =
            if self.mail.smtp_url.is_some() { "GITTIX_SMTP_URL" } else { "GITTIX_DATA_DIR" };
        transport.send(id, message).await.map_err(|error| format!("{setting}: {error}"))?;
        // A mail that was written to a file has its own line.
        if self.mail.smtp_url.is_some() {
            tracing::info!(to = %self.to, "the mail server has accepted the mail");
        }
        Ok(())
    }
}
