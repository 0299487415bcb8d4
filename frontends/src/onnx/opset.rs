//! Versions of the default operator set, and why an operator is refused.

use onnx_protobuf::ModelProto;

/// Oldest version that is read.
pub(super) const OLDEST: i64 = 7;

/// Newest version whose operators are known; a newer one is read as this one, with a note.
pub(super) const NEWEST: i64 = 28;

/// Whether a domain is that of the default operator set.
pub(super) fn is_default(domain: &str) -> bool {
    matches!(domain, "" | "ai.onnx")
}

/// The version of the default operator set that a model asks for.
pub(super) fn version(model: &ModelProto) -> Result<i64, String> {
    let version = model
        .opset_import
        .iter()
        .filter(|opset| is_default(&opset.domain))
        .map(|opset| opset.version)
        .max()
        .ok_or("no version of the default operator set is declared")?;
    if version < OLDEST {
        return Err(format!(
            "operator set {version} is too old; {OLDEST} and newer are read (convert it with \
             `onnx.version_converter`)"
        ));
    }
    Ok(version)
}

/// Why an operator without a builder is refused.
pub(super) fn refusal(domain: &str, op: &str) -> String {
    let quantized = [
        "QLinear",
        "Quantize",
        "Dequantize",
        "DynamicQuantize",
        "QGemm",
        "QAttention",
    ];
    if quantized.iter().any(|prefix| op.starts_with(prefix)) || op.ends_with("Integer") {
        return "quantised models are not supported; export the network in float32".into();
    }
    if !is_default(domain) {
        return format!(
            "operators of the domain `{domain}` are not supported; export with standard ONNX \
             operators only"
        );
    }
    match op {
        "If" | "Loop" | "Scan" | "SequenceMap" => {
            "control flow is not supported; export the network with its branches resolved".into()
        }
        "LSTM" | "GRU" | "RNN" => {
            "recurrent layers are not supported; only feed-forward convolutional networks are"
                .into()
        }
        "MaxPool" | "GlobalMaxPool" => {
            "max pooling is not supported; use average pooling or a strided convolution".into()
        }
        "Elu" | "Selu" | "Softplus" | "Mish" | "Celu" | "ThresholdedRelu" | "Softsign" => {
            "this activation is not supported; Relu, LeakyRelu, PRelu, Clip, Sigmoid, Tanh, \
             HardSigmoid, HardSwish, Swish and Gelu are"
                .into()
        }
        "Softmax" | "LogSoftmax" | "ArgMax" => {
            "supported only as the last operation, where it is cut".into()
        }
        _ => "this operator is not supported".into(),
    }
}
