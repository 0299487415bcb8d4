//! Polynomial approximations: Remez exchange, compositions of minimax polynomials for the sign
//! function, series for smooth functions, and what activations make of them.

pub mod activation;
pub mod piecewise;
pub mod remez;
pub mod search;
pub mod sign;
pub mod smooth;
pub mod softmax;
