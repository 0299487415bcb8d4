//! The canonical embedding: slot vectors to integer coefficients and back.
