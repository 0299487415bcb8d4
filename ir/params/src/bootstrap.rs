//! Bootstrapping parameters and the keys that a bootstrap needs.
