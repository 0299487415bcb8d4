//! The crate's error type.

/// What can go wrong in the engine.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Error {}
