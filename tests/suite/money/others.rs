//! Programs that others wrote, as child processes: what `scripts/prepare` installs, and nothing else.

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, Command, Stdio},
};

/// A program that serves on the loopback and says on its first line at which port. Dropping it kills it.
#[derive(Debug)]
pub struct Other {
    child: Child,
    pub base: String,
}

impl Other {
    /// The fake Stripe of PyPI: PaymentIntents and signed webhooks. It ignores idempotency keys, refunds as often as it is
    /// asked, and delivers an event once.
    pub fn localstripe() -> Self {
        Self::start(".tools/localstripe/bin/python", "tests/others/serve_localstripe.py")
    }

    /// The fake Stripe of npm: charges as they were before PaymentIntents, with real idempotency.
    pub fn stateful_mock() -> Self {
        Self::start("node", "tests/others/stateful/serve.mjs")
    }

    fn start(program: &str, script: &str) -> Self {
        let mut command = command(program, script);
        let mut child =
            command.env("LOG_LEVEL", "silent").spawn().unwrap_or_else(|error| panic!("{program}: {error} (scripts/prepare installs it)"));
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("text");
        let port: u16 = line.trim().parse().unwrap_or_else(|_| panic!("{script} said {line:?} (scripts/prepare installs what it needs)"));
        Self { child, base: format!("http://127.0.0.1:{port}") }
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What Stripe's own library answers to each line.
pub fn stripes_library(lines: &[serde_json::Value]) -> Vec<serde_json::Value> {
    let mut child = command(".tools/stripe/bin/python", "tests/others/signatures.py").spawn().expect("scripts/prepare installs it");
    let mut input = child.stdin.take().expect("piped");
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    // A thread of its own: neither pipe may fill while the other is not read.
    let writer = std::thread::spawn(move || input.write_all(text.as_bytes()).expect("it reads to the end"));
    let answers: Vec<_> = BufReader::new(child.stdout.take().expect("piped")).lines().map(|line| line.expect("text")).collect();
    writer.join().expect("writing does not panic");
    let status = child.wait().expect("it ends with its input");
    assert!(status.success() && answers.len() == lines.len(), "{status}: {} of {} answers", answers.len(), lines.len());
    answers.iter().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn command(program: &str, script: &str) -> Command {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    // One of ours, or one on the PATH.
    let program = if program.contains('/') { root.join(program).into_os_string() } else { program.into() };
    let mut command = Command::new(program);
    command.arg(root.join(script)).current_dir(root).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    command
}
