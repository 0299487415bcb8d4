//! Fused operators that ONNX Runtime's optimiser writes, as the standard operators they replace.

use onnx_protobuf::attribute_proto::AttributeType;
use onnx_protobuf::{AttributeProto, NodeProto};

use super::Expander;
use crate::onnx::import::node_name;
use crate::onnx::opset::NEWEST;

/// The operator set in which Clip takes its bounds as attributes.
const CLIP_BY_ATTRIBUTES: i64 = 10;

impl Expander<'_, '_> {
    /// Appends what a fused operator stands for; `false` if it is none that is known.
    pub(super) fn fused(&mut self, node: &NodeProto, opset: i64) -> Result<bool, String> {
        match node.op_type.as_str() {
            "Gelu" => self.push(standard(node, "Gelu"), NEWEST)?,
            "QuickGelu" => {
                let mut swish = standard(node, "Swish");
                if !has(&swish, "alpha") {
                    swish.attribute.push(float("alpha", 1.702));
                }
                self.push(swish, NEWEST)?;
            }
            "BiasGelu" => self.gelu_of_sum(node, None)?,
            "FastGelu" => self.gelu_of_sum(node, Some("tanh"))?,
            "FusedConv" => self.with_activation(node, opset, "Conv", 3)?,
            "FusedGemm" => self.with_activation(node, opset, "Gemm", usize::MAX)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Gelu of the sum of both inputs, or of the only one.
    fn gelu_of_sum(&mut self, node: &NodeProto, form: Option<&str>) -> Result<(), String> {
        let mut gelu = standard(node, "Gelu");
        if let Some(form) = form {
            let mut attribute = attribute("approximate", AttributeType::STRING);
            attribute.s = form.into();
            gelu.attribute.push(attribute);
        }
        if gelu.input.get(1).is_some_and(|bias| !bias.is_empty()) {
            let inputs = std::mem::take(&mut gelu.input);
            gelu.input = vec![self.inner(node, "Add", inputs, Vec::new(), NEWEST)?];
        }
        self.push(gelu, NEWEST)
    }

    /// A linear operator, a sum with the input `summand` where there is one, and an activation.
    fn with_activation(
        &mut self,
        node: &NodeProto,
        opset: i64,
        linear: &str,
        summand: usize,
    ) -> Result<(), String> {
        let (own, others): (Vec<AttributeProto>, Vec<AttributeProto>) = node
            .attribute
            .iter()
            .cloned()
            .partition(|attribute| attribute.name.starts_with("activation"));
        let mut inputs = node.input.clone();
        let added = match inputs.len() > summand {
            true => inputs.remove(summand),
            false => String::new(),
        };
        let mut last = self.inner(node, linear, inputs, others, opset)?;
        if !added.is_empty() {
            last = self.inner(node, "Add", vec![last, added], Vec::new(), opset)?;
        }
        let (op, parameters, opset) = activation(&own, opset)?;
        let mut activated = standard(node, op);
        activated.input = vec![last];
        activated.attribute = parameters;
        self.push(activated, opset)
    }

    /// Appends a node that only another one made of `node` reads, and returns its value's name.
    fn inner(
        &mut self,
        node: &NodeProto,
        op: &str,
        inputs: Vec<String>,
        attributes: Vec<AttributeProto>,
        opset: i64,
    ) -> Result<String, String> {
        let mut inner = NodeProto::new();
        inner.op_type = op.into();
        inner.input = inputs;
        inner.attribute = attributes;
        let name = self.name(node_name(node), op)?;
        inner.name.clone_from(&name);
        inner.output = vec![name.clone()];
        self.push(inner, opset)?;
        Ok(name)
    }
}

/// The same node as an operator of the default operator set.
fn standard(node: &NodeProto, op: &str) -> NodeProto {
    let mut node = node.clone();
    node.domain.clear();
    node.op_type = op.into();
    node
}

/// The operator, its attributes and its operator set for `activation` and what belongs to it.
fn activation(
    attributes: &[AttributeProto],
    opset: i64,
) -> Result<(&'static str, Vec<AttributeProto>, i64), String> {
    let find = |name: &str| attributes.iter().find(|attribute| attribute.name == name);
    let name = match find("activation").map(|attribute| std::str::from_utf8(&attribute.s)) {
        None => "",
        Some(Ok(name)) => name,
        Some(Err(_)) => return Err("attribute `activation` is not text".into()),
    };
    // FusedConv has a list of parameters, FusedGemm an attribute for each.
    let listed = find("activation_params").map_or(&[][..], |attribute| &attribute.floats);
    let parameter = |index: usize, own: &str| {
        let own = find(own).map(|attribute| attribute.f);
        own.or_else(|| listed.get(index).copied())
    };
    let (op, names): (_, &[&str]) = match name {
        "" => ("Identity", &[]),
        "Relu" => ("Relu", &[]),
        "Sigmoid" => ("Sigmoid", &[]),
        "Tanh" => ("Tanh", &[]),
        "LeakyRelu" => ("LeakyRelu", &["alpha"]),
        "HardSigmoid" => ("HardSigmoid", &["alpha", "beta"]),
        "Clip" => ("Clip", &["min", "max"]),
        other => {
            return Err(format!(
                "its activation `{other}` is not supported; Relu, LeakyRelu, Clip, Sigmoid, \
                 HardSigmoid and Tanh are"
            ));
        }
    };
    let own = ["activation_alpha", "activation_beta"];
    let parameters = names.iter().zip(own).enumerate();
    let parameters = parameters
        .filter_map(|(index, (name, own))| parameter(index, own).map(|value| float(name, value)));
    let opset = match op {
        "Clip" => CLIP_BY_ATTRIBUTES,
        _ => opset,
    };
    Ok((op, parameters.collect(), opset))
}

fn has(node: &NodeProto, name: &str) -> bool {
    let mut attributes = node.attribute.iter();
    attributes.any(|attribute| attribute.name == name)
}

fn attribute(name: &str, kind: AttributeType) -> AttributeProto {
    let mut attribute = AttributeProto::new();
    attribute.name = name.into();
    attribute.type_ = kind.into();
    attribute
}

fn float(name: &str, value: f32) -> AttributeProto {
    let mut attribute = attribute(name, AttributeType::FLOAT);
    attribute.f = value;
    attribute
}
