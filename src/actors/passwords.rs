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

use argon2::{
    Algorithm, Argon2, Block, Params, Version,
    password_hash::phc::{Output, ParamsString, PasswordHash, Salt},
};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::Fault;
use crate::{metrics::METRICS, tasks::contain};

/// A handle on the hashing threads. They end when the last handle is dropped.
#[derive(Debug, Clone)]
pub(super) struct Passwords {
    queue: SyncSender<Job>,
    /// What an unknown email's password is compared with, so that it takes the same time as a known one's.
    decoy: Arc<str>,
}

type Job = Box<dyn FnOnce(&mut Hasher) + Send>;

/// One thread's memory for Argon2: to take 19 MiB from the system and give them back costs a tenth of each hash.
#[derive(Default)]
struct Hasher {
    memory: Vec<Block>,
}

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
        Self { queue, decoy: Hasher::default().hash(b"nobody's password").into() }
    }

    /// The hash of a new password, in PHC string format.
    pub(super) async fn hash(&self, password: String) -> Result<String, Fault> {
        self.run(move |hasher| hasher.hash(password.as_bytes())).await
    }

    /// Compares with a stored hash; without one, with nobody's, in the same time, and it is wrong.
    pub(super) async fn verify(&self, password: String, stored: Option<String>) -> Result<Verdict, Fault> {
        let decoy = Arc::clone(&self.decoy);
        self.run(move |hasher| {
            let verdict = hasher.verify(password.as_bytes(), stored.as_deref().unwrap_or(&decoy));
            if stored.is_some() { verdict } else { Verdict::Wrong }
        })
        .await
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce(&mut Hasher) -> T + Send + 'static) -> Result<T, Fault> {
        let (done, result) = oneshot::channel();
        let job = Box::new(move |hasher: &mut Hasher| {
            METRICS.passwords_waiting.dec();
            // Whoever asked may be gone: then there is nothing to do.
            if !done.is_closed() {
                METRICS.passwords_hashed.inc();
                let _ = done.send(work(hasher));
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
    let mut hasher = Hasher::default();
    loop {
        // The lock is held while waiting: the others wait for it instead of for the queue.
        let job = jobs.lock().recv();
        match job {
            // The caller whose job panics gets 503; what is left in the memory is overwritten by the next.
            Ok(job) => {
                contain("password", || job(&mut hasher));
            }
            Err(_) => return,
        }
    }
}

impl Hasher {
    /// The hash of a new password, with today's parameters and a salt of its own, in PHC string format.
    fn hash(&mut self, password: &[u8]) -> String {
        let (algorithm, version, params) = today();
        let (salt, length) = (Salt::generate(), params.output_len().unwrap_or(Params::DEFAULT_OUTPUT_LEN));
        let texts = ParamsString::try_from(&params).expect("today's parameters are three numbers");
        let output = self.output(algorithm, version, params, password, &salt, length);
        let hash = Some(output.expect("a password of 128 characters can be hashed"));
        PasswordHash { algorithm: algorithm.ident(), version: Some(version.into()), params: texts, salt: Some(salt), hash }.to_string()
    }

    fn verify(&mut self, password: &[u8], stored: &str) -> Verdict {
        let parsed = PasswordHash::new(stored).ok().and_then(|stored| {
            let algorithm = Algorithm::try_from(stored.algorithm.as_str()).ok()?;
            let version = stored.version.map_or(Ok(Version::default()), Version::try_from).ok()?;
            Some((algorithm, version, Params::try_from(&stored).ok()?, stored.salt?, stored.hash?))
        });
        let Some((algorithm, version, params, salt, expected)) = parsed else {
            tracing::error!("a stored password hash cannot be read");
            return Verdict::Wrong;
        };
        let costs = |params: &Params| (params.m_cost(), params.t_cost(), params.p_cost());
        let is_current = algorithm == Algorithm::default() && costs(&params) == costs(&Params::default());
        // The comparison takes the same time wherever they differ.
        match self.output(algorithm, version, params, password, &salt, expected.len()) {
            Some(output) if output == expected && is_current => Verdict::Right,
            Some(output) if output == expected => Verdict::Outdated { fresh: self.hash(password) },
            _ => Verdict::Wrong,
        }
    }

    /// `None` for lengths that Argon2 does not know.
    fn output(
        &mut self,
        algorithm: Algorithm,
        version: Version,
        params: Params,
        password: &[u8],
        salt: &[u8],
        length: usize,
    ) -> Option<Output> {
        self.memory.resize(params.block_count(), Block::default());
        let mut buffer = [0; Output::MAX_LENGTH];
        let out = buffer.get_mut(..length)?;
        Argon2::new(algorithm, version, params).hash_password_into_with_memory(password, salt, out, &mut self.memory).ok()?;
        Output::new(out).ok()
    }
}

fn today() -> (Algorithm, Version, Params) {
    (Algorithm::default(), Version::default(), Params::default())
}

#[cfg(test)]
mod tests {
    use argon2::{PasswordHasher, PasswordVerifier};

    use super::*;

    #[test]
    fn a_hash_has_the_promised_parameters() {
        let hash = Hasher::default().hash(b"correct horse");
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        Argon2::default().verify_password(b"correct horse", &PasswordHash::new(&hash).expect("PHC")).expect("as the crate does it");
    }

    #[test]
    fn an_outdated_hash_is_renewed_when_the_password_is_right() {
        let mut hasher = Hasher::default();
        let weak = Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(1024, 1, 1, None).expect("valid"));
        let stored = weak.hash_password(b"correct horse").expect("hashes").to_string();
        let Verdict::Outdated { fresh } = hasher.verify(b"correct horse", &stored) else { panic!("it is outdated") };
        assert_eq!(hasher.verify(b"correct horse", &fresh), Verdict::Right);
        assert_eq!(hasher.verify(b"wrong", &fresh), Verdict::Wrong);
        assert_eq!(hasher.verify(b"wrong", &stored), Verdict::Wrong);
        assert_eq!(hasher.verify(b"correct horse", "not a hash"), Verdict::Wrong);
    }

    #[tokio::test]
    async fn threads_outlive_jobs_that_panic() {
        let passwords = Passwords::start();
        let threads = thread::available_parallelism().map_or(1, std::num::NonZero::get);
        for _ in 0..threads * 2 {
            let answer = passwords.run::<()>(|_| panic!("as the test wants")).await;
            assert!(matches!(answer, Err(Fault::Busy(_))), "{answer:?}");
        }
        passwords.hash("correct horse".into()).await.expect("a thread is left");
    }

    #[tokio::test]
    async fn nobody_has_the_decoys_password() {
        let passwords = Passwords::start();
        assert_eq!(passwords.verify("nobody's password".into(), None).await.expect("room"), Verdict::Wrong);
    }
}
