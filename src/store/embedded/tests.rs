//! What is special about this store; the contract itself is proved by `tests/suite/store`.
