//! Passes and analyses of the tensor graph, checked by running models before and after.

mod build;
mod parallel;
mod passes;
mod ranges;
mod real_models;
