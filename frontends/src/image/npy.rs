//! NumPy's `.npy` format: a header with type, order and shape, then the elements.

use super::{Error, Pixels, check_picture};

/// The first bytes of every such file.
pub(super) const MAGIC: &[u8] = b"\x93NUMPY";

/// Most elements that one tensor may have.
const MAX_ELEMENTS: usize = 1 << 28;

/// Most bytes of the header, which takes a hundred.
const MAX_HEADER: usize = 1 << 12;

#[derive(Clone, Copy, Debug)]
enum Element {
    U8,
    F32 { little: bool },
    F64 { little: bool },
}

impl Element {
    fn bytes(self) -> usize {
        match self {
            Self::U8 => 1,
            Self::F32 { .. } => 4,
            Self::F64 { .. } => 8,
        }
    }

    /// Bytes of an element in memory.
    fn bytes_read(self) -> usize {
        self.bytes().min(4)
    }
}

/// A parsed file; images are cut from it on demand.
#[derive(Debug)]
pub(super) struct Npy {
    element: Element,
    /// Shape of one image.
    shape: Vec<usize>,
    /// Number of images.
    pub(super) count: usize,
    /// Where the elements begin.
    start: usize,
}

fn value_of<'a>(header: &'a str, key: &str) -> Option<&'a str> {
    let at = header.find(&format!("'{key}'"))?;
    let rest = header[at..].split_once(':')?.1.trim_start();
    match rest.as_bytes().first()? {
        b'(' => rest[1..].split_once(')').map(|(inner, _)| inner),
        b'\'' => rest[1..].split_once('\'').map(|(inner, _)| inner),
        _ => rest.split([',', '}']).next().map(str::trim),
    }
}

impl Npy {
    /// Reads the header. Four axes are a batch of images, fewer are one image.
    pub(super) fn parse(file: &str, bytes: &[u8]) -> Result<Self, Error> {
        let damaged = |reason: &str| Error::Damaged {
            file: file.into(),
            reason: reason.into(),
        };
        let unsupported = |reason: String| Error::Tensor {
            file: file.into(),
            reason,
        };
        let rest = &bytes[MAGIC.len()..];
        let [major, _, rest @ ..] = rest else {
            return Err(damaged("the header is cut off"));
        };
        let (length, rest) = match (major, rest) {
            (1, [a, b, rest @ ..]) => (usize::from(u16::from_le_bytes([*a, *b])), rest),
            (2 | 3, [a, b, c, d, rest @ ..]) => {
                (u32::from_le_bytes([*a, *b, *c, *d]) as usize, rest)
            }
            (1..=3, _) => return Err(damaged("the header is cut off")),
            _ => {
                return Err(unsupported(format!(
                    "version {major} of the npy format is unknown"
                )));
            }
        };
        if length > MAX_HEADER {
            return Err(damaged("the header is longer than that of any tensor"));
        }
        let header = rest
            .get(..length)
            .ok_or_else(|| damaged("the header is cut off"))?;
        let header = std::str::from_utf8(header).map_err(|_| damaged("the header is not text"))?;
        let field = |key| value_of(header, key).ok_or_else(|| damaged("the header lacks a field"));
        let element = match field("descr")? {
            "|u1" | "<u1" | ">u1" => Element::U8,
            "<f4" => Element::F32 { little: true },
            ">f4" => Element::F32 { little: false },
            "<f8" => Element::F64 { little: true },
            ">f8" => Element::F64 { little: false },
            other => {
                return Err(unsupported(format!(
                    "elements of type `{other}` are not supported\nhelp: save the tensor with \
                     `.astype(\"float32\")`, or pixels as `uint8`"
                )));
            }
        };
        if field("fortran_order")? != "False" {
            return Err(unsupported(
                "the tensor is in Fortran order\nhelp: save `numpy.ascontiguousarray(tensor)`"
                    .into(),
            ));
        }
        let mut shape = Vec::new();
        for extent in field("shape")?
            .split(',')
            .map(str::trim)
            .filter(|text| !text.is_empty())
        {
            shape.push(
                extent
                    .parse::<usize>()
                    .map_err(|_| damaged("the shape is not numbers"))?,
            );
        }
        let elements = shape
            .iter()
            .try_fold(1usize, |product, extent| product.checked_mul(*extent))
            .filter(|elements| (1..=MAX_ELEMENTS).contains(elements));
        let (Some(elements), 1..=4) = (elements, shape.len()) else {
            return Err(unsupported(format!(
                "a tensor of shape {shape:?} is no image\nhelp: save one image as C×H×W or H×W×C, or many as N×C×H×W"
            )));
        };
        let start = bytes.len() - rest.len() + length;
        let found = bytes.len() - start;
        let expected = elements * element.bytes();
        if found != expected {
            return Err(damaged(&format!(
                "{expected} bytes of elements expected, {found} found"
            )));
        }
        let count = if shape.len() == 4 { shape.remove(0) } else { 1 };
        check_picture(file, (elements / count).checked_mul(element.bytes_read()))?;
        Ok(Self {
            element,
            shape,
            count,
            start,
        })
    }

