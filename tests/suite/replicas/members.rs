//! A MongoDB replica set of three real processes, each in a network namespace, and faults for each.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use bson::{Document, doc, oid::ObjectId};
use mongodb::{
    Client,
    options::{ClientOptions, ServerAddress},
};
use tokio::time::{Instant, sleep, timeout};

use super::network::{Network, Node};
use crate::app::PATIENCE;

const PORT: u16 = 27017;
/// Maximum time that the test waits for a member's answer.
const ANSWER_MAX: Duration = Duration::from_secs(2);
/// The name of MongoDB's error for a replica set that was initiated before (code 23).
const ALREADY_INITIALIZED: &str = "AlreadyInitialized";
const POLL: Duration = Duration::from_millis(20);

/// The replica set. Dropping it kills its processes and removes their files.
#[derive(Debug)]
pub struct Members {
    members: Vec<Member>,
    folder: PathBuf,
}

/// One mongod.
#[derive(Debug)]
pub struct Member {
    pub node: Node,
    process: Option<Child>,
    mongod: PathBuf,
    data: PathBuf,
    /// Client of this member only.
    client: Client,
}

impl Members {
    pub const COUNT: usize = 3;

    /// Starts three members and waits until one is the primary. After `election` without a
    /// heartbeat from the primary, the other members elect a new one (MongoDB's default: 10 s).
    pub async fn start(network: &mut Network, election: Duration) -> Self {
        /// Tests of one process may start several sets at the same time.
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder =
            std::env::temp_dir().join(format!("gittix-members-{}-{number}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        let mongod = mongod();
        let mut members = Vec::new();
        for number in 0..Self::COUNT {
            let node = network.node();
            let data = folder.join(number.to_string());
            std::fs::create_dir_all(&data).expect("the temporary folder is writable");
            let mut options = ClientOptions::builder()
                .hosts(vec![ServerAddress::Tcp { host: node.ip.to_string(), port: Some(PORT) }])
                .build();
            options.direct_connection = Some(true);
            options.server_selection_timeout = Some(ANSWER_MAX);
            options.connect_timeout = Some(ANSWER_MAX);
            let client = Client::with_options(options).expect("plain options");
            let mut member = Member { node, process: None, mongod: mongod.clone(), data, client };
            member.start();
            members.push(member);
        }
        let set = Self { members, folder };
        set.initiate(election).await;
        set.primary().await;
        set
    }

    async fn initiate(&self, election: Duration) {
        let hosts: Vec<Document> = (0..)
            .zip(&self.members)
            .map(|(number, member): (i32, _)| doc! { "_id": number, "host": member.host() })
            .collect();
        let millis = i64::try_from(election.as_millis()).expect("seconds");
        let settings = doc! { "electionTimeoutMillis": millis, "heartbeatIntervalMillis": millis / 4, "heartbeatTimeoutSecs": (millis / 1000).max(1) };
        let config = doc! { "_id": "rs0", "members": hosts, "settings": settings };
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.members[0].command(doc! { "replSetInitiate": config.clone() }).await {
                Ok(_) => return,
                // The reply to an earlier attempt was lost or late.
                Err(error) if error.contains(ALREADY_INITIALIZED) => return,
                Err(error) => {
                    assert!(Instant::now() < deadline, "the replica set cannot be made: {error}")
                }
            }
            sleep(POLL).await;
        }
    }

    /// Returns the URI for servers and checkers, without a database.
    pub fn uri(&self) -> String {
        let hosts: Vec<String> = self.members.iter().map(Member::host).collect();
        format!("mongodb://{}/?replicaSet=rs0", hosts.join(","))
    }

    /// Returns the member that accepts writes: if two members report so, the one of the later
    /// election.
    pub async fn primary(&self) -> usize {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut found: Option<(ObjectId, usize)> = None;
            for (number, member) in self.members.iter().enumerate() {
                let Ok(hello) = member.command(doc! { "hello": 1 }).await else { continue };
                if let (Ok(true), Ok(election)) =
                    (hello.get_bool("isWritablePrimary"), hello.get_object_id("electionId"))
                {
                    found = found.max(Some((election, number)));
                }
            }
            match found {
                Some((_, number)) => return number,
                None => assert!(Instant::now() < deadline, "no primary"),
            }
            sleep(POLL).await;
        }
    }

