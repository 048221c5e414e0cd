//! Tests of the public contract on both stores, with one file for each subject. The name of a test
//! is its claim.

mod charges;
mod clock;
mod conventions;
mod declines;
mod documents;
mod guessing;
mod hostile;
mod idempotency;
mod inputs;
mod listing;
mod listings;
#[cfg(feature = "failpoints")]
mod mail_crash;
mod mails;
mod network_locks;
mod orders;
mod passwords;
mod program;
mod rates;
mod recovery;
mod sale;
mod security;
mod settings;
mod smtp;
mod sockets;
mod startup;
mod stripe;
mod tickets;
mod users;
mod webhook;
