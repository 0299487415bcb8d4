//! Named parameter sets.
