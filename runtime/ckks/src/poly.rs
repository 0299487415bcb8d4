//! Polynomials over a residue number system.
