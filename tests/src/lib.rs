//! Whole-product tests and snapshots.
#![forbid(unsafe_code)]
