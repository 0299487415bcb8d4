//! The homomorphic reduction modulo the first prime.
