//! What the stores hold, held against the invariants.
