//! Tests of the scripts that run in a cluster or against one: MongoDB's probe against a real mongod
//! and imitations of it, and the scripts of operators against an imitation of `kubectl`.
//! `scripts/check-manifests` checks the manifests.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::{Command, Output},
    thread,
    time::Duration,
};

use bson::{Document, doc};
use tokio::time::Instant;

use crate::{
    app::{Backend, Home, PATIENCE},
    replicas::{
        members::Members,
        network::{self, Network, Node},
        report_skipped,
    },
};

/// Runs a script of this project and waits for its exit.
fn script(path: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new("bash");
    command
        .arg(format!("{}/{path}", env!("CARGO_MANIFEST_DIR")))
        .args(arguments)
        .envs(environment.iter().copied());
    command.output().expect("bash is installed")
}

fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// Returns whether MongoDB's probe passes.
fn probe(what: &str, addr: (&str, u16)) -> bool {
    let port = addr.1.to_string();
    let output = script(
        "manifests/base/mongodb-probe.sh",
        &[what],
        &[("HOSTNAME", addr.0), ("MONGODB_PORT", &port)],
    );
    output.status.success()
}

/// Starts a listener that replies to each `hello` with this document.
fn replying(reply: Document) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addr = listener.local_addr().expect("the listener is bound");
    let document = reply.to_vec().expect("the document can be encoded");
    // OP_MSG: length, id, response to, opcode 2013, no flags, one section of kind 0.
    let length = i32::try_from(21 + document.len()).expect("the document is short");
    let header: Vec<u8> =
        [length, 1, 1, 2013, 0].iter().flat_map(|number| number.to_le_bytes()).chain([0]).collect();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut stream = stream;
            let mut asked = [0; 52];
            stream.read_exact(&mut asked).expect("a whole request");
            assert_eq!(asked[..4], 52_i32.to_le_bytes());
            // The probe may have closed the connection already.
            let _ = stream.write_all(&[header.clone(), document.clone()].concat());
        }
    });
    addr
}

/// Returns the reply of a member, shortened.
fn hello(primary: bool, secondary: bool) -> Document {
    let version = doc! { "counter": 6_i64 };
    doc! {
        "topologyVersion": version, "hosts": ["a:27017", "b:27017"], "setName": "rs0", "setVersion": 1,
        "isWritablePrimary": primary, "secondary": secondary, "primary": "a:27017", "readOnly": false, "ok": 1.0,
    }
}

fn probe_at(what: &str, addr: SocketAddr) -> bool {
    probe(what, ("127.0.0.1", addr.port()))
}

#[test]
fn mongodb_probe_of_a_real_primary_passes() {
    let home = Home::new(Backend::MongoDb);
    let uri = home.mongodb_uri().expect("the storage is on MongoDB");
    let host = uri.trim_start_matches("mongodb://").split([',', '/']).next().unwrap_or_default();
    let (host, port) = host.rsplit_once(':').unwrap_or((host, "27017"));
    let port = port.parse().expect("a port");
    assert!(probe("alive", (host, port)));
    assert!(probe("member", (host, port)));
}

#[test]
fn mongodb_probe_of_a_member_follows_its_state() {
    for (primary, secondary, is_member) in
        [(true, false, true), (false, true, true), (false, false, false)]
    {
        let addr = replying(hello(primary, secondary));
        assert!(probe_at("alive", addr));
        assert_eq!(probe_at("member", addr), is_member, "primary {primary}, secondary {secondary}");
    }
}

#[test]
fn mongodb_probe_of_a_mongod_outside_a_set_reports_alive_but_not_member() {
    let addr =
        replying(doc! { "isWritablePrimary": true, "maxBsonObjectSize": 16_777_216, "ok": 1.0 });
    assert!(probe_at("alive", addr));
    assert!(!probe_at("member", addr));
}

/// The kernel accepts connections for a stopped process, up to the length of its backlog, and no
/// answer arrives.
#[test]
fn mongodb_probe_of_a_stopped_mongod_fails() {
    let stopped = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addr = stopped.local_addr().expect("the listener is bound");
    assert!(!probe_at("alive", addr));
    assert!(!probe_at("member", addr));
}

#[test]
fn mongodb_probe_without_a_mongod_fails() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addr = listener.local_addr().expect("the listener is bound");
    drop(listener);
    assert!(!probe_at("alive", addr));
}

/// Folder with an imitation of `kubectl` that logs its arguments and answers as its script defines.
struct Cluster {
    folder: PathBuf,
}

