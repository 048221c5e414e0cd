//! Client address of a request, also behind trusted proxies.
//!
//! A trusted proxy may write an address in several forms, or something else than an address. Each
//! IPv4 address, each IPv6 /64 and each obfuscated identifier is one client; all other values
//! together are one client. No such value stands for the proxy itself, because its clients would
//! then share the rate of the proxy, or its exemptions.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use ipnet::IpNet;
use sha2::{Digest, Sha256};

const FORWARDED: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Address by which rates are counted. Of IPv6 only the first 64 bits count, because one customer
/// has at least a /64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClientAddress(IpAddr);

impl ClientAddress {
    /// Returns the address of the nearest hop that is not a trusted proxy. Clients can forge the
    /// entries further left in `X-Forwarded-For`.
    pub fn of(peer: Option<SocketAddr>, headers: &HeaderMap, trusted: &[IpNet]) -> Self {
        match NearestHop::of(peer, headers, trusted) {
            NearestHop::Address(address) => Self(network(address)),
            NearestHop::Name(name) => Self::named(name),
        }
    }

    /// Returns the address; of IPv6 the first 64 bits, with zeros after them.
    pub fn network(self) -> IpAddr {
        self.0
    }

    /// Returns the client for a value that is not an address. Each obfuscated identifier (RFC 7239
    /// §6.3) is one client; all other values, such as `unknown`, are one client together.
    fn named(hop: &[u8]) -> Self {
        /// Prefix of the addresses of such clients. The block 0100::/8 is reserved (RFC 4291 §2.4,
        /// IANA's registry), so no client has a real address in it.
        const RESERVED: u128 = 0x0101 << 112;
        let name = unquoted(hop);
        let is_identifier = name.strip_prefix(b"_").is_some_and(|rest| {
            !rest.is_empty()
                && rest.iter().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(byte))
        });
        let digest = Sha256::digest(if is_identifier { name } else { b"unknown" });
        let number =
            digest.iter().take(6).fold(0u128, |number, byte| number << 8 | u128::from(*byte));
        Self(IpAddr::V6(Ipv6Addr::from_bits(RESERVED | number << 64)))
    }
}

/// Nearest hop that is not a trusted proxy, or the last hop if all are trusted proxies.
enum NearestHop<'a> {
    Address(IpAddr),
    /// Value that a trusted proxy wrote instead of an address.
    Name(&'a [u8]),
}

impl<'a> NearestHop<'a> {
    fn of(peer: Option<SocketAddr>, headers: &'a HeaderMap, trusted: &[IpNet]) -> Self {
        let mut client =
            peer.map_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED), |peer| peer.ip().to_canonical());
        if !trusted.is_empty() {
            let lines: Vec<&[u8]> = headers.get_all(FORWARDED).map(HeaderValue::as_bytes).collect();
            let hops = lines.iter().rev().flat_map(|line| line.rsplit(|byte| *byte == b','));
            // Empty elements of a list are ignored (RFC 9110 §5.6.1.2).
            let mut hops = hops.map(<[u8]>::trim_ascii).filter(|hop| !hop.is_empty());
            while trusted.iter().any(|network| network.contains(&client)) {
                let Some(hop) = hops.next() else { break };
                let Some(address) = std::str::from_utf8(hop).ok().and_then(address) else {
                    return Self::Name(hop);
                };
                client = address;
            }
        }
        Self::Address(client)
    }
}

/// Returns the network whose locks are limited together. `None`: the request came from this
/// machine, or from a trusted proxy that names no client. Any number of people may be behind such
/// an address.
pub fn lock_network(
    peer: Option<SocketAddr>,
    headers: &HeaderMap,
    trusted: &[IpNet],
) -> Option<IpAddr> {
    match NearestHop::of(peer, headers, trusted) {
        NearestHop::Address(address) => {
            let is_exempt =
                address.is_loopback() || trusted.iter().any(|network| network.contains(&address));
            (!is_exempt).then(|| network(address))
        }
        NearestHop::Name(name) => Some(ClientAddress::named(name).network()),
    }
}

impl ClientAddress {
    /// Returns the address by which WebSockets and replays are counted; `None` for a trusted proxy
    /// that names no client.
    pub fn address(self, trusted: &[IpNet]) -> Option<IpAddr> {
        (!trusted.iter().any(|network| network.contains(&self.0))).then_some(self.0)
    }
}

