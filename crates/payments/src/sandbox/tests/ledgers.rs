//! Tests that each ledger passes: alone, with concurrent calls, and after a restart.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use tokio::sync::Barrier;

use super::*;

/// Checks the contract of the trait `Ledger`.
async fn ledger_contract(ledger: &dyn Ledger) {
    let opened = SandboxPayment::of(&charge(1));
    assert_eq!(ledger.find(&opened.id).await, Ok(None));
    assert_eq!(
        ledger.replace(SandboxPayment { version: 1, ..opened.clone() }).await,
        Ok(false),
        "nothing to replace"
    );
    assert_eq!(ledger.open(opened.clone()).await, Ok(opened.clone()));
    let next = SandboxPayment { version: 1, stage: Stage::Authorized, ..opened.clone() };
    assert_eq!(ledger.replace(next.clone()).await, Ok(true));
    assert_eq!(ledger.replace(next.clone()).await, Ok(false), "the version is stored already");
    assert_eq!(
        ledger.open(opened).await,
        Ok(next.clone()),
        "opening it again returns the stored state"
    );
    assert_eq!(ledger.find(&next.id).await, Ok(Some(next.clone())));
    let other = ledger.open(SandboxPayment::of(&charge(2))).await.expect("the payment opens");
    let mut all = ledger.all().await.expect("the ledger can be read");
    all.sort_by_key(|payment| payment.charge);
    assert_eq!(all, [next.clone(), other]);
    let stages = [
        Stage::Open { declined: Some(ChargeFailure::new("code", "message")) },
        Stage::ActionRequired {
            waits: 1,
            then: tokens::AfterAction::Decline { failure: ChargeFailure::new("code", "message") },
        },
        Stage::Refunded { refund: gittix_domain::RefundId::new("re_1") },
    ];
    let mut last = SandboxPayment {
        capture: CaptureManner::Slow { millis: 5 },
        captured: AMOUNT,
        refunded: AMOUNT,
        ..next
    };
    for stage in stages {
        last = SandboxPayment { stage, version: last.version + 1, ..last };
        assert_eq!(ledger.replace(last.clone()).await, Ok(true));
        assert_eq!(ledger.find(&last.id).await, Ok(Some(last.clone())), "every field is stored");
    }
}

/// A folder that is removed at the end of the test.
struct Folder(std::path::PathBuf);

