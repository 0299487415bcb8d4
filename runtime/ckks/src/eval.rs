//! Homomorphic evaluation.

pub mod arith;
pub mod linear;
pub mod mul;
pub mod polynomial;
pub mod rotate;
