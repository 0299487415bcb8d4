//! Parameter sets of RNS-CKKS: prime chains, security estimates, key-switching layouts,
//! bootstrapping parameters, and the evaluation keys that a computation needs.
//!
//! A compiler plans with these numbers and an engine computes with them, so both must agree on them
//! to the last bit. A [`ParametersLiteral`] is what a person or a file writes; [`Parameters`] is
//! its checked, immutable form. A set below 128 bits of security needs the token [`Insecure`].
//!
//! ```
//! use heddle_params::bootstrap::{BootstrapParameters, BootstrapVariant};
//! use heddle_params::keys::{self, KeyKind, KeyNeed};
//! use heddle_params::named;
//!
//! let parameters = named::n16_qp1714_dense();
//! assert_eq!((parameters.n(), parameters.max_level()), (1 << 16, 28));
//! assert!(parameters.security().bits >= 128.0);
//!
//! // A bootstrap of 2^14 slots gives back 15 levels and needs these keys.
//! let bootstrap = BootstrapParameters::default();
//! assert_eq!((bootstrap.input_level(), bootstrap.output_level(&parameters)), (3, 18));
//! let need = KeyNeed::Bootstrap { log_slots: 14, variant: BootstrapVariant::Real };
//! let keys = keys::required(&parameters, &bootstrap, [need])?;
//! assert_eq!(keys.iter().filter(|key| key.kind == KeyKind::Relin).count(), 1);
//! # Ok::<(), heddle_params::Error>(())
//! ```

#![forbid(unsafe_code)]

pub mod bootstrap;
pub mod bsgs;
pub mod chebyshev;
pub mod dft;
mod error;
pub mod eval_mod;
mod evaluation_key;
pub mod failure;
pub mod galois;
pub mod key_switch;
pub mod keys;
pub mod literal;
pub mod named;
pub mod primes;
pub mod scale;
pub mod security;
pub mod sine_fit;

pub use error::Error;
pub use galois::GaloisElement;
pub use key_switch::KeySwitchLayout;
pub use literal::{Accept, Insecure, MAX_CHAIN, Parameters, ParametersLiteral};
pub use security::{Secret, Security};
