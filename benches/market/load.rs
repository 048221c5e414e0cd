//! A load as light as can be: one keep-alive connection a buyer, requests as prepared bytes, answers read no further than
//! the status and the first id.

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

use crate::app::Client;

/// What is done again and again.
#[derive(Debug, Clone, Copy)]
pub enum Target<'a> {
    Sale(&'a Unsold),
    Lock(&'a Unsold),
    /// Of a ticket that somebody holds.
    Refusal(&'a str),
}

/// Tickets, each handed out once.
#[derive(Debug)]
pub struct Unsold {
    tickets: Vec<String>,
    next: AtomicUsize,
}

impl Unsold {
    pub fn new(tickets: Vec<String>) -> Self {
        Self { tickets, next: AtomicUsize::new(0) }
    }

    fn take(&self) -> &str {
        self.tickets.get(self.next.fetch_add(1, Ordering::Relaxed)).expect("more tickets than can be sold in a run")
    }
}

/// What one measurement showed.
#[derive(Debug, Clone, Copy)]
pub struct Measured {
    pub per_second: f64,
    pub p50: Duration,
    pub p99: Duration,
    /// Of the server's process, for each operation.
    pub cpu_us: f64,
}

impl Measured {
    /// From all latencies, and the CPU time that the process took meanwhile.
    pub fn of(mut latencies: Vec<Duration>, span: Duration, cpu: Duration) -> Self {
        latencies.sort_unstable();
        let count = latencies.len().max(1);
        let at = |share: usize| latencies.get((count - 1) * share / 100).copied().unwrap_or_default();
        #[expect(clippy::cast_precision_loss, reason = "a count of operations")]
        let operations = count as f64;
        Self { per_second: operations / span.as_secs_f64(), p50: at(50), p99: at(99), cpu_us: cpu.as_secs_f64() * 1e6 / operations }
    }

    /// The round in the middle, by rate.
    pub fn median(rounds: &[Self]) -> Self {
        let mut rounds = rounds.to_vec();
        rounds.sort_by(|a, b| a.per_second.total_cmp(&b.per_second));
        rounds[rounds.len() / 2]
    }
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.0}/s, p50 {:.2?}, p99 {:.2?}, {:.1} us of CPU each", self.per_second, self.p50, self.p99, self.cpu_us)
    }
}

/// The CPU time that a process has taken, in all threads (`utime` and `stime` of `/proc/<pid>/stat`, in hundredths of a second).
pub fn cpu_of(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let after_name = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    let ticks: u64 = after_name.split(' ').skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}

/// The cookies of those who ask.
pub fn targets(buyers: &[Client]) -> Vec<String> {
    buyers.iter().filter_map(Client::cookie).collect()
}

/// Everybody asks as fast as they are answered, for `span`.
pub async fn run(addr: SocketAddr, pid: u32, cookies: &[String], span: Duration, target: Target<'_>) -> Measured {
    let deadline = Instant::now() + span;
    let before = cpu_of(pid);
    let buyers = cookies.iter().map(|cookie| async move {
        let mut connection = Connection::open(addr, cookie).await;
        let mut latencies = Vec::new();
        while Instant::now() < deadline {
            let began = Instant::now();
            connection.once(target).await;
            latencies.push(began.elapsed());
        }
        latencies
    });
    let latencies = futures_util::future::join_all(buyers).await.concat();
    Measured::of(latencies, span, cpu_of(pid) - before)
}

/// One keep-alive connection.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    head: String,
    buffer: Vec<u8>,
}

impl Connection {
    pub async fn open(addr: SocketAddr, cookie: &str) -> Self {
        let stream = TcpStream::connect(addr).await.expect("the server listens");
        stream.set_nodelay(true).expect("a socket option");
        let head = format!("Host: {addr}\r\nCookie: {cookie}\r\nContent-Type: application/json\r\n");
        Self { stream, head, buffer: Vec::with_capacity(4096) }
    }

    async fn once(&mut self, target: Target<'_>) {
        match target {
            Target::Refusal(ticket) => {
                let status = self.ask("POST /api/orders", &format!(r#"{{"ticketId":"{ticket}"}}"#)).await;
                assert_eq!(status, 409, "{}", self.text());
            }
            Target::Lock(unsold) => drop(self.lock(unsold).await),
            Target::Sale(unsold) => {
                let order = self.lock(unsold).await;
                let status = self.ask("POST /api/charges", &format!(r#"{{"orderId":"{order}","token":"pm_card_visa"}}"#)).await;
                assert_eq!(status, 201, "{}", self.text());
            }
        }
    }

    async fn lock(&mut self, unsold: &Unsold) -> String {
        let status = self.ask("POST /api/orders", &format!(r#"{{"ticketId":"{}"}}"#, unsold.take())).await;
        assert_eq!(status, 201, "{}", self.text());
        let text = self.text();
        text.split_once(r#""id":""#).and_then(|(_, rest)| rest.get(..36)).expect("an order has an id").to_owned()
    }

    /// Sends one request and reads its answer; the status.
    pub async fn ask(&mut self, line: &str, body: &str) -> u16 {
        let request = format!("{line} HTTP/1.1\r\n{}Content-Length: {}\r\n\r\n{body}", self.head, body.len());
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
        let length = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ").and_then(|n| n.parse().ok()));
        body.len() >= length.unwrap_or(0usize)
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.buffer).expect("JSON is UTF-8")
    }
}
