//! The program: `gittix serve` (the default), `gittix demo`, `gittix health` and `gittix mail test`.

use std::process::ExitCode;

use clap::{
    CommandFactory, Parser, Subcommand, error::ContextKind, error::ContextValue, error::ErrorKind,
};
use gittix::{
    app,
    config::{Config, without_credentials},
    demo, logging,
    mail::MailTest,
    probe::Probe,
};

/// A ticket marketplace: list tickets, lock one, pay for it, and watch all changes live.
#[derive(Debug, Parser)]
#[command(name = "gittix", version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<CliCommand>,
    #[command(flatten)]
    serve: Config,
}

#[derive(Debug, Subcommand)]
enum CliCommand {
    /// Run the server (the default).
    Serve(Box<Config>),
    /// Fill a running server with sellers, tickets and racing buyers.
    Demo(demo::Demo),
    /// Check a running server; exits with 0 if it is healthy, with 1 if not.
    Health(Probe),
    /// Check the settings of mails.
    #[command(subcommand)]
    Mail(MailCommand),
}

#[derive(Debug, Subcommand)]
enum MailCommand {
    /// Send one mail with the settings of the server; says in one line what is wrong.
    Test(Box<MailTest>),
}

/// Exit code: a setting is not valid, the server could not start with it, or the demo could not
/// start.
const EXIT_USAGE: u8 = 2;
/// Exit code: the checked server is not healthy. Docker reserves 2 in health checks.
const EXIT_UNHEALTHY: u8 = 1;
/// Exit code: the running server failed and must be started again (`EX_SOFTWARE` of sysexits.h).
const EXIT_FAILED: u8 = 70;

fn main() -> ExitCode {
    // Enables the failpoints of the environment variable FAILPOINTS until the process ends.
    #[cfg(feature = "failpoints")]
    let _failpoints = fail::FailScenario::setup();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error)
            if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) =>
        {
            error.exit()
        }
        Err(error) => return fail(&one_line(&error), EXIT_USAGE),
    };
    let done = match cli.command {
        None => serve(cli.serve),
        Some(CliCommand::Serve(config)) => serve(*config),
        Some(CliCommand::Demo(demo)) => run_demo(demo).map_err(|error| (error, EXIT_USAGE)),
        Some(CliCommand::Mail(MailCommand::Test(test))) => {
            run_mail_test(&test).map_err(|error| (error, EXIT_UNHEALTHY))
        }
        Some(CliCommand::Health(probe)) => probe.ask().map_err(|error| (error, EXIT_UNHEALTHY)),
    };
    done.map_or_else(|(error, code)| fail(&error, code), |()| ExitCode::SUCCESS)
}

fn serve(config: Config) -> Result<(), (String, u8)> {
    let usage = |error| (error, EXIT_USAGE);
    let config = config.checked().map_err(usage)?;
    let _log = logging::start(&config.log, config.log_format).map_err(usage)?;
    let ended = actix::System::new().block_on(app::run(config));
    ended.map_err(|error| {
        (error.to_string(), if error.is_start_error() { EXIT_USAGE } else { EXIT_FAILED })
    })
}

fn run_demo(demo: demo::Demo) -> Result<(), String> {
    let _log = logging::start("info", gittix::config::LogFormat::Text)?;
    actix::System::new().block_on(demo::run(demo)).map_err(|error| error.to_string())
}

fn run_mail_test(test: &MailTest) -> Result<(), String> {
    // The library that verifies certificates logs what the error says too.
    let filter = "info,rustls_platform_verifier=off";
    let _log = logging::start(filter, gittix::config::LogFormat::Text)?;
    actix::System::new().block_on(test.run())
}

fn fail(error: &str, code: u8) -> ExitCode {
    logging::last_line(&format!("gittix: {}", without_credentials(error)));
    ExitCode::from(code)
}

/// Returns a command line error as one line that names the setting's variable and flag. Never shows
/// the value of a secret setting. An argument that is no setting is shown as it was typed.
fn one_line(error: &clap::Error) -> String {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    let reason =
        std::error::Error::source(error).map(|source| format!(": {source}")).unwrap_or_default();
    let Some(argument) = text(ContextKind::InvalidArg) else {
        let rendered = error.to_string();
        return rendered
            .lines()
            .next()
            .unwrap_or("unknown arguments")
            .trim_start_matches("error: ")
            .into();
    };
    let flag = argument.split_whitespace().next().unwrap_or(argument).trim_end_matches('=');
    let command = Cli::command();
    let known = command
        .get_arguments()
        .find(|known| known.get_long().is_some_and(|long| flag.strip_prefix("--") == Some(long)));
    let variable = known
        .and_then(|known| known.get_env())
        .map(|variable| format!("{} ", variable.to_string_lossy()))
        .unwrap_or_default();
    let is_secret = known.is_some_and(clap::Arg::is_hide_env_values_set);
    match text(ContextKind::InvalidValue) {
        Some(value) if is_secret || looks_secret(value) => {
            format!("{variable}({flag}): the value is not valid{reason}")
        }
        Some(value) => format!("{variable}({flag}): {value:?} is not valid{reason}"),
        None => format!("{variable}({flag}): {}", error.kind()),
    }
}

/// Returns whether a value may be or contain a secret, for example one that was meant for another
/// setting.
fn looks_secret(value: &str) -> bool {
    value.contains('@')
        || ["sk_", "rk_", "whsec_"].iter().any(|prefix| value.trim_start().starts_with(prefix))
}
