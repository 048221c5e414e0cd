//! The texts of mails: one file for each template, version and form in `templates/mail`. The
//! compiler checks that a file names only values that it gets. Values are escaped in HTML.
//!
//! A file never changes after its release, because a mail that is sent twice has the same bytes. A
//! new text is a new version of the template.

use askama::Template;
use time::{OffsetDateTime, macros::format_description};

use super::token::TokenKey;
use crate::domain::{Mail, MailContent, Timestamp, TokenPurpose};

/// A rendered mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RenderedMail {
    pub subject: &'static str,
    pub text: String,
    pub html: String,
}

macro_rules! link_templates {
    ($($text:ident: $text_file:literal, $html:ident: $html_file:literal;)*) => {$(
        #[derive(Template)]
        #[template(path = $text_file)]
        struct $text<'a>(&'a LinkValues<'a>);

        #[derive(Template)]
        #[template(path = $html_file)]
        struct $html<'a>(&'a LinkValues<'a>);
    )*};
}

link_templates! {
    VerifyText1: "mail/verify.v1.txt", VerifyHtml1: "mail/verify.v1.html";
    ResetText1: "mail/reset.v1.txt", ResetHtml1: "mail/reset.v1.html";
}

/// The values of a mail with one link.
struct LinkValues<'a> {
    email: &'a str,
    link: String,
    /// The time until which the link can be used.
    until: String,
}

/// Returns whether this version of the program can send a mail with `content`. A newer version may
/// have written one that it cannot.
pub(super) fn is_known(content: &MailContent) -> bool {
    match content {
        MailContent::VerifyEmail { template_version, .. }
        | MailContent::ResetPassword { template_version, .. } => *template_version == 1,
        MailContent::ResetRequested => true,
        MailContent::Unknown => false,
    }
}

/// Renders `mail`. `origin` is the address of the pages. Returns `None` if this version of the
/// program does not know the template, or there is no text to send.
pub(super) fn render(mail: &Mail, origin: &str, key: &TokenKey) -> Option<RenderedMail> {
    let email = mail.to.as_str();
    match mail.content.as_ref()? {
        MailContent::VerifyEmail { template_version: 1, user, nonce, expires_at } => {
            let token = key.token(TokenPurpose::Verify, *user, nonce);
            let link = format!("{origin}/verify#token={token}");
            let values = LinkValues { email, link, until: readable(*expires_at) };
            let subject = "Confirm your email address";
            Some(rendered(subject, &VerifyText1(&values), &VerifyHtml1(&values)))
        }
        MailContent::ResetPassword { template_version: 1, user, nonce, expires_at } => {
            let token = key.token(TokenPurpose::Reset, *user, nonce);
            let link = format!("{origin}/reset#token={token}");
            let values = LinkValues { email, link, until: readable(*expires_at) };
            let subject = "Set a new password";
            Some(rendered(subject, &ResetText1(&values), &ResetHtml1(&values)))
        }
        MailContent::VerifyEmail { .. }
        | MailContent::ResetPassword { .. }
        | MailContent::ResetRequested
        | MailContent::Unknown => None,
    }
}

fn rendered(subject: &'static str, text: &impl Template, html: &impl Template) -> RenderedMail {
    // Rendering into memory fails only if a value's `Display` fails; the values are strings.
    let render = |template: Result<String, askama::Error>| template.expect("text is rendered");
    RenderedMail { subject, text: render(text.render()), html: render(html.render()) }
}

/// Returns the texts of `gittix mail test`.
pub(super) fn test_mail() -> RenderedMail {
    let text = "This is a test. GitTix can send mails.\n".to_owned();
    let html = "<!doctype html><html lang=\"en\"><title>Test</title><p>This is a test. GitTix can send mails.</p></html>".to_owned();
    RenderedMail { subject: "Test of GitTix", text, html }
}

/// Returns a time for readers, in UTC: `1 December 2026, 14:05 UTC`.
fn readable(at: Timestamp) -> String {
    let format =
        format_description!("[day padding:none] [month repr:long] [year], [hour]:[minute] UTC");
    let time = OffsetDateTime::from_unix_timestamp(at.0.div_euclid(1000)).ok();
    let text = time.and_then(|time| time.format(format).ok());
    // A stored time of this program is within the calendar.
    text.expect("the time is within the calendar")
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::domain::{Email, MailId, TokenNonce, UserId};

    const USER: UserId = UserId::new(Uuid::from_u128(7));

    fn mail(content: MailContent) -> Mail {
        let email = Email::parse("ann+tickets@example.com").expect("an address");
        Mail::new(MailId::new(Uuid::from_u128(1)), email, content, Timestamp(0))
    }

    fn verification(template_version: u16) -> MailContent {
        MailContent::VerifyEmail {
            template_version,
            user: USER,
            nonce: TokenNonce("aa".into()),
            expires_at: Timestamp(1_796_133_900_000),
        }
    }

    #[test]
    fn mail_has_its_link_and_the_end_of_its_time_in_both_forms() {
        let key = TokenKey::new([1; 32]);
        let mail = render(&mail(verification(1)), "https://tickets.example", &key).expect("a text");
        let token = key.token(TokenPurpose::Verify, USER, &TokenNonce("aa".into()));
        let link = format!("https://tickets.example/verify#token={token}");
        for form in [&mail.text, &mail.html] {
            assert!(form.contains(&link), "{form}");
            assert!(form.contains("1 December 2026, 14:05 UTC"), "{form}");
            assert!(form.contains("ann+tickets@example.com"), "{form}");
        }
    }

    #[test]
    fn value_is_escaped_in_html_only() {
        let odd = Email::parse("a&b'c@example.com").expect("an address");
        let mail = Mail { to: odd, ..mail(verification(1)) };
        let mail = render(&mail, "https://t.example", &TokenKey::new([1; 32])).expect("a text");
        assert!(mail.text.contains("a&b'c@example.com"), "{}", mail.text);
        assert!(!mail.html.contains("a&b'c@"), "{}", mail.html);
    }

    #[test]
    fn unknown_version_is_not_rendered() {
        assert_eq!(
            render(&mail(verification(2)), "https://t.example", &TokenKey::new([1; 32])),
            None
        );
    }

    #[test]
    fn lines_of_texts_fit_a_narrow_window() {
        let mail = render(&mail(verification(1)), "https://t.example", &TokenKey::new([1; 32]))
            .expect("a text");
        for line in mail.text.lines().filter(|line| !line.contains("://")) {
            assert!(line.chars().count() <= 72, "{line}");
        }
    }
}
