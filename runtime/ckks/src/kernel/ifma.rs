//! The AVX-512 IFMA kernel.
pub(super) use super::scalar::*;
