//! Session cookie: reading, setting and clearing. The actors create and check the token in it.

use actix_web::{
    cookie::{Cookie, SameSite, time::Duration},
    http::header::{self, HeaderMap},
};

use crate::{actors::SessionToken, config::Origin, domain::Millis};

/// Name and attributes of this server's session cookie.
#[derive(Debug, Clone)]
pub struct SessionCookie {
    name: CookieName,
    ttl: Millis,
}

/// Name of the session cookie.
///
/// Browsers send a cookie to every port of a host. Servers with https usually have a host of their
/// own, and the `__Host-` prefix separates their cookies. With http, several servers may be on one
/// host, so the name contains the port.
#[derive(Debug, Clone)]
enum CookieName {
    /// Name with the prefix. Browsers refuse such a cookie from a sibling domain or over http (RFC
    /// 6265bis §4.1.3.2).
    Https,
    /// Name with the port of the public origin.
    Http(String),
    /// Name with the port of the request's `Host`, without a configured origin.
    OfHost,
}

impl SessionCookie {
    /// Maximum length of a token, in bytes. Tokens of this server are shorter; longer ones are not
    /// looked up.
    const TOKEN_BYTES_MAX: usize = 128;
    /// Maximum number of cookies of one request that are looked up. A browser sends one with the
    /// server's name; a second one is of another path or domain.
    const TRIED_MAX: usize = 4;
    const HTTPS_NAME: &str = "__Host-gittix_session";
    const HTTP_PREFIX: &str = "gittix_session_";
    /// Earlier name, without the port.
    const EARLIER_HTTP_NAME: &[u8] = b"gittix_session";

    /// Creates the settings of the cookie. `origin` is the public origin, if one is configured.
    /// `ttl` is that of the session.
    pub fn new(origin: Option<&Origin>, ttl: Millis) -> Self {
        let name = match origin {
            Some(origin) if origin.is_https() => CookieName::Https,
            Some(origin) => CookieName::Http(port(origin.as_str()).to_owned()),
            None => CookieName::OfHost,
        };
        Self { name, ttl }
    }

    /// Returns the tokens of a request in its order, those under the server's own name first. There
    /// may be several: an expired one may come before the valid one.
    ///
    /// With http, cookies with another port or with the earlier name are read too, because replicas
    /// on several ports of one host share their sessions. They come last. A token of another
    /// marketplace on the host has no session here.
    pub fn read<'a>(&'a self, headers: &'a HeaderMap) -> impl Iterator<Item = &'a str> {
        let mut tokens = tokens(headers, |name| self.is_candidate(name));
        let first = tokens.next();
        let (first, several) = match tokens.next() {
            // The comparison with `Host` is necessary only for several cookies.
            Some(second) => {
                (None, self.own_first(headers, first.into_iter().chain([second]).chain(tokens)))
            }
            None => (first.map(|(_, token)| token), Vec::new()),
        };
        first.into_iter().chain(several)
    }

