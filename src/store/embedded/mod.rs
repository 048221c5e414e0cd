//! The embedded store: redb, one file.
