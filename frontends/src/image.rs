//! Pictures: PNG and JPEG files, `.npy` tensors, CIFAR binary batches and idx files (also gzipped).
//!
//! What a file holds is told by its content, not by its name. A file of many images takes an index
//! or a half-open range: `test.bin#17`, `test.bin#0..10`; without one it means all of them. A folder
//! means every picture and tensor in it, sorted by name, subfolders included.

mod npy;
mod records;
mod source;
mod tensor;

pub use source::{Sources, sources};
pub use tensor::to_tensor;

/// What can be wrong with an image.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Reading failed.
    #[error("`{file}`: {source}")]
    Io {
        /// The file's name.
        file: String,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The file is none of the known kinds.
    #[error(
        "`{file}` is no picture: {reason}\nhelp: give a PNG or JPEG, an `.npy` tensor, a CIFAR binary batch or an \
         idx file (a batch with `#17` or `#0..10`)"
    )]
    Kind {
        /// The file's name.
        file: String,
        /// Why it is none of them.
        reason: String,
    },
    /// The file is of a known kind, but damaged.
    #[error("`{file}` is damaged: {reason}\nhelp: get the file again")]
    Damaged {
        /// The file's name.
        file: String,
        /// What is wrong in it.
        reason: String,
    },
    /// A tensor's type or order is not supported.
    #[error("`{file}`: {reason}")]
    Tensor {
        /// The file's name.
        file: String,
        /// What is wrong and what to do.
        reason: String,
    },
    /// An index or range does not select images of the file.
    #[error("`{file}#{selection}` selects no images: the file holds {count}, numbered from 0")]
    Selection {
        /// The file's name.
        file: String,
        /// What follows the `#`.
        selection: String,
        /// Images in the file.
        count: usize,
    },
    /// A folder without pictures.
    #[error("folder `{folder}` holds no pictures\nhelp: pictures end in .png, .jpg, .jpeg or .npy")]
    Empty {
        /// The folder's name.
        folder: String,
    },
    /// The image does not fit the model.
    #[error("`{image}` does not fit the model: {found}, but {expected} is needed\nhelp: {help}")]
    Mismatch {
        /// The image's name.
        image: String,
        /// What the image is.
        found: String,
        /// What the model takes.
        expected: String,
        /// The mend.
        help: String,
    },
}

/// Bytes of an image, channel by channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Raster {
    /// 1 (grey) or 3 (red, green, blue).
    pub channels: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// The bytes in row-major `C, H, W` order.
    pub data: Vec<u8>,
}

/// What a picture is made of.
#[derive(Clone, Debug, PartialEq)]
pub enum Pixels {
    /// A decoded PNG or JPEG; may be resized to fit.
    Photo(Raster),
    /// An image of a data set; must have the model's size.
    Record(Raster),
    /// Bytes with a shape, from an `.npy` file: pixels in `C, H, W` or `H, W, C` order.
    Bytes {
        /// One to three axes.
        shape: Vec<usize>,
        /// The bytes, row-major.
        data: Vec<u8>,
    },
    /// Numbers with a shape, from an `.npy` file: the model's input as it is, preprocessed already.
    Floats {
        /// One to three axes.
        shape: Vec<usize>,
        /// The numbers, row-major.
        data: Vec<f32>,
    },
}

/// One image.
#[derive(Clone, Debug, PartialEq)]
pub struct Picture {
    /// The file's name, with `#index` for one of many.
    pub name: String,
    /// The image itself.
    pub pixels: Pixels,
    /// The class, where the data set tells it.
    pub label: Option<u8>,
}

/// Reads all images that `spec` names.
///
/// # Errors
/// If a file cannot be read, is no picture or is damaged, or the selection after `#` is none.
pub fn read(spec: &str) -> Result<Vec<Picture>, Error> {
    sources(spec)?.iter().collect()
}
