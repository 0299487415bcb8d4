//! Writes ONNX files, field by field, so that tests need no model from outside.
//!
//! The protobuf wire format is written here directly: the files are independent of the parser that
//! reads them, and malformed ones are as easy to make as sound ones.

/// Numbers of `TensorProto.DataType`.
pub mod data_type {
    /// 32-bit float.
    pub const FLOAT: u64 = 1;
    /// 8-bit unsigned integer.
    pub const UINT8: u64 = 2;
    /// 8-bit integer.
    pub const INT8: u64 = 3;
    /// 32-bit integer.
    pub const INT32: u64 = 6;
    /// 64-bit integer.
    pub const INT64: u64 = 7;
    /// Boolean, one byte each.
    pub const BOOL: u64 = 9;
    /// 16-bit float.
    pub const FLOAT16: u64 = 10;
    /// 64-bit float.
    pub const DOUBLE: u64 = 11;
    /// 4-bit unsigned integer, two to a byte.
    pub const UINT4: u64 = 21;
    /// 4-bit integer, two to a byte.
    pub const INT4: u64 = 22;
}

/// A protobuf message in the making.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Message(pub Vec<u8>);

impl Message {
    /// A varint field.
    pub fn varint(mut self, field: u64, value: u64) -> Self {
        self.key(field, 0);
        self.raw_varint(value);
        self
    }

    /// A length-delimited field: a string, bytes or a nested message.
    pub fn bytes(mut self, field: u64, value: impl AsRef<[u8]>) -> Self {
        let value = value.as_ref();
        self.key(field, 2);
        self.raw_varint(value.len() as u64);
        self.0.extend_from_slice(value);
        self
    }

