//! Factors of the homomorphic transforms between slots and coefficients.
