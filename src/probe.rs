//! `gittix health`: the command for a container's health check, since the image holds no other
//! program.
//!
//! It sends one HTTP request over a plain socket, without an HTTP client, because a health check
//! runs every few seconds.

use std::{
    io::{self, Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    time::Duration,
};

use clap::Args;

use crate::config::HostPort;

/// Maximum time for the connection, for each write and for each read. A readiness check takes up to
/// 2.5 s.
const ANSWER_MAX: Duration = Duration::from_secs(3);
/// The beginning of a successful answer (RFC 9112, section 4).
const SUCCESS: &[u8] = b"HTTP/1.1 200 ";

/// The health check: the server's address and the kind of check.
#[derive(Debug, Clone, Args)]
pub struct Probe {
    /// Address on which the server listens; if that is every interface, the loopback address is
    /// used.
    #[arg(long, env = "GITTIX_ADDR", default_value = "127.0.0.1:3000", value_name = "HOST:PORT")]
    pub addr: HostPort,
    /// The server's admin address; used instead of the other one if it is set.
    #[arg(long, env = "GITTIX_ADMIN_ADDR", value_name = "HOST:PORT")]
    pub admin_addr: Option<HostPort>,
    /// Check whether the server is ready for requests, not only whether it runs.
    #[arg(long)]
    pub ready: bool,
}

impl Probe {
    /// Sends one request.
    ///
    /// # Errors
    /// One line: no connection within three seconds, no byte within three seconds, or an answer
    /// other than 200.
    pub fn ask(&self) -> Result<(), String> {
        let path = if self.ready { "/readyz" } else { "/healthz" };
        let host = self.admin_addr.as_ref().unwrap_or(&self.addr);
        // The server listens on the first address of a name.
        let addr = host.resolve().map_err(|error| format!("{host}: {error}"))?[0];
        let addr = reachable(addr);
        match status_line(addr, path) {
            Ok(line) if line.starts_with(SUCCESS) => Ok(()),
            Ok(line) => {
                Err(format!("{addr}{path} answers {}", String::from_utf8_lossy(&line).trim_end()))
            }
            Err(error) => Err(format!("{addr}{path}: {error}")),
        }
    }
}

/// Returns the address to connect to for an address that a server listens on.
fn reachable(addr: SocketAddr) -> SocketAddr {
    let ip = match addr.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, addr.port())
}

/// Returns the beginning of the answer's first line, up to the status code.
fn status_line(addr: SocketAddr, path: &str) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&addr, ANSWER_MAX)?;
    stream.set_read_timeout(Some(ANSWER_MAX))?;
    stream.set_write_timeout(Some(ANSWER_MAX))?;
    // One write: `write!` would send the request in several pieces.
    let request = format!("GET {path} HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut line = Vec::with_capacity(SUCCESS.len());
    stream.take(SUCCESS.len() as u64).read_to_end(&mut line)?;
    Ok(line)
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, thread};

    use super::*;

    /// Sends a request to a server that answers with `answer`. Returns the result and the request.
    fn asked(ready: bool, answer: &'static str) -> (Result<(), String>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let addr = listener.local_addr().expect("it is bound");
        let server = thread::spawn(move || {
            let (mut peer, _) = listener.accept().expect("the probe connects");
            let mut request = vec![0; 512];
            let length = peer.read(&mut request).expect("the probe writes");
            peer.write_all(answer.as_bytes()).expect("the probe reads");
            String::from_utf8_lossy(&request[..length]).into_owned()
        });
        let addr = addr.to_string().parse().expect("an address");
        let result = Probe { addr, admin_addr: None, ready }.ask();
        (result, server.join().expect("the server does not panic"))
    }

    #[test]
    fn only_status_200_is_healthy() {
        let (result, request) = asked(false, "HTTP/1.1 200 OK\r\n\r\n");
        assert_eq!((result, request.lines().next()), (Ok(()), Some("GET /healthz HTTP/1.1")));
        let (result, request) = asked(true, "HTTP/1.1 503 Service Unavailable\r\n\r\n");
        assert!(
            result.as_ref().is_err_and(|error| error.contains("/readyz answers HTTP/1.1 503")),
            "{result:?}"
        );
        assert!(request.starts_with("GET /readyz "), "{request}");
        let (result, _) = asked(false, "");
        assert!(result.is_err(), "an empty answer is not healthy");
    }

    #[test]
    fn unspecified_address_is_reached_on_loopback() {
        for (listens, asked) in
            [("0.0.0.0:1", "127.0.0.1:1"), ("[::]:2", "[::1]:2"), ("10.0.0.1:3", "10.0.0.1:3")]
        {
            assert_eq!(
                reachable(listens.parse().expect("an address")),
                asked.parse().expect("an address")
            );
        }
    }
}