impl std::fmt::Display for ClientAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Parses an address in the forms that proxies write: with or without a port, in brackets, in
/// quotes, with a zone. The zone (RFC 4007 §11) has a meaning only in the network of the proxy and
/// is dropped.
fn address(text: &str) -> Option<IpAddr> {
    let text = std::str::from_utf8(unquoted(text.as_bytes())).ok()?;
    let host = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, rest)) if rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port) => {
            host
        }
        Some(_) => return None,
        None => match text.split_once(':') {
            Some((host, port)) if is_port(port) => host,
            _ => text,
        },
    };
    let host = host.split_once('%').map_or(host, |(host, _)| host);
    host.parse().ok().map(|address: IpAddr| address.to_canonical())
}

/// Returns whether the text is a port number or an obfuscated port (RFC 7239 §6).
fn is_port(text: &str) -> bool {
    text.parse::<u16>().is_ok() || text.starts_with('_')
}

/// Removes the quotes of an HTTP quoted string.
fn unquoted(hop: &[u8]) -> &[u8] {
    hop.strip_prefix(b"\"")
        .and_then(|rest| rest.strip_suffix(b"\""))
        .map_or(hop, <[u8]>::trim_ascii)
}

/// Returns the part of an address that belongs to one customer: all of IPv4, the first 64 bits of
/// IPv6.
pub fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => {
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(peer: &str, forwarded: &[&str], trusted: &[&str]) -> String {
        let lines: Vec<&[u8]> = forwarded.iter().map(|line| line.as_bytes()).collect();
        client_by_bytes(peer, &lines, trusted)
    }

    fn client_by_bytes(peer: &str, forwarded: &[&[u8]], trusted: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for line in forwarded {
            headers
                .append(FORWARDED, HeaderValue::from_bytes(line).expect("no control characters"));
        }
        let trusted: Vec<IpNet> =
            trusted.iter().map(|network| network.parse().expect("a network")).collect();
        ClientAddress::of(Some(peer.parse().expect("an address")), &headers, &trusted).to_string()
    }

    const PROXY: &str = "10.0.0.1:5";
    const TRUSTED: [&str; 1] = ["10.0.0.0/8"];

    #[test]
    fn forwarded_address_is_ignored_by_default() {
        assert_eq!(client("10.0.0.1:5", &["1.2.3.4"], &[]), "10.0.0.1");
        assert_eq!(client("9.9.9.9:5", &["1.2.3.4"], &["10.0.0.0/8"]), "9.9.9.9");
    }

    #[test]
    fn rightmost_hop_that_is_not_a_trusted_proxy_is_the_client() {
        let trusted = ["10.0.0.0/8"];
        assert_eq!(client("10.0.0.1:5", &["6.6.6.6, 1.2.3.4"], &trusted), "1.2.3.4");
        assert_eq!(client("10.0.0.1:5", &["6.6.6.6, 1.2.3.4, 10.2.2.2:80"], &trusted), "1.2.3.4");
        assert_eq!(client("10.0.0.1:5", &["6.6.6.6", "1.2.3.4"], &trusted), "1.2.3.4");
        assert_eq!(client("[::ffff:10.0.0.1]:5", &["1.2.3.4"], &trusted), "1.2.3.4");
        assert_eq!(client("10.0.0.1:5", &[], &trusted), "10.0.0.1");
    }

    #[test]
    fn loopback_and_trusted_proxies_are_exempt_from_the_limit_of_locks() {
        let limited = |peer: &str, forwarded: &[&'static str], trusted: &[&str]| {
            let mut headers = HeaderMap::new();
            forwarded
                .iter()
                .for_each(|line| headers.append(FORWARDED, HeaderValue::from_static(line)));
            let trusted: Vec<IpNet> =
                trusted.iter().map(|network| network.parse().expect("a network")).collect();
            let peer = Some(peer.parse().expect("an address"));
            lock_network(peer, &headers, &trusted).map(|network| network.to_string())
        };
        for loopback in ["127.0.0.1:5", "[::1]:5", "[::ffff:127.0.0.1]:5"] {
            assert_eq!(limited(loopback, &[], &[]), None, "{loopback}");
        }
        assert_eq!(limited("10.0.0.1:5", &[], &["10.0.0.0/8"]), None, "the proxy itself");
        assert_eq!(
            limited("10.0.0.1:5", &["10.2.2.2"], &["10.0.0.0/8"]),
            None,
            "a proxy behind a proxy"
        );
        assert_eq!(
            limited("10.0.0.1:5", &["1.2.3.4"], &["10.0.0.0/8"]).as_deref(),
            Some("1.2.3.4")
        );
        assert!(
            limited("10.0.0.1:5", &["unknown"], &["10.0.0.0/8"]).is_some(),
            "a client that the proxy does not name"
        );
        assert_eq!(
            limited("10.0.0.1:5", &["127.0.0.1"], &[]).as_deref(),
            Some("10.0.0.1"),
            "any client can send this header"
        );
        assert_eq!(
            limited("[2001:db8:1:2:3:4:5:6]:5", &[], &[]).as_deref(),
            Some("2001:db8:1:2::")
        );
    }

    #[test]
    fn ipv6_addresses_with_the_same_64_bits_are_one_client() {
        assert_eq!(client("[2001:db8:1:2:3:4:5:6]:5", &[], &[]), "2001:db8:1:2::");
    }

    #[test]
    fn address_is_parsed_in_every_form_that_proxies_write() {
        for (hop, expected) in [
            ("[2001:db8:0:3::3]", "2001:db8:0:3::"),
            ("2001:db8:0:3::3", "2001:db8:0:3::"),
            ("[2001:db8:0:3::3]:443", "2001:db8:0:3::"),
            ("\"[2001:db8:0:3::3]:443\"", "2001:db8:0:3::"),
            ("\"[2001:db8:0:3::3]\"", "2001:db8:0:3::"),
            ("\"2001:db8:0:3::3\"", "2001:db8:0:3::"),
            ("[2001:db8:0:3::3%eth0]:443", "2001:db8:0:3::"),
            ("fe80::1%eth0", "fe80::"),
            ("[fe80::1%25eth0]", "fe80::"),
            ("::ffff:1.2.3.4", "1.2.3.4"),
            ("[::ffff:1.2.3.4]:80", "1.2.3.4"),
            ("1.2.3.4:443", "1.2.3.4"),
            ("1.2.3.4:_gateway", "1.2.3.4"),
            ("\"1.2.3.4\"", "1.2.3.4"),
            ("1.2.3.4,", "1.2.3.4"),
            ("1.2.3.4 , ,", "1.2.3.4"),
            (",1.2.3.4,, ,", "1.2.3.4"),
        ] {
            assert_eq!(client(PROXY, &[hop], &TRUSTED), expected, "{hop}");
            assert_eq!(
                client(PROXY, &[&format!("6.6.6.6, {hop}")], &TRUSTED),
                expected,
                "6.6.6.6, {hop}"
            );
            assert_eq!(
                client(PROXY, &["6.6.6.6", hop, ""], &TRUSTED),
                expected,
                "{hop} among several lines"
            );
        }
    }

    #[test]
    fn obfuscated_identifier_is_one_client_and_never_the_proxy() {
        let known = |hop: &str| client(PROXY, &[&format!("1.2.3.4, {hop}")], &TRUSTED);
        let unknown = known("unknown");
        for hop in [
            "Unknown",
            "garbage",
            "\"unknown\"",
            "_",
            "_a b",
            "1.2.3.4.5",
            "[::1",
            "[::1]x",
            "[::1]:99999",
            "1.2.3.4:x",
            "\"",
            "%eth0",
        ] {
            assert_eq!(known(hop), unknown, "{hop}");
        }
        let hidden = [known("_hidden"), known("_other"), unknown];
        for (at, client) in hidden.iter().enumerate() {
            assert!(client.starts_with("101:"), "no real client has such an address: {client}");
            assert!(!hidden[..at].contains(client), "{client}");
        }
        assert_eq!(known("\"_hidden\""), hidden[0]);
    }

    #[test]
    fn bytes_that_are_not_utf_8_do_not_hide_the_client() {
        assert_eq!(client_by_bytes(PROXY, &[b"caf\xe9, 1.2.3.4"], &TRUSTED), "1.2.3.4");
        assert_eq!(client_by_bytes(PROXY, &[b"\xff\xfe", b"1.2.3.4"], &TRUSTED), "1.2.3.4");
        assert_eq!(
            client_by_bytes(PROXY, &["Köln, 1.2.3.4, 10.9.9.9".as_bytes()], &TRUSTED),
            "1.2.3.4"
        );
        assert_eq!(
            client_by_bytes(PROXY, &[b"1.2.3.4, caf\xe9"], &TRUSTED),
            client(PROXY, &["unknown"], &TRUSTED)
        );
    }

    #[test]
    fn empty_list_is_the_proxy_itself() {
        for lines in [&[][..], &[""], &[" , ,"], &["10.1.1.1, 10.0.0.1"]] {
            assert!(
                ["10.0.0.1", "10.1.1.1"].contains(&client(PROXY, lines, &TRUSTED).as_str()),
                "{lines:?}"
            );
        }
    }
}
