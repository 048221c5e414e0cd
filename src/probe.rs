//! `gittix health`: what a container's health check runs, since the image holds this program and nothing else.
//!
//! It speaks one HTTP request over a plain socket: a check that runs every few seconds must not start a client first.

use std::{
    io::{self, Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    time::Duration,
};

use clap::Args;

use crate::config::HostPort;

/// Readiness waits two seconds for the store; this is a little more.
const ANSWER_MAX: Duration = Duration::from_secs(3);
/// How an answer that is fine begins (RFC 9112, section 4).
const FINE: &[u8] = b"HTTP/1.1 200 ";

/// What to ask, and where.
#[derive(Debug, Clone, Args)]
pub struct Probe {
    /// Where the server listens; if that is every interface, it is asked on the loopback one.
    #[arg(long, env = "GITTIX_ADDR", default_value = "127.0.0.1:3000", value_name = "HOST:PORT")]
    pub addr: HostPort,
    /// Where the server serves its health besides; asked instead, if it is set.
    #[arg(long, env = "GITTIX_ADMIN_ADDR", value_name = "HOST:PORT")]
    pub admin_addr: Option<HostPort>,
    /// Ask whether it is ready for requests, not only whether it is alive.
    #[arg(long)]
    pub ready: bool,
}

impl Probe {
    /// Asks once.
    ///
    /// # Errors
    /// One line: nobody answers within three seconds, or the answer is another than 200.
    pub fn ask(&self) -> Result<(), String> {
        let path = if self.ready { "/readyz" } else { "/healthz" };
        let host = self.admin_addr.as_ref().unwrap_or(&self.addr);
        // The server listens on the first address of a name.
        let addr = host.resolve().map_err(|error| format!("{host}: {error}"))?[0];
        let addr = reachable(addr);
        match status_line(addr, path) {
            Ok(line) if line.starts_with(FINE) => Ok(()),
            Ok(line) => Err(format!("{addr}{path} answers {}", String::from_utf8_lossy(&line).trim_end())),
            Err(error) => Err(format!("{addr}{path}: {error}")),
        }
    }
}

/// An address to listen on, as one to connect to.
fn reachable(addr: SocketAddr) -> SocketAddr {
    let ip = match addr.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, addr.port())
}

/// As much of the answer's first line as tells its status.
fn status_line(addr: SocketAddr, path: &str) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&addr, ANSWER_MAX)?;
    stream.set_read_timeout(Some(ANSWER_MAX))?;
    stream.set_write_timeout(Some(ANSWER_MAX))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\r\n")?;
    let mut line = Vec::with_capacity(FINE.len());
    stream.take(FINE.len() as u64).read_to_end(&mut line)?;
    Ok(line)
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, thread};

    use super::*;

    /// Asks a server that answers one request with this.
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
        let verdict = Probe { addr, admin_addr: None, ready }.ask();
        (verdict, server.join().expect("the server does not panic"))
    }

    #[test]
    fn only_200_is_fine() {
        let (verdict, request) = asked(false, "HTTP/1.1 200 OK\r\n\r\n");
        assert_eq!((verdict, request.lines().next()), (Ok(()), Some("GET /healthz HTTP/1.1")));
        let (verdict, request) = asked(true, "HTTP/1.1 503 Service Unavailable\r\n\r\n");
        assert!(verdict.as_ref().is_err_and(|error| error.contains("/readyz answers HTTP/1.1 503")), "{verdict:?}");
        assert!(request.starts_with("GET /readyz "), "{request}");
        let (verdict, _) = asked(false, "");
        assert!(verdict.is_err(), "silence is not health");
    }

    #[test]
    fn every_interface_is_asked_on_the_loopback_one() {
        for (listens, asked) in [("0.0.0.0:1", "127.0.0.1:1"), ("[::]:2", "[::1]:2"), ("10.0.0.1:3", "10.0.0.1:3")] {
            assert_eq!(reachable(listens.parse().expect("an address")), asked.parse().expect("an address"));
        }
    }
}
