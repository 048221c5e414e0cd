//! What stands behind a URI: whether it can be read, what its servers are, and which errors stay however long one waits.
//!
//! A server that is not there yet, a replica set that is not initiated, an election and an initial sync end by
//! themselves. A URI that cannot be read, a standalone server, another replica set and wrong credentials do not.

use bson::{Document, doc};
use futures_util::{StreamExt, stream::FuturesUnordered};
use mongodb::{
    Client,
    error::{Error, ErrorKind},
    options::{ClientOptions, ServerAddress},
};

use super::{ConnectError, fault::describe};

/// MongoDB's codes for refused credentials: Unauthorized, AuthenticationFailed.
const REFUSED: [i32; 2] = [13, 18];

/// Reads the URI.
///
/// # Errors
/// Permanent if the URI is wrong. The driver's words are withheld where they may quote a password.
pub(super) async fn parse(uri: &str) -> Result<ClientOptions, ConnectError> {
    if !["mongodb://", "mongodb+srv://"].iter().any(|scheme| uri.starts_with(scheme)) {
        return Err(ConnectError::permanent("a URI begins with mongodb:// or mongodb+srv://"));
    }
    if uri.contains(char::is_whitespace) {
        return Err(ConnectError::permanent("a URI holds no white space; in user name and password it is written as %20"));
    }
    ClientOptions::parse(uri).await.map_err(|error| match &*error.kind {
        ErrorKind::DnsResolve { .. } => ConnectError::transient(describe(&error)),
        _ => ConnectError::permanent(withheld(&describe(&error), uri)),
    })
}

/// `text`, unless it quotes a part of the URI that may be secret.
fn withheld(text: &str, uri: &str) -> String {
    const HINT: &str = "the URI cannot be read; in user name and password, characters such as : / ? # @ % must be percent-encoded";
    let rest = uri.split_once("://").map_or(uri, |(_, rest)| rest);
    let (authority, options) = rest.rsplit_once('?').unwrap_or((rest, ""));
    // A password that is not encoded may reach beyond what looks like its end.
    let names = authority.split([':', '/', '@', ',', '%', '?', '#']);
    let values = options.split('&').filter_map(|option| option.split_once('=')).filter(|(name, _)| {
        let name = name.to_ascii_lowercase();
        name.contains("password") || name.contains("properties")
    });
    let mut secrets = names.chain(values.map(|(_, value)| value)).filter(|part| !part.is_empty());
    if secrets.any(|part| text.contains(part)) { HINT.into() } else { text.into() }
}

/// What a server says that it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ServerRole {
    /// A member of the replica set that is asked for, or a router of a sharded cluster.
    Usable,
    /// A member of another replica set.
    Other,
    Standalone,
    /// Started with `--replSet`; the replica set is not initiated, or this member was not added to it.
    Uninitiated,
}

impl ServerRole {
    fn of(hello: &Document, set: Option<&str>) -> Self {
        match hello.get_str("setName") {
            Ok(name) if set.is_none_or(|set| set == name) => Self::Usable,
            Ok(_) => Self::Other,
            Err(_) if matches!(hello.get_str("msg"), Ok("isdbgrid")) => Self::Usable,
            Err(_) if hello.get_bool("isreplicaset").unwrap_or(false) => Self::Uninitiated,
            Err(_) => Self::Standalone,
        }
    }
}

/// Asks every server of the URI what it is, until one is usable or what it says stays wrong.
///
/// # Errors
/// What stands in the way of an opening.
pub(super) async fn identify(options: &ClientOptions) -> Result<(), ConnectError> {
    // A load balancer takes no direct connections.
    if options.load_balanced == Some(true) {
        return Ok(());
    }
    let set = options.repl_set_name.as_deref();
    let mut answers: FuturesUnordered<_> = options.hosts.iter().map(|host| hello(options, host)).collect();
    let mut reason = ConnectError::transient("the URI names no server");
    let mut is_uninitiated = false;
    while let Some(answer) = answers.next().await {
        match answer.map(|hello| ServerRole::of(&hello, set)) {
            Ok(ServerRole::Usable) => return Ok(()),
            Ok(ServerRole::Other) => return Err(ConnectError::permanent("replicaSet names another replica set than the server's")),
            Ok(ServerRole::Standalone) => {
                return Err(ConnectError::permanent(
                    "the server is no replica set: transactions and change streams need one (mongod --replSet)",
                ));
            }
            Ok(ServerRole::Uninitiated) => is_uninitiated = true,
            Err(error) => reason = error.into(),
        }
    }
    Err(if is_uninitiated { ConnectError::transient("the replica set is not initiated yet") } else { reason })
}

/// Asks one server directly, without credentials: it answers before it has users.
async fn hello(options: &ClientOptions, host: &ServerAddress) -> Result<Document, Error> {
    let mut direct = options.clone();
    direct.hosts = vec![host.clone()];
    direct.direct_connection = Some(true);
    direct.repl_set_name = None;
    direct.credential = None;
    Client::with_options(direct)?.database("admin").run_command(doc! { "hello": 1 }).await
}

/// Whether the error would come again with every attempt.
pub(super) fn stays(error: &Error) -> bool {
    match &*error.kind {
        ErrorKind::Authentication { .. } | ErrorKind::InvalidArgument { .. } | ErrorKind::InvalidTlsConfig { .. } => true,
        ErrorKind::Command(command) => REFUSED.contains(&command.code),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn unreadable_uri_is_permanent_and_its_password_is_withheld() {
        let mut refused = 0;
        for uri in [
            "mongodb://user:hunter2",
            "mongodb://user:hunter2@",
            "mongodb://user:hun/ter2@host:27017/gittix",
            "mongodb://user:hunter2@host:port/gittix",
            "mongodb://us er:hunter2@host/gittix",
            "mongodb://user:hunter2@host/?maxPoolSize=many",
            "mongodb://user:hun?ter2@host/",
            "postgres://user:hunter2@host/",
        ] {
            let error = match parse(uri).await {
                Err(error) => error,
                // The driver may take it; then its port or host is wrong, which is found out later.
                Ok(_) => continue,
            };
            refused += 1;
            assert!(error.is_permanent(), "{uri}: {error}");
            let text = error.to_string();
            assert!(!text.contains("ter2") && !text.contains("hun") && !text.contains('\n'), "{uri}: {text}");
        }
        assert!(refused >= 5, "{refused} of them were refused");
    }

    #[tokio::test]
    async fn wrong_option_is_named() {
        let error = parse("mongodb://user:hunter2@host/?maxPoolSize=many").await.expect_err("not a number").to_string();
        assert!(error.contains("maxPoolSize") || error.contains("maxpoolsize"), "{error}");
    }

    #[test]
    fn servers_are_told_apart_by_their_hello() {
        let kind = |hello: Document| ServerRole::of(&hello, Some("rs0"));
        assert_eq!(kind(doc! { "setName": "rs0", "secondary": false }), ServerRole::Usable);
        assert_eq!(kind(doc! { "setName": "other" }), ServerRole::Other);
        assert_eq!(kind(doc! { "msg": "isdbgrid" }), ServerRole::Usable);
        assert_eq!(kind(doc! { "isreplicaset": true, "isWritablePrimary": false }), ServerRole::Uninitiated);
        assert_eq!(kind(doc! { "isWritablePrimary": true }), ServerRole::Standalone);
        assert_eq!(ServerRole::of(&doc! { "setName": "any" }, None), ServerRole::Usable);
    }
}
