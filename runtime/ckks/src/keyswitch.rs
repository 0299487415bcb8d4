//! Hybrid key switching and hoisting.
