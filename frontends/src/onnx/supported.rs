//! The table of supported operators, as `docs/supported-ops.md` shows it.

use std::fmt::Write;

use super::{fold, opset};

/// What is supported of one operator on values that depend on the image.
pub(super) struct Row {
    /// The operator.
    pub(super) op: &'static str,
    /// The operator set that introduced it, where that is newer than the oldest that is read.
    pub(super) since: i64,
    /// Attributes, and inputs other than the image's value, that are read.
    pub(super) reads: &'static str,
    /// What is refused, or what it becomes.
    pub(super) limits: &'static str,
}

const fn row(op: &'static str, since: i64, reads: &'static str, limits: &'static str) -> Row {
    Row {
        op,
        since,
        reads,
        limits,
    }
}

/// One row for every builder, in the same order.
#[rustfmt::skip]
pub(super) const ROWS: &[Row] = &[
    row("Abs", 7, "", "one gate of the sign polynomials"),
    row("Add", 7, "", "two values, or a value and a constant, broadcast to each other"),
    row("AveragePool", 7, "`kernel_shape`, `strides`, `pads`, `auto_pad`, `ceil_mode`, `count_include_pad`, `dilations`", "1-D and 2-D; pads smaller than the kernel"),
    row("BatchNormalization", 7, "`epsilon`", "evaluation mode; per channel; parameters constant"),
    row("Cast", 7, "`to`", "to float types"),
    row("CastLike", 15, "", "between float types; any constant"),
    row("Celu", 12, "`alpha`", "`alpha` positive"),
    row("Clip", 7, "`min`, `max`", "any constant bounds, either of them open; becomes gates of the sign polynomials"),
    row("Concat", 7, "`axis`", "along any axis; values that depend on the image, and constants"),
    row("Conv", 7, "`kernel_shape`, `strides`, `pads`, `auto_pad`, `dilations`, `group`", "1-D and 2-D; kernel and bias constant; any kernel, groups and depthwise included"),
    row("CumSum", 11, "the axis, `exclusive`, `reverse`", ""),
    row("DepthToSpace", 7, "`blocksize`, `mode`", ""),
    row("Div", 7, "", "by a constant that is broadcast to the value, or by a value that is positive on all calibration images"),
    row("Dropout", 7, "", "evaluation mode: the identity"),
    row("Elu", 7, "`alpha`", "smooth where `alpha` is 1; else with a gate of the sign polynomials"),
    row("Erf", 9, "", ""),
    row("Exp", 7, "", "results on calibration images not far below those at the ends of the range"),
    row("Expand", 8, "the shape", ""),
    row("Flatten", 7, "`axis`", "to a vector"),
    row("Gather", 7, "`axis`", "indices constant"),
    row("GatherElements", 11, "`axis`", "indices constant"),
    row("GatherND", 11, "`batch_dims`", "indices constant"),
    row("Gelu", 20, "`approximate`", ""),
    row("Gemm", 7, "`alpha`, `beta`, `transB`", "a value times a constant matrix, with a constant bias"),
    row("GlobalAveragePool", 7, "", "1-D and 2-D"),
    row("GlobalMaxPool", 7, "", "1-D and 2-D; becomes ⌈log2 height⌉ + ⌈log2 width⌉ ReLUs, each of half as many elements as the one before"),
    row("HardSigmoid", 7, "`alpha`, `beta`", ""),
    row("HardSwish", 14, "", ""),
    row("Identity", 7, "", ""),
    row("LRN", 7, "`size`, `alpha`, `beta`, `bias`", "2-D; `bias` positive"),
    row("LeakyRelu", 7, "`alpha`", ""),
    row("Log", 7, "", "operands positive on all calibration images; any inside softplus, ln(1 + eˣ), or of a sigmoid"),
    row("MatMul", 7, "", "of a value and a constant matrix, in either order, at every position of the other axes"),
    row("Max", 7, "", "of values and constants that are broadcast to each other; a ReLU for each value but the first, and for a constant of several numbers"),
    row("MaxPool", 7, "`kernel_shape`, `strides`, `pads`, `auto_pad`, `ceil_mode`, `dilations`", "1-D and 2-D; first output only; becomes ⌈log2 k⌉ ReLUs an axis, or more of fewer elements; each ReLU takes only the positions of the stride: 3/4 of the map in all for k = 2 and stride 2, 3/2 for k = 3"),
    row("Mean", 8, "", "of any number of values and constants, broadcast to each other"),
    row("Min", 8, "", "as Max"),
    row("Mish", 18, "", "also written out: x·tanh(softplus(x))"),
    row("Mul", 7, "", "by a constant that is broadcast to the value, or of two values that are broadcast to each other; SiLU, HardSwish, GELU, Mish and powers are recognised"),
    row("Neg", 7, "", ""),
    row("PRelu", 7, "", "slopes constant: one number, or one a channel or element"),
    row("Pad", 7, "`mode`, `pads`, `value`; as inputs since 11; axes since 18", "any axes; negative pads take elements away"),
    row("Pow", 7, "", "one constant exponent: integers from 0 to 1023, others where operands are positive on all calibration images; or one positive constant base"),
    row("Reciprocal", 7, "", "operands positive on all calibration images; any inside a sigmoid, 1/(1 + e⁻ˣ)"),
    row("ReduceMax", 7, "`axes` (an input since 18), `keepdims`, `noop_with_empty_axes`", "over any axes; becomes ⌈log2 k⌉ ReLUs an axis"),
    row("ReduceMean", 7, "`axes` (an input since 18), `keepdims`, `noop_with_empty_axes`", "over any axes"),
    row("ReduceMin", 7, "`axes` (an input since 18), `keepdims`, `noop_with_empty_axes`", "as ReduceMax"),
    row("ReduceSum", 7, "`axes` (an input since 13), `keepdims`, `noop_with_empty_axes`", "over any axes"),
    row("ReduceSumSquare", 7, "`axes` (an input since 18), `keepdims`, `noop_with_empty_axes`", "over any axes"),
    row("Relu", 7, "", ""),
    row("Reshape", 7, "the shape, `allowzero`", "any constant shape"),
    row("Resize", 10, "`mode`, `coordinate_transformation_mode`, `nearest_mode`, `cubic_coeff_a`, `exclude_outside`, `extrapolation_value`, `keep_aspect_ratio_policy`, `axes`; factors or sizes", "factors or sizes constant; no `antialias` where a value shrinks"),
    row("Selu", 7, "`alpha`, `gamma`", "as Elu"),
    row("Shape", 7, "`start`, `end`", "is a constant"),
    row("Shrink", 9, "`lambd`, `bias`", "`lambd` not negative; jumps where both differ, as ThresholdedRelu"),
    row("Sigmoid", 7, "", ""),
    row("Size", 7, "", "is a constant"),
    row("Slice", 7, "`starts`, `ends`, `axes`; as inputs since 10, with steps", "along any axes, backwards too"),
    row("Softplus", 7, "", ""),
    row("Softsign", 7, "", "also written out: x/(1 + \\|x\\|)"),
    row("SpaceToDepth", 7, "`blocksize`", ""),
    row("Split", 7, "`axis`, `split` (an input since 13), `num_outputs`", "along any axis"),
    row("Sqrt", 7, "", "operands positive on all calibration images"),
    row("Squeeze", 7, "`axes` (an input since 13)", ""),
    row("Sub", 7, "", "as Add"),
    row("Sum", 7, "", "of any number of values and constants, broadcast to each other"),
    row("Swish", 24, "`alpha`", ""),
    row("Tanh", 7, "", ""),
    row("ThresholdedRelu", 10, "`alpha`", "jumps: a note says how close to the threshold a result is wrong"),
    row("Tile", 7, "the repeats", "repeats constant"),
    row("Transpose", 7, "`perm`", "any; elements move only where an operator needs them to"),
    row("Unsqueeze", 7, "`axes` (an input since 13)", ""),
    row("Upsample", 7, "`mode`, `scales` (an input since 9)", "factors constant; until operator set 9"),
];