    /// Whether the file is a batch, so that its images carry an index in their name.
    pub(super) fn is_batch(&self) -> bool {
        self.count > 1
    }

    /// The image `index`, below `count`.
    pub(super) fn image(&self, bytes: &[u8], index: usize) -> Pixels {
        let elements: usize = self.shape.iter().product();
        let size = elements * self.element.bytes();
        let bytes = &bytes[self.start + index * size..][..size];
        let shape = self.shape.clone();
        let floats = |data| Pixels::Floats {
            shape: shape.clone(),
            data,
        };
        match self.element {
            Element::U8 => Pixels::Bytes { shape, data: bytes.to_vec() },
            Element::F32 { little } => floats(
                bytes
                    .as_chunks::<4>()
                    .0
                    .iter()
                    .map(|b| if little { f32::from_le_bytes(*b) } else { f32::from_be_bytes(*b) })
                    .collect(),
            ),
            Element::F64 { little } => floats(
                bytes
                    .as_chunks::<8>()
                    .0
                    .iter()
                    .map(|b| if little { f64::from_le_bytes(*b) } else { f64::from_be_bytes(*b) } as f32)
                    .collect(),
            ),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A file of version 1.
    pub(in crate::image) fn file(descr: &str, order: &str, shape: &str, data: &[u8]) -> Vec<u8> {
        let mut header =
            format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': ({shape}), }}");
        while !(MAGIC.len() + 4 + header.len() + 1).is_multiple_of(64) {
            header.push(' ');
        }
        header.push('\n');
        let mut bytes = MAGIC.to_vec();
        bytes.extend([1, 0]);
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.extend(data);
        bytes
    }

    #[test]
    fn elements_of_either_order_and_width_are_read() {
        let numbers = [1.5f64, -2.0, 0.25, 7.0];
        let expected: Vec<f32> = numbers.iter().map(|x| *x as f32).collect();
        for (descr, data) in [
            (
                "<f4",
                numbers
                    .iter()
                    .flat_map(|x| (*x as f32).to_le_bytes())
                    .collect::<Vec<u8>>(),
            ),
            (
                ">f4",
                numbers
                    .iter()
                    .flat_map(|x| (*x as f32).to_be_bytes())
                    .collect(),
            ),
            (
                "<f8",
                numbers.iter().flat_map(|x| x.to_le_bytes()).collect(),
            ),
            (
                ">f8",
                numbers.iter().flat_map(|x| x.to_be_bytes()).collect(),
            ),
        ] {
            let bytes = file(descr, "False", "1, 2, 2", &data);
            let npy = Npy::parse("x.npy", &bytes).unwrap();
            assert_eq!(
                npy.image(&bytes, 0),
                Pixels::Floats {
                    shape: vec![1, 2, 2],
                    data: expected.clone()
                }
            );
        }
    }

    #[test]
    fn four_axes_are_a_batch() {
        let bytes = file("|u1", "False", "2, 1, 1, 3", &[1, 2, 3, 4, 5, 6]);
        let npy = Npy::parse("x.npy", &bytes).unwrap();
        assert!(npy.is_batch());
        assert_eq!(
            npy.image(&bytes, 1),
            Pixels::Bytes {
                shape: vec![1, 1, 3],
                data: vec![4, 5, 6]
            }
        );
    }

    #[test]
    fn wrong_types_orders_and_lengths_are_refused() {
        for (descr, order, shape, data) in [
            ("<i8", "False", "1,", &[0; 8][..]),
            ("|u1", "True", "1,", &[0]),
            ("|u1", "False", "2,", &[0]),
            ("|u1", "False", "1, 1, 1, 1, 1", &[0]),
            ("|u1", "False", "0,", &[]),
            ("<f8", "False", "99999999999, 99999999999", &[]),
        ] {
            let bytes = file(descr, order, shape, data);
            assert!(
                Npy::parse("x.npy", &bytes).is_err(),
                "{descr} {order} {shape}"
            );
        }
    }

    #[test]
    fn no_prefix_of_a_file_panics() {
        let bytes = file("<f4", "False", "2, 2", &[0; 16]);
        for length in MAGIC.len()..bytes.len() {
            assert!(Npy::parse("x.npy", &bytes[..length]).is_err());
        }
    }
}
