//! NumPy's `.npy` format: a header with type, order and shape, then the elements.

use super::{Error, Pixels, check_picture};

/// The first bytes of every such file.
pub(super) const MAGIC: &[u8] = b"\x93NUMPY";

/// Most elements that one tensor may have.
const MAX_ELEMENTS: usize = 1 << 28;

/// Most bytes of the header, which takes a hundred.
const MAX_HEADER: usize = 1 << 12;

/// Most axes of a tensor that is no image.
const MAX_RANK: usize = 32;

/// The type of an element.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    /// Pixels.
    U8,
    Bool,
    I8,
    I16,
    U16,
    I32,
    U32,
    I64,
    U64,
    F32,
    F64,
}

#[derive(Clone, Copy, Debug)]
struct Element {
    kind: Kind,
    little: bool,
}

impl Element {
    /// The element that a header describes as `descr`.
    fn of(descr: &str) -> Option<Self> {
        let (order, name) = descr.split_at_checked(1)?;
        let kind = match name {
            "u1" => Kind::U8,
            "b1" => Kind::Bool,
            "i1" => Kind::I8,
            "i2" => Kind::I16,
            "u2" => Kind::U16,
            "i4" => Kind::I32,
            "u4" => Kind::U32,
            "i8" => Kind::I64,
            "u8" => Kind::U64,
            "f4" => Kind::F32,
            "f8" => Kind::F64,
            _ => return None,
        };
        let little = match order {
            "<" => true,
            ">" => false,
            "|" if matches!(kind, Kind::U8 | Kind::Bool | Kind::I8) => true,
            _ => return None,
        };
        Some(Self { kind, little })
    }

    fn bytes(self) -> usize {
        match self.kind {
            Kind::U8 | Kind::Bool | Kind::I8 => 1,
            Kind::I16 | Kind::U16 => 2,
            Kind::I32 | Kind::U32 | Kind::F32 => 4,
            Kind::I64 | Kind::U64 | Kind::F64 => 8,
        }
    }

    /// Bytes of an element in memory.
    fn bytes_read(self) -> usize {
        match self.kind {
            Kind::U8 => 1,
            _ => size_of::<f32>(),
        }
    }

    /// The numbers in `bytes`, each converted.
    fn read<T>(self, bytes: &[u8], convert: impl Fn(f64) -> T) -> Vec<T> {
        macro_rules! numbers {
            ($kind:ty) => {{
                let (chunks, _) = bytes.as_chunks::<{ size_of::<$kind>() }>();
                let number = |bytes: &[u8; size_of::<$kind>()]| match self.little {
                    true => <$kind>::from_le_bytes(*bytes),
                    false => <$kind>::from_be_bytes(*bytes),
                };
                chunks
                    .iter()
                    .map(|chunk| convert(number(chunk) as f64))
                    .collect()
            }};
        }
        match self.kind {
            Kind::U8 | Kind::Bool => numbers!(u8),
            Kind::I8 => numbers!(i8),
            Kind::I16 => numbers!(i16),
            Kind::U16 => numbers!(u16),
            Kind::I32 => numbers!(i32),
            Kind::U32 => numbers!(u32),
            Kind::I64 => numbers!(i64),
            Kind::U64 => numbers!(u64),
            Kind::F32 => numbers!(f32),
            Kind::F64 => numbers!(f64),
        }
    }
}

