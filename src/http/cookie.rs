//! The session's cookie. What it holds is the actors' business; here it is read, set and cleared.

use actix_web::{
    cookie::{Cookie, SameSite, time::Duration},
    http::header::{self, HeaderMap},
};

use crate::{actors::SessionToken, config::Origin, domain::Millis};

/// How this server's session cookie is called and marked.
#[derive(Debug, Clone)]
pub struct SessionCookie {
    name: Name,
    ttl: Millis,
}

/// Browsers send a cookie to every port of a host. Over https the `__Host-` prefix keeps servers apart that have a host of
/// their own, as servers with a certificate do. Over http two servers on one host have cookies of two names, by their port.
#[derive(Debug, Clone)]
enum Name {
    /// The prefix makes browsers refuse the cookie from a sibling domain or over http (RFC 6265bis §4.1.3.2).
    Https,
    /// The port of the public origin.
    Http(String),
    /// No origin is configured: the port of the request's `Host`.
    OfHost,
}

impl SessionCookie {
    /// A token of ours is shorter; what is longer needs no look-up.
    const TOKEN_CHARS_MAX: usize = 128;
    /// Cookies of one request that are looked up. A browser sends one of our name; a second is of another path or domain.
    const TRIED_MAX: usize = 4;
    const HTTPS_NAME: &str = "__Host-gittix_session";
    const HTTP_PREFIX: &str = "gittix_session_";
    /// Before the port was in it.
    const EARLIER_HTTP_NAME: &[u8] = b"gittix_session";

    /// `origin`: what browsers call this server by, if that is configured. `ttl`: as long as the session itself.
    pub fn new(origin: Option<&Origin>, ttl: Millis) -> Self {
        let name = match origin {
            Some(origin) if origin.is_https() => Name::Https,
            Some(origin) => Name::Http(port(origin.as_str()).to_owned()),
            None => Name::OfHost,
        };
        Self { name, ttl }
    }

    /// The tokens that a request carries, those under our name first and each in the request's order: a stale one may come
    /// before the one that is good.
    ///
    /// Over http, cookies that were set under another port, or before the port was in the name, come last: replicas that are
    /// called by several ports of one host share their sessions. Those of another marketplace are no sessions here.
    pub fn read<'a>(&'a self, headers: &'a HeaderMap) -> impl Iterator<Item = &'a str> {
        let mut tokens = tokens(headers, |name| self.may_be_ours(name));
        let first = tokens.next();
        let (first, several) = match tokens.next() {
            // The name is compared with `Host` only if there is a choice.
            Some(second) => (None, self.own_first(headers, first.into_iter().chain([second]).chain(tokens))),
            None => (first.map(|(_, token)| token), Vec::new()),
        };
        first.into_iter().chain(several)
    }

    fn own_first<'a>(&self, headers: &'a HeaderMap, tokens: impl Iterator<Item = (&'a [u8], &'a str)>) -> Vec<&'a str> {
        let (prefix, port) = self.name_in(headers);
        let is_own = |name: &[u8]| name.strip_prefix(prefix.as_bytes()) == Some(port.as_bytes());
        let (mut own, others): (Vec<_>, Vec<_>) = tokens.partition(|(name, _)| is_own(name));
        own.extend(others);
        own.into_iter().map(|(_, token)| token).take(Self::TRIED_MAX).collect()
    }

    /// Whether a cookie of this name may be ours, or over http that of a replica.
    fn may_be_ours(&self, name: &[u8]) -> bool {
        if matches!(self.name, Name::Https) {
            return name == Self::HTTPS_NAME.as_bytes();
        }
        name == Self::EARLIER_HTTP_NAME
            || name.strip_prefix(Self::HTTP_PREFIX.as_bytes()).is_some_and(|port| port.iter().all(u8::is_ascii_digit))
    }

    /// Lets the browser that sent `headers` keep `token`.
    pub fn set(&self, headers: &HeaderMap, token: SessionToken) -> Cookie<'static> {
        self.holding(headers, token.0, Duration::milliseconds(self.ttl.0))
    }

    /// Makes the browser that sent `headers` forget it.
    pub fn clear(&self, headers: &HeaderMap) -> Cookie<'static> {
        self.holding(headers, String::new(), Duration::ZERO)
    }

    /// The cookie's name, in two parts.
    fn name_in<'a>(&'a self, headers: &'a HeaderMap) -> (&'static str, &'a str) {
        match &self.name {
            Name::Https => (Self::HTTPS_NAME, ""),
            Name::Http(port) => (Self::HTTP_PREFIX, port),
            Name::OfHost => {
                let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
                (Self::HTTP_PREFIX, port(host))
            }
        }
    }

    fn holding(&self, headers: &HeaderMap, value: String, age: Duration) -> Cookie<'static> {
        let (prefix, port) = self.name_in(headers);
        let secure = matches!(self.name, Name::Https);
        Cookie::build(format!("{prefix}{port}"), value)
            .http_only(true)
            .same_site(SameSite::Lax)
            .path("/")
            .secure(secure)
            .max_age(age)
            .finish()
    }
}

