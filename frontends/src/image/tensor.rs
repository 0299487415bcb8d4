//! From pixels to the tensor that a model takes.

use std::borrow::Cow;

use ::image::imageops::{self, FilterType};
use ::image::{ImageBuffer, Luma, Rgb};
use heddle_ir::preprocess::Preprocess;

use super::{Error, Picture, Pixels, Raster};

/// Interleaved pixels (`H, W, C`) to planes (`C, H, W`).
pub(super) fn planes<T: Copy>(interleaved: &[T], channels: usize) -> Vec<T> {
    let mut planes = Vec::with_capacity(interleaved.len());
    for channel in 0..channels {
        planes.extend(interleaved.iter().skip(channel).step_by(channels));
    }
    planes
}

/// The row-major `C, H, W` tensor of a picture for a model that takes `shape`, with a sentence for
/// the user where the picture was changed to fit.
///
/// PNG and JPEG are resized, and turned grey or coloured, as the model needs. Images of a data set
/// and tensors must have the model's size. A model that takes a vector, `1×1×F` or `1×F×1`, is
/// given a picture's `F` numbers, channel by channel and row by row. Numbers from an `.npy` file
/// are taken as they are; bytes are pixels and go through `preprocess`.
///
/// # Errors
/// If the picture does not fit, or a number in it is not finite.
pub fn to_tensor(
    picture: &Picture,
    preprocess: &Preprocess,
    shape: [usize; 3],
) -> Result<(Vec<f32>, Option<String>), Error> {
    let shape = match (shape, extents(&picture.pixels)) {
        ([1, 1, features] | [1, features, 1], Some(own)) if features > 1 => {
            if own.iter().product::<usize>() != features {
                let help = "give a picture or an `.npy` tensor of as many numbers";
                return Err(mismatch(picture, &own, shape, help));
            }
            own
        }
        _ => shape,
    };
    let floats = matches!(picture.pixels, Pixels::Floats { .. });
    let entries = preprocess.mean.len().max(preprocess.std.len());
    if !floats && entries > 1 && entries != shape[0] {
        return Err(Error::Mismatch {
            image: picture.name.clone(),
            found: format!("the preprocessing has {entries} channels"),
            expected: times(&shape),
            help: "compile with the preprocessing that the model was trained with".into(),
        });
    }
    match &picture.pixels {
        Pixels::Photo(raster) => {
            let (data, note) = fit(raster, shape, picture)?;
            Ok((
                preprocess.apply(&data),
                note.map(|note| format!("`{}` {note}", picture.name)),
            ))
        }
        Pixels::Record(raster) => {
            let found = [raster.channels, raster.height, raster.width];
            if found != shape {
                let help = "give an image of the data set that the model was made for";
                return Err(mismatch(picture, &found, shape, help));
            }
            Ok((preprocess.apply(&raster.data), None))
        }
        Pixels::Bytes { shape: found, data } => Ok((
            preprocess.apply(&in_order(picture, data, found, shape)?),
            None,
        )),
        Pixels::Floats { shape: found, data } => {
            let tensor = in_order(picture, data, found, shape)?;
            if let Some(position) = tensor.iter().position(|value| !value.is_finite()) {
                return Err(Error::Tensor {
                    file: picture.name.clone(),
                    reason: format!(
                        "element {position} is {}\nhelp: give finite numbers",
                        tensor[position]
                    ),
                });
            }
            Ok((tensor, None))
        }
    }
}

/// Channels, height and width of a picture; `None` for a vector and for what has more axes.
fn extents(pixels: &Pixels) -> Option<[usize; 3]> {
    match pixels {
        Pixels::Photo(raster) | Pixels::Record(raster) => {
            Some([raster.channels, raster.height, raster.width])
        }
        Pixels::Bytes { shape, .. } | Pixels::Floats { shape, .. } => match shape[..] {
            [height, width] => Some([1, height, width]),
            [a, b, c] => Some([a, b, c]),
            _ => None,
        },
    }
}

fn times(shape: &[usize]) -> String {
    shape
        .iter()
        .map(usize::to_string)
        .collect::<Vec<_>>()
        .join("×")
}

fn mismatch(picture: &Picture, found: &[usize], shape: [usize; 3], help: &str) -> Error {
    Error::Mismatch {
        image: picture.name.clone(),
        found: format!("it is {}", times(found)),
        expected: times(&shape),
        help: help.into(),
    }
}

