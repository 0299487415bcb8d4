//! Passes and analyses of the tensor graph and of what it packs to, checked by running models
//! before and after.

mod build;
mod fusion;
mod max_pool;
mod names;
mod observer;
mod parallel;
mod passes;
mod placement;
mod products;
mod ranges;
mod shares;
mod split;