/// Names and values of the cookies whose name `is_wanted` and whose value may be a token. The header is read as bytes: cookies
/// of other applications may hold anything, in any encoding.
fn tokens<'a>(headers: &'a HeaderMap, is_wanted: impl Fn(&[u8]) -> bool + 'a) -> impl Iterator<Item = (&'a [u8], &'a str)> {
    let pairs = headers.get_all(header::COOKIE).flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
    pairs.filter_map(move |pair| {
        let pair = pair.trim_ascii();
        let (name, value) = pair.split_at_checked(memchr::memchr(b'=', pair)?)?;
        if !is_wanted(name) || !(1..=SessionCookie::TOKEN_CHARS_MAX).contains(&(value.len() - 1)) {
            return None;
        }
        Some((name, std::str::from_utf8(&value[1..]).ok()?))
    })
}

/// The port at the end of an http origin or of `Host`; 80 if there is none.
fn port(authority: &str) -> &str {
    let port = authority.rsplit_once(':').map_or("", |(_, port)| port);
    // Digits alone: neither the rest of an IPv6 address nor of `http://host`.
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
            headers.append(header::COOKIE, header::HeaderValue::from_bytes(line).expect("no control characters"));
        }
        of(Some("http://localhost:3000")).read(&headers).map(str::to_owned).collect()
    }

    #[test]
    fn the_cookie_is_kept_from_scripts_and_other_sites() {
        let none = HeaderMap::new();
        let plain = of(Some("http://localhost:3000")).set(&none, SessionToken("abc".into())).to_string();
        assert_eq!(plain, "gittix_session_3000=abc; HttpOnly; SameSite=Lax; Path=/; Max-Age=604800");
        let secure = of(Some("https://tickets.example:8443")).clear(&none).to_string();
        assert_eq!(secure, "__Host-gittix_session=; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=0");
    }

    #[test]
    fn name_over_http_ends_with_the_port_of_the_origin_else_of_the_host() {
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
    fn only_the_cookie_of_this_name_is_read() {
        assert_eq!(read(&[b"a=b; gittix_session_3000=abc; c=d"]), ["abc"]);
        for other in ["xgittix_session_3000=abc; __Host-gittix_session=def", "gittix_session_x=abc", "gittix_session_3000_=abc"] {
            assert!(read(&[other.as_bytes()]).is_empty(), "{other}");
        }
        for empty in ["gittix_session_3000=", "gittix_session_3000", "gittix_session_3000= ;", ";;; ; =; =x"] {
            assert!(read(&[empty.as_bytes()]).is_empty(), "{empty}");
        }
    }

    #[test]
    fn cookies_of_others_may_hold_anything() {
        for foreign in ["city=Köln", "a=\"x, y\"", "b=\"half", "=", "c", "d=a=b=c", "e={\"json\": [1, 2]}", "f=\t"] {
            for line in [format!("{foreign}; gittix_session_3000=abc"), format!("gittix_session_3000=abc; {foreign}")] {
                assert_eq!(read(&[line.as_bytes()]), ["abc"], "{line}");
            }
        }
        assert_eq!(read(&[b"city=K\xf6ln; gittix_session_3000=abc"]), ["abc"]);
        assert_eq!(read(&[b"city=K\xf6ln", b"x=\xff\xfe", b"gittix_session_3000=abc"]), ["abc"]);
    }

    #[test]
    fn cookies_of_other_ports_and_earlier_ones_come_after_our_own() {
        let line: &[u8] = b"gittix_session_3001=b; gittix_session=c; gittix_session_3000=a";
        assert_eq!(read(&[line]), ["a", "b", "c"]);
        let mut headers = HeaderMap::new();
        headers.append(header::COOKIE, header::HeaderValue::from_bytes(line).expect("ASCII"));
        assert_eq!(of(Some("https://tickets.example")).read(&headers).count(), 0, "over https there is one name");
    }

    #[test]
    fn several_cookies_of_this_name_are_read_in_order_and_at_most_four() {
        assert_eq!(
            read(&[b"gittix_session_3000=\xff; gittix_session_3000=a; gittix_session_3000=b", b"gittix_session_3000=c"]),
            ["a", "b", "c"]
        );
        let many = (0..9).map(|n| format!("gittix_session_3000={n}")).collect::<Vec<_>>().join("; ");
        assert_eq!(read(&[many.as_bytes()]), ["0", "1", "2", "3"]);
    }
}