    fn own_first<'a>(
        &self,
        headers: &'a HeaderMap,
        tokens: impl Iterator<Item = (&'a [u8], &'a str)>,
    ) -> Vec<&'a str> {
        let (prefix, port) = self.name_in(headers);
        let is_own = |name: &[u8]| name.strip_prefix(prefix.as_bytes()) == Some(port.as_bytes());
        let (mut own, others): (Vec<_>, Vec<_>) = tokens.partition(|(name, _)| is_own(name));
        own.extend(others);
        own.into_iter().map(|(_, token)| token).take(Self::TRIED_MAX).collect()
    }

    /// Returns whether a cookie with this name may be from this server or, with http, from a
    /// replica on another port.
    fn is_candidate(&self, name: &[u8]) -> bool {
        if matches!(self.name, CookieName::Https) {
            return name == Self::HTTPS_NAME.as_bytes();
        }
        name == Self::EARLIER_HTTP_NAME
            || name
                .strip_prefix(Self::HTTP_PREFIX.as_bytes())
                .is_some_and(|port| port.iter().all(u8::is_ascii_digit))
    }

    /// Returns the cookie that stores `token` in the browser that sent `headers`.
    pub fn set(&self, headers: &HeaderMap, token: SessionToken) -> Cookie<'static> {
        self.cookie(headers, token.0, Duration::milliseconds(self.ttl.0))
    }

    /// Returns the cookie that deletes the token from the browser that sent `headers`.
    pub fn clear(&self, headers: &HeaderMap) -> Cookie<'static> {
        self.cookie(headers, String::new(), Duration::ZERO)
    }

    /// Returns the name of the cookie in two parts: prefix and port.
    fn name_in<'a>(&'a self, headers: &'a HeaderMap) -> (&'static str, &'a str) {
        match &self.name {
            CookieName::Https => (Self::HTTPS_NAME, ""),
            CookieName::Http(port) => (Self::HTTP_PREFIX, port),
            CookieName::OfHost => {
                let host = headers
                    .get(header::HOST)
                    .and_then(|host| host.to_str().ok())
                    .unwrap_or_default();
                (Self::HTTP_PREFIX, port(host))
            }
        }
    }

    fn cookie(&self, headers: &HeaderMap, value: String, age: Duration) -> Cookie<'static> {
        let (prefix, port) = self.name_in(headers);
        let secure = matches!(self.name, CookieName::Https);
        Cookie::build(format!("{prefix}{port}"), value)
            .http_only(true)
            .same_site(SameSite::Lax)
            .path("/")
            .secure(secure)
            .max_age(age)
            .finish()
    }
}

/// Returns names and values of the cookies that `is_wanted` selects by name and whose value may be
/// a token. The header is parsed as bytes, because cookies of other applications may have any
/// content in any encoding.
fn tokens<'a>(
    headers: &'a HeaderMap,
    is_wanted: impl Fn(&[u8]) -> bool + 'a,
) -> impl Iterator<Item = (&'a [u8], &'a str)> {
    let pairs = headers
        .get_all(header::COOKIE)
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
    pairs.filter_map(move |pair| {
        let pair = pair.trim_ascii();
        let (name, value) = pair.split_at_checked(memchr::memchr(b'=', pair)?)?;
        if !is_wanted(name) || !(1..=SessionCookie::TOKEN_BYTES_MAX).contains(&(value.len() - 1)) {
            return None;
        }
        Some((name, std::str::from_utf8(&value[1..]).ok()?))
    })
}

