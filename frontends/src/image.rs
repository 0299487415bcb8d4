//! Pictures: PNG and JPEG files, `.npy` tensors, CIFAR binary batches and idx files (also gzipped).
//!
//! A file's content decides what it is, not its name. A file of many images takes an index
//! or a half-open range: `test.bin#17`, `test.bin#0..10`; without one it means all of them. A
//! folder means every picture and tensor in it, sorted by name, subfolders included.
//!
//! Only regular files are read, and reading is bounded: a file holds at most [`MAX_BYTES`] bytes,
//! unpacked, one picture takes at most [`MAX_PICTURE_BYTES`], a PNG or JPEG has at most
//! [`MAX_PIXELS`] pixels, and a folder at most [`MAX_FILES`] of them. Decoding one picture stays
//! below 512 MB. An [`ImageSet`] is read one picture at a time.

mod folder;
mod image_set;
mod npy;
mod photo;
mod records;
mod tensor;

use std::path::Path;

use heddle_ir::printable;

pub use image_set::{ImageSet, image_set, image_set_for, path_of, read_tensor};
pub use tensor::to_tensor;

/// Most bytes that a file of many images may hold, unpacked; they are kept in memory.
pub const MAX_BYTES: u64 = 512_000_000;

/// Most pixels of a PNG or JPEG.
pub const MAX_PIXELS: usize = 1 << 25;

/// Most bytes that the pixels of one decoded picture take.
pub const MAX_PICTURE_BYTES: usize = 4 * MAX_PIXELS;

/// Most pictures of a folder.
pub const MAX_FILES: usize = 1 << 20;

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
    /// A file or picture is larger than what is read.
    #[error("`{file}` is too large: it has {found}, at most {limit} are read\nhelp: {help}")]
    TooLarge {
        /// The file's name.
        file: String,
        /// How much it holds.
        found: String,
        /// How much it may hold.
        limit: String,
        /// What to do about it.
        help: &'static str,
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
    #[error(
        "`{file}#{}` selects no images: the file holds {count}, numbered from 0",
        heddle_ir::printable::line(selection)
    )]
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
        /// How to fix it.
        help: String,
    },
}

/// Wraps what the system says of a file.
fn io_error(path: &Path) -> impl Fn(std::io::Error) -> Error + '_ {
    move |source| Error::Io {
        file: printable::path(path),
        source,
    }
}

fn too_large(file: &str, found: u64, limit: u64, unit: &str, help: &'static str) -> Error {
    Error::TooLarge {
        file: file.into(),
        found: format!("{found} {unit}"),
        limit: format!("{limit} {unit}"),
        help,
    }
}

/// Refuses an image of `bytes` bytes that is larger than a decoded picture may be.
fn check_picture(file: &str, bytes: Option<usize>) -> Result<(), Error> {
    match bytes {
        Some(..=MAX_PICTURE_BYTES) => Ok(()),
        _ => Err(Error::TooLarge {
            file: file.into(),
            found: bytes.map_or("too many bytes an image".into(), |bytes| {
                format!("{bytes} bytes an image")
            }),
            limit: format!("{MAX_PICTURE_BYTES}"),
            help: "save images in the size that the model takes",
        }),
    }
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

impl Picture {
    /// The memory that the picture takes in a vector of many, in bytes.
    pub fn bytes(&self) -> usize {
        let pixels = match &self.pixels {
            Pixels::Photo(raster) | Pixels::Record(raster) => raster.data.len(),
            Pixels::Bytes { data, .. } => data.len(),
            Pixels::Floats { data, .. } => size_of_val(&data[..]),
        };
        // The vector may have room for twice as many; every allocation takes more than asked for.
        2 * size_of::<Self>() + self.name.len() + pixels + 64
    }
}

/// Reads all images that `spec` names, which may take [`MAX_BYTES`] of memory together.
/// [`image_set`] reads any number of them, one after the other.
///
/// # Errors
/// If a file cannot be read, is no picture, is damaged or too large, the selection after `#` is
/// none, or the images are too many.
pub fn read(spec: &str) -> Result<Vec<Picture>, Error> {
    let mut pictures = Vec::new();
    let mut taken = 0;
    for picture in image_set(spec)?.iter() {
        let picture = picture?;
        taken += picture.bytes() as u64;
        if taken > MAX_BYTES {
            let help = "take fewer at once: `#0..1000`";
            return Err(too_large(spec, taken, MAX_BYTES, "bytes of images", help));
        }
        pictures.push(picture);
    }
    Ok(pictures)
}