    /// A 32-bit float field.
    pub fn float(mut self, field: u64, value: f32) -> Self {
        self.key(field, 5);
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    fn key(&mut self, field: u64, wire_type: u64) {
        self.raw_varint(field << 3 | wire_type);
    }

    fn raw_varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

impl AsRef<[u8]> for Message {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// A `TensorProto`, for an initialiser or an attribute.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorProto(Message);

impl TensorProto {
    /// A tensor of 32-bit floats, stored as raw data.
    pub fn floats(name: &str, dims: &[i64], data: &[f32]) -> Self {
        let raw: Vec<u8> = data.iter().flat_map(|x| x.to_le_bytes()).collect();
        Self::raw(name, dims, data_type::FLOAT, &raw)
    }

    /// A tensor of 64-bit integers, stored as raw data.
    pub fn ints(name: &str, dims: &[i64], data: &[i64]) -> Self {
        let raw: Vec<u8> = data.iter().flat_map(|x| x.to_le_bytes()).collect();
        Self::raw(name, dims, data_type::INT64, &raw)
    }

    /// A tensor of any type with the given raw bytes, which need not fit.
    pub fn raw(name: &str, dims: &[i64], data_type: u64, raw: &[u8]) -> Self {
        Self(Self::header(name, dims, data_type).bytes(9, raw))
    }

    /// A tensor of 32-bit floats in `float_data` rather than in raw bytes.
    pub fn float_data(name: &str, dims: &[i64], data: &[f32]) -> Self {
        let packed: Vec<u8> = data.iter().flat_map(|x| x.to_le_bytes()).collect();
        Self(Self::header(name, dims, data_type::FLOAT).bytes(4, packed))
    }

    /// A tensor of 32-bit floats in another file.
    pub fn external(name: &str, dims: &[i64], entries: &[(&str, &str)]) -> Self {
        let mut message = Self::header(name, dims, data_type::FLOAT).varint(14, 1);
        for (key, value) in entries {
            message = message.bytes(13, Message::default().bytes(1, key).bytes(2, value));
        }
        Self(message)
    }

    fn header(name: &str, dims: &[i64], data_type: u64) -> Message {
        let mut message = Message::default();
        for dim in dims {
            message = message.varint(1, *dim as u64);
        }
        message.varint(2, data_type).bytes(8, name)
    }
}

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq)]
pub enum Attr {
    /// One integer.
    Int(i64),
    /// A list of integers.
    Ints(Vec<i64>),
    /// One float.
    Float(f32),
    /// A string.
    Str(&'static str),
    /// A tensor.
    Tensor(TensorProto),
    /// An empty subgraph.
    Graph,
    /// A list of floats.
    Floats(Vec<f32>),
    /// Inside a function: an attribute of its call, by name, and the number of its type.
    Reference(&'static str, u64),
}

impl Attr {
    fn encode(&self, name: &str) -> Message {
        let message = Message::default().bytes(1, name);
        match self {
            Self::Int(value) => message.varint(3, *value as u64).varint(20, 2),
            Self::Ints(values) => values
                .iter()
                .fold(message, |message, value| message.varint(8, *value as u64))
                .varint(20, 7),
            Self::Float(value) => message.float(2, *value).varint(20, 1),
            Self::Str(value) => message.bytes(4, value).varint(20, 3),
            Self::Tensor(tensor) => message.bytes(5, &tensor.0).varint(20, 4),
            Self::Graph => message.bytes(6, []).varint(20, 5),
            Self::Floats(values) => values
                .iter()
                .fold(message, |message, value| message.float(7, *value))
                .varint(20, 6),
            Self::Reference(name, kind) => message.bytes(21, name).varint(20, *kind),
        }
    }
}

/// One extent of an input's or output's shape.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Dim {
    /// Known in the file.
    Fixed(i64),
    /// Known by a name only.
    Symbol(&'static str),
}

impl From<i64> for Dim {
    fn from(extent: i64) -> Self {
        Self::Fixed(extent)
    }
}

impl From<&'static str> for Dim {
    fn from(name: &'static str) -> Self {
        Self::Symbol(name)
    }
}

/// A function of a model, in the making.
#[derive(Clone, Debug)]
pub struct FunctionBuilder(Message);

impl FunctionBuilder {
    /// A function without nodes; `attributes` are those without a default.
    pub fn new(
        domain: &str,
        name: &str,
        inputs: &[&str],
        outputs: &[&str],
        attributes: &[&str],
    ) -> Self {
        let mut message = Message::default().bytes(1, name).bytes(10, domain);
        for (field, names) in [(4, inputs), (5, outputs), (6, attributes)] {
            for name in names {
                message = message.bytes(field, name);
            }
        }
        Self(message)
    }

    /// The version of the default operator set that the nodes are written in.
    pub fn opset(mut self, version: i64) -> Self {
        let opset = Message::default().bytes(1, "").varint(2, version as u64);
        self.0 = self.0.bytes(9, opset);
        self
    }

    /// An attribute with a default.
    pub fn default(mut self, name: &str, value: &Attr) -> Self {
        self.0 = self.0.bytes(11, value.encode(name));
        self
    }

    /// A node of any operator set with one output, which it is named after.
    pub fn node(
        mut self,
        domain: &str,
        op: &str,
        inputs: &[&str],
        output: &str,
        attributes: &[(&str, Attr)],
    ) -> Self {
        let node = encode_node(domain, op, inputs, &[output], attributes);
        self.0 = self.0.bytes(7, node);
        self
    }
}

/// A node that is named after its first output.
fn encode_node(
    domain: &str,
    op: &str,
    inputs: &[&str],
    outputs: &[&str],
    attributes: &[(&str, Attr)],
) -> Message {
    let mut node = Message::default();
    for input in inputs {
        node = node.bytes(1, input);
    }
    for output in outputs {
        node = node.bytes(2, output);
    }
    node = node.bytes(3, outputs[0]).bytes(4, op).bytes(7, domain);
    for (name, value) in attributes {
        node = node.bytes(5, value.encode(name));
    }
    node
}

/// A model with one graph, written in the order of the calls.
#[derive(Clone, Debug)]
pub struct OnnxBuilder {
    opset: i64,
    graph: Message,
    functions: Vec<FunctionBuilder>,
}

impl OnnxBuilder {
    /// A model of the given version of the default operator set.
    pub fn new(opset: i64) -> Self {
        Self {
            opset,
            graph: Message::default().bytes(2, "test"),
            functions: Vec::new(),
        }
    }

