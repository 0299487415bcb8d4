//! Deterministic prime chains.
