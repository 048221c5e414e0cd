//! Password hashing on threads of its own, which take jobs from a bounded, fair queue.
//!
//! Argon2id with OWASP's parameters (Password Storage Cheat Sheet: m = 19 MiB, t = 2, p = 1). A
//! hash takes some 13 ms of a core. So there is one thread fewer than cores, but at least one,
//! which leaves time for all other work.

use std::{fmt, net::IpAddr, sync::Arc, thread, time::Duration};

use argon2::{
    Algorithm, Argon2, Block, Params, Version,
    password_hash::phc::{Output, ParamsString, PasswordHash, Salt},
};
use tokio::{
    sync::oneshot,
    time::{Instant, sleep_until},
};

use super::{ActorError, hash_queue::HashQueue};
use crate::{
    domain::{NewPassword, normalized_password},
    metrics::METRICS,
    tasks::contain,
};

/// The hashing threads and their queue. The threads end when it is dropped.
pub(super) struct Passwords {
    queue: Arc<HashQueue<HashJob>>,
    /// Hash that the password is compared with if the email address is unknown, so that both cases
    /// take the same time.
    dummy_hash: Arc<str>,
}

type HashJob = Box<dyn FnOnce(&mut Hasher) + Send>;

impl fmt::Debug for Passwords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Passwords").finish_non_exhaustive()
    }
}

impl Drop for Passwords {
    fn drop(&mut self) {
        self.queue.close();
    }
}

/// The memory for Argon2 of one thread. It is kept because allocating and freeing 19 MiB costs a
/// tenth of each hash.
#[derive(Default)]
struct Hasher {
    memory: Vec<Block>,
}

/// The result of a comparison with a stored hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PasswordCheck {
    Wrong,
    Right,
    /// The password is right, but its hash has other parameters than the present ones, or is not of
    /// the NFC form. `fresh` is the present hash.
    Outdated {
        fresh: String,
    },
}

impl Passwords {
    /// Maximum time that a job waits for a thread, without the time of the hash itself. After it,
    /// the caller gets 503.
    const WAIT_MAX: Duration = Duration::from_secs(3);

    pub(super) fn start() -> Self {
        Self::start_with(
            thread::available_parallelism().map_or(1, |cores| cores.get().saturating_sub(1).max(1)),
        )
    }

    fn start_with(threads: usize) -> Self {
        let queue = Arc::new(HashQueue::<HashJob>::new());
        for number in 0..threads {
            let queue = Arc::clone(&queue);
            let started =
                thread::Builder::new().name(format!("password-{number}")).spawn(move || {
                    lower_priority();
                    let mut hasher = Hasher::default();
                    while let Some(job) = queue.next() {
                        // If a job panics, its caller gets 503. The next job overwrites the memory.
                        contain("password", || job(&mut hasher));
                    }
                });
            started.expect("the system can start a thread");
        }
        Self { queue, dummy_hash: Hasher::default().hash(b"the dummy password").into() }
    }

    /// Returns the hash of a new password, in PHC string format. `network` is the client's:
    /// networks take turns in the queue.
    pub(super) async fn hash(
        &self,
        network: IpAddr,
        password: NewPassword,
    ) -> Result<String, ActorError> {
        self.run(network, move |hasher| hasher.hash(password.as_str().as_bytes())).await
    }

    /// Compares `password` with a stored hash. Without a stored hash, compares it with a dummy
    /// hash, which takes the same time, and returns [`PasswordCheck::Wrong`].
    pub(super) async fn verify(
        &self,
        network: IpAddr,
        password: String,
        stored: Option<String>,
    ) -> Result<PasswordCheck, ActorError> {
        let dummy_hash = Arc::clone(&self.dummy_hash);
        self.run(network, move |hasher| {
            let check = hasher.verify(&password, stored.as_deref().unwrap_or(&dummy_hash));
            if stored.is_some() { check } else { PasswordCheck::Wrong }
        })
        .await
    }

    /// Compares `password` with a stored hash and, if it is right, hashes `new`, in one job of the
    /// queue.
    pub(super) async fn verify_and_hash(
        &self,
        network: IpAddr,
        password: String,
        stored: String,
        new: Option<NewPassword>,
    ) -> Result<(PasswordCheck, Option<String>), ActorError> {
        self.run(network, move |hasher| {
            let check = hasher.verify(&password, &stored);
            let new = new.filter(|_| check != PasswordCheck::Wrong);
            (check, new.map(|new| hasher.hash(new.as_str().as_bytes())))
        })
        .await
    }