/// What a file's header says.
#[derive(Debug)]
struct Header {
    element: Element,
    /// All extents.
    shape: Vec<usize>,
    /// Their product, at least 1.
    elements: usize,
    /// Where the elements begin; there are as many bytes as the shape asks for.
    start: usize,
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

impl Header {
    fn parse(file: &str, bytes: &[u8]) -> Result<Self, Error> {
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
        let descr = field("descr")?;
        let element = Element::of(descr).ok_or_else(|| {
            unsupported(format!(
                "elements of type `{descr}` are not supported\nhelp: save the tensor with \
                 `.astype(\"float32\")`, or pixels as `uint8`"
            ))
        })?;
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
        let (Some(elements), 0..=MAX_RANK) = (elements, shape.len()) else {
            return Err(unsupported(no_image(&shape)));
        };
        let start = bytes.len() - rest.len() + length;
        let found = bytes.len() - start;
        let expected = elements * element.bytes();
        if found != expected {
            return Err(damaged(&format!(
                "{expected} bytes of elements expected, {found} found"
            )));
        }
        Ok(Self {
            element,
            shape,
            elements,
            start,
        })
    }
}

fn no_image(shape: &[usize]) -> String {
    format!(
        "a tensor of shape {shape:?} is no image\nhelp: save one image as C×H×W or H×W×C, or many \
         as N×C×H×W"
    )
}

/// A tensor of any shape, its extents and its numbers.
pub(super) fn tensor(file: &str, bytes: &[u8]) -> Result<(Vec<usize>, Vec<f64>), Error> {
    let Header {
        element,
        shape,
        elements,
        start,
    } = Header::parse(file, bytes)?;
    check_picture(file, elements.checked_mul(size_of::<f64>()))?;
    Ok((shape, element.read(&bytes[start..], |number| number)))
}

impl Npy {
    /// Reads the header. Four axes are a batch of images. Fewer are one image, unless `model`, the
    /// shape that a model takes, has as many elements as every row along the first axis.
    pub(super) fn parse(
        file: &str,
        bytes: &[u8],
        model: Option<[usize; 3]>,
    ) -> Result<Self, Error> {
        let Header {
            element,
            mut shape,
            elements,
            start,
        } = Header::parse(file, bytes)?;
        if !(1..=4).contains(&shape.len()) {
            return Err(Error::Tensor {
                file: file.into(),
                reason: no_image(&shape),
            });
        }
        let wanted = model.and_then(|[a, b, c]| a.checked_mul(b)?.checked_mul(c));
        let rows = wanted.is_some_and(|wanted| {
            shape.len() > 1 && elements != wanted && elements / shape[0] == wanted
        });
        let count = match shape.len() == 4 || rows {
            true => shape.remove(0),
            false => 1,
        };
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
        match self.element.kind {
            Kind::U8 => Pixels::Bytes {
                shape,
                data: bytes.to_vec(),
            },
            _ => Pixels::Floats {
                shape,
                data: self.element.read(bytes, |number| number as f32),
            },
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
            let npy = Npy::parse("x.npy", &bytes, None).unwrap();
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
        let npy = Npy::parse("x.npy", &bytes, None).unwrap();
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
    fn integers_are_numbers() {
        for (descr, data) in [
            ("|i1", vec![255, 2]),
            (">i2", vec![255, 255, 0, 2]),
            ("<i4", vec![255, 255, 255, 255, 2, 0, 0, 0]),
            (
                "<i8",
                [(-1_i64).to_le_bytes(), 2_i64.to_le_bytes()].concat(),
            ),
        ] {
            let bytes = file(descr, "False", "1, 2", &data);
            let npy = Npy::parse("x.npy", &bytes, None).unwrap();
            let shape = vec![1, 2];
            let data = vec![-1.0, 2.0];
            assert_eq!(npy.image(&bytes, 0), Pixels::Floats { shape, data });
            let all = tensor("x.npy", &bytes).unwrap();
            assert_eq!(all, (vec![1, 2], vec![-1.0, 2.0]));
        }
        let scalar = file("<u2", "False", "", &[1, 1]);
        assert_eq!(tensor("x.npy", &scalar).unwrap(), (vec![], vec![257.0]));
        assert!(Npy::parse("x.npy", &scalar, None).is_err());
    }

    #[test]
    fn rows_of_a_models_size_are_a_batch() {
        let bytes = |shape: &str| file("|u1", "False", shape, &[1, 2, 3, 4, 5, 6]);
        for (shape, model, count, of_one) in [
            ("2, 3", [1, 1, 3], 2, vec![3]),
            ("2, 3", [1, 2, 3], 1, vec![2, 3]),
            ("1, 6", [1, 1, 6], 1, vec![1, 6]),
            ("6,", [1, 1, 6], 1, vec![6]),
            ("3, 1, 2", [1, 1, 2], 3, vec![1, 2]),
            ("3, 2, 1", [2, 1, 1], 3, vec![2, 1]),
            ("2, 3", [1, 1, 4], 1, vec![2, 3]),
            ("6, 1, 1, 1", [1, 1, 6], 6, vec![1, 1, 1]),
        ] {
            let bytes = bytes(shape);
            let npy = Npy::parse("x.npy", &bytes, Some(model)).unwrap();
            assert_eq!((npy.count, npy.shape), (count, of_one), "{shape} {model:?}");
        }
    }

    #[test]
    fn wrong_types_orders_and_lengths_are_refused() {
        for (descr, order, shape, data) in [
            ("<c8", "False", "1,", &[0; 8][..]),
            ("|i4", "False", "1,", &[0; 4]),
            ("|u1", "True", "1,", &[0]),
            ("|u1", "False", "2,", &[0]),
            ("|u1", "False", "1, 1, 1, 1, 1", &[0]),
            ("|u1", "False", "0,", &[]),
            ("<f8", "False", "99999999999, 99999999999", &[]),
        ] {
            let bytes = file(descr, order, shape, data);
            assert!(
                Npy::parse("x.npy", &bytes, None).is_err(),
                "{descr} {order} {shape}"
            );
        }
    }

    #[test]
    fn no_prefix_of_a_file_panics() {
        let bytes = file("<f4", "False", "2, 2", &[0; 16]);
        for length in MAGIC.len()..bytes.len() {
            assert!(Npy::parse("x.npy", &bytes[..length], None).is_err());
        }
    }
}