/// The supported operators as a Markdown page: those on values that depend on the image with what
/// is read and refused, those that end a network, and those that are evaluated on constants.
pub fn supported_operators() -> String {
    let mut page = format!(
        "# Supported operators\n\n\
         Of the default ONNX operator set, versions {} and newer; {} is the newest that is known, and a\n\
         newer one is read as that. Every attribute that is not listed is refused by name unless it has\n\
         no bearing on inference. The table is generated: `INSTA_UPDATE=always cargo test -p\n\
         heddle-frontends --lib supported` writes it anew.\n\n\
         ## On values that depend on the image\n\n\
         | Operator | Operator set | Reads | Restrictions |\n|---|---|---|---|\n",
        opset::OLDEST,
        opset::NEWEST,
    );
    for Row {
        op,
        since,
        reads,
        limits,
    } in ROWS
    {
        let _ = writeln!(page, "| {op} | {since}+ | {reads} | {limits} |");
    }
    let constant: Vec<&str> = fold::operators().collect();
    let _ = write!(
        page,
        "\n## At the end of a network\n\n\
         {} are cut off, with a note: the client gets logits.\n\n\
         ## On constants\n\n\
         Evaluated at import, as far as their operands are known without an image: {}.\n\n\
         ## Inputs and weights\n\n\
         One image `[batch, channels, height, width]` or `[batch, height, width, channels]` of numbers,\n\
         a grey one `[batch, height, width]`, a signal `[batch, channels, time]`, or a vector\n\
         `[batch, features]`; batch 1 or dynamic. Extents that are open are given on the command line,\n\
         other inputs as constants; see [models.md](models.md). Weights are float16, bfloat16, float32\n\
         or float64, or integers with DequantizeLinear, in the file or as external data beside it.\n\n\
         ## Functions and other domains\n\n\
         Functions of the model's own are expanded. Of the domain `com.microsoft`, FusedConv, FusedGemm,\n\
         Gelu, FastGelu, QuickGelu and BiasGelu are read as the standard operators that they replace.\n\n\
         ## Refused\n\n\
         Control flow (If, Loop, Scan), recurrent layers (LSTM, GRU, RNN), quantised values (QLinear…,\n\
         QuantizeLinear, …Integer, DequantizeLinear but of constants), other operator domains. An import\n\
         names every node that stands in the way, in one report.\n",
        opset::FINAL.join(", "),
        constant.join(", "),
    );
    page
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::ops;

    #[test]
    fn supported_operators_have_a_row_each() {
        let rows: Vec<&str> = ROWS.iter().map(|row| row.op).collect();
        let mut builders: Vec<&str> = ops::BUILDERS.iter().map(|(op, _)| *op).collect();
        builders.extend(ops::SPLITTERS.iter().map(|(op, _)| *op));
        builders.sort_unstable();
        assert_eq!(rows, builders);
    }

    #[test]
    fn supported_operators_are_those_of_the_page() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/supported-ops.md");
        let page = supported_operators();
        if std::env::var("INSTA_UPDATE").is_ok_and(|mode| mode == "always") {
            std::fs::write(path, &page).unwrap();
        }
        let found = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            found == page,
            "docs/supported-ops.md is not what the table gives; INSTA_UPDATE=always writes it anew"
        );
    }
}
