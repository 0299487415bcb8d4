//! Heddle's runtime: executes encrypted-inference plans.
//!
//! A [`Server`](server::Server) runs a plan on an encrypted image with a client's evaluation keys.
//! A [`Client`](client::Client) makes the keys, encrypts images and decrypts answers. Both derive
//! all that they must agree on from the plan, as a [`Protocol`](protocol::Protocol). [`files`] are
//! what they exchange.
//!
//! The [`executor`] runs the schedule of a plan on a [`backend`]: `ckks` computes on ciphertexts,
//! `noisy` on plain numbers with modelled errors. A [`Runner`](runner::Runner) answers images in
//! one process, on plain numbers or encrypted.
//!
//! Secret keys, encryption and decryption sit behind the cargo feature `client`: a server's build
//! has no code that touches a secret. The library prints nothing; it tells an
//! [`Observer`](observer::Observer) how far it is.
//!
//! ```
//! # #[cfg(feature = "client")] {
//! use heddle_params::{Accept, Insecure};
//! use heddle_runtime::client::{Client, Disclosure, KeyLimit};
//! use heddle_runtime::memory::Memory;
//! use heddle_runtime::protocol::Protocol;
//! use heddle_runtime::server::Server;
//!
//! // A small plan over a ring that is for tests only.
//! let plan = heddle_tests::toy::plan();
//! let accept = Accept::Any(Insecure::acknowledged());
//!
//! let protocol = Protocol::of(&plan, accept)?;
//! let client = Client::generate(&protocol)?;
//! let keys = client.server_keys(KeyLimit::default(), &())?;
//! let server = Server::load(plan, &protocol, keys, Memory::FullSpeed, &())?;
//!
//! let image = client.encrypt("image", &[0.5; 3 * 8 * 8])?;
//! let (answer, _trace) = server.run(image, &())?;
//! let logits = client.decrypt(&answer, Disclosure::Private)?;
//! assert_eq!(logits.len(), 4);
//! # }
//! # Ok::<(), heddle_runtime::Error>(())
//! ```
#![forbid(unsafe_code)]
#![warn(missing_debug_implementations)]

pub mod backend;
#[cfg(feature = "client")]
pub mod client;
pub mod error;
pub mod executor;
pub mod files;
pub mod memory;
pub mod message;
pub mod observer;
pub mod packing;
pub mod protocol;
#[cfg(feature = "client")]
pub mod runner;
pub mod server;
pub mod trace;

pub use error::Error;
