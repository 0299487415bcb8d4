//! Evaluation of polynomials in the Chebyshev basis.
