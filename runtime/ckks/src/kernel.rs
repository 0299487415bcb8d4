//! The one dispatch point to the vector kernels.
