//! Third-party programs as child processes; `scripts/prepare` installs them.

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, Command, Stdio},
};

/// Program that serves on the loopback interface and prints its port in the first line. Dropping
/// the value kills it.
#[derive(Debug)]
pub struct ThirdPartyStripe {
    child: Child,
    pub base: String,
}

impl ThirdPartyStripe {
    /// Starts the fake Stripe of PyPI: PaymentIntents and signed webhooks. It ignores idempotency
    /// keys, makes every refund that is requested, and delivers an event once.
    pub fn localstripe() -> Self {
        Self::start(".tools/localstripe/bin/python", "tests/others/serve_localstripe.py")
    }

    /// Starts the fake Stripe of npm: charges, the API before PaymentIntents, with real
    /// idempotency.
    pub fn stateful_mock() -> Self {
        Self::start("node", "tests/others/stateful/serve.mjs")
    }

    fn start(program: &str, script: &str) -> Self {
        let mut command = command(program, script);
        let mut child = command
            .env("LOG_LEVEL", "silent")
            .spawn()
            .unwrap_or_else(|error| panic!("{program}: {error} (scripts/prepare installs it)"));
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("text");
        let port: u16 = line.trim().parse().unwrap_or_else(|_| {
            panic!("{script} printed {line:?} (scripts/prepare installs what it needs)")
        });
        Self { child, base: format!("http://127.0.0.1:{port}") }
    }
}

impl Drop for ThirdPartyStripe {
    fn drop(&mut self) {
        // The program may have exited already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns the answer of Stripe's own library to each line.
pub fn stripes_library(lines: &[serde_json::Value]) -> Vec<serde_json::Value> {
    let mut child = command(".tools/stripe/bin/python", "tests/others/signatures.py")
        .spawn()
        .expect("scripts/prepare installs it");
    let mut input = child.stdin.take().expect("piped");
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    // A separate thread writes: neither pipe may fill while the other is not read.
    let writer = std::thread::spawn(move || {
        input.write_all(text.as_bytes()).expect("the program reads all lines")
    });
    let answers: Vec<_> = BufReader::new(child.stdout.take().expect("piped"))
        .lines()
        .map(|line| line.expect("text"))
        .collect();
    writer.join().expect("writing does not panic");
    let status = child.wait().expect("the program exits at the end of its input");
    assert!(
        status.success() && answers.len() == lines.len(),
        "{status}: {} of {} answers",
        answers.len(),
        lines.len()
    );
    answers.iter().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn command(program: &str, script: &str) -> Command {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    // A path in this repository, or a name on the PATH.
    let program =
        if program.contains('/') { root.join(program).into_os_string() } else { program.into() };
    let mut command = Command::new(program);
    command
        .arg(root.join(script))
        .current_dir(root)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit());
    command
}
