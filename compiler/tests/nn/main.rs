//! Passes and analyses of the tensor graph and of what it packs to, checked by running models
//! before and after.

mod build;
mod fusion;
mod grid;
mod max_pool;
mod names;
mod observer;
mod parallel;
mod passes;
mod pieces;
mod placement;
mod products;
mod ranges;
mod shares;
mod split;
