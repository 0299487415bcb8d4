//! The passes, one file each; `pipeline.rs` has their order.

pub mod add_checkpoints;
pub mod append_softmax;
pub mod approximate_activations;
pub mod centre_operands;
pub mod fold_batch_norm;
pub mod fold_padding;
pub mod fuse_linear_maps;
pub mod lower_max_pool;
pub mod lower_siso;
pub mod pack;
pub mod place_bootstraps;
pub mod remove_identity;
pub mod schedule;
pub mod share_sums;
pub mod split_channels;
