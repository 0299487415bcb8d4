//! What most programs need: `use heddle::prelude::*`.

pub use crate::{
    Accept, CIFAR10_CLASSES, ClientPlan, EncryptedAnswer, EncryptedImage, Existing, InputTensor,
    Insecure, Memory, Observer, Plan, Prediction, Preprocess, Protocol, Server, ServerKeys, files,
};
#[cfg(feature = "client")]
pub use crate::{Client, Disclosure, ImageKey, KeyLimit, Runner};
#[cfg(feature = "compiler")]
pub use crate::{
    Convolution, ImportOptions, Model, Options, Ring, compile, import, import_with, reference,
};
#[cfg(any(feature = "compiler", feature = "client"))]
pub use crate::{read_image, read_images};
