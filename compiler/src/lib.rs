//! Heddle's compiler: tensor graph to encrypted-inference plan.
#![forbid(unsafe_code)]
