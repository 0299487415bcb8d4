//! Constant tensors: initialisers, and what the evaluator makes of them.

use onnx_protobuf::TensorProto;
use onnx_protobuf::tensor_proto::DataType;
use protobuf::Enum as _;

/// The elements of a constant, row-major. Narrow types are widened.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Elements {
    /// float16, bfloat16 and float32.
    Float(Vec<f32>),
    /// float64.
    Double(Vec<f64>),
    /// All integers.
    Int(Vec<i64>),
    /// Booleans.
    Bool(Vec<bool>),
}

/// Runs one expression on the vector behind any [`Elements`] and wraps the result likewise.
macro_rules! map_elements {
    ($elements:expr, $data:ident => $body:expr) => {
        match $elements {
            Elements::Float($data) => Elements::Float($body),
            Elements::Double($data) => Elements::Double($body),
            Elements::Int($data) => Elements::Int($body),
            Elements::Bool($data) => Elements::Bool($body),
        }
    };
}

/// The types that the evaluator tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ElementType {
    Float,
    Double,
    Int,
    Bool,
}

impl ElementType {
    /// The type behind ONNX's number, as `Cast` and tensors give it.
    pub(super) fn from_onnx(number: i64) -> Result<Self, String> {
        Ok(match i32::try_from(number).ok().and_then(known_type) {
            Some(DataType::FLOAT | DataType::FLOAT16 | DataType::BFLOAT16) => Self::Float,
            Some(DataType::DOUBLE) => Self::Double,
            Some(DataType::BOOL) => Self::Bool,
            Some(
                DataType::INT8
                | DataType::INT16
                | DataType::INT32
                | DataType::INT64
                | DataType::UINT8
                | DataType::UINT16
                | DataType::UINT32
                | DataType::UINT64
                | DataType::INT4
                | DataType::UINT4,
            ) => Self::Int,
            other => return Err(unsupported_type(number, other)),
        })
    }

    pub(super) fn is_float(self) -> bool {
        matches!(self, Self::Float | Self::Double)
    }
}

fn known_type(number: i32) -> Option<DataType> {
    DataType::from_i32(number)
}

fn unsupported_type(number: i64, known: Option<DataType>) -> String {
    let name = known.map_or_else(|| number.to_string(), |ty| format!("{ty:?}").to_lowercase());
    format!("element type {name} is not supported; floats, integers and booleans are")
}

/// A constant tensor.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Const {
    /// Name of the initialiser or of the node's output.
    pub(super) name: String,
    pub(super) shape: Vec<usize>,
    pub(super) elements: Elements,
}

/// Most axes of a tensor. Networks have four, and every node copies and prints them.
pub(super) const MAX_RANK: usize = 32;

/// Whether a tensor may have as many axes.
pub(super) fn check_rank(rank: usize) -> Result<(), String> {
    if rank <= MAX_RANK {
        Ok(())
    } else {
        Err(format!(
            "a tensor of {rank} axes; at most {MAX_RANK} are read"
        ))
    }
}

/// The number of elements of a shape, if no product of its extents overflows.
pub(super) fn element_count(shape: &[usize]) -> Result<usize, String> {
    check_rank(shape.len())?;
    // An empty tensor's other extents are multiplied elsewhere, so they may not overflow either.
    let most = shape
        .iter()
        .try_fold(1_usize, |all, extent| all.checked_mul((*extent).max(1)));
    if most.is_none_or(|most| isize::try_from(most).is_err()) {
        return Err(format!("shape {shape:?} has too many elements"));
    }
    Ok(shape.iter().product())
}

impl Const {
    pub(super) fn new(shape: Vec<usize>, elements: Elements) -> Self {
        Self {
            name: String::new(),
            shape,
            elements,
        }
    }

    pub(super) fn ints(data: Vec<i64>) -> Self {
        Self::new(vec![data.len()], Elements::Int(data))
    }

    pub(super) fn len(&self) -> usize {
        match &self.elements {
            Elements::Float(data) => data.len(),
            Elements::Double(data) => data.len(),
            Elements::Int(data) => data.len(),
            Elements::Bool(data) => data.len(),
        }
    }

    pub(super) fn element_type(&self) -> ElementType {
        match self.elements {
            Elements::Float(_) => ElementType::Float,
            Elements::Double(_) => ElementType::Double,
            Elements::Int(_) => ElementType::Int,
            Elements::Bool(_) => ElementType::Bool,
        }
    }

    /// A tensor of shape `shape` whose elements are those of `self` at `indices`.
    pub(super) fn select(&self, shape: Vec<usize>, indices: impl Iterator<Item = usize>) -> Self {
        let elements = map_elements!(&self.elements, data => {
            indices.map(|index| data[index]).collect()
        });
        Self {
            name: self.name.clone(),
            shape,
            elements,
        }
    }

