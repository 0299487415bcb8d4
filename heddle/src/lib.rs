#![cfg_attr(
    all(feature = "compiler", feature = "client"),
    doc = include_str!("../README.md")
)]
#![cfg_attr(
    not(all(feature = "compiler", feature = "client")),
    doc = "Encrypted inference of pretrained networks."
)]
//!
//! # What there is
//!
//! | To | Use |
//! |---|---|
//! | compile a model | [`import`], [`compile`], [`Options`] |
//! | say which output is meant, or which shape | [`import_with`], [`ImportOptions`] |
//! | make keys, encrypt, decrypt | [`Client`], [`ImageKey`] |
//! | answer encrypted images | [`Server`] |
//! | classify in one process, on plain numbers or encrypted | [`Runner`] |
//! | exchange keys, images and answers as files | [`files`], [`Plan`], [`ClientPlan`] |
//! | follow long computations | [`Observer`] |
//!
//! The types own what they hold, and threads may share them.
#![forbid(unsafe_code)]

pub mod prelude;

#[cfg(any(feature = "compiler", feature = "client"))]
mod read;

#[cfg(feature = "compiler")]
pub use heddle_compiler::{Convolution, ImageKind, Options, Ring};
#[cfg(any(feature = "compiler", feature = "client"))]
pub use heddle_frontends::image;
#[cfg(feature = "compiler")]
pub use heddle_frontends::onnx::{FixedInput, ImportOptions, InputShape};
pub use heddle_ir::file::Existing;
#[cfg(feature = "compiler")]
pub use heddle_ir::nn::{AxisOrder, Model};
pub use heddle_ir::plan::{ClientPlan, Plan};
pub use heddle_ir::preprocess::{CIFAR10_CLASSES, Preprocess};
pub use heddle_params::{Accept, Insecure};
#[cfg(feature = "client")]
pub use heddle_runtime::client::{Client, Disclosure, ImageKey, KeyLimit};
pub use heddle_runtime::files;
pub use heddle_runtime::memory::Memory;
pub use heddle_runtime::message::{EncryptedAnswer, EncryptedImage, ServerKeys};
pub use heddle_runtime::observer::{Activity, Observer};
pub use heddle_runtime::packing::{InputTensor, Prediction};
pub use heddle_runtime::protocol::{KeyId, Protocol};
#[cfg(feature = "client")]
pub use heddle_runtime::runner::{Batch, Runner};
pub use heddle_runtime::server::Server;
pub use heddle_runtime::trace::Trace;
#[cfg(feature = "compiler")]
pub use read::{compile, import, import_with, reference};
#[cfg(any(feature = "compiler", feature = "client"))]
pub use read::{read_image, read_images};

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A plan cannot be executed, or a key, image or answer is refused.
    #[error(transparent)]
    Runtime(#[from] heddle_runtime::Error),
    /// A plan cannot be read, written or understood.
    #[error(transparent)]
    Plan(#[from] heddle_ir::Error),
    /// A model cannot be imported.
    #[cfg(any(feature = "compiler", feature = "client"))]
    #[error(transparent)]
    Model(#[from] heddle_frontends::Error),
    /// An image cannot be read or does not fit the plan.
    #[cfg(any(feature = "compiler", feature = "client"))]
    #[error(transparent)]
    Image(#[from] image::Error),
    /// A model cannot be compiled.
    #[cfg(feature = "compiler")]
    #[error(transparent)]
    Compile(#[from] heddle_compiler::Error),
    /// One image is wanted, and several were named.
    #[error("`{name}`: it holds {count} images\nhelp: name one as `{name}#0`")]
    ImageCount {
        /// What was named.
        name: String,
        /// How many images it holds.
        count: usize,
    },
}
