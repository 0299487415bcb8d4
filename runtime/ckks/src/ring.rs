//! Polynomials of ℤ\[X\]/(X^N + 1) over a residue number system: their arithmetic, changes of
//! basis, packed form and random ones.

pub(crate) mod context;
pub(crate) mod packed;
pub(crate) mod poly;
pub(crate) mod rns;
#[cfg(feature = "secret")]
pub mod sample;
pub(crate) mod seed;

pub use context::{Basis, Context, SIGMA};
pub use poly::{Coeff, CompactPoly, Eval, RnsPoly};
pub use seed::{Seed, SeedExpander, StreamId, StreamKind};
