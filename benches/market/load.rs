//! The lightest possible load: one keep-alive connection for each buyer, requests as prepared
//! bytes, and answers that are parsed only for the status and the first id.

use std::{
    fmt,
    net::SocketAddr,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::Instant,
};

use crate::app::Server;

/// The repeated operation.
#[derive(Debug, Clone, Copy)]
pub enum Target<'a> {
    /// A lock of the next ticket for the next buyer.
    Lock(&'a Unsold),
    /// A lock of a ticket that another order holds, with this cookie.
    Refusal(&'a str, &'a str),
    /// A page of tickets: the path with its query.
    List(&'a str),
}

impl<'a> Target<'a> {
    fn cookie(self) -> &'a str {
        match self {
            Self::Refusal(_, cookie) => cookie,
            Self::Lock(_) | Self::List(_) => "",
        }
    }
}

/// Tickets that are used once each, in turn by many buyers, so that no buyer holds hundreds.
#[derive(Debug)]
pub struct Unsold {
    tickets: Vec<String>,
    cookies: Vec<String>,
    next: AtomicUsize,
}

impl Unsold {
    pub fn new(tickets: Vec<String>, cookies: Vec<String>) -> Self {
        Self { tickets, cookies, next: AtomicUsize::new(0) }
    }

    /// Returns a ticket and its buyer's cookie.
    fn take(&self) -> (&str, &str) {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        (
            self.tickets.get(number).expect("more tickets than can be sold in a run"),
            &self.cookies[number % self.cookies.len()],
        )
    }

    /// Lets all buyers read the site before they buy. Their sessions are then cached, like those of
    /// people who come from a page.
    pub async fn look_around(&self, addr: SocketAddr) {
        const AT_ONCE: usize = 16;
        let visits =
            self.cookies.chunks(self.cookies.len().div_ceil(AT_ONCE)).map(|cookies| async move {
                let mut connection = Connection::open(addr, "").await;
                for cookie in cookies {
                    connection.cookie.clone_from(cookie);
                    assert_eq!(connection.fetch("/api/users/currentuser").await, 200);
                }
            });
        futures_util::future::join_all(visits).await;
    }
}

/// The figures of one measurement.
#[derive(Debug, Clone, Copy)]
pub struct Measured {
    pub per_second: f64,
    pub p50: Duration,
    pub p99: Duration,
    /// CPU time of the server's process for each operation.
    pub cpu_us: f64,
    /// CPU time of this process, the client, for each operation: the cost of the load itself.
    pub client_us: f64,
}

impl Measured {
    /// Computes the figures from all latencies and the CPU times.
    pub fn of(mut latencies: Vec<Duration>, span: Duration, cpu: Spent) -> Self {
        latencies.sort_unstable();
        let count = latencies.len().max(1);
        let at =
            |share: usize| latencies.get((count - 1) * share / 100).copied().unwrap_or_default();
        #[expect(clippy::cast_precision_loss, reason = "a count of operations")]
        let operations = count as f64;
        let each = |spent: Duration| spent.as_secs_f64() * 1e6 / operations;
        Self {
            per_second: operations / span.as_secs_f64(),
            p50: at(50),
            p99: at(99),
            cpu_us: each(cpu.server),
            client_us: each(cpu.client),
        }
    }

    pub fn to_json(self) -> serde_json::Value {
        let millis = |latency: Duration| latency.as_secs_f64() * 1e3;
        serde_json::json!({
            "perSecond": self.per_second, "p50Ms": millis(self.p50), "p99Ms": millis(self.p99),
            "cpuUs": self.cpu_us, "clientUs": self.client_us,
        })
    }

    /// Returns the median of each figure.
    pub fn median(rounds: &[Self]) -> Self {
        Self {
            per_second: median(rounds, |round| round.per_second),
            p50: median(rounds, |round| round.p50),
            p99: median(rounds, |round| round.p99),
            cpu_us: median(rounds, |round| round.cpu_us),
            client_us: median(rounds, |round| round.client_us),
        }
    }
}

/// Returns the median of one figure over an odd number of rounds.
pub fn median<R, T: PartialOrd + Copy>(rounds: &[R], figure: impl Fn(&R) -> T) -> T {
    let mut figures: Vec<T> = rounds.iter().map(figure).collect();
    figures.sort_by(|a, b| a.partial_cmp(b).expect("a figure is a number"));
    figures[figures.len() / 2]
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:.0}/s, p50 {:.2?}, p99 {:.2?}; CPU each: {:.1} us, ",
            self.per_second, self.p50, self.p99, self.cpu_us
        )?;
        write!(f, "the client {:.1} us", self.client_us)
    }
}

