//! The homomorphic embedding: slots to coefficients.
