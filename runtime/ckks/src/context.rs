//! Everything precomputed from a parameter set.

/// The tables of a parameter set.
pub struct Context {}
