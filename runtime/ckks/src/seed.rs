//! Deterministic expansion of the uniform halves of keys from a seed.