/// A tensor's elements in `C, H, W` order. Where both orders fit, it is in that order already.
fn in_order<T: Copy>(
    picture: &Picture,
    data: &[T],
    found: &[usize],
    shape: [usize; 3],
) -> Result<Vec<T>, Error> {
    let [channels, height, width] = shape;
    let flat = found.len() == 1 && found[0] == channels * height * width;
    // Extents of 1 may be left out or added, as those of a signal's height.
    let is = |order: [usize; 3]| {
        let extents = |shape: &[usize]| -> Vec<usize> {
            shape
                .iter()
                .copied()
                .filter(|extent| *extent != 1)
                .collect()
        };
        extents(found) == extents(&order)
    };
    if flat || is(shape) {
        Ok(data.to_vec())
    } else if is([height, width, channels]) {
        Ok(planes(data, channels))
    } else {
        let help = "save the tensor as C×H×W or H×W×C in the model's size";
        Err(mismatch(picture, found, shape, help))
    }
}

fn fit<'a>(
    raster: &'a Raster,
    shape: [usize; 3],
    picture: &Picture,
) -> Result<(Cow<'a, [u8]>, Option<String>), Error> {
    let [channels, height, width] = shape;
    let mut notes = Vec::new();
    let data = match (raster.channels, channels) {
        (found, wanted) if found == wanted => Cow::Borrowed(&raster.data[..]),
        (1, 3) => {
            notes.push("is grey and was taken as colour".to_string());
            Cow::Owned(raster.data.repeat(3))
        }
        (3, 1) => {
            notes.push("was turned grey".to_string());
            let (red, rest) = raster.data.split_at(raster.height * raster.width);
            let (green, blue) = rest.split_at(raster.height * raster.width);
            red.iter()
                .zip(green)
                .zip(blue)
                .map(|((red, green), blue)| luma(*red, *green, *blue))
                .collect::<Vec<u8>>()
                .into()
        }
        (found, _) => {
            let found = [found, raster.height, raster.width];
            return Err(mismatch(picture, &found, shape, "give an `.npy` tensor"));
        }
    };
    if [raster.height, raster.width] == [height, width] {
        return Ok((data, (!notes.is_empty()).then(|| notes.join(" and "))));
    }
    notes.push(format!(
        "was resized from {}×{} to {width}×{height} pixels",
        raster.width, raster.height
    ));
    let size = [raster.width as u32, raster.height as u32];
    let target = [width as u32, height as u32];
    let data = if channels == 1 {
        resize_grey(data.into_owned(), size, target)
    } else {
        resize_colour(&data, size, target)
    };
    Ok((Cow::Owned(data), Some(notes.join(" and "))))
}

/// ITU-R BT.601 luma.
fn luma(red: u8, green: u8, blue: u8) -> u8 {
    ((299 * u32::from(red) + 587 * u32::from(green) + 114 * u32::from(blue) + 500) / 1000) as u8
}

fn resize_grey(data: Vec<u8>, [width, height]: [u32; 2], target: [u32; 2]) -> Vec<u8> {
    let image: ImageBuffer<Luma<u8>, Vec<u8>> =
        ImageBuffer::from_raw(width, height, data).expect("a raster's data fill its extents");
    imageops::resize(&image, target[0], target[1], FilterType::Triangle).into_raw()
}

