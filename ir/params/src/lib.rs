//! Parameter sets, prime chains, security and key-switching layouts shared by Heddle's compiler and engine.
#![forbid(unsafe_code)]
