//! Who is calling: the client's network address, past the proxies that may speak for it.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use actix_web::http::header::{HeaderMap, HeaderName};
use ipnet::IpNet;

const FORWARDED: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The address that rates are counted by: of IPv6 only the first 64 bits, as one customer has at least those.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Client(IpAddr);

impl Client {
    /// The nearest hop that is not a trusted proxy. What stands further left in `X-Forwarded-For` anybody can write.
    pub fn of(peer: Option<SocketAddr>, headers: &HeaderMap, trusted: &[IpNet]) -> Self {
        let mut client = peer.map_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED), |peer| peer.ip().to_canonical());
        if !trusted.is_empty() {
            let lines: Vec<&str> = headers.get_all(FORWARDED).filter_map(|line| line.to_str().ok()).collect();
            let mut hops = lines.iter().rev().flat_map(|line| line.rsplit(','));
            while trusted.iter().any(|network| network.contains(&client)) {
                let Some(hop) = hops.next().and_then(address) else { break };
                client = hop;
            }
        }
        Self(network(client))
    }

    /// The address itself: of IPv6 the first 64 bits, the others zero.
    pub fn network(self) -> IpAddr {
        self.0
    }
}

impl std::fmt::Display for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// An address as proxies write it: with or without a port.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let parsed = text.parse().or_else(|_| text.parse::<SocketAddr>().map(|address| address.ip()));
    parsed.ok().map(|address: IpAddr| address.to_canonical())
}

fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn client(peer: &str, forwarded: &[&'static str], trusted: &[&str]) -> String {
        let request = forwarded.iter().fold(TestRequest::get(), |request, line| request.append_header((FORWARDED, *line)));
        let trusted: Vec<IpNet> = trusted.iter().map(|network| network.parse().expect("a network")).collect();
        Client::of(Some(peer.parse().expect("an address")), request.to_http_request().headers(), &trusted).to_string()
    }

    #[test]
    fn nobody_is_believed_by_default() {
        assert_eq!(client("10.0.0.1:5", &["1.2.3.4"], &[]), "10.0.0.1");
        assert_eq!(client("9.9.9.9:5", &["1.2.3.4"], &["10.0.0.0/8"]), "9.9.9.9");
    }

    #[test]
    fn a_trusted_proxy_names_the_rightmost_hop_that_is_none() {
        let trusted = ["10.0.0.0/8"];
        assert_eq!(client("10.0.0.1:5", &["6.6.6.6, 1.2.3.4"], &trusted), "1.2.3.4");
        assert_eq!(client("10.0.0.1:5", &["6.6.6.6, 1.2.3.4, 10.2.2.2:80"], &trusted), "1.2.3.4");
        assert_eq!(client("10.0.0.1:5", &["6.6.6.6", "1.2.3.4"], &trusted), "1.2.3.4");
        assert_eq!(client("[::ffff:10.0.0.1]:5", &["1.2.3.4"], &trusted), "1.2.3.4");
        assert_eq!(client("10.0.0.1:5", &["1.2.3.4, garbage"], &trusted), "10.0.0.1");
        assert_eq!(client("10.0.0.1:5", &[], &trusted), "10.0.0.1");
    }

    #[test]
    fn one_ipv6_customer_is_one_client() {
        assert_eq!(client("[2001:db8:1:2:3:4:5:6]:5", &[], &[]), "2001:db8:1:2::");
    }
}