fn resize_colour(data: &[u8], [width, height]: [u32; 2], target: [u32; 2]) -> Vec<u8> {
    let plane = (width * height) as usize;
    let image = ImageBuffer::from_fn(width, height, |x, y| {
        let at = (y * width + x) as usize;
        Rgb([data[at], data[plane + at], data[2 * plane + at]])
    });
    planes(
        &imageops::resize(&image, target[0], target[1], FilterType::Triangle).into_raw(),
        3,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(pixels: Pixels) -> Picture {
        Picture {
            name: "x".into(),
            pixels,
            label: None,
        }
    }

    fn unit() -> Preprocess {
        Preprocess::named("unit").unwrap()
    }

    #[test]
    fn photos_are_resized_with_a_note() {
        let raster = Raster {
            channels: 3,
            height: 4,
            width: 8,
            data: [[51u8; 32], [102; 32], [204; 32]].concat(),
        };
        let (tensor, note) =
            to_tensor(&picture(Pixels::Photo(raster)), &unit(), [3, 2, 2]).unwrap();
        let expected = [0.2f32, 0.4, 0.8];
        for (element, value) in tensor.iter().enumerate() {
            assert!((value - expected[element / 4]).abs() < 1e-6);
        }
        assert_eq!(note.unwrap(), "`x` was resized from 8×4 to 2×2 pixels");
    }

    #[test]
    fn photos_change_their_channels_with_a_note() {
        let grey = Raster {
            channels: 1,
            height: 1,
            width: 1,
            data: vec![255],
        };
        let (tensor, note) = to_tensor(&picture(Pixels::Photo(grey)), &unit(), [3, 1, 1]).unwrap();
        assert_eq!((tensor, note.is_some()), (vec![1.0; 3], true));
        let colour = Raster {
            channels: 3,
            height: 1,
            width: 1,
            data: vec![255; 3],
        };
        let (tensor, note) =
            to_tensor(&picture(Pixels::Photo(colour)), &unit(), [1, 1, 1]).unwrap();
        assert_eq!((tensor, note.is_some()), (vec![1.0], true));
    }

    #[test]
    fn records_and_tensors_must_fit() {
        let raster = Raster {
            channels: 1,
            height: 2,
            width: 2,
            data: vec![0; 4],
        };
        for pixels in [
            Pixels::Record(raster),
            Pixels::Floats {
                shape: vec![3, 1, 1],
                data: vec![0.0; 3],
            },
            Pixels::Floats {
                shape: vec![3, 2, 2],
                data: vec![f32::NAN; 12],
            },
        ] {
            assert!(to_tensor(&picture(pixels), &unit(), [3, 2, 2]).is_err());
        }
    }

    #[test]
    fn a_vector_is_a_picture_of_as_many_numbers() {
        let pixels = |height, width| Raster {
            channels: 1,
            height,
            width,
            data: (0..(height * width) as u8).collect(),
        };
        let expected: Vec<f32> = (0..6u8).map(f32::from).collect();
        let floats = |shape: Vec<usize>| Pixels::Floats {
            shape,
            data: expected.clone(),
        };
        let none = Preprocess::named("none").unwrap();
        for fitting in [
            Pixels::Record(pixels(2, 3)),
            Pixels::Photo(pixels(2, 3)),
            floats(vec![2, 3]),
            floats(vec![6]),
            floats(vec![2, 1, 3]),
        ] {
            for shape in [[1, 1, 6], [1, 6, 1]] {
                let found = to_tensor(&picture(fitting.clone()), &none, shape).unwrap();
                assert_eq!(found, (expected.clone(), None));
            }
        }
        for other in [Pixels::Record(pixels(2, 2)), Pixels::Photo(pixels(2, 2))] {
            let error = to_tensor(&picture(other), &none, [1, 1, 6]).unwrap_err();
            assert!(error.to_string().contains("1×2×2"), "{error}");
        }
        // Three means have no planes in a grey picture.
        let colour = Preprocess::named("cifar10").unwrap();
        assert!(to_tensor(&picture(Pixels::Record(pixels(2, 3))), &colour, [1, 1, 6]).is_err());
    }

    #[test]
    fn a_signal_needs_no_height() {
        let data: Vec<f32> = (0..6u8).map(f32::from).collect();
        for (shape, second) in [
            (vec![2, 3], 1.0),
            (vec![1, 2, 3], 1.0),
            (vec![2, 3, 1], 1.0),
            (vec![3, 2], 2.0),
            (vec![1, 3, 2], 2.0),
        ] {
            let pixels = Pixels::Floats {
                shape,
                data: data.clone(),
            };
            for model in [[2, 1, 3], [2, 3, 1]] {
                let (tensor, _) = to_tensor(&picture(pixels.clone()), &unit(), model).unwrap();
                assert_eq!(tensor[1], second);
            }
        }
    }

    #[test]
    fn tensors_are_taken_in_either_order() {
        let data: Vec<f32> = (0..12u8).map(f32::from).collect();
        for (shape, second) in [(vec![3, 2, 2], 1.0), (vec![2, 2, 3], 3.0), (vec![12], 1.0)] {
            let pixels = Pixels::Floats {
                shape,
                data: data.clone(),
            };
            let (tensor, note) = to_tensor(&picture(pixels), &unit(), [3, 2, 2]).unwrap();
            assert_eq!((tensor[1], note), (second, None));
        }
    }
}