    /// The same elements in another shape of as many.
    pub(super) fn reshaped(&self, shape: Vec<usize>) -> Self {
        Self {
            name: self.name.clone(),
            shape,
            elements: self.elements.clone(),
        }
    }

    /// The elements as integers, if they are integers.
    pub(super) fn as_ints(&self) -> Result<&[i64], String> {
        match &self.elements {
            Elements::Int(data) => Ok(data),
            _ => Err(format!("`{}` should hold integers", self.name)),
        }
    }

    /// An element as a 64-bit float.
    pub(super) fn double(&self, index: usize) -> f64 {
        match &self.elements {
            Elements::Float(data) => f64::from(data[index]),
            Elements::Double(data) => data[index],
            Elements::Int(data) => data[index] as f64,
            Elements::Bool(data) => f64::from(u8::from(data[index])),
        }
    }

    /// The elements as 64-bit floats.
    pub(super) fn doubles(&self) -> impl ExactSizeIterator<Item = f64> + '_ {
        (0..self.len()).map(|index| self.double(index))
    }

    /// The elements as weights.
    ///
    /// # Errors
    /// If they are not floats, or one is NaN or infinite.
    pub(super) fn to_weights(&self) -> Result<Vec<f32>, String> {
        let weights: Vec<f32> = match &self.elements {
            Elements::Float(data) => data.clone(),
            Elements::Double(data) => data.iter().map(|x| *x as f32).collect(),
            _ => return Err(format!("`{}` should hold floats", self.name)),
        };
        match weights.iter().position(|x| !x.is_finite()) {
            None => Ok(weights),
            Some(index) => Err(format!(
                "initializer `{}` holds {} at element {index}; weights must be finite",
                self.name, weights[index]
            )),
        }
    }

    /// The one element.
    pub(super) fn scalar(&self) -> Result<f64, String> {
        match self.len() {
            1 => Ok(self.double(0)),
            _ => Err(format!(
                "`{}` has shape {:?}, expected one number",
                self.name, self.shape
            )),
        }
    }

    /// Whether every element is `value`.
    pub(super) fn is_all(&self, value: f64) -> bool {
        self.doubles().all(|element| element == value)
    }

    /// A row of `extent` weights, from as many or from one.
    pub(super) fn expanded(&self, extent: usize) -> Result<Vec<f32>, String> {
        let weights = self.to_weights()?;
        match weights[..] {
            [element] => Ok(vec![element; extent]),
            _ if weights.len() == extent && self.shape.last() == Some(&extent) => Ok(weights),
            _ => Err(format!(
                "`{}` has shape {:?}, expected {extent} elements",
                self.name, self.shape
            )),
        }
    }

    /// The elements converted as `Cast` does.
    pub(super) fn cast(&self, to: ElementType) -> Result<Self, String> {
        let doubles = || self.doubles();
        let elements = match (to, &self.elements) {
            (to, elements) if to == self.element_type() => elements.clone(),
            (ElementType::Float, _) => Elements::Float(doubles().map(|x| x as f32).collect()),
            (ElementType::Double, _) => Elements::Double(doubles().collect()),
            (ElementType::Bool, Elements::Int(data)) => {
                Elements::Bool(data.iter().map(|x| *x != 0).collect())
            }
            (ElementType::Bool, _) => Elements::Bool(doubles().map(|x| x != 0.0).collect()),
            (ElementType::Int, _) => {
                if let Some(bad) = doubles().find(|x| x.is_nan() || x.abs() >= 9.2e18) {
                    return Err(format!("{bad} does not fit into an integer"));
                }
                Elements::Int(doubles().map(|x| x as i64).collect())
            }
        };
        Ok(Self {
            name: self.name.clone(),
            shape: self.shape.clone(),
            elements,
        })
    }

    /// Elements and bytes that [`load`](Self::load) will make of a tensor, at most.
    pub(super) fn size_of_load(proto: &TensorProto, external: Option<&[u8]>) -> [usize; 2] {
        let raw = external.map_or(proto.raw_data.len(), <[u8]>::len);
        use DataType as D;
        // Elements of four bits come two to a byte, here and in the fields of integers.
        if let Some(D::INT4 | D::UINT4) = known_type(proto.data_type) {
            let elements = raw.max(proto.int32_data.len()).saturating_mul(2);
            return [elements, elements.saturating_mul(8)];
        }
        // Bytes of an element in the file and in memory.
        let (narrow, wide) = match known_type(proto.data_type) {
            Some(D::INT8 | D::UINT8) => (1, 8),
            Some(D::INT16 | D::UINT16) => (2, 8),
            Some(D::FLOAT16 | D::BFLOAT16) => (2, 4),
            Some(D::INT32 | D::UINT32) => (4, 8),
            Some(D::BOOL) => (1, 1),
            Some(D::FLOAT) => (4, 4),
            _ => (8, 8),
        };
        let fields = [
            proto.float_data.len(),
            proto.int32_data.len(),
            proto.int64_data.len(),
            proto.double_data.len(),
            proto.uint64_data.len(),
        ];
        let elements = fields.iter().sum::<usize>().max(raw / narrow);
        [elements, elements.saturating_mul(wide)]
    }

    /// Reads a tensor of the file; `external` are its bytes if they lie in another file.
    pub(super) fn load(proto: &TensorProto, external: Option<&[u8]>) -> Result<Self, String> {
        check_rank(proto.dims.len())?;
        let shape = proto
            .dims
            .iter()
            .map(|dim| usize::try_from(*dim))
            .collect::<Result<Vec<usize>, _>>()
            .map_err(|_| format!("has a negative extent in its shape {:?}", proto.dims))?;
        let count = element_count(&shape)?;
        if proto.segment.is_some() {
            return Err("is split into segments, which is not supported".into());
        }
        let raw = external.or((!proto.raw_data.is_empty()).then_some(&proto.raw_data[..]));
        let elements = match raw {
            Some(raw) => from_raw(proto.data_type, raw, count)?,
            None => from_fields(proto, count)?,
        };
        let tensor = Self {
            name: proto.name.clone(),
            shape,
            elements,
        };
        if tensor.len() != count {
            return Err(format!(
                "has shape {:?} but holds {} elements",
                tensor.shape,
                tensor.len()
            ));
        }
        Ok(tensor)
    }
}

