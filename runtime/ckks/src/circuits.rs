//! Circuits of operations on ciphertexts: linear transforms, polynomials, bootstrapping, and what
//! their errors are.

pub mod bootstrap;
pub mod linear;
pub mod noise;
pub mod polynomial;
