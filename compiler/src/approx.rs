//! Polynomial approximations: Remez exchange and compositions of minimax polynomials.

pub mod remez;
pub mod sign;
pub mod softmax;
