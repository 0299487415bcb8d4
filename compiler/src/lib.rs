//! Heddle's compiler: from a tensor graph to a plan for encrypted inference.
//!
//! [`compile()`] runs the passes in the order of `pipeline.rs`; each lives in a file of its own
//! under [`passes`] and is verified after it ran. The compiler never links the encryption engine: a
//! plan is data. It prints nothing; an [`Observer`] is told how it gets on.
//!
//! ```
//! use heddle_compiler::{Options, Ring, compile};
//! use heddle_frontends::onnx;
//! use heddle_ir::preprocess::Preprocess;
//!
//! # use heddle_tests::onnx_builder::OnnxBuilder;
//! # let mut builder = OnnxBuilder::new(17);
//! # builder.input("image", &[1, 1, 4, 4]).output("y").node("GlobalAveragePool", &["image"], "y", &[]);
//! # let bytes = builder.build();
//! // let bytes = std::fs::read("model.onnx")?;
//! let model = onnx::import_bytes("model", &bytes, &onnx::ImportOptions::default())?;
//!
//! // A small ring without security, for a quick try.
//! let mut options = Options::new(Preprocess::named("unit").expect("it is built in"));
//! options.ring = Ring::Insecure { log_n: 10 };
//! let plan = compile(model, &options, &())?.plan;
//! assert_eq!(plan.schedule.bootstraps(), 0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

pub mod analysis;
pub mod approx;
mod compile;
mod error;
mod observer;
mod options;
mod parameters;
mod pass;
pub mod passes;
mod pipeline;
mod stage;

pub use compile::{Compilation, compile};
pub use error::Error;
pub use observer::Observer;
pub use options::{Convolution, ImageKind, Options, Ring};
pub use pass::{Changed, Explain, PassLog, PassRecord, Stage};
