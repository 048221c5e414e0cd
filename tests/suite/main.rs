//! The integration tests, one binary: a folder for each part of the house.

mod mongo;
