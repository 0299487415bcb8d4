//! Tables of constants that the kernels work with: of primes, of transforms, of changes of basis
//! and of automorphisms.

pub(crate) mod automorphism;
pub(crate) mod conversion;
pub(crate) mod modulus;
pub(crate) mod ntt;

pub use automorphism::Automorphism;
pub use conversion::ConversionTable;
pub use modulus::{Modulus, ShoupScalar};
pub use ntt::NttTable;