    /// Waits until all members run and follow one primary.
    pub async fn wait_until_healthy(&self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let primary = self.primary().await;
            let status = self.members[primary].command(doc! { "replSetGetStatus": 1 }).await;
            let states: Vec<i32> = status
                .as_ref()
                .ok()
                .and_then(|status| status.get_array("members").ok())
                .map(|members| {
                    members
                        .iter()
                        .filter_map(|member| member.as_document()?.get_i32("state").ok())
                        .collect()
                })
                .unwrap_or_default();
            // 1: primary, 2: secondary.
            if states.len() == Self::COUNT
                && states.iter().all(|state| [1, 2].contains(state))
                && states.contains(&1)
            {
                return;
            }
            assert!(Instant::now() < deadline, "the replica set is not complete: {states:?}");
            sleep(POLL).await;
        }
    }

    pub fn nodes(&self) -> Vec<Node> {
        self.members.iter().map(|member| member.node.clone()).collect()
    }

    /// Returns all nodes except that of this member.
    pub fn peers_of(&self, number: usize) -> Vec<Node> {
        self.members
            .iter()
            .enumerate()
            .filter(|(other, _)| *other != number)
            .map(|(_, member)| member.node.clone())
            .collect()
    }

    pub fn get(&self, number: usize) -> &Member {
        &self.members[number]
    }

    pub fn get_mut(&mut self, number: usize) -> &mut Member {
        &mut self.members[number]
    }
}

impl Drop for Members {
    fn drop(&mut self) {
        for member in &mut self.members {
            member.kill();
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Member {
    fn host(&self) -> String {
        format!("{}:{PORT}", self.node.ip)
    }

    /// Starts the process on its existing data.
    pub fn start(&mut self) {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.data.with_extension("log"))
            .expect("a log can be written");
        let mut command = self.node.command(&self.mongod);
        command.arg("--dbpath").arg(&self.data).args([
            "--port",
            &PORT.to_string(),
            "--bind_ip",
            &self.node.ip.to_string(),
        ]);
        command.args([
            "--replSet",
            "rs0",
            "--nounixsocket",
            "--oplogSize",
            "256",
            "--wiredTigerCacheSizeGB",
            "0.25",
            "--quiet",
        ]);
        for parameter in [
            "enableTestCommands=1",
            "ttlMonitorEnabled=false",
            "diagnosticDataCollectionEnabled=false",
        ] {
            command.args(["--setParameter", parameter]);
        }
        let errors = log.try_clone().expect("a file can be shared");
        command.stdin(Stdio::null()).stdout(log).stderr(errors);
        self.process = Some(command.spawn().expect("a mongod can be started"));
    }

    /// Sends SIGKILL and waits for the exit.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Sends SIGSTOP: the process answers no request and cannot notice it.
    pub fn pause(&self) {
        self.signal("-STOP");
    }

    /// Sends SIGCONT.
    pub fn resume(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let pid = self.process.as_ref().expect("the member runs").id().to_string();
        let sent = Command::new("kill").args([signal, &pid]).status();
        assert!(sent.as_ref().is_ok_and(|status| status.success()), "{sent:?}");
    }

    /// Makes this primary step down; another member is elected at once.
    pub async fn step_down(&self) {
        // The member may refuse while no other has caught up, and may close the connection. The
        // caller observes the result.
        let _ = self.command(doc! { "replSetStepDown": 5, "secondaryCatchUpPeriodSecs": 2 }).await;
    }

    /// Makes commands of the driver called `gittix` fail or wait until [`Member::clear_fault`].
    pub async fn set_fault(&self, mode: Document, mut data: Document) {
        data.insert("appName", "gittix");
        let fault = doc! { "configureFailPoint": "failCommand", "mode": mode, "data": data };
        self.command(fault).await.unwrap_or_else(|error| panic!("a fault cannot be set: {error}"));
    }

    pub async fn clear_fault(&self) {
        let deadline = Instant::now() + PATIENCE;
        while let Err(error) =
            self.command(doc! { "configureFailPoint": "failCommand", "mode": "off" }).await
        {
            assert!(Instant::now() < deadline, "a fault cannot be removed: {error}");
        }
    }

    async fn command(&self, command: Document) -> Result<Document, String> {
        let admin = self.client.database("admin");
        match timeout(ANSWER_MAX, admin.run_command(command)).await {
            Ok(answer) => answer.map_err(|error| error.to_string()),
            Err(_) => Err("no answer".into()),
        }
    }
}

/// Returns the mongod program that all other tests use.
pub fn mongod() -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/mongod-path");
    let found =
        Command::new(&script).stderr(Stdio::inherit()).output().expect("the script can be run");
    assert!(found.status.success(), "{}", script.display());
    PathBuf::from(String::from_utf8_lossy(&found.stdout).trim())
}
