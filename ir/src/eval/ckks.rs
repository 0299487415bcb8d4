//! ckks.
