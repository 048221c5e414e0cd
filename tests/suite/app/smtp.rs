//! A mail server that other people wrote (aiosmtpd), as a child process.

use std::{
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use tokio::time::Instant;

use super::{
    PATIENCE,
    mailbox::{ReceivedMail, mails_in},
};

/// The running mail server. It is killed on drop.
#[derive(Debug)]
pub struct SmtpServer {
    child: Child,
    folder: PathBuf,
    pub port: u16,
}

impl SmtpServer {
    /// Starts a server that accepts every message.
    pub async fn start() -> Self {
        let root = env!("CARGO_MANIFEST_DIR");
        let folder = std::env::temp_dir().join(format!("gittix-smtp-{}", uuid::Uuid::now_v7()));
        std::fs::create_dir_all(&folder).expect("the folder of a test can be written");
        let child = Command::new(format!("{root}/.tools/aiosmtpd/bin/python"))
            .arg(format!("{root}/tests/others/smtp/server.py"))
            .arg(&folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("scripts/prepare has installed aiosmtpd");
        let deadline = Instant::now() + PATIENCE;
        let port = loop {
            if let Ok(port) = std::fs::read_to_string(folder.join("port")) {
                break port.parse().expect("a port");
            }
            assert!(Instant::now() < deadline, "the mail server did not listen");
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        };
        Self { child, folder, port }
    }

    /// Returns the settings of a server that sends to this one.
    pub fn settings(&self) -> [(&'static str, String); 3] {
        [
            ("GITTIX_SMTP_URL", format!("smtp://127.0.0.1:{}", self.port)),
            ("GITTIX_MAIL_FROM", "GitTix <tickets@example.com>".into()),
            ("GITTIX_PUBLIC_ORIGIN", "http://tickets.example".into()),
        ]
    }

    /// Answers further messages with `answer`, or accepts them again.
    pub fn answer(&self, answer: Option<&str>) {
        let file = self.folder.join("answer");
        match answer {
            Some(answer) => std::fs::write(file, answer).expect("written"),
            None => std::fs::remove_file(file).expect("removed"),
        }
    }

    /// Returns the accepted messages so far, oldest first.
    pub fn accepted(&self) -> Vec<ReceivedMail> {
        mails_in(&self.folder.join("accepted"))
    }

    /// Waits until `count` messages were accepted.
    pub async fn wait_for(&self, count: usize) -> Vec<ReceivedMail> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let accepted = self.accepted();
            if accepted.len() >= count {
                return accepted;
            }
            assert!(Instant::now() < deadline, "only {} of {count} mails", accepted.len());
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    }
}

impl Drop for SmtpServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
