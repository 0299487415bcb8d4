//! Heddle's runtime: executes encrypted-inference plans.
//!
//! An [`executor`] walks the schedule of a plan on a [`backend`]: `ckks` computes on ciphertexts,
//! `clear` does the same on plain numbers. [`files`] are what client and server exchange; secret
//! keys, encryption and decryption ([`client`]) sit behind the cargo feature `client`, so that a server's build
//! has no code that touches a secret.
#![forbid(unsafe_code)]

pub mod backend;
pub mod cli;
#[cfg(feature = "client")]
pub mod client;
pub mod error;
pub mod executor;
pub mod files;
pub mod memory;
pub mod message;
pub mod packing;
pub mod progress;
pub mod protocol;
pub mod server;
pub mod trace;

pub use error::Error;
#[cfg(feature = "client")]
pub use heddle_frontends::image;
