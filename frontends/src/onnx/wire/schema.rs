//! ONNX's schema, as far as it says what the parser makes of a field.

use onnx_protobuf as onnx;
use onnx_protobuf::{tensor_proto, tensor_shape_proto};

/// The messages of ONNX's schema.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Schema {
    Model,
    TrainingInfo,
    Function,
    Graph,
    Node,
    Attribute,
    Tensor,
    SparseTensor,
    ValueInfo,
    Annotation,
    Type,
    TensorType,
    ElementType,
    MapType,
    Shape,
    Dimension,
    Entry,
    OperatorSet,
    Segment,
}

/// What the parser makes of a field.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Field {
    /// A number in its message.
    Number,
    /// One of a vector of numbers of `size` bytes each.
    Numbers { size: usize },
    /// Many of them, of at least `width` bytes each in the file.
    Packed { size: usize, width: usize },
    /// A string or bytes.
    Text,
    /// One of a vector of strings or bytes.
    Texts,
    /// A string that is copied into messages and results.
    Name,
    /// One of a vector of those.
    Names,
    /// The raw elements of a tensor.
    Elements,
    /// A message.
    Message(Schema),
    /// One of a vector of messages.
    Messages(Schema),
    /// Something that the schema does not know.
    Unknown,
}

impl Schema {
    /// The memory of an empty message.
    pub(super) fn size(self) -> usize {
        match self {
            Self::Model => size_of::<onnx::ModelProto>(),
            Self::TrainingInfo => size_of::<onnx::TrainingInfoProto>(),
            Self::Function => size_of::<onnx::FunctionProto>(),
            Self::Graph => size_of::<onnx::GraphProto>(),
            Self::Node => size_of::<onnx::NodeProto>(),
            Self::Attribute => size_of::<onnx::AttributeProto>(),
            Self::Tensor => size_of::<onnx::TensorProto>(),
            Self::SparseTensor => size_of::<onnx::SparseTensorProto>(),
            Self::ValueInfo => size_of::<onnx::ValueInfoProto>(),
            Self::Annotation => size_of::<onnx::TensorAnnotation>(),
            // Those that a type may be lie in the type itself.
            Self::Type | Self::TensorType | Self::ElementType | Self::MapType => {
                size_of::<onnx::TypeProto>()
            }
            Self::Shape => size_of::<onnx::TensorShapeProto>(),
            Self::Dimension => size_of::<tensor_shape_proto::Dimension>(),
            Self::Entry => size_of::<onnx::StringStringEntryProto>(),
            Self::OperatorSet => size_of::<onnx::OperatorSetIdProto>(),
            Self::Segment => size_of::<tensor_proto::Segment>(),
        }
    }

    /// What the parser makes of a field of this number and wire type.
    pub(super) fn field(self, number: u64, wire_type: u64) -> Field {
        match wire_type {
            0 => self.varint(number),
            1 | 5 => self.fixed(number, wire_type),
            2 => self.delimited(number),
            _ => Field::Unknown,
        }
    }

    fn varint(self, number: u64) -> Field {
        use Schema::*;
        match (self, number) {
            (Model, 1 | 5)
            | (Attribute, 3 | 20)
            | (Tensor, 2 | 14)
            | (TensorType | MapType | Dimension, 1)
            | (OperatorSet, 2)
            | (Segment, 1 | 2) => Field::Number,
            (Attribute, 8) | (Tensor, 1 | 7 | 11) | (SparseTensor, 3) => Field::Numbers { size: 8 },
            (Tensor, 5) => Field::Numbers { size: 4 },
            _ => Field::Unknown,
        }
    }

    fn fixed(self, number: u64, wire_type: u64) -> Field {
        match (self, number, wire_type) {
            (Self::Attribute, 2, 5) => Field::Number,
            (Self::Attribute, 7, 5) | (Self::Tensor, 4, 5) => Field::Numbers { size: 4 },
            (Self::Tensor, 10, 1) => Field::Numbers { size: 8 },
            _ => Field::Unknown,
        }
    }

