//! The crate's error type.

/// What can be wrong with parameters.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Error {}
