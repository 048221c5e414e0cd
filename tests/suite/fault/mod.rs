//! Faults and races.