impl Cluster {
    fn new(name: &str, answers: &str) -> Self {
        let folder =
            std::env::temp_dir().join(format!("gittix_deploy_{}_{name}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).expect("the temporary folder is writable");
        let kubectl = folder.join("kubectl");
        let log = folder.join("log").display().to_string();
        fs::write(
            &kubectl,
            format!("#!/bin/bash\necho \"$*\" >>'{log}'\ncase \"$*\" in\n{answers}\nesac\n"),
        )
        .expect("the file is written");
        fs::set_permissions(&kubectl, fs::Permissions::from_mode(0o755))
            .expect("the file is made executable");
        Self { folder }
    }

    fn run(&self, path: &str, arguments: &[&str]) -> Output {
        let path_variable =
            format!("{}:{}", self.folder.display(), std::env::var("PATH").expect("PATH is set"));
        script(path, arguments, &[("PATH", &path_variable)])
    }

    fn asked(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    fn secrets(&self) -> String {
        self.folder.join("secrets").display().to_string()
    }

    fn secret(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.folder.join("secrets").join(name)).ok()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Answers for three healthy members.
const HEALTHY: &str = r#"
    *"get statefulset mongodb"*) echo "3 3 3" ;;
    *mongodb-probe.sh*) exit 0 ;;
    *mongosh*) echo "mongodb-1:27017" ;;
    *rollout*) exit 0 ;;
"#;

#[test]
fn mongodb_restart_of_a_healthy_set_is_rolled_out() {
    let cluster = Cluster::new("healthy", HEALTHY);
    let output = cluster.run("scripts/restart-mongodb", &["--context", "a-cluster"]);
    assert!(output.status.success(), "{}", text(&output));
    assert!(
        cluster
            .asked()
            .contains("--context a-cluster --namespace gittix rollout restart statefulset/mongodb"),
        "{}",
        cluster.asked()
    );
}

#[test]
fn mongodb_check_of_a_healthy_set_restarts_nothing() {
    let cluster = Cluster::new("checked", HEALTHY);
    let output = cluster.run("scripts/restart-mongodb", &["--check"]);
    assert!(output.status.success(), "{}", text(&output));
    assert!(!cluster.asked().contains("rollout"), "{}", cluster.asked());
}

/// Returns answers of `kubectl` in front of real members: a pod is ready if the real probe passes,
/// and `exec` runs the probe.
fn answers_of(members: &Members, primary: usize) -> String {
    let probe = format!("{}/manifests/base/mongodb-probe.sh", env!("CARGO_MANIFEST_DIR"));
    let run =
        |node: &Node| format!("HOSTNAME={} MONGODB_PORT=27017 bash '{probe}' member", node.ip);
    let nodes = members.nodes();
    let ready: Vec<String> =
        nodes.iter().map(|node| format!("{} && ready=$((ready + 1))", run(node))).collect();
    let execs: Vec<String> = nodes
        .iter()
        .enumerate()
        .map(|(number, node)| {
            format!("*\"exec mongodb-{number} \"*mongodb-probe.sh*) {} ;;", run(node))
        })
        .collect();
    format!(
        "*\"get statefulset mongodb\"*) ready=0\n{}\necho \"3 $ready 3\" ;;\n{}\n*mongosh*) echo mongodb-{primary}:27017 ;;\n*rollout*) exit 0 ;;",
        ready.join("\n"),
        execs.join("\n")
    )
}

/// Uses three real members, one of which is stopped, killed and started again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mongodb_restart_is_refused_while_a_real_member_is_stopped_or_down() {
    if let Err(why) = network::is_possible() {
        return report_skipped("a restart of a real replica set", &why);
    }
    let mut network = Network::new();
    let mut members = Members::start(&mut network, Duration::from_secs(10)).await;
    members.wait_until_healthy().await;
    let primary = members.primary().await;
    let other = (primary + 1) % Members::COUNT;
    let cluster = Cluster::new("real", &answers_of(&members, primary));
    let check = || cluster.run("scripts/restart-mongodb", &["--check"]);
    let is_refused = |output: Output| {
        output.status.code() == Some(1) && text(&output).contains("2 of 3 members are ready")
    };

    let output = check();
    assert!(output.status.success(), "{}", text(&output));
    members.get(other).pause();
    assert!(is_refused(check()), "a stopped member is not reported");
    members.get(other).resume();
    members.get_mut(other).kill();
    assert!(
        is_refused(cluster.run("scripts/restart-mongodb", &[])),
        "a killed member is not reported"
    );
    assert!(!cluster.asked().contains("rollout"), "{}", cluster.asked());
    members.get_mut(other).start();
    // The primary notices the member by a heartbeat; the probe queries the member itself.
    let deadline = Instant::now() + PATIENCE;
    while !check().status.success() {
        assert!(Instant::now() < deadline, "the member does not recover");
    }
    let output = cluster.run("scripts/restart-mongodb", &[]);
    assert!(output.status.success(), "{}", text(&output));
    assert!(cluster.asked().contains("rollout restart statefulset/mongodb"), "{}", cluster.asked());
}