    fn delimited(self, number: u64) -> Field {
        use Field::{Elements, Message, Messages, Name, Names, Packed, Text, Texts};
        use Schema::*;
        match (self, number) {
            (Model, 7) => Message(Graph),
            (Model, 8) => Messages(OperatorSet),
            (Model, 14) => Messages(Entry),
            (Model, 20) => Messages(TrainingInfo),
            (Model, 25) => Messages(Function),
            (Model, 2..=4 | 6) => Text,
            (TrainingInfo, 1 | 2) => Message(Graph),
            (TrainingInfo, 3 | 4) => Messages(Entry),
            (Function, 4..=6) => Names,
            (Function, 7) => Messages(Node),
            (Function, 9) => Messages(OperatorSet),
            (Function, 11) => Messages(Attribute),
            (Function, 12) => Messages(ValueInfo),
            (Function, 14) => Messages(Entry),
            (Function, 1 | 8 | 10 | 13) => Text,
            (Graph, 1) => Messages(Node),
            (Graph, 5) => Messages(Tensor),
            (Graph, 11..=13) => Messages(ValueInfo),
            (Graph, 14) => Messages(Annotation),
            (Graph, 15) => Messages(SparseTensor),
            (Graph, 16) => Messages(Entry),
            (Graph, 2) => Name,
            (Graph, 10) => Text,
            (Node, 1 | 2) => Names,
            (Node, 3 | 4 | 7) => Name,
            (Node, 5) => Messages(Attribute),
            (Node, 9) => Messages(Entry),
            (Node, 6 | 8) => Text,
            (Attribute, 1) => Name,
            (Attribute, 5) => Message(Tensor),
            (Attribute, 6) => Message(Graph),
            (Attribute, 14) => Message(Type),
            (Attribute, 22) => Message(SparseTensor),
            (Attribute, 10) => Messages(Tensor),
            (Attribute, 11) => Messages(Graph),
            (Attribute, 15) => Messages(Type),
            (Attribute, 23) => Messages(SparseTensor),
            (Attribute, 7) => Packed { size: 4, width: 4 },
            (Attribute, 8) => Packed { size: 8, width: 1 },
            (Attribute, 9) => Texts,
            (Attribute, 4 | 13 | 21) => Text,
            (Tensor, 3) => Message(Segment),
            (Tensor, 13 | 16) => Messages(Entry),
            (Tensor, 4) => Packed { size: 4, width: 4 },
            (Tensor, 5) => Packed { size: 4, width: 1 },
            (Tensor, 1 | 7 | 11) => Packed { size: 8, width: 1 },
            (Tensor, 10) => Packed { size: 8, width: 8 },
            (Tensor, 6) => Texts,
            (Tensor, 8) => Name,
            (Tensor, 9) => Elements,
            (Tensor, 12) => Text,
            (SparseTensor, 1 | 2) => Message(Tensor),
            (SparseTensor, 3) => Packed { size: 8, width: 1 },
            (ValueInfo, 1) => Name,
            (ValueInfo, 2) => Message(Type),
            (ValueInfo, 3) => Text,
            (ValueInfo, 4) => Messages(Entry),
            (Annotation, 1) => Text,
            (Annotation, 2) => Messages(Entry),
            (Type, 1 | 8) => Message(TensorType),
            (Type, 4 | 9) => Message(ElementType),
            (Type, 5) => Message(MapType),
            (Type, 6) => Text,
            (TensorType, 2) => Message(Shape),
            (ElementType, 1) | (MapType, 2) => Message(Type),
            (Shape, 1) => Messages(Dimension),
            (Dimension, 2) => Name,
            (Dimension, 3) => Text,
            (Entry, 1 | 2) | (OperatorSet, 1) => Text,
            _ => Field::Unknown,
        }
    }
}
