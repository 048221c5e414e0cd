//! The one integration-test binary. Each module says what it proves.

mod store;
mod ws;
//! The integration tests, one binary: a folder for each part of the house.

mod mongo;
