//! Security estimates.
