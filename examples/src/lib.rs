//! Runnable stories and the demo model.
#![forbid(unsafe_code)]
