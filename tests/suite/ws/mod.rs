//! The WebSocket over real sockets: a bare HTTP server with nothing but `/ws`, on a feed that the test writes.

mod budget;
mod closing;
mod live;
mod resume;
mod samples;
mod slow;
mod stage;
mod takeover;
