//! Parameter sets, prime chains, security estimates and key-switching layouts.
//!
//! Shared by the compiler, which plans with them and never links the engine, and by the engine, which computes
//! with them. A [`ParametersLiteral`] is what a person or a file writes; [`Parameters`] is its checked,
//! immutable form.

#![forbid(unsafe_code)]

pub mod bootstrap;
pub mod bsgs;
pub mod chebyshev;
pub mod dft;
mod error;
pub mod eval_mod;
pub mod failure;
pub mod galois;
pub mod key_switch;
pub mod keys;
pub mod literal;
pub mod named;
pub mod primes;
pub mod scale;
pub mod security;

pub use error::Error;
pub use galois::GaloisElement;
pub use key_switch::KeySwitchLayout;
pub use literal::{Accept, Insecure, MAX_CHAIN, Parameters, ParametersLiteral};
pub use security::{Secret, Security};
