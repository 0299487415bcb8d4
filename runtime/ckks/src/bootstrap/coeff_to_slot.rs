//! The homomorphic inverse embedding: coefficients to slots.
