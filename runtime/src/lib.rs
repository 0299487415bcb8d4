//! Heddle's runtime: executes encrypted-inference plans.
#![forbid(unsafe_code)]
