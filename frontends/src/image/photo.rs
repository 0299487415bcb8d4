//! PNG and JPEG.

use std::io::{BufRead, Seek};

use ::image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};

use super::{Error, MAX_BYTES, MAX_PIXELS, Raster, too_large};

/// Most rows or columns.
const MAX_SIDE: u32 = 1 << 14;

/// Most bytes of a photo that is held in memory while it is decoded: a JPEG, of which the profiles
/// are held twice, and one that was gzipped.
const MAX_HELD: u64 = 64 << 20;

/// Most bytes that the decoder takes for profiles and texts of a PNG.
const MAX_EXTRAS: u64 = 16 << 20;

/// The kind of a file that begins with `bytes`, if it is a photo.
pub(super) fn format(bytes: &[u8]) -> Option<ImageFormat> {
    if bytes.starts_with(b"\x89PNG\r\n\x1a\n") {
        Some(ImageFormat::Png)
    } else if bytes.starts_with(&[0xff, 0xd8, 0xff]) {
        Some(ImageFormat::Jpeg)
    } else {
        None
    }
}

/// Where the bytes of a photo are.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Place {
    Disk,
    Memory,
}

/// Decodes a photo of `length` bytes. Its size is read from the header and checked first.
///
/// With at most [`MAX_PIXELS`] pixels decoding takes at most 11 bytes a pixel, 369 MB: eight for
/// four channels of 16 bits, or for a JPEG's coefficients, and three for the result.
pub(super) fn decode(
    file: &str,
    reader: impl BufRead + Seek,
    format: ImageFormat,
    (place, length): (Place, u64),
) -> Result<Raster, Error> {
    let damaged = |reason: String| Error::Damaged {
        file: file.into(),
        reason,
    };
    let most = match (format, place) {
        (ImageFormat::Png, Place::Disk) => MAX_BYTES,
        _ => MAX_HELD,
    };
    if length > most {
        let help = "save the picture smaller";
        return Err(too_large(file, length, most, "bytes", help));
    }
    let mut reader = ImageReader::with_format(reader, format);
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(MAX_EXTRAS);
    reader.limits(limits);
    let decoder = reader
        .into_decoder()
        .map_err(|error| damaged(error.to_string()))?;
    let (width, height) = decoder.dimensions();
    if width == 0 || height == 0 {
        return Err(damaged("it has no pixels".into()));
    }
    let pixels = u64::from(width) * u64::from(height);
    if width > MAX_SIDE || height > MAX_SIDE || pixels > MAX_PIXELS as u64 {
        return Err(Error::TooLarge {
            file: file.into(),
            found: format!("{width}×{height} pixels"),
            limit: format!("{MAX_PIXELS} pixels, and {MAX_SIDE} a side,"),
            help: "scale the picture down, best to the size that the model takes",
        });
    }
    let has_color = decoder.color_type().has_color();
    let decoded =
        DynamicImage::from_decoder(decoder).map_err(|error| damaged(error.to_string()))?;
    let (channels, interleaved) = if has_color {
        (3, decoded.into_rgb8().into_raw())
    } else {
        (1, decoded.into_luma8().into_raw())
    };
    let data = match channels {
        1 => interleaved,
        _ => super::tensor::planes(&interleaved, channels),
    };
    Ok(Raster {
        channels,
        height: height as usize,
        width: width as usize,
        data,
    })
}
