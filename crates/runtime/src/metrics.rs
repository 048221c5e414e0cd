//! All metrics of the process, in one table and one registry. Each series exists from the start, at
//! zero, so that an alert on it works before the first event.

use std::sync::LazyLock;

use prometheus::{
    Encoder, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry,
    TextEncoder,
    core::{Collector, GenericCounter, GenericGauge},
    histogram_opts, opts,
};

/// The process's metrics.
pub static METRICS: LazyLock<Metrics> = LazyLock::new(Metrics::new);

macro_rules! metrics {
    ($($(#[doc = $doc:literal])* $name:ident: $kind:ident($metric:literal $(, $label:literal in [$($value:literal),* $(,)?])*);)*) => {
        /// All metrics. The documentation of a field is the help text of its metric.
        #[derive(Debug)]
        pub struct Metrics {
            registry: Registry,
            $($(#[doc = $doc])* pub $name: $kind,)*
        }

        impl Metrics {
            fn new() -> Self {
                let registry = Registry::new();
                $(let $name: $kind = Build::build($metric, concat!($($doc),*).trim(), &[$($label),*]);
                // A name that is used twice above is a programming error, which every start shows.
                registry.register(Box::new($name.clone())).expect("metric names are distinct");
                touch_all(&$name, &[$(&[$($value),*]),*]);)*
                Self { registry, $($name,)* }
            }
        }
    };
}

/// Creates every series of a metric: one for each combination of its labels' values.
fn touch_all<M: Build>(metric: &M, values: &[&[&str]]) {
    match values {
        [] => {}
        [one] => one.iter().for_each(|value| metric.touch(&[value])),
        [first, second] => {
            first.iter().for_each(|a| second.iter().for_each(|b| metric.touch(&[a, b])))
        }
        more => unreachable!("a metric has at most two labels, not {}", more.len()),
    }
}

metrics! {
    /// Requests answered, by class of the status.
    http_requests: IntCounterVec("gittix_http_requests_total", "status" in ["1xx", "2xx", "3xx", "4xx", "5xx"]);
    /// Seconds from the head of a request to the head of its answer, by method.
    http_seconds: HistogramVec("gittix_http_request_seconds", "method" in ["GET", "POST", "PUT", "DELETE", "OTHER"]);
    /// Requests refused because of a rate limit or a full queue, by limit or queue.
    requests_rejected: IntCounterVec("gittix_requests_rejected_total", "reason" in ["client_rate", "signin_rate", "purchase_rate", "passwords", "tickets", "orders", "users", "store", "sockets", "listings", "webhook"]);
    /// Connections open, WebSockets included.
    connections: IntGauge("gittix_connections");
    /// Connections beyond a limit: of all connections, of one address, of WebSockets of one
    /// address. They are answered with 503, except for probes; those with reason address_flood are
    /// closed without an answer.
    connections_refused: IntCounterVec("gittix_connections_refused_total", "reason" in ["full", "address", "address_flood", "address_sockets"]);
    /// HTTP connections ended by the server, by reason. The reason limited means beyond a limit.
    connections_ended: IntCounterVec("gittix_connections_ended_total", "reason" in ["idle", "head_timeout", "write_timeout", "malformed", "head_too_large", "limited"]);
    /// Commits acknowledged by the store.
    commits: IntCounter("gittix_commits_total");
    /// Commits that the store refused or did not acknowledge, by reason.
    commits_failed: IntCounterVec("gittix_commits_failed_total", "reason" in ["stale", "email_in_use", "slots_full", "key_used", "unavailable", "outcome_unknown"]);
    /// Seconds from the submission of a commit to its answer. The embedded store counts
    /// acknowledged commits only.
    commit_seconds: Histogram("gittix_commit_seconds");
    /// Commits per transaction of the store.
    commit_batch: Histogram("gittix_commit_batch_size");
    /// Commits that wait to be written or, with MongoDB, are being written.
    commits_waiting: IntGauge("gittix_commits_waiting");
    /// Events read from the store's feed.
    feed_events: IntCounter("gittix_feed_events_total");
    /// Times that the feed lost events, so that every reader had to load its state again.
    feed_resets: IntCounter("gittix_feed_resets_total");
    /// 1 while the feed is live.
    feed_live: IntGauge("gittix_feed_live");
    /// Maximum error of this replica's estimate of the store's time, in milliseconds.
    clock_uncertainty_ms: IntGauge("gittix_clock_uncertainty_milliseconds");
    /// Steps of the store's time that this replica followed, because the store's clock was
    /// corrected or this machine was suspended.
    clock_steps: IntCounter("gittix_clock_steps_total");
    /// Log lines that were not written, because standard error was not read fast enough or could
    /// not be written to.
    log_lines_dropped: IntCounter("gittix_log_lines_dropped_total");
    /// Tickets in the catalog.
    catalog_tickets: IntGauge("gittix_catalog_tickets");
    /// Ticket actors in memory.
    ticket_actors: IntGauge("gittix_ticket_actors");
    /// Panics in ticket actors, including those after which the actor continued.
    ticket_actor_panics: IntCounter("gittix_ticket_actor_panics_total");
    /// Times that a ticket actor panicked too often, so that requests for its ticket are answered
    /// with 503 for a while.
    ticket_actor_circuits_opened: IntCounter("gittix_ticket_actor_circuits_opened_total");
    /// Active timers of ticket actors.
    timers_armed: IntGauge("gittix_timers_armed");
    /// Locks granted by this replica.
    locks_granted: IntCounter("gittix_locks_granted_total");
    /// Orders refused because the ticket is locked; by the catalog's copy also because it is sold
    /// or belongs to the buyer.
    lock_requests_refused: IntCounter("gittix_lock_requests_refused_total");
    /// Orders refused because their network holds its maximum of locks.
    network_locks_refused: IntCounter("gittix_network_locks_refused_total");
    /// Listings refused because the seller has the maximum of tickets on sale.
    listings_refused: IntCounter("gittix_listings_refused_total");
    /// Locks released by this replica at or after unlocksAt. Early releases are not counted.
    locks_released: IntCounter("gittix_locks_released_total");
    /// Seconds from the end of a lock's time to its release.
    release_lag_seconds: Histogram("gittix_lock_release_lag_seconds");
    /// Overdue locks and payment windows found by sweeps. One that stays overdue counts again in
    /// each sweep.
    overdue_locks_found: IntCounter("gittix_overdue_locks_found_total");
    /// Tickets sold.
    tickets_sold: IntCounter("gittix_tickets_sold_total");
    /// Finished charges, by outcome.
    charges: IntCounterVec("gittix_charges_total", "outcome" in ["completed", "declined", "lock_lost", "refunded", "other"]);
    /// Payments refused because too many earlier payments of the order or of the buyer were
    /// declined.
    declines_refused: IntCounter("gittix_declines_refused_total");
    /// Charges that are not final, by step, as of the last measurement.
    charges_open: IntGaugeVec("gittix_charges_open", "step" in ["authorizing", "awaiting_action", "capturing", "reversing"]);
    /// Seconds since the last change of the charge that has waited longest, among those that are
    /// not final and do not wait for their buyer; 0 without one.
    charge_oldest_open_seconds: IntGauge("gittix_charge_oldest_open_seconds");
    /// Charges that are not final, do not wait for their buyer, and did not change for more than a
    /// minute.
    charges_open_over_1m: IntGauge("gittix_charges_open_over_1m");
    /// Charges that are not final, do not wait for their buyer, and did not change for more than
    /// ten minutes. An operator must examine them.
    charges_open_over_10m: IntGauge("gittix_charges_open_over_10m");
    /// Attempts of reconciliation to finish a charge.
    charges_reconciled: IntCounter("gittix_charges_reconciled_total");
    /// Results of reconciliation attempts: the charge is final, it waits for the buyer or for
    /// another task that processes it, or the attempt failed.
    reconciliations: IntCounterVec("gittix_reconciliations_total", "outcome" in ["final", "waiting", "failed"]);
    /// Rounds of reconciliation, by outcome: done, or failed because the store could not be read or
    /// the round panicked.
    reconciliation_rounds: IntCounterVec("gittix_reconciliation_rounds_total", "outcome" in ["done", "store_unavailable"]);
    /// Calls to the payment processor, by outcome.
    processor_calls: IntCounterVec("gittix_processor_calls_total", "outcome" in ["ok", "declined", "refused", "unknown"]);
    /// Requests to Stripe, by operation and outcome.
    stripe_calls: IntCounterVec("gittix_stripe_calls_total",
        "operation" in ["open", "search", "fetch", "attach", "authorize", "capture", "cancel", "refund", "list_refunds", "find_token"],
        "outcome" in ["ok", "declined", "rejected", "conflict", "rate_limited", "server_error", "no_answer", "unreadable"]);
    /// Seconds from a request to Stripe to its answer or its timeout, by operation.
    stripe_seconds: HistogramVec("gittix_stripe_call_seconds",
        "operation" in ["open", "search", "fetch", "attach", "authorize", "capture", "cancel", "refund", "list_refunds", "find_token"]);
    /// Payments at the processor whose amount or currency differs from their charge. Alert on each.
    payment_mismatches: IntCounter("gittix_payment_mismatches_total");
    /// Payments that held or kept money although their charge had failed or had another payment.
    /// They are reversed. Examine each.
    unmatched_payments: IntCounter("gittix_unmatched_payments_total");
    /// Refunds that failed at the processor after they were made. Alert on each.
    refund_failures: IntCounter("gittix_refund_failures_total");
    /// Deliveries to the webhook, by outcome.
    webhooks: IntCounterVec("gittix_webhook_deliveries_total",
        "outcome" in ["handled", "duplicate", "ignored", "unknown", "invalid_signature", "malformed", "shed", "failed"]);
    /// Passwords hashed or verified.
    passwords_hashed: IntCounter("gittix_passwords_hashed_total");
    /// Passwords that wait to be hashed.
    passwords_waiting: IntGauge("gittix_passwords_waiting");
    /// 1 for the payment mode in use, 0 for the others: Stripe in live mode, Stripe in test mode,
    /// or the sandbox.
    payment_mode: IntGaugeVec("gittix_payment_mode", "mode" in ["live", "test", "sandbox"]);
    /// 1 if the first public origin is https, else 0.
    public_origin_https: IntGauge("gittix_public_origin_https");
    /// Sign-ins and changes of an account that failed, by reason.
    sign_ins_failed: IntCounterVec("gittix_sign_ins_failed_total", "reason" in ["wrong_credentials", "wrong_current_password", "too_many_failures"]);
    /// Attempts to send a mail, by outcome: sent, failed and tried again, given up (dead), or dropped
    /// because the address has no account.
    mails: IntCounterVec("gittix_mails_total", "outcome" in ["sent", "failed", "dead", "dropped"]);
    /// Mails of all replicas that wait for a sending.
    mails_waiting: IntGauge("gittix_mails_waiting");
    /// Mails of all replicas that were given up. An operator must examine them.
    mails_dead: IntGauge("gittix_mails_dead");
    /// WebSocket connections open.
    sockets: IntGauge("gittix_websockets");
    /// Frames queued for WebSocket connections, by kind. Replayed frames, resets and close frames
    /// are not counted.
    frames: IntCounterVec("gittix_websocket_frames_total", "kind" in ["public", "private", "control"]);
    /// Frames that a newer frame of the same ticket replaced in the queue of a slow reader.
    frames_merged: IntCounter("gittix_websocket_frames_merged_total");
    /// WebSocket connections closed by the server, by reason. Those closed after lost events or a
    /// panic are not counted.
    sockets_closed: IntCounterVec("gittix_websockets_closed_total", "reason" in ["stalled", "silent", "limit", "signed_out", "shutdown", "protocol"]);
    /// Bytes of events replayed to WebSocket connections that resumed.
    replayed_bytes: IntCounter("gittix_websocket_replayed_bytes_total");
    /// Replays refused or ended early because the client's address had used up its budget. The
    /// client fetches a snapshot instead.
    replays_refused: IntCounter("gittix_websocket_replays_refused_total");
    /// Bytes queued for WebSocket connections.
    sockets_backlog_bytes: IntGauge("gittix_websocket_backlog_bytes");
}

impl Metrics {
    /// Renders all metrics in the Prometheus text exposition format, version 0.0.4.
    pub fn render(&self) -> String {
        let mut text = Vec::new();
        // Writing into memory cannot fail, and all names are ASCII.
        TextEncoder::new()
            .encode(&self.registry.gather(), &mut text)
            .expect("metrics are well formed");
        String::from_utf8(text).expect("metrics are UTF-8")
    }
}

/// The common constructor of all metric types.
trait Build: Collector + Clone + Sized {
    fn build(name: &str, help: &str, labels: &[&str]) -> Self;
    /// Creates the series of these label values.
    fn touch(&self, _values: &[&str]) {}
}

impl Build for IntCounter {
    fn build(name: &str, help: &str, _: &[&str]) -> Self {
        GenericCounter::new(name, help).expect("a valid metric name")
    }
}

impl Build for IntGauge {
    fn build(name: &str, help: &str, _: &[&str]) -> Self {
        GenericGauge::new(name, help).expect("a valid metric name")
    }
}

impl Build for Histogram {
    fn build(name: &str, help: &str, _: &[&str]) -> Self {
        Self::with_opts(histogram_opts!(name, help, buckets(name))).expect("a valid metric name")
    }
}

impl Build for IntCounterVec {
    fn build(name: &str, help: &str, labels: &[&str]) -> Self {
        Self::new(opts!(name, help), labels).expect("a valid metric name")
    }
    fn touch(&self, values: &[&str]) {
        self.with_label_values(values);
    }
}

impl Build for IntGaugeVec {
    fn build(name: &str, help: &str, labels: &[&str]) -> Self {
        Self::new(opts!(name, help), labels).expect("a valid metric name")
    }
    fn touch(&self, values: &[&str]) {
        self.with_label_values(values);
    }
}

impl Build for HistogramVec {
    fn build(name: &str, help: &str, labels: &[&str]) -> Self {
        Self::new(histogram_opts!(name, help, buckets(name)), labels).expect("a valid metric name")
    }
    fn touch(&self, values: &[&str]) {
        self.with_label_values(values);
    }
}

fn buckets(name: &str) -> Vec<f64> {
    if name.ends_with("_seconds") {
        vec![
            0.0005, 0.001, 0.0025, 0.005, 0.01, 0.015, 0.02, 0.025, 0.035, 0.05, 0.075, 0.1, 0.15,
            0.2, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
        ]
    } else {
        vec![1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_series_exists_from_the_start() {
        let text = METRICS.render();
        assert!(text.contains("gittix_requests_rejected_total{reason=\"passwords\"} "), "{text}");
        assert!(text.contains("gittix_charges_reconciled_total "), "{text}");
        assert!(
            text.contains(
                "gittix_stripe_calls_total{operation=\"capture\",outcome=\"no_answer\"} "
            ),
            "{text}"
        );
        assert!(text.contains("gittix_charges_open{step=\"reversing\"} "), "{text}");
        assert!(
            text.contains("# HELP gittix_locks_granted_total Locks granted by this replica."),
            "{text}"
        );
    }
}
