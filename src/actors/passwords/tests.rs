//! Tests of `passwords.rs`.

use std::{net::Ipv4Addr, sync::mpsc};

use argon2::{PasswordHasher, PasswordVerifier};
use parking_lot::Mutex;

use super::*;

#[test]
fn hash_has_the_documented_parameters() {
    let hash = Hasher::default().hash(b"correct horse");
    assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
    Argon2::default()
        .verify_password(b"correct horse", &PasswordHash::new(&hash).expect("PHC"))
        .expect("the argon2 crate verifies it");
}

#[test]
fn outdated_hash_is_renewed_when_the_password_is_right() {
    let mut hasher = Hasher::default();
    let weak = Argon2::new(
        Algorithm::Argon2id,
        Version::V0x13,
        Params::new(1024, 1, 1, None).expect("valid"),
    );
    let stored = weak.hash_password(b"correct horse").expect("hashes").to_string();
    let PasswordCheck::Outdated { fresh } = hasher.verify("correct horse", &stored) else {
        panic!("the hash is outdated")
    };
    assert_eq!(hasher.verify("correct horse", &fresh), PasswordCheck::Right);
    assert_eq!(hasher.verify("wrong", &fresh), PasswordCheck::Wrong);
    assert_eq!(hasher.verify("wrong", &stored), PasswordCheck::Wrong);
    assert_eq!(hasher.verify("correct horse", "not a hash"), PasswordCheck::Wrong);
}

#[test]
fn password_is_right_composed_and_decomposed() {
    const COMPOSED: &str = "café crème";
    const DECOMPOSED: &str = "cafe\u{301} cre\u{300}me";
    let mut hasher = Hasher::default();
    let stored = hasher.hash(COMPOSED.as_bytes());
    assert_eq!(hasher.verify(COMPOSED, &stored), PasswordCheck::Right);
    assert_eq!(hasher.verify(DECOMPOSED, &stored), PasswordCheck::Right);
    let before = hasher.hash(DECOMPOSED.as_bytes());
    let PasswordCheck::Outdated { fresh } = hasher.verify(DECOMPOSED, &before) else {
        panic!("the hash is not of the NFC form")
    };
    assert_eq!(hasher.verify(COMPOSED, &fresh), PasswordCheck::Right);
    assert_eq!(hasher.verify("cafe\u{301} creme", &before), PasswordCheck::Wrong);
}

#[tokio::test]
async fn thread_continues_after_a_job_that_panics() {
    let passwords = Passwords::start();
    let threads = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    for _ in 0..threads * 2 {
        let answer = passwords.run::<()>(network(1), |_| panic!("panic of the test")).await;
        assert!(matches!(answer, Err(ActorError::Busy(_))), "{answer:?}");
    }
    passwords
        .hash(network(1), NewPassword::parse("correct horse").expect("valid password"))
        .await
        .expect("a thread is running");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn hashing_threads_have_a_lower_priority_than_the_process() {
    let nice = || {
        rustix::process::getpriority_process(Some(rustix::thread::gettid()))
            .expect("a thread has a priority")
    };
    let of_hashing =
        Passwords::start().run(network(1), move |_| nice()).await.expect("the queue has room");
    assert_eq!(of_hashing, (nice() + 10).min(19));
}

#[tokio::test]
async fn password_of_the_dummy_hash_is_wrong() {
    let passwords = Passwords::start();
    assert_eq!(
        passwords
            .verify(network(1), "the dummy password".into(), None)
            .await
            .expect("the queue has room"),
        PasswordCheck::Wrong
    );
}

fn network(number: u8) -> IpAddr {
    Ipv4Addr::new(192, 0, 2, number).into()
}

/// Keeps the only thread of `passwords` busy until the returned sender is used or dropped.
async fn occupied(passwords: &Passwords) -> mpsc::Sender<()> {
    let (release, released) = mpsc::channel::<()>();
    let (began, begun) = oneshot::channel();
    let job: HashJob = Box::new(move |_| {
        let _ = began.send(());
        let _ = released.recv();
    });
    let deadline = Instant::now() + Passwords::WAIT_MAX;
    passwords.queue.push(network(0), deadline, job).expect("the queue is empty");
    begun.await.expect("the thread took the job");
    release
}

#[tokio::test]
async fn sign_in_during_a_flood_of_24_networks_is_hashed_after_one_job_of_each() {
    let passwords = Passwords::start_with(1);
    let release = occupied(&passwords).await;
    let order = Arc::new(Mutex::new(Vec::new()));
    let job = |number: u8| {
        let order = Arc::clone(&order);
        passwords.run(network(number), move |_| order.lock().push(number))
    };
    let flood: Vec<_> = (0..120).map(|n| Box::pin(job(1 + n % 24))).collect();
    let mut flood = futures_util::future::join_all(flood);
    assert!(futures_util::poll!(&mut flood).is_pending(), "all jobs are queued");
    let mut single = Box::pin(job(100));
    assert!(futures_util::poll!(&mut single).is_pending());
    drop(release);
    single.await.expect("the job is served");
    assert!(flood.await.iter().all(Result::is_ok), "the queue has room for all jobs");
    assert_eq!(
        order.lock().iter().position(|number| *number == 100),
        Some(24),
        "{:?}",
        order.lock()
    );
}

#[tokio::test]
async fn job_that_waits_longer_than_3_s_is_refused_and_not_hashed() {
    let passwords = Passwords::start_with(1);
    let release = occupied(&passwords).await;
    let ran = Arc::new(Mutex::new(false));
    let late = {
        let ran = Arc::clone(&ran);
        passwords.run(network(1), move |_| *ran.lock() = true).await
    };
    assert!(matches!(late, Err(ActorError::Busy("passwords"))), "{late:?}");
    drop(release);
    passwords.run(network(1), |_| ()).await.expect("the thread takes the next job");
    assert!(!*ran.lock());
}

#[tokio::test]
async fn full_queue_refuses_the_network_with_most_jobs_and_serves_another() {
    let passwords = Passwords::start_with(1);
    let release = occupied(&passwords).await;
    let flood: Vec<_> = (0..HashQueue::<HashJob>::WAITING_MAX)
        .map(|_| Box::pin(passwords.run(network(1), |_| ())))
        .collect();
    let mut flood = futures_util::future::join_all(flood);
    assert!(futures_util::poll!(&mut flood).is_pending(), "the queue is full");
    let rejected = passwords.run(network(1), |_| ()).await;
    assert!(matches!(rejected, Err(ActorError::Busy("passwords"))), "{rejected:?}");
    let mut other = Box::pin(passwords.run(network(2), |_| ()));
    assert!(futures_util::poll!(&mut other).is_pending(), "the job is queued");
    drop(release);
    other.await.expect("the job is served");
    assert_eq!(
        flood.await.iter().filter(|answer| answer.is_err()).count(),
        1,
        "one job was displaced"
    );
}
