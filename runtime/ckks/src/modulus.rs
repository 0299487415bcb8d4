//! Arithmetic modulo one prime.
