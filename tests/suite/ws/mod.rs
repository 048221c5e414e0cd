//! Tests of the WebSocket over real sockets: an HTTP server with only the route `/ws`, and a feed
//! that the test writes.

mod budget;
mod closing;
mod live;
mod resume;
mod samples;
mod slow;
mod stage;
mod takeover;
