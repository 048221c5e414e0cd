//! MongoDB: transactions on a replica set.