/// CPU time of the measured process and of the client.
#[derive(Debug, Clone, Copy, Default)]
pub struct Spent {
    pub server: Duration,
    pub client: Duration,
}

impl Spent {
    /// Returns the CPU time so far of the process `pid` and of this process.
    pub fn by(pid: u32) -> Self {
        Self { server: cpu_of(pid), client: cpu_of(std::process::id()) }
    }

    pub fn since(self, before: Self) -> Self {
        Self {
            server: self.server.saturating_sub(before.server),
            client: self.client.saturating_sub(before.client),
        }
    }
}

/// Returns the CPU time of a process in all threads (`utime` and `stime` of `/proc/<pid>/stat`, in
/// hundredths of a second).
pub fn cpu_of(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let after_name = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    let ticks: u64 =
        after_name.split(' ').skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}

/// Lets all buyers send requests as fast as they are answered, for `span`.
pub async fn run(server: &Server, buyers: usize, span: Duration, target: Target<'_>) -> Measured {
    let (addr, pid, deadline) = (server.addr, server.pid(), Instant::now() + span);
    let before = Spent::by(pid);
    let buyers = (0..buyers).map(|_| async move {
        let mut connection = Connection::open(addr, target.cookie()).await;
        let mut latencies = Vec::new();
        while Instant::now() < deadline {
            let began = Instant::now();
            connection.once(target).await;
            latencies.push(began.elapsed());
        }
        latencies
    });
    let latencies = futures_util::future::join_all(buyers).await.concat();
    Measured::of(latencies, span, Spent::by(pid).since(before))
}

/// One keep-alive connection.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    host: SocketAddr,
    cookie: String,
    buffer: Vec<u8>,
}

impl Connection {
    pub async fn open(addr: SocketAddr, cookie: &str) -> Self {
        let stream = TcpStream::connect(addr).await.expect("the server listens");
        stream.set_nodelay(true).expect("the socket option can be set");
        Self { stream, host: addr, cookie: cookie.to_owned(), buffer: Vec::with_capacity(4096) }
    }

    async fn once(&mut self, target: Target<'_>) {
        match target {
            Target::Refusal(ticket, _) => {
                let status =
                    self.ask("POST /api/orders", &format!(r#"{{"ticketId":"{ticket}"}}"#)).await;
                assert_eq!(status, 409, "{}", self.text());
            }
            Target::List(path) => assert_eq!(self.fetch(path).await, 200),
            Target::Lock(unsold) => self.lock(unsold).await,
        }
    }

    pub async fn lock(&mut self, unsold: &Unsold) {
        let (ticket, cookie) = unsold.take();
        cookie.clone_into(&mut self.cookie);
        let status = self.ask("POST /api/orders", &format!(r#"{{"ticketId":"{ticket}"}}"#)).await;
        assert_eq!(status, 201, "{}", self.text());
    }

    /// Sends one request, reads its answer and returns the status.
    pub async fn ask(&mut self, line: &str, body: &str) -> u16 {
        let (host, cookie, length) = (self.host, &self.cookie, body.len());
        let request = format!(
            "{line} HTTP/1.1\r\nHost: {host}\r\nCookie: {cookie}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        self.exchange(&request).await
    }

    /// Sends a request without a body and returns the status.
    pub async fn fetch(&mut self, path: &str) -> u16 {
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\nCookie: {}\r\n\r\n",
            self.host, self.cookie
        );
        self.exchange(&request).await
    }

    async fn exchange(&mut self, request: &str) -> u16 {
        self.stream.write_all(request.as_bytes()).await.expect("the server reads");
        self.buffer.clear();
        while !self.is_whole() {
            let length = self.stream.read_buf(&mut self.buffer).await.expect("the server answers");
            assert!(length > 0, "the server closed the connection after {}", self.text());
        }
        self.text().get(9..12).and_then(|status| status.parse().ok()).expect("a status line")
    }

    fn is_whole(&self) -> bool {
        let text = self.text();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
        let length = head.lines().find_map(|line| {
            line.to_ascii_lowercase().strip_prefix("content-length: ").and_then(|n| n.parse().ok())
        });
        body.len() >= length.unwrap_or(0usize)
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.buffer).expect("JSON is UTF-8")
    }
}