    /// A graph input of 32-bit floats.
    pub fn input<D: Copy + Into<Dim>>(&mut self, name: &str, dims: &[D]) -> &mut Self {
        self.value_info(11, name, dims, data_type::FLOAT)
    }

    /// A graph input of any element type.
    pub fn input_of<D: Copy + Into<Dim>>(
        &mut self,
        data_type: u64,
        name: &str,
        dims: &[D],
    ) -> &mut Self {
        self.value_info(11, name, dims, data_type)
    }

    /// A function that nodes may call.
    pub fn function(&mut self, function: FunctionBuilder) -> &mut Self {
        self.functions.push(function);
        self
    }

    /// A graph output of 32-bit floats without a declared shape.
    pub fn output(&mut self, name: &str) -> &mut Self {
        self.value_info::<i64>(12, name, &[], data_type::FLOAT)
    }

    /// An initialiser.
    pub fn tensor(&mut self, tensor: TensorProto) -> &mut Self {
        self.field(5, &tensor.0)
    }

    /// An initialiser of 32-bit floats.
    pub fn floats(&mut self, name: &str, dims: &[i64], data: &[f32]) -> &mut Self {
        self.tensor(TensorProto::floats(name, dims, data))
    }

    /// An initialiser of 64-bit integers with one axis.
    pub fn ints(&mut self, name: &str, data: &[i64]) -> &mut Self {
        self.tensor(TensorProto::ints(name, &[data.len() as i64], data))
    }

    /// A node with one output, both named `output`; an empty input name leaves an input out.
    pub fn node(
        &mut self,
        op: &str,
        inputs: &[&str],
        output: &str,
        attributes: &[(&str, Attr)],
    ) -> &mut Self {
        self.node_in("", op, inputs, &[output], attributes)
    }

    /// A node of any operator set with any outputs, named after its first output.
    pub fn node_in(
        &mut self,
        domain: &str,
        op: &str,
        inputs: &[&str],
        outputs: &[&str],
        attributes: &[(&str, Attr)],
    ) -> &mut Self {
        let node = encode_node(domain, op, inputs, outputs, attributes);
        self.field(1, &node)
    }

    /// The file.
    pub fn build(&self) -> Vec<u8> {
        let opset = Message::default().bytes(1, "").varint(2, self.opset as u64);
        let model = Message::default().varint(1, 8).bytes(8, opset);
        let functions = self.functions.iter();
        functions
            .fold(model.bytes(7, &self.graph), |model, function| {
                model.bytes(25, &function.0)
            })
            .0
    }

    fn value_info<D: Copy + Into<Dim>>(
        &mut self,
        field: u64,
        name: &str,
        dims: &[D],
        data_type: u64,
    ) -> &mut Self {
        let mut shape = Message::default();
        for dim in dims {
            let dim = match (*dim).into() {
                Dim::Fixed(extent) => Message::default().varint(1, extent as u64),
                Dim::Symbol(name) => Message::default().bytes(2, name),
            };
            shape = shape.bytes(1, dim);
        }
        let mut tensor = Message::default().varint(1, data_type);
        if !dims.is_empty() {
            tensor = tensor.bytes(2, shape);
        }
        let ty = Message::default().bytes(1, tensor);
        self.field(field, &Message::default().bytes(1, name).bytes(2, ty))
    }

    fn field(&mut self, field: u64, message: &Message) -> &mut Self {
        self.graph = std::mem::take(&mut self.graph).bytes(field, message);
        self
    }
}
