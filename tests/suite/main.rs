//! The one integration-test binary. Each module says what it proves.

mod store;
