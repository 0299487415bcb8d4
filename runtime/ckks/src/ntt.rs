//! Tables of the negacyclic number-theoretic transform.
