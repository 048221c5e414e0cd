//! The built-in sandbox processor.
