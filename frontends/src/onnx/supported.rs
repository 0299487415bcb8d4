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
    row("Add", 7, "", "two values of one shape and axis order, or a value and a constant that is broadcast to it"),
    row("AveragePool", 7, "`kernel_shape`, `strides`, `pads`, `auto_pad`, `ceil_mode`, `count_include_pad`, `dilations`", "1-D and 2-D; pads smaller than the kernel"),
    row("BatchNormalization", 7, "`epsilon`", "evaluation mode; per channel; parameters constant"),
    row("Cast", 7, "`to`", "to float types"),
    row("CastLike", 15, "", "between float types; any constant"),
    row("Clip", 7, "`min`, `max`", "any constant bounds, either of them open; becomes gates of the sign polynomials"),
    row("Concat", 7, "`axis`", "along channels, height, width or features; values that depend on the image, and constants"),
    row("Conv", 7, "`kernel_shape`, `strides`, `pads`, `auto_pad`, `dilations`, `group`", "1-D and 2-D; kernel and bias constant; any kernel, groups and depthwise included"),
    row("Div", 7, "", "by a constant that is broadcast to the value"),
    row("Dropout", 7, "", "evaluation mode: the identity"),
    row("Erf", 9, "", "as part of a GELU written out"),
    row("Flatten", 7, "`axis`", "to a vector"),
    row("Gelu", 20, "`approximate`", ""),
    row("Gemm", 7, "`alpha`, `beta`, `transB`", "a vector times a constant matrix, with a constant bias"),
    row("GlobalAveragePool", 7, "", "1-D and 2-D"),
    row("GlobalMaxPool", 7, "", "1-D and 2-D; becomes ⌈log2 height⌉ + ⌈log2 width⌉ ReLUs"),
    row("HardSigmoid", 7, "`alpha`, `beta`", ""),
    row("HardSwish", 14, "", ""),
    row("Identity", 7, "", ""),
    row("LeakyRelu", 7, "`alpha`", ""),
    row("MatMul", 7, "", "of a vector and a constant matrix, in either order"),
    row("Max", 7, "", "of one value and a constant number"),
    row("MaxPool", 7, "`kernel_shape`, `strides`, `pads`, `auto_pad`, `ceil_mode`, `dilations`", "1-D and 2-D; first output only; becomes ⌈log2 k⌉ ReLUs an axis"),
    row("Min", 8, "", "of one value and a constant number"),
    row("Mul", 7, "", "by a constant that is broadcast to the value; two values where the product is SiLU, HardSwish, GELU or a square"),
    row("Neg", 7, "", ""),
    row("PRelu", 7, "", "slopes constant: one number, or one a channel or element"),
    row("Pad", 7, "`mode`, `pads`, `value`; as inputs since 11; axes since 18", "mode `constant` with 0; no cropping"),
    row("Pow", 7, "", "exponent 2; 3 as part of a GELU written out"),
    row("ReduceMean", 7, "`axes` (an input since 18), `keepdims`, `noop_with_empty_axes`", "over height, width or both"),
    row("Relu", 7, "", ""),
    row("Reshape", 7, "the shape, `allowzero`", "merges axes, inserts or removes extents of 1; splits none"),
    row("Shape", 7, "`start`, `end`", "is a constant"),
    row("Sigmoid", 7, "", ""),
    row("Size", 7, "", "is a constant"),
    row("Slice", 7, "`starts`, `ends`, `axes`; as inputs since 10, with steps", "forwards; one axis of channels, height or width behind each ONNX axis"),
    row("Split", 7, "`axis`, `split` (an input since 13), `num_outputs`", "along channels, height, width or features"),
    row("Squeeze", 7, "`axes` (an input since 13)", ""),
    row("Sub", 7, "", "as Add"),
    row("Sum", 7, "", "of one or two values"),
    row("Swish", 24, "`alpha`", ""),
    row("Tanh", 7, "", ""),
    row("Transpose", 7, "`perm`", "any, as long as every operator behind finds its axes"),
    row("Unsqueeze", 7, "`axes` (an input since 13)", ""),
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