impl Folder {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("gittix-sandbox-{}", Uuid::now_v7().simple()));
        std::fs::create_dir(&path).expect("a folder for the test");
        Self(path)
    }

    fn ledger(&self) -> Arc<FileLedger> {
        Arc::new(FileLedger::open(&self.0).expect("the ledger opens"))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[tokio::test]
async fn ledger_in_memory_keeps_the_contract() {
    ledger_contract(&MemoryLedger::default()).await;
}

#[tokio::test]
async fn ledger_in_a_file_keeps_the_contract() {
    let folder = Folder::new();
    ledger_contract(&*folder.ledger()).await;
}

/// Uses the replica set that `MONGODB_URI` names.
#[tokio::test(flavor = "multi_thread")]
async fn ledger_in_mongodb_keeps_the_contract_and_settles_races() {
    let uri = std::env::var("MONGODB_URI")
        .expect("MONGODB_URI names a replica set; scripts/with-mongod starts one");
    let client = mongodb::Client::with_uri_str(uri).await.expect("the address is valid");
    let database = client.database(&format!("gittix_sandbox_{}", Uuid::now_v7().simple()));
    ledger_contract(&MongoLedger::new(&database)).await;
    database.drop().await.expect("the database is emptied");
    race(Arc::new(MongoLedger::new(&database)), 20).await;
    database.drop().await.expect("the database is dropped");
}

#[tokio::test]
async fn acknowledged_writes_are_stored_after_a_restart() {
    let folder = Folder::new();
    let payment = Opened::new(Sandbox::new(folder.ledger(), [7; 32])).await;
    payment.authorize("pm_card_visa").await.expect("the payment is authorized");
    payment.capture().await.expect("the payment is captured");
    let (charge, id) = (payment.charge.clone(), payment.id.clone());
    drop(payment);

    let reopened = Opened { sandbox: Sandbox::new(folder.ledger(), [7; 32]), charge, id };
    assert_eq!(
        (reopened.fetch().await, reopened.money().await),
        (PaymentState::Captured, (AMOUNT, 0))
    );
    assert_eq!(reopened.capture().await, Ok(()), "the interrupted step is repeated");
    assert!(matches!(reopened.reverse().await, Ok(Reversal::Refunded { .. })));
    assert_eq!(reopened.money().await, (AMOUNT, AMOUNT));
}

#[tokio::test]
async fn acknowledged_writes_are_stored_without_closing_the_file() {
    let (folder, copy) = (Folder::new(), Folder::new());
    let payment = Opened::new(Sandbox::new(folder.ledger(), [7; 32])).await;
    payment.authorize("pm_card_visa").await.expect("the payment is authorized");
    payment.capture().await.expect("the payment is captured");
    // The copy has the content that the file would have after a crash at this time.
    std::fs::copy(folder.0.join(FileLedger::FILE), copy.0.join(FileLedger::FILE))
        .expect("the file is copied");
    let survivor = Opened {
        sandbox: Sandbox::new(copy.ledger(), [7; 32]),
        charge: payment.charge.clone(),
        id: payment.id.clone(),
    };
    assert_eq!(
        (survivor.fetch().await, survivor.money().await),
        (PaymentState::Captured, (AMOUNT, 0))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_capture_and_reversal_have_one_result() {
    race(Arc::<MemoryLedger>::default(), 200).await;
    let folder = Folder::new();
    race(folder.ledger(), 40).await;
}

async fn race(ledger: Arc<dyn Ledger>, rounds: u128) {
    let sandbox = Sandbox::new(ledger, [7; 32]);
    for round in 0..rounds {
        let charge = charge(round);
        let id = sandbox.open(&charge).await.expect("the payment opens");
        sandbox
            .authorize(&charge, &id, &token("pm_card_visa"))
            .await
            .expect("the payment is authorized");
        let tasks: Vec<_> = (0..4)
            .map(|number| {
                let (sandbox, charge, id) = (sandbox.clone(), charge.clone(), id.clone());
                tokio::spawn(async move {
                    if number % 2 == 0 {
                        Err(sandbox.capture(&charge, &id).await)
                    } else {
                        Ok(sandbox.reverse(&charge, &id).await)
                    }
                })
            })
            .collect();
        let mut reversals = Vec::new();
        let mut captures = 0;
        for task in tasks {
            match task.await.expect("the task does not panic") {
                Ok(reversal) => reversals.push(reversal.expect("the payment is reversed")),
                Err(captured) => captures += u32::from(captured.is_ok()),
            }
        }
        let entries = sandbox.entries().await.expect("the ledger can be read");
        let entry = entries
            .iter()
            .find(|entry| entry.order == charge.order)
            .expect("the charge has an entry");
        assert_eq!(reversals[0], reversals[1]);
        match &reversals[0] {
            Reversal::Voided => assert_eq!((captures, entry.captured, entry.refunded), (0, 0, 0)),
            Reversal::Refunded { .. } => {
                assert_eq!((captures > 0, entry.captured, entry.refunded), (true, AMOUNT, AMOUNT))
            }
        }
    }
}

/// A ledger that lets two calls read the same state before either writes. Without the guard, a
/// write does not check the version.
#[derive(Debug)]
struct Interleaved {
    inner: MemoryLedger,
    armed: AtomicU32,
    both_read: Barrier,
    guarded: bool,
}

#[async_trait]
impl Ledger for Interleaved {
    async fn open(&self, payment: SandboxPayment) -> Result<SandboxPayment, LedgerError> {
        self.inner.open(payment).await
    }

    async fn find(&self, id: &PaymentId) -> Result<Option<SandboxPayment>, LedgerError> {
        let found = self.inner.find(id).await;
        if self
            .armed
            .try_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1))
            .is_ok()
        {
            self.both_read.wait().await;
        }
        found
    }

    async fn replace(&self, payment: SandboxPayment) -> Result<bool, LedgerError> {
        let known = self.inner.find(&payment.id).await?.expect("the payment was opened before");
        let version = if self.guarded { payment.version } else { known.version + 1 };
        self.inner.replace(SandboxPayment { version, ..payment }).await
    }

    async fn all(&self) -> Result<Vec<SandboxPayment>, LedgerError> {
        self.inner.all().await
    }
}

/// Returns the answers of a capture and a reversal that both read the payment as Authorized.
async fn interleaved(guarded: bool) -> (Result<(), ProcessorError>, Reversal) {
    let ledger = Arc::new(Interleaved {
        inner: MemoryLedger::default(),
        armed: AtomicU32::new(0),
        both_read: Barrier::new(2),
        guarded,
    });
    let payment = Opened::new(Sandbox::new(Arc::<Interleaved>::clone(&ledger), [7; 32])).await;
    payment.authorize("pm_card_visa").await.expect("the payment is authorized");
    ledger.armed.store(2, Ordering::SeqCst);
    let (captured, reversed) = tokio::join!(payment.capture(), payment.reverse());
    (captured, reversed.expect("the payment is reversed"))
}

#[tokio::test]
async fn capture_and_reversal_of_the_same_state_are_serialized() {
    let (captured, reversed) = interleaved(true).await;
    assert!(
        captured.is_ok() == matches!(reversed, Reversal::Refunded { .. }),
        "{captured:?} {reversed:?}"
    );
}

#[tokio::test]
async fn control_without_the_version_guard_captured_money_is_reported_as_voided() {
    assert_eq!(interleaved(false).await, (Ok(()), Reversal::Voided));
}
