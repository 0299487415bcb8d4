//! Versions of the default operator set, and why an operator is refused.

use onnx_protobuf::ModelProto;

/// Oldest version that is read.
pub(super) const OLDEST: i64 = 7;

/// Newest version whose operators are known; a newer one is read as this one, with a note.
pub(super) const NEWEST: i64 = 28;

/// Operators that are cut off at the end of a network.
pub(super) const FINAL: [&str; 3] = ["Softmax", "LogSoftmax", "ArgMax"];

/// The domain of the fused operators that ONNX Runtime's optimiser writes.
pub(super) const FUSED: &str = "com.microsoft";

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
    readable(version)?;
    Ok(version)
}

/// The version that one is read as.
pub(super) fn readable(version: i64) -> Result<i64, String> {
    if version < OLDEST {
        return Err(format!(
            "operator set {version} is too old; {OLDEST} and newer are read (convert it with \
             `onnx.version_converter`)"
        ));
    }
    Ok(version.min(NEWEST))
}

/// Why an operator that is evaluated on constants is refused on a value that depends on the image.
pub(super) fn refusal_on_image(op: &str) -> String {
    match op {
        "DequantizeLinear" => refusal("", op),
        _ => "supported on constants only, but depends on the image".into(),
    }
}

/// Operators whose result has the shape of their first input, for as far as a report looks behind
/// one that is not supported.
pub(super) const SHAPE_KEEPING: &[&str] = &[
    "InstanceNormalization",
    "LogSoftmax",
    "QuantizeLinear",
    "Softmax",
];

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
        return "quantised values are not supported; export the network in float32 before quantisation \
                (weights alone may be quantised: DequantizeLinear of constants)"
            .into();
    }
    if domain == "ai.onnx.ml" {
        return "operators of `ai.onnx.ml` (trees, linear models, scalers) are not supported; \
                convolutional networks are"
            .into();
    }
    if domain == FUSED {
        return format!(
            "`{op}` of ONNX Runtime is not supported; export the network without optimising it \
             with ONNX Runtime (its optimised files are for that runtime alone)"
        );
    }
    if !is_default(domain) {
        return format!(
            "operators of the domain `{domain}` are not supported; export with standard ONNX \
             operators only"
        );
    }
    match op {
        "If" | "Loop" | "Scan" | "SequenceMap" => {
            "control flow is not supported; export the network by tracing it with one image, so that \
             branches are decided and loops unrolled"
                .into()
        }
        "LSTM" | "GRU" | "RNN" => {
            "recurrent layers are not supported; replace them with convolutions, or run them on the \
             client behind the encrypted part"
                .into()
        }
        "Sign" => {
            "the sign jumps at 0, where the values of a network lie, and polynomials do not; use \
             Tanh of a multiple, or HardSigmoid"
                .into()
        }
        _ if FINAL.contains(&op) => {
            "supported only as the last operation, where it is cut".into()
        }
        _ => "this operator is not supported; docs/supported-ops.md lists those that are".into(),
    }
}
