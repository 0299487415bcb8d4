//! Models and images from files.

#[cfg(feature = "compiler")]
use std::path::Path;

use heddle_frontends::image;
#[cfg(feature = "compiler")]
use heddle_frontends::onnx::ImportOptions;
use heddle_ir::plan::ClientPlan;
use heddle_ir::printable;
use heddle_runtime::packing::InputTensor;

use crate::Error;

/// Imports an ONNX model.
///
/// # Errors
/// [`Error::Model`] if the file is no ONNX model, or with all problems if the model cannot be
/// compiled.
#[cfg(feature = "compiler")]
pub fn import(path: impl AsRef<Path>) -> Result<heddle_ir::nn::Model, Error> {
    import_with(path, &ImportOptions::default())
}

/// Imports an ONNX model of which the options say more: which of several outputs is meant, which
/// inputs are constants, the extents that the file leaves open, the axis order of the image.
///
/// # Errors
/// As those of [`import`].
#[cfg(feature = "compiler")]
pub fn import_with(
    path: impl AsRef<Path>,
    options: &ImportOptions,
) -> Result<heddle_ir::nn::Model, Error> {
    Ok(heddle_frontends::onnx::import(path.as_ref(), options)?)
}

/// Compiles a model to an encrypted-inference plan.
///
/// # Errors
/// [`Error::Compile`] if the range of an activation is unknown, a feature map does not fit, or an
/// operation is deeper than the levels between two bootstraps.
#[cfg(feature = "compiler")]
pub fn compile(
    model: heddle_ir::nn::Model,
    options: &crate::Options,
) -> Result<heddle_ir::plan::Plan, Error> {
    Ok(heddle_compiler::compile(model, options, &())?.plan)
}

/// What the plain network says of an image: the reference for a plan's answers.
///
/// # Errors
/// [`Error::Plan`] if the image does not have the shape of the model's input.
#[cfg(feature = "compiler")]
pub fn reference(
    model: &heddle_ir::nn::Model,
    image: &InputTensor,
) -> Result<heddle_runtime::packing::Prediction, Error> {
    let logits = heddle_ir::eval::nn::run(model, &image.elements)?;
    let logits = logits.into_iter().map(f64::from).collect();
    Ok(heddle_runtime::packing::Prediction::of(logits))
}

/// Reads images and preprocesses them for a plan: a PNG or JPEG, an `.npy` tensor, a folder, or a
/// batch, of which `batch.bin#17` or `batch.bin#0..10` selects some.
///
/// # Errors
/// [`Error::Image`] if one of them cannot be read or does not have the shape of the plan's input.
pub fn read_images(spec: &str, plan: &ClientPlan) -> Result<Vec<InputTensor>, Error> {
    let shape = plan.input.packing.shape;
    let mut tensors = Vec::new();
    for picture in image::image_set_for(spec, shape)?.iter() {
        let picture = picture?;
        let (elements, _) = image::to_tensor(&picture, &plan.preprocess, shape)?;
        tensors.push(InputTensor {
            name: picture.name,
            elements,
        });
    }
    Ok(tensors)
}

/// Reads one image, as [`read_images`] does.
///
/// # Errors
/// [`Error::ImageCount`] if `spec` names several, and as [`read_images`].
pub fn read_image(spec: &str, plan: &ClientPlan) -> Result<InputTensor, Error> {
    let mut tensors = read_images(spec, plan)?;
    match (tensors.len(), tensors.pop()) {
        (1, Some(tensor)) => Ok(tensor),
        (count, _) => Err(Error::ImageCount {
            name: printable::line(spec).into_owned(),
            count,
        }),
    }
}
