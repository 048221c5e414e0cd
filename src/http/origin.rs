//! Check of the origin of requests that change state, against cross-site request forgery.

use actix_web::http::{
    Method,
    header::{self, HeaderMap, HeaderName},
};

use crate::config::Origin;

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Returns whether `method` is safe: its requests change no state (RFC 9110 §9.2.1).
pub fn is_safe(method: &Method) -> bool {
    [Method::GET, Method::HEAD, Method::OPTIONS, Method::TRACE].contains(method)
}

/// Returns whether the request came from a page of another site. A request without `Origin` and
/// without `Sec-Fetch-Site: cross-site` does not count as foreign: clients other than browsers send
/// none.
pub fn is_foreign(headers: &HeaderMap, own: &[Origin]) -> bool {
    let cross_site = headers
        .get_all(&FETCH_SITE)
        .any(|site| site.as_bytes().eq_ignore_ascii_case(b"cross-site"));
    cross_site
        || headers
            .get_all(header::ORIGIN)
            .any(|origin| !origin.to_str().is_ok_and(|origin| is_own(origin, headers, own)))
}

fn is_own(origin: &str, headers: &HeaderMap, own: &[Origin]) -> bool {
    let Some(from) = OriginParts::parse(origin) else { return false };
    if own.is_empty() {
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
        // The scheme of the request is unknown: a proxy in front of this server may terminate TLS.
        return host.is_some_and(|host| from == OriginParts::within(from.scheme, host));
    }
    own.iter().any(|own| OriginParts::parse(own.as_str()) == Some(from))
}

/// Parts of an origin, compared as browsers do: the default port of a scheme may be omitted.
#[derive(Debug, Clone, Copy)]
struct OriginParts<'a> {
    scheme: &'a str,
    host: &'a str,
    port: &'a str,
}

impl<'a> OriginParts<'a> {
    fn parse(origin: &'a str) -> Option<Self> {
        let (scheme, authority) = origin.split_once("://")?;
        let web = scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https");
        (web && !authority.is_empty()).then(|| Self::within(scheme, authority))
    }

    fn within(scheme: &'a str, authority: &'a str) -> Self {
        let default = if scheme.eq_ignore_ascii_case("https") { "443" } else { "80" };
        // An IPv6 address with its colons is in brackets.
        match authority.rsplit_once(':').filter(|(_, port)| !port.contains(']')) {
            Some((host, port)) => Self { scheme, host, port },
            None => Self { scheme, host: authority, port: default },
        }
    }
}

impl PartialEq for OriginParts<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.scheme.eq_ignore_ascii_case(other.scheme)
            && self.host.eq_ignore_ascii_case(other.host)
            && self.port == other.port
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn foreign(headers: &[(&'static str, &'static str)], own: &[&str]) -> bool {
        let request = headers
            .iter()
            .fold(TestRequest::post(), |request, header| request.append_header(*header));
        let own: Vec<Origin> = own.iter().map(|own| own.parse().expect("an origin")).collect();
        is_foreign(request.to_http_request().headers(), &own)
    }

    #[test]
    fn request_without_an_origin_is_not_foreign() {
        assert!(!foreign(&[("host", "localhost:3000")], &[]));
        assert!(!foreign(&[("host", "localhost:3000")], &["https://tickets.example"]));
    }

    #[test]
    fn host_is_the_own_origin_without_a_setting() {
        let host = ("host", "localhost:3000");
        for own in ["http://localhost:3000", "https://localhost:3000", "http://LOCALHOST:3000"] {
            assert!(!foreign(&[host, ("origin", own)], &[]), "{own}");
        }
        for other in [
            "http://localhost",
            "http://localhost:3001",
            "http://evil.example:3000",
            "null",
            "",
            "file://",
            "localhost:3000",
        ] {
            assert!(foreign(&[host, ("origin", other)], &[]), "{other}");
        }
        assert!(!foreign(
            &[("host", "tickets.example"), ("origin", "https://tickets.example")],
            &[]
        ));
        assert!(!foreign(
            &[("host", "tickets.example:443"), ("origin", "https://tickets.example")],
            &[]
        ));
        assert!(!foreign(&[("host", "[::1]:3000"), ("origin", "http://[::1]:3000")], &[]));
    }

    #[test]
    fn only_the_configured_origins_are_own_with_a_setting() {
        let own = ["https://tickets.example", "http://localhost:8080"];
        assert!(!foreign(&[("host", "x"), ("origin", "http://localhost:8080")], &own));
        assert!(!foreign(&[("host", "x"), ("origin", "https://tickets.example:443")], &own));
        assert!(foreign(&[("host", "x"), ("origin", "http://x")], &own));
        assert!(foreign(&[("host", "x"), ("origin", "http://tickets.example")], &own));
    }

    #[test]
    fn cross_site_is_foreign_with_any_origin() {
        let host = ("host", "localhost:3000");
        assert!(foreign(&[host, ("sec-fetch-site", "cross-site")], &[]));
        assert!(foreign(
            &[host, ("origin", "http://localhost:3000"), ("sec-fetch-site", "Cross-Site")],
            &[]
        ));
        assert!(foreign(
            &[host, ("origin", "http://localhost:3000"), ("origin", "http://evil.example")],
            &[]
        ));
        for site in ["same-origin", "same-site", "none"] {
            assert!(!foreign(&[host, ("sec-fetch-site", site)], &[]), "{site}");
        }
    }
}
