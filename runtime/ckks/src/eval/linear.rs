//! Linear transforms by their diagonals.