/// Returns the port at the end of an http origin or of `Host`; 80 without a port.
fn port(authority: &str) -> &str {
    let port = authority.rsplit_once(':').map_or("", |(_, port)| port);
    // The rest of an IPv6 address or of `http://host` has other characters than digits.
    let is_port = port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok();
    if is_port { port } else { "80" }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    const WEEK: Millis = Millis::from_mins(7 * 24 * 60);

    fn of(origin: Option<&str>) -> SessionCookie {
        SessionCookie::new(origin.map(|origin| origin.parse().expect("an origin")).as_ref(), WEEK)
    }

    fn named(origin: Option<&str>, host: &'static str) -> String {
        let request = TestRequest::get().append_header((header::HOST, host)).to_http_request();
        of(origin).clear(request.headers()).name().to_owned()
    }

    fn read(lines: &[&[u8]]) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(
                header::COOKIE,
                header::HeaderValue::from_bytes(line).expect("no control characters"),
            );
        }
        of(Some("http://localhost:3000")).read(&headers).map(str::to_owned).collect()
    }

    #[test]
    fn cookie_is_inaccessible_to_scripts_and_other_sites() {
        let none = HeaderMap::new();
        let plain =
            of(Some("http://localhost:3000")).set(&none, SessionToken("abc".into())).to_string();
        assert_eq!(
            plain,
            "gittix_session_3000=abc; HttpOnly; SameSite=Lax; Path=/; Max-Age=604800"
        );
        let secure = of(Some("https://tickets.example:8443")).clear(&none).to_string();
        assert_eq!(
            secure,
            "__Host-gittix_session=; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=0"
        );
    }

    #[test]
    fn name_over_http_ends_with_the_port_of_the_origin_or_of_the_host() {
        for (origin, host, name) in [
            (None, "localhost:3000", "gittix_session_3000"),
            (None, "localhost", "gittix_session_80"),
            (None, "[::1]:8080", "gittix_session_8080"),
            (None, "[2001:db8::1]", "gittix_session_80"),
            (None, "", "gittix_session_80"),
            (None, "localhost:", "gittix_session_80"),
            (None, "localhost:99999", "gittix_session_80"),
            (None, "localhost:1;x", "gittix_session_80"),
            (None, "localhost:+1", "gittix_session_80"),
            (Some("http://tickets.example"), "10.0.0.1:3000", "gittix_session_80"),
            (Some("http://localhost:8080"), "10.0.0.1:3000", "gittix_session_8080"),
            (Some("http://[::1]"), "x", "gittix_session_80"),
            (Some("https://tickets.example"), "10.0.0.1:3000", "__Host-gittix_session"),
        ] {
            assert_eq!(named(origin, host), name, "{origin:?} {host}");
        }
    }

    #[test]
    fn only_cookies_with_the_name_of_a_session_are_read() {
        assert_eq!(read(&[b"a=b; gittix_session_3000=abc; c=d"]), ["abc"]);
        for other in [
            "xgittix_session_3000=abc; __Host-gittix_session=def",
            "gittix_session_x=abc",
            "gittix_session_3000_=abc",
        ] {
            assert!(read(&[other.as_bytes()]).is_empty(), "{other}");
        }
        for empty in
            ["gittix_session_3000=", "gittix_session_3000", "gittix_session_3000= ;", ";;; ; =; =x"]
        {
            assert!(read(&[empty.as_bytes()]).is_empty(), "{empty}");
        }
    }

    #[test]
    fn cookies_of_other_applications_may_have_any_content() {
        for foreign in [
            "city=Köln",
            "a=\"x, y\"",
            "b=\"half",
            "=",
            "c",
            "d=a=b=c",
            "e={\"json\": [1, 2]}",
            "f=\t",
        ] {
            for line in [
                format!("{foreign}; gittix_session_3000=abc"),
                format!("gittix_session_3000=abc; {foreign}"),
            ] {
                assert_eq!(read(&[line.as_bytes()]), ["abc"], "{line}");
            }
        }
        assert_eq!(read(&[b"city=K\xf6ln; gittix_session_3000=abc"]), ["abc"]);
        assert_eq!(read(&[b"city=K\xf6ln", b"x=\xff\xfe", b"gittix_session_3000=abc"]), ["abc"]);
    }

    #[test]
    fn cookies_of_other_ports_and_the_earlier_name_come_after_the_own_one() {
        let line: &[u8] = b"gittix_session_3001=b; gittix_session=c; gittix_session_3000=a";
        assert_eq!(read(&[line]), ["a", "b", "c"]);
        let mut headers = HeaderMap::new();
        headers.append(header::COOKIE, header::HeaderValue::from_bytes(line).expect("ASCII"));
        assert_eq!(
            of(Some("https://tickets.example")).read(&headers).count(),
            0,
            "over https there is one name"
        );
    }

    #[test]
    fn at_most_four_cookies_of_one_name_are_read_in_order() {
        assert_eq!(
            read(&[
                b"gittix_session_3000=\xff; gittix_session_3000=a; gittix_session_3000=b",
                b"gittix_session_3000=c"
            ]),
            ["a", "b", "c"]
        );
        let many =
            (0..9).map(|n| format!("gittix_session_3000={n}")).collect::<Vec<_>>().join("; ");
        assert_eq!(read(&[many.as_bytes()]), ["0", "1", "2", "3"]);
    }
}