/// Little-endian bytes to elements.
fn from_raw(data_type: i32, raw: &[u8], count: usize) -> Result<Elements, String> {
    fn read<const N: usize, T>(
        raw: &[u8],
        count: usize,
        convert: impl Fn([u8; N]) -> T,
    ) -> Result<Vec<T>, String> {
        let (chunks, rest) = raw.as_chunks::<N>();
        if chunks.len() != count || !rest.is_empty() {
            return Err(format!(
                "needs {count} elements of {N} bytes, but holds {} bytes",
                raw.len()
            ));
        }
        Ok(chunks.iter().map(|bytes| convert(*bytes)).collect())
    }
    use DataType as D;
    use Elements::{Bool, Double, Float, Int};
    Ok(match known_type(data_type) {
        Some(D::FLOAT) => Float(read(raw, count, f32::from_le_bytes)?),
        Some(D::FLOAT16) => Float(read(raw, count, |b| from_half(u16::from_le_bytes(b)))?),
        Some(D::BFLOAT16) => Float(read(raw, count, |b| from_bfloat(u16::from_le_bytes(b)))?),
        Some(D::DOUBLE) => Double(read(raw, count, f64::from_le_bytes)?),
        Some(D::INT8) => Int(read(raw, count, |b| i8::from_le_bytes(b).into())?),
        Some(D::UINT8) => Int(read(raw, count, |b| u8::from_le_bytes(b).into())?),
        Some(D::INT16) => Int(read(raw, count, |b| i16::from_le_bytes(b).into())?),
        Some(D::UINT16) => Int(read(raw, count, |b| u16::from_le_bytes(b).into())?),
        Some(D::INT32) => Int(read(raw, count, |b| i32::from_le_bytes(b).into())?),
        Some(D::UINT32) => Int(read(raw, count, |b| u32::from_le_bytes(b).into())?),
        Some(D::INT64) => Int(read(raw, count, i64::from_le_bytes)?),
        Some(D::UINT64) => Int(to_signed(&read(raw, count, u64::from_le_bytes)?)?),
        Some(D::BOOL) => Bool(read(raw, count, |[byte]: [u8; 1]| byte != 0)?),
        Some(kind @ (D::INT4 | D::UINT4)) => {
            Int(halves(raw.iter().copied(), count, kind == D::INT4)?)
        }
        other => return Err(unsupported_type(data_type.into(), other)),
    })
}

