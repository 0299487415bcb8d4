//! What a compilation starts from: ONNX models to Heddle's tensor graph ([`onnx`]), and pictures to
//! its input ([`image`]).
//!
//! ```
//! use heddle_frontends::onnx::{self, ImportOptions};
//!
//! # use heddle_tests::onnx_builder::OnnxBuilder;
//! # let mut builder = OnnxBuilder::new(17);
//! # builder.input("x", &[1, 3, 8, 8]).output("p");
//! # builder.node("GlobalAveragePool", &["x"], "y", &[]).node("Flatten", &["y"], "z", &[]);
//! # builder.node("Softmax", &["z"], "p", &[]);
//! # let bytes = builder.build();
//! // let bytes = std::fs::read("model.onnx")?;
//! let model = onnx::import_bytes("model", &bytes, &ImportOptions::default())?;
//! assert_eq!(model.image_shape(), [3, 8, 8]);
//! assert_eq!(
//!     model.notes[0].to_string(),
//!     "the final Softmax `p` is cut off: results are logits"
//! );
//! # Ok::<(), heddle_frontends::Error>(())
//! ```
#![forbid(unsafe_code)]

pub mod error;
pub mod image;
pub mod onnx;

pub use error::Error;
