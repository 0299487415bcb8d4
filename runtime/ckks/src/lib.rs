//! An RNS-CKKS engine with bootstrapping, usable on its own.
//!
//! Layers, each of which only uses those before it: kernels and buffers (`kernel`, `buffer`, `modulus`,
//! `ntt`), polynomials over residue number systems (`poly`, `rns`, `sample`, `context`), the scheme
//! (`encode`, `keys`, `encrypt`, `keyswitch`, `eval`), and bootstrapping.
//!
//! Conventions. `N` is the ring degree, slots number `N/2`. A rotation by `+k` is a *left* rotation:
//! `out[i] = in[(i + k) mod n]`. The level is the number of rescales that remain, and a polynomial at level
//! `l` has `l + 1` limbs. Every residue at an API boundary is fully reduced.

#![deny(unsafe_code)]

pub mod bootstrap;
pub mod buffer;
pub mod ciphertext;
pub mod context;
pub mod encode;
pub mod encrypt;
pub mod error;
pub mod eval;
pub mod kernel;
pub mod keys;
pub mod keyswitch;
#[cfg(test)]
mod known_answers;
pub mod modulus;
pub mod noise;
pub mod ntt;
mod packed;
pub mod poly;
pub mod precision;
pub mod rig;
pub mod rns;
pub mod sample;
pub mod secret;
pub mod seed;
pub mod wire;

pub use context::Context;
pub use error::Error;