#[test]
fn mongodb_restart_of_an_unhealthy_set_is_refused() {
    let states = [
        ("a member is down", HEALTHY.replace("3 3 3", "3 2 3"), "2 of 3 members are ready"),
        ("an update is under way", HEALTHY.replace("3 3 3", "3 3 1"), "an update is under way"),
        ("no member is ready", HEALTHY.replace("3 3 3", "3"), "0 of 3 members are ready"),
        (
            "one member has left the set",
            HEALTHY.replacen(
                "*mongodb-probe.sh*",
                "*mongodb-2*mongodb-probe.sh*) exit 1 ;;\n*mongodb-probe.sh*",
                1,
            ),
            "mongodb-2 is neither",
        ),
        ("there is no primary", HEALTHY.replace("mongodb-1:27017", ""), "no primary"),
    ];
    for (name, answers, reason) in states {
        let cluster = Cluster::new(&name.replace(' ', "_"), &answers);
        let output = cluster.run("scripts/restart-mongodb", &[]);
        assert_eq!(output.status.code(), Some(1), "{name}: {}", text(&output));
        assert!(text(&output).contains(reason), "{name}: {}", text(&output));
        assert!(!cluster.asked().contains("rollout"), "{name}: {}", cluster.asked());
    }
}

/// Answers of a cluster whose MongoDB uses Secrets with these names.
const RUNNING: &str = r#"
    *"get statefulset mongodb"*) echo -n mongodb-abc ;;
    *"get cronjob mongodb-init"*) echo -n mongodb-app-def ;;
    *"get secret mongodb-abc"*keyfile*) echo -n old-keyfile ;;
    *"get secret mongodb-abc"*root-password*) echo -n old-root ;;
    *"get secret mongodb-app-def"*app-user*) echo -n gittix-old ;;
    *"get secret mongodb-app-def"*app-password*) echo -n old-app ;;
    *) exit 1 ;;
"#;

#[test]
fn lost_secrets_of_a_running_cluster_are_recovered() {
    let cluster = Cluster::new("living", RUNNING);
    let output = cluster.run("scripts/recover-secrets", &[&cluster.secrets()]);
    assert!(output.status.success(), "{}", text(&output));
    let output = cluster.run("scripts/deploy-secrets", &[&cluster.secrets()]);
    assert!(output.status.success(), "{}", text(&output));
    assert_eq!(cluster.secret("keyfile").as_deref(), Some("old-keyfile"));
    assert_eq!(cluster.secret("root-password").as_deref(), Some("old-root"));
    let uri = cluster.secret("MONGODB_URI").expect("the URI is made from the recovered secrets");
    assert!(uri.starts_with("mongodb://gittix-old:old-app@mongodb-0."), "{uri}");
}

#[test]
fn existing_secrets_are_kept_without_a_query_to_the_cluster() {
    let cluster = Cluster::new("kept", RUNNING);
    assert!(cluster.run("scripts/deploy-secrets", &[&cluster.secrets()]).status.success());
    let before = cluster.secret("keyfile");
    assert!(cluster.run("scripts/recover-secrets", &[&cluster.secrets()]).status.success());
    assert_eq!((cluster.secret("keyfile"), cluster.asked()), (before, String::new()));
}

#[test]
fn secrets_of_a_cluster_without_mongodb_are_not_required() {
    let cluster = Cluster::new("empty", "*) exit 0 ;;");
    assert!(cluster.run("scripts/recover-secrets", &[&cluster.secrets()]).status.success());
    assert_eq!(cluster.secret("keyfile"), None);
}

#[test]
fn lost_secrets_are_refused_when_only_their_data_remains() {
    let cluster = Cluster::new(
        "orphaned",
        "*persistentvolumeclaims*) echo persistentvolumeclaim/data-mongodb-0 ;;",
    );
    let output = cluster.run("scripts/recover-secrets", &[&cluster.secrets()]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert_eq!(cluster.secret("keyfile"), None);
}

#[test]
fn new_user_of_the_servers_gets_another_name_and_password() {
    let cluster = Cluster::new("rotated", "");
    let secrets = cluster.secrets();
    assert!(cluster.run("scripts/deploy-secrets", &[&secrets]).status.success());
    let names = ["app-user", "app-password", "MONGODB_URI", "keyfile", "root-password"];
    let before = names.map(|name| cluster.secret(name));
    assert!(cluster.run("scripts/deploy-secrets", &[&secrets, "--new-user"]).status.success());
    let after = names.map(|name| cluster.secret(name));
    let changed: Vec<bool> =
        before.iter().zip(&after).map(|(before, after)| before != after).collect();
    assert_eq!(changed, [true, true, true, false, false]);
}
