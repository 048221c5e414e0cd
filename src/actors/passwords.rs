//! Password hashing, off the actor threads: a few threads of its own behind a bounded queue.
//!
//! Argon2id with OWASP's parameters (Password Storage Cheat Sheet: m = 19 MiB, t = 2, p = 1). A hash takes some 13 ms of
//! a core, so more of them at once than there are cores to spare would starve everything else.

use std::{
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
};

use argon2::{Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, password_hash::phc::PasswordHash};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::Fault;
use crate::metrics::METRICS;

/// A handle on the hashing threads. They end when the last handle is dropped.
#[derive(Debug, Clone)]
pub(super) struct Passwords {
    queue: SyncSender<Job>,
    /// What an unknown email's password is compared with, so that it takes the same time as a known one's.
    decoy: Arc<str>,
}

type Job = Box<dyn FnOnce() + Send>;

/// Whether a password is right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    Wrong,
    Right,
    /// Right, but hashed with other parameters than today's: here is today's hash.
    Outdated {
        fresh: String,
    },
}

impl Passwords {
    /// This many may wait; beyond that sign-ins are shed. At 70 hashes a second, the last of them waits two seconds.
    const QUEUE_MAX: usize = 128;

    pub(super) fn start() -> Self {
        let threads = thread::available_parallelism().map_or(1, |cores| cores.get().saturating_sub(1).max(1));
        let (queue, jobs) = sync_channel::<Job>(Self::QUEUE_MAX);
        let jobs = Arc::new(Mutex::new(jobs));
        for number in 0..threads {
            let jobs = Arc::clone(&jobs);
            let started = thread::Builder::new().name(format!("password-{number}")).spawn(move || work(&jobs));
            started.expect("a thread can be started at start-up");
        }
        Self { queue, decoy: hash(b"nobody's password").into() }
    }

    /// The hash of a new password, in PHC string format.
    pub(super) async fn hash(&self, password: String) -> Result<String, Fault> {
        self.run(move || hash(password.as_bytes())).await
    }

    /// Compares with a stored hash; without one, with nobody's, in the same time, and it is wrong.
    pub(super) async fn verify(&self, password: String, stored: Option<String>) -> Result<Verdict, Fault> {
        let decoy = Arc::clone(&self.decoy);
        self.run(move || {
            let verdict = verify(password.as_bytes(), stored.as_deref().unwrap_or(&decoy));
            if stored.is_some() { verdict } else { Verdict::Wrong }
        })
        .await
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Fault> {
        let (done, result) = oneshot::channel();
        let job = Box::new(move || {
            METRICS.passwords_waiting.dec();
            // Whoever asked may be gone: then there is nothing to do.
            if !done.is_closed() {
                METRICS.passwords_hashed.inc();
                let _ = done.send(work());
            }
        });
        METRICS.passwords_waiting.inc();
        if self.queue.try_send(job).is_err() {
            METRICS.passwords_waiting.dec();
            METRICS.shed.with_label_values(&["passwords"]).inc();
            return Err(Fault::Busy("passwords"));
        }
        result.await.map_err(|_| Fault::Busy("passwords"))
    }
}

fn work(jobs: &Mutex<Receiver<Job>>) {
    loop {
        // The lock is held while waiting: the others wait for it instead of for the queue.
        let job = jobs.lock().recv();
        match job {
            Ok(job) => job(),
            Err(_) => return,
        }
    }
}

fn hash(password: &[u8]) -> String {
    let hash = Argon2::default().hash_password(password);
    hash.expect("the system has randomness, and a password of 128 characters can be hashed").to_string()
}

fn verify(password: &[u8], stored: &str) -> Verdict {
    let Ok(stored) = PasswordHash::new(stored) else {
        tracing::error!("a stored password hash cannot be read");
        return Verdict::Wrong;
    };
    if Argon2::default().verify_password(password, &stored).is_err() {
        return Verdict::Wrong;
    }
    let today = Params::default();
    let params = Params::try_from(&stored);
    let current = stored.algorithm == Algorithm::default().ident()
        && params
            .is_ok_and(|params| (params.m_cost(), params.t_cost(), params.p_cost()) == (today.m_cost(), today.t_cost(), today.p_cost()));
    if current { Verdict::Right } else { Verdict::Outdated { fresh: hash(password) } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_has_the_promised_parameters() {
        assert!(hash(b"correct horse").starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
    }

    #[test]
    fn an_outdated_hash_is_renewed_when_the_password_is_right() {
        let weak = Argon2::new(Algorithm::Argon2id, argon2::Version::V0x13, Params::new(1024, 1, 1, None).expect("valid"));
        let stored = weak.hash_password(b"correct horse").expect("hashes").to_string();
        assert!(
            matches!(verify(b"correct horse", &stored), Verdict::Outdated { fresh } if verify(b"correct horse", &fresh) == Verdict::Right)
        );
        assert_eq!(verify(b"wrong", &stored), Verdict::Wrong);
        assert_eq!(verify(b"correct horse", "not a hash"), Verdict::Wrong);
    }

    #[tokio::test]
    async fn nobody_has_the_decoys_password() {
        let passwords = Passwords::start();
        assert_eq!(passwords.verify("nobody's password".into(), None).await.expect("room"), Verdict::Wrong);
    }
}
