//! Sampling of secrets, errors and uniform polynomials.
