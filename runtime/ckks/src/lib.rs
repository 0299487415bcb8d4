//! An RNS-CKKS engine with bootstrapping.