    async fn run<T: Send + 'static>(
        &self,
        network: IpAddr,
        work: impl FnOnce(&mut Hasher) -> T + Send + 'static,
    ) -> Result<T, ActorError> {
        let (done, mut result) = oneshot::channel();
        let job = Box::new(move |hasher: &mut Hasher| {
            // If the caller has stopped waiting, the hash is not needed.
            if !done.is_closed() {
                METRICS.passwords_hashed.inc();
                // Lets a test give each hash the same duration.
                fail::fail_point!("passwords::hash");
                let _ = done.send(work(hasher));
            }
        });
        let deadline = Instant::now() + Self::WAIT_MAX;
        let id = self.queue.push(network, deadline, job).ok_or_else(reject)?;
        let answer = tokio::select! {
            biased;
            answer = &mut result => answer,
            () = sleep_until(deadline) => {
                if self.queue.remove(id) {
                    return Err(reject());
                }
                result.await
            }
        };
        // No result: the job was displaced by another network's job, was dropped after its
        // deadline, or panicked.
        answer.map_err(|_| reject())
    }
}

/// Lowers this thread's scheduling priority: if hashes and requests compete for a core, requests
/// get nine tenths of it.
#[cfg(target_os = "linux")]
fn lower_priority() {
    /// Added to the process's niceness. Ten steps are a ninth of the weight (Linux,
    /// `sched_prio_to_weight`).
    const NICENESS: i32 = 10;
    // Niceness belongs to a thread on Linux (setpriority(2)).
    let thread = Some(rustix::thread::gettid());
    let lowered = rustix::process::getpriority_process(thread)
        .and_then(|nice| rustix::process::setpriority_process(thread, nice + NICENESS));
    if let Err(error) = lowered {
        tracing::warn!(%error, "the priority of a password hashing thread could not be lowered; sign-ins may slow other requests down");
    }
}

/// Does nothing: on other systems niceness belongs to the whole process.
#[cfg(not(target_os = "linux"))]
fn lower_priority() {}

fn reject() -> ActorError {
    METRICS.requests_rejected.with_label_values(&["passwords"]).inc();
    ActorError::Busy("passwords")
}

impl Hasher {
    /// Returns the hash of a new password with the present parameters and a new salt, in PHC string
    /// format.
    fn hash(&mut self, password: &[u8]) -> String {
        let (algorithm, version, params) =
            (Algorithm::default(), Version::default(), present_params());
        let (salt, length) =
            (Salt::generate(), params.output_len().unwrap_or(Params::DEFAULT_OUTPUT_LEN));
        let texts =
            ParamsString::try_from(&params).expect("the present parameters are three numbers");
        let output = self.output(algorithm, version, params, password, &salt, length);
        let hash = Some(output.expect("a password of 128 characters can be hashed"));
        PasswordHash {
            algorithm: algorithm.ident(),
            version: Some(version.into()),
            params: texts,
            salt: Some(salt),
            hash,
        }
        .to_string()
    }

    fn verify(&mut self, password: &str, stored: &str) -> PasswordCheck {
        let parsed = PasswordHash::new(stored).ok().and_then(|stored| {
            let algorithm = Algorithm::try_from(stored.algorithm.as_str()).ok()?;
            let version = stored.version.map_or(Ok(Version::default()), Version::try_from).ok()?;
            Some((algorithm, version, Params::try_from(&stored).ok()?, stored.salt?, stored.hash?))
        });
        let Some((algorithm, version, params, salt, expected)) = parsed else {
            tracing::error!(
                "a stored password hash is not a valid PHC string; its user cannot sign in; check the store for damage"
            );
            return PasswordCheck::Wrong;
        };
        let costs = |params: &Params| (params.m_cost(), params.t_cost(), params.p_cost());
        let is_current =
            algorithm == Algorithm::default() && costs(&params) == costs(&present_params());
        let mut is_hash_of = |password: &str| {
            let output = self.output(
                algorithm,
                version,
                params.clone(),
                password.as_bytes(),
                &salt,
                expected.len(),
            );
            // The comparison takes the same time for all differences.
            output.is_some_and(|output| output == expected)
        };
        let normalized = normalized_password(password);
        if is_hash_of(&normalized) {
            return if is_current {
                PasswordCheck::Right
            } else {
                PasswordCheck::Outdated { fresh: self.hash(normalized.as_bytes()) }
            };
        }
        // Hashes that are older than the normalization to NFC are of the text as it was typed.
        if normalized != password && is_hash_of(password) {
            return PasswordCheck::Outdated { fresh: self.hash(normalized.as_bytes()) };
        }
        PasswordCheck::Wrong
    }

    /// Returns `None` for lengths that Argon2 does not allow.
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
        Argon2::new(algorithm, version, params)
            .hash_password_into_with_memory(password, salt, out, &mut self.memory)
            .ok()?;
        Output::new(out).ok()
    }
}

/// Returns the parameters of new hashes.
fn present_params() -> Params {
    // A test that is not about passwords hashes with the least cost: Argon2 took a fifth of the CPU
    // time of all tests.
    fail::fail_point!("passwords::least_cost", |_| {
        Params::new(Params::MIN_M_COST, Params::MIN_T_COST, Params::MIN_P_COST, None)
            .expect("the least cost is valid")
    });
    Params::default()
}

#[cfg(test)]
mod tests;
