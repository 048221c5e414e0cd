//! Checks of the URI and of the servers in it, and the classification of errors as transient or
//! permanent.
//!
//! Transient: a server that does not run yet, a replica set that is not initiated, an election, an
//! initial sync. Permanent: a URI that cannot be parsed, a standalone server, another replica set,
//! wrong credentials.

use bson::{Document, doc};
use futures_util::{StreamExt, stream::FuturesUnordered};
use mongodb::{
    Client,
    error::{Error, ErrorKind},
    options::{ClientOptions, ServerAddress},
};

use super::{ConnectError, fault::describe};

/// MongoDB's error codes for refused credentials: Unauthorized, AuthenticationFailed.
const REFUSED: [i32; 2] = [13, 18];

/// Parses the URI.
///
/// # Errors
/// Permanent if the URI is wrong. The driver's text is replaced where it may quote a password.
pub(super) async fn parse(uri: &str) -> Result<ClientOptions, ConnectError> {
    if !["mongodb://", "mongodb+srv://"].iter().any(|scheme| uri.starts_with(scheme)) {
        return Err(ConnectError::permanent(
            "the URI must begin with mongodb:// or mongodb+srv://",
        ));
    }
    if uri.contains(char::is_whitespace) {
        return Err(ConnectError::permanent(
            "the URI must not contain white space; write a space in the user name or the password as %20",
        ));
    }
    ClientOptions::parse(uri).await.map_err(|error| match &*error.kind {
        ErrorKind::DnsResolve { .. } => ConnectError::transient(describe(&error)),
        _ => ConnectError::permanent(without_secrets(&describe(&error), uri)),
    })
}

/// Returns `text`, or a hint instead if `text` quotes a part of the URI that may be secret.
fn without_secrets(text: &str, uri: &str) -> String {
    const HINT: &str = "the URI cannot be read; in user name and password, characters such as : / ? # @ % must be percent-encoded";
    let rest = uri.split_once("://").map_or(uri, |(_, rest)| rest);
    let (authority, options) = rest.rsplit_once('?').unwrap_or((rest, ""));
    // A password that is not percent-encoded may contain separators, so every part of the URI
    // before the options counts.
    let names = authority.split([':', '/', '@', ',', '%', '?', '#']);
    let values =
        options.split('&').filter_map(|option| option.split_once('=')).filter(|(name, _)| {
            let name = name.to_ascii_lowercase();
            name.contains("password") || name.contains("properties")
        });
    let mut secrets = names.chain(values.map(|(_, value)| value)).filter(|part| !part.is_empty());
    if secrets.any(|part| text.contains(part)) { HINT.into() } else { text.into() }
}

/// Role of a server, from its reply to `hello`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ServerRole {
    /// A member of the expected replica set, or a router of a sharded cluster.
    Usable,
    /// A member of another replica set.
    Other,
    Standalone,
    /// Started with `--replSet`, but the replica set is not initiated or the server was not added
    /// to it.
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

/// Asks the servers of the URI for their roles, until one is usable or one has a permanently wrong
/// role.
///
/// # Errors
/// The reason why no server is usable.
pub(super) async fn identify(options: &ClientOptions) -> Result<(), ConnectError> {
    // A load balancer does not accept direct connections.
    if options.load_balanced == Some(true) {
        return Ok(());
    }
    let set = options.repl_set_name.as_deref();
    let mut answers: FuturesUnordered<_> =
        options.hosts.iter().map(|host| hello(options, host)).collect();
    let mut reason = ConnectError::transient("the URI names no server");
    let mut is_uninitiated = false;
    while let Some(answer) = answers.next().await {
        match answer.map(|hello| ServerRole::of(&hello, set)) {
            Ok(ServerRole::Usable) => return Ok(()),
            Ok(ServerRole::Other) => {
                return Err(ConnectError::permanent(
                    "the option replicaSet names another replica set than that of the server",
                ));
            }
            Ok(ServerRole::Standalone) => {
                return Err(ConnectError::permanent(
                    "the server is no replica set member: transactions and change streams need a replica set (mongod --replSet)",
                ));
            }
            Ok(ServerRole::Uninitiated) => is_uninitiated = true,
            Err(error) => reason = error.into(),
        }
    }
    Err(if is_uninitiated {
        ConnectError::transient("the replica set is not initiated yet")
    } else {
        reason
    })
}

/// Sends `hello` to one server directly, without credentials, because it also answers before it has
/// users.
async fn hello(options: &ClientOptions, host: &ServerAddress) -> Result<Document, Error> {
    let mut direct = options.clone();
    direct.hosts = vec![host.clone()];
    direct.direct_connection = Some(true);
    direct.repl_set_name = None;
    direct.credential = None;
    Client::with_options(direct)?.database("admin").run_command(doc! { "hello": 1 }).await
}

/// Returns whether every other attempt would fail with the same error.
pub(super) fn is_permanent(error: &Error) -> bool {
    match &*error.kind {
        ErrorKind::Authentication { .. }
        | ErrorKind::InvalidArgument { .. }
        | ErrorKind::InvalidTlsConfig { .. } => true,
        ErrorKind::Command(command) => REFUSED.contains(&command.code),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn unparsable_uri_is_a_permanent_error_without_the_password() {
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
                // The driver may accept the URI. Its wrong host or port is then found at the
                // connection.
                Ok(_) => continue,
            };
            refused += 1;
            assert!(error.is_permanent(), "{uri}: {error}");
            let text = error.to_string();
            assert!(
                !text.contains("ter2") && !text.contains("hun") && !text.contains('\n'),
                "{uri}: {text}"
            );
        }
        assert!(refused >= 5, "only {refused} of the URIs were refused");
    }

    #[tokio::test]
    async fn error_of_a_wrong_option_contains_its_name() {
        let error = parse("mongodb://user:hunter2@host/?maxPoolSize=many")
            .await
            .expect_err("not a number")
            .to_string();
        assert!(error.contains("maxPoolSize") || error.contains("maxpoolsize"), "{error}");
    }

    #[test]
    fn role_of_a_server_follows_from_its_hello_reply() {
        let role = |hello: Document| ServerRole::of(&hello, Some("rs0"));
        assert_eq!(role(doc! { "setName": "rs0", "secondary": false }), ServerRole::Usable);
        assert_eq!(role(doc! { "setName": "other" }), ServerRole::Other);
        assert_eq!(role(doc! { "msg": "isdbgrid" }), ServerRole::Usable);
        assert_eq!(
            role(doc! { "isreplicaset": true, "isWritablePrimary": false }),
            ServerRole::Uninitiated
        );
        assert_eq!(role(doc! { "isWritablePrimary": true }), ServerRole::Standalone);
        assert_eq!(ServerRole::of(&doc! { "setName": "any" }, None), ServerRole::Usable);
    }
}
