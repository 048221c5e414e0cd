//! Mails over SMTP, to a mail server that other people wrote.

use crate::app::{Backend, TestApp, on_both_stores, smtp::SmtpServer};

on_both_stores!(
    mail_is_sent_over_smtp_with_its_headers,
    refused_mail_is_given_up_and_counted,
    of_two_replicas_one_sends_each_mail,
);

async fn start(store: Backend, smtp: &SmtpServer) -> TestApp {
    let settings = smtp.settings();
    let settings: Vec<_> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    TestApp::start_with(store, &settings).await
}

async fn mail_is_sent_over_smtp_with_its_headers(store: Backend) {
    let smtp = SmtpServer::start().await;
    let app = start(store, &smtp).await;
    let ann = app.user().await;
    let mails = smtp.wait_for(1).await;
    let mail = &mails[0];
    assert_eq!((&mail.to, mail.from.as_str()), (&ann.email, "tickets@example.com"));
    assert_eq!(mail.subject, "Confirm your email address");
    assert!(mail.message_id.ends_with("@example.com"), "{mail:?}");
    assert_eq!(mail.auto_submitted, "auto-generated");
    assert!(mail.text.contains("http://tickets.example/verify#token="), "{mail:?}");
}

async fn refused_mail_is_given_up_and_counted(store: Backend) {
    let smtp = SmtpServer::start().await;
    smtp.answer(Some("550 no such mailbox"));
    let app = start(store, &smtp).await;
    app.user().await;
    let line = app.server.logged(|line| line.contains("mail given up")).await;
    assert!(line.contains("no such mailbox"), "{line}");
    let deadline = tokio::time::Instant::now() + crate::app::PATIENCE;
    loop {
        let metrics = app.guest().get("/metrics").await.expect(200).text;
        if metrics.contains("gittix_mails_dead 1\n") {
            assert!(metrics.contains("gittix_mails_total{outcome=\"dead\"} 1\n"), "{metrics}");
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "the dead mail is not counted");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert!(smtp.accepted().is_empty());
}

async fn of_two_replicas_one_sends_each_mail(store: Backend) {
    const USERS: usize = 12;
    let smtp = SmtpServer::start().await;
    let app = start(store, &smtp).await;
    let second = match store {
        Backend::MongoDb => Some(app.replica("second").await),
        Backend::Embedded => None,
    };
    for n in 0..USERS {
        let mut guest = app.guest();
        if let Some(second) = second.as_ref().filter(|_| n % 2 == 1) {
            guest = guest.at(second);
        }
        guest.join().await;
    }
    let mut ids: Vec<String> =
        smtp.wait_for(USERS).await.into_iter().map(|mail| mail.message_id).collect();
    ids.sort();
    ids.dedup();
    assert_eq!((ids.len(), smtp.accepted().len()), (USERS, USERS));
}