/// The typed fields of a tensor that has no raw bytes.
fn from_fields(proto: &TensorProto, count: usize) -> Result<Elements, String> {
    use DataType as D;
    use Elements::{Bool, Double, Float, Int};
    let narrow = || proto.int32_data.iter();
    Ok(match known_type(proto.data_type) {
        Some(D::FLOAT) => Float(proto.float_data.clone()),
        Some(D::FLOAT16) => Float(narrow().map(|bits| from_half(*bits as u16)).collect()),
        Some(D::BFLOAT16) => Float(narrow().map(|bits| from_bfloat(*bits as u16)).collect()),
        Some(D::DOUBLE) => Double(proto.double_data.clone()),
        Some(D::INT64) => Int(proto.int64_data.clone()),
        Some(D::UINT32 | D::UINT64) => Int(to_signed(&proto.uint64_data)?),
        Some(D::INT8 | D::UINT8 | D::INT16 | D::UINT16 | D::INT32) => {
            Int(narrow().map(|x| i64::from(*x)).collect())
        }
        Some(D::BOOL) => Bool(narrow().map(|x| *x != 0).collect()),
        Some(kind @ (D::INT4 | D::UINT4)) => {
            Int(halves(narrow().map(|x| *x as u8), count, kind == D::INT4)?)
        }
        other => return Err(unsupported_type(proto.data_type.into(), other)),
    })
}

/// Integers of four bits, the lower half of every byte first; `signed` ones are two's complement.
fn halves(
    bytes: impl ExactSizeIterator<Item = u8>,
    count: usize,
    signed: bool,
) -> Result<Vec<i64>, String> {
    if bytes.len() != count.div_ceil(2) {
        return Err(format!(
            "needs {count} elements of half a byte, but holds {} bytes",
            bytes.len()
        ));
    }
    let extended = |half: u8| match signed {
        true => i64::from((half << 4) as i8 >> 4),
        false => i64::from(half),
    };
    let mut halves: Vec<i64> = bytes
        .flat_map(|byte| [byte & 0xF, byte >> 4])
        .map(extended)
        .collect();
    halves.truncate(count);
    Ok(halves)
}

fn to_signed(data: &[u64]) -> Result<Vec<i64>, String> {
    data.iter()
        .map(|x| i64::try_from(*x).map_err(|_| format!("holds {x}, which is too large")))
        .collect()
}

/// IEEE 754 binary16, subnormals, infinities and NaN included.
fn from_half(bits: u16) -> f32 {
    let sign = u32::from(bits >> 15) << 31;
    let exponent = u32::from(bits >> 10 & 0x1F);
    let fraction = u32::from(bits & 0x3FF);
    match exponent {
        0 => {
            // Below the smallest normal number the fraction counts steps of 2^-24.
            let magnitude = fraction as f32 * 2.0_f32.powi(-24);
            f32::from_bits(magnitude.to_bits() | sign)
        }
        0x1F => f32::from_bits(sign | 0x7F80_0000 | fraction << 13),
        _ => f32::from_bits(sign | (exponent + 112) << 23 | fraction << 13),
    }
}

/// The upper half of a 32-bit float.
fn from_bfloat(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_floats_are_exact() {
        for (bits, value) in [
            (0x3C00, 1.0),
            (0xC000, -2.0),
            (0x3555, 0.333_251_95),
            (0x7BFF, 65504.0),
            (0x0001, 5.960_464_5e-8),
            (0x8400, -6.103_515_6e-5),
            (0x7C00, f32::INFINITY),
        ] {
            assert_eq!(from_half(bits), value, "{bits:#x}");
        }
        assert!(from_half(0x7E00).is_nan());
        assert_eq!(from_half(0x8000).to_bits(), (-0.0_f32).to_bits());
        assert_eq!(from_bfloat(0xBFC0), -1.5);
    }

    #[test]
    fn refuses_shapes_that_do_not_fit_the_data() {
        let mut proto = TensorProto::new();
        proto.data_type = DataType::FLOAT as i32;
        proto.dims = vec![1 << 30, 1 << 30];
        proto.raw_data = vec![0; 16];
        assert!(
            Const::load(&proto, None)
                .unwrap_err()
                .contains("holds 16 bytes")
        );
        proto.dims = vec![1 << 32, 1 << 32];
        assert!(
            Const::load(&proto, None)
                .unwrap_err()
                .contains("too many elements")
        );
        proto.dims = vec![0, 1 << 40, 1 << 40];
        assert!(
            Const::load(&proto, None)
                .unwrap_err()
                .contains("too many elements")
        );
        proto.dims = vec![1; 33];
        assert!(Const::load(&proto, None).unwrap_err().contains("33 axes"));
        proto.dims = vec![2, -2];
        assert!(
            Const::load(&proto, None)
                .unwrap_err()
                .contains("negative extent")
        );
        proto.dims = vec![5];
        assert!(Const::load(&proto, None).is_err());
        proto.dims = vec![2, 2];
        assert_eq!(Const::load(&proto, None).unwrap().shape, [2, 2]);
        proto.data_type = DataType::STRING as i32;
        assert!(Const::load(&proto, None).unwrap_err().contains("string"));
        proto.raw_data.clear();
        proto.data_type = DataType::INT32 as i32;
        assert!(
            Const::load(&proto, None)
                .unwrap_err()
                .contains("holds 0 elements")
        );
    }
}
