//! What a file stores in place of plain nodes and weights: functions, fused operators, integers with
//! a scale.

use super::*;

#[test]
fn functions_are_expanded() {
    let mut m = OnnxBuilder::new(13);
    m.input("x", &[1_i64, 4]).output("y");
    m.floats("two", &[], &[2.0]);
    // A function with an attribute, one with a default, and one that calls another.
    let leak = |name| Attr::Reference(name, 1);
    m.function(
        FunctionBuilder::new("own", "Act", &["a"], &["b"], &["alpha"])
            .opset(13)
            .node("", "LeakyRelu", &["a"], "b", &[("alpha", leak("alpha"))]),
    )
    .function(
        FunctionBuilder::new("own", "Half", &["a"], &["b"], &[])
            .default("slope", &Attr::Float(0.5))
            .node("own", "Act", &["a"], "b", &[("alpha", leak("slope"))]),
    )
    .function(
        FunctionBuilder::new("own", "Twice", &["a", "by"], &["out", "a"], &[])
            .node("own", "Half", &["a"], "t", &[])
            .node("", "Mul", &["t", "by"], "out", &[]),
    )
    .node_in("own", "Twice", &["x", "two"], &["p", "same"], &[])
    .node_in(
        "own",
        "Act",
        &["same"],
        &["q"],
        &[("alpha", Attr::Float(0.25))],
    )
    // Without the attribute the operator's default holds.
    .node_in("own", "Act", &["q"], &["r"], &[])
    .node("Add", &["p", "r"], "y", &[]);
    let model = import(&m.build(), &ImportOptions::default());
    let x = [1.0, -1.0, 4.0, -4.0];
    let leaky = |x: f32, slope: f32| if x < 0.0 { slope * x } else { x };
    let wanted: Vec<f32> = x
        .iter()
        .map(|x| 2.0 * leaky(*x, 0.5) + leaky(leaky(*x, 0.25), 0.01))
        .collect();
    check(&model, &x, &wanted);
}

#[test]
fn functions_that_cannot_be_expanded_are_refused() {
    let build = |functions: &[FunctionBuilder], attributes: &[(&str, Attr)]| {
        let mut m = OnnxBuilder::new(13);
        m.input("x", &[1_i64, 4]).output("y");
        functions.iter().for_each(|function| {
            m.function(function.clone());
        });
        m.node_in("own", "F", &["x"], &["y"], attributes);
        m.build()
    };
    let function = |name: &str, calls: &str| {
        FunctionBuilder::new("own", name, &["a"], &["b"], &[]).node("own", calls, &["a"], "b", &[])
    };
    let relu = FunctionBuilder::new("own", "F", &["a"], &["b"], &[]);
    let options = ImportOptions::default();
    let text = said(&build(&[function("F", "F")], &[]), &options);
    assert!(text.contains("`F` calls itself"), "{text}");
    let text = said(
        &build(&[function("F", "G"), function("G", "F")], &[]),
        &options,
    );
    assert!(text.contains("`F` calls itself"), "{text}");
    let deep: Vec<FunctionBuilder> = (0..100)
        .map(|index| match index {
            0 => function("F", "F1"),
            _ => function(&format!("F{index}"), &format!("F{}", index + 1)),
        })
        .collect();
    let text = said(&build(&deep, &[]), &options);
    assert!(text.contains("more than 64 deep"), "{text}");
    let none = relu.clone().node("", "Relu", &["a"], "b", &[]);
    let text = said(&build(&[none], &[("odd", Attr::Int(1))]), &options);
    assert!(
        text.contains("attribute `odd` is none of the function `F`"),
        "{text}"
    );
    let old = relu.clone().opset(6).node("", "Relu", &["a"], "b", &[]);
    assert!(said(&build(&[old], &[]), &options).contains("operator set 6 is too old"));
    let unknown = relu.node("", "Odd", &["a"], "b", &[]);
    let text = said(&build(&[unknown], &[]), &options);
    assert!(
        text.contains("Odd  `y/b`  this operator is not supported"),
        "{text}"
    );
}

#[test]
fn functions_that_grow_without_bound_are_refused() {
    let mut m = OnnxBuilder::new(13);
    m.input("x", &[1_i64, 4]).output("y");
    for level in 0..40 {
        let (name, inner) = (format!("F{level}"), format!("F{}", level + 1));
        let call =
            |function: FunctionBuilder, from, to| function.node("own", &inner, &[from], to, &[]);
        let empty = FunctionBuilder::new("own", &name, &["a"], &["b"], &[]);
        m.function(call(call(empty, "a", "t"), "t", "b"));
    }
    m.node_in("own", "F0", &["x"], &["y"], &[]);
    let text = said(&m.build(), &ImportOptions::default());
    assert!(text.contains("beyond what the file holds"), "{text}");
}

#[test]
fn fused_operators_of_onnx_runtime_are_read() {
    let fused = |op: &str, inputs: &[&str], attributes: &[(&str, Attr)]| {
        let mut m = OnnxBuilder::new(17);
        m.input("x", &[1_i64, 2, 1, 2]).output("y");
        m.floats("w", &[2, 2, 1, 1], &[1.0, 2.0, -1.0, 1.0])
            .floats("b", &[2], &[0.5, -0.5])
            .floats("shift", &[2], &[0.25, 0.5])
            .node_in("com.microsoft", op, inputs, &["y"], attributes);
        m.build()
    };
    let plain = |nodes: &dyn Fn(&mut OnnxBuilder)| {
        let mut m = OnnxBuilder::new(17);
        m.input("x", &[1_i64, 2, 1, 2]).output("y");
        m.floats("w", &[2, 2, 1, 1], &[1.0, 2.0, -1.0, 1.0])
            .floats("b", &[2], &[0.5, -0.5])
            .floats("shift", &[2], &[0.25, 0.5]);
        nodes(&mut m);
        m.build()
    };
    let name = |name: &'static str| ("activation", Attr::Str(name));
    let parameters = |list: &[f32]| ("activation_params", Attr::Floats(list.to_vec()));
    let conv = |m: &mut OnnxBuilder| {
        m.node("Conv", &["x", "w", "b"], "c", &[]);
    };
    let cases: Vec<(Vec<u8>, Vec<u8>)> = vec![
        (
            fused("FusedConv", &["x", "w", "b"], &[name("Relu")]),
            plain(&|m| {
                conv(m);
                m.node("Relu", &["c"], "y", &[]);
            }),
        ),
        (
            fused(
                "FusedConv",
                &["x", "w", "b", "x"],
                &[name("LeakyRelu"), parameters(&[0.3])],
            ),
            plain(&|m| {
                conv(m);
                m.node("Add", &["c", "x"], "s", &[]).node(
                    "LeakyRelu",
                    &["s"],
                    "y",
                    &[("alpha", Attr::Float(0.3))],
                );
            }),
        ),
        (
            fused(
                "FusedConv",
                &["x", "w", "b"],
                &[name("Clip"), parameters(&[-0.5, 0.75])],
            ),
            plain(&|m| {
                conv(m);
                m.floats("low", &[], &[-0.5])
                    .floats("high", &[], &[0.75])
                    .node("Clip", &["c", "low", "high"], "y", &[]);
            }),
        ),
        (
            fused("Gelu", &["x"], &[]),
            plain(&|m| {
                m.node("Gelu", &["x"], "y", &[]);
            }),
        ),
        (
            fused("QuickGelu", &["x"], &[]),
            plain(&|m| {
                m.node("Swish", &["x"], "y", &[("alpha", Attr::Float(1.702))]);
            }),
        ),
        (
            fused("BiasGelu", &["x", "shift"], &[]),
            plain(&|m| {
                m.node("Add", &["x", "shift"], "s", &[])
                    .node("Gelu", &["s"], "y", &[]);
            }),
        ),
    ];
    let image = ramp(4);
    for (fused, plain) in cases {
        let options = ImportOptions::default();
        let wanted = eval::nn::run(&import(&plain, &options), &image).unwrap();
        check(&import(&fused, &options), &image, &wanted);
    }
    let text = said(
        &fused("FusedConv", &["x", "w", "b"], &[name("Odd")]),
        &ImportOptions::default(),
    );
    assert!(
        text.contains("its activation `Odd` is not supported"),
        "{text}"
    );
    let text = said(&fused("Attention", &["x"], &[]), &ImportOptions::default());
    assert!(
        text.contains("`Attention` of ONNX Runtime is not supported"),
        "{text}"
    );
}

#[test]
fn fused_matrix_products_are_read() {
    let mut m = OnnxBuilder::new(17);
    m.input("x", &[1_i64, 2]).output("y");
    let attributes = [
        ("transB", Attr::Int(1)),
        ("alpha", Attr::Float(2.0)),
        ("activation", Attr::Str("LeakyRelu")),
        ("activation_alpha", Attr::Float(0.5)),
    ];
    m.floats("w", &[2, 2], &[1.0, 2.0, -1.0, 1.0])
        .floats("b", &[2], &[0.5, -0.5])
        .node_in(
            "com.microsoft",
            "FusedGemm",
            &["x", "w", "b"],
            &["y"],
            &attributes,
        );
    let model = import(&m.build(), &ImportOptions::default());
    // 2·(1 + 2·3) + 0.5 and 2·(−1 + 3) − 0.5 are positive and stay; negative ones are halved.
    check(&model, &[1.0, 3.0], &[14.5, 3.5]);
    check(&model, &[1.0, -3.0], &[-4.75, -4.25]);
}

#[test]
fn weights_stored_as_integers_are_read() {
    // Every number of the matrix by hand: (integer − zero)·scale.
    let model = |kind: u64,
                 dims: &[i64],
                 raw: &[u8],
                 scale: (&[i64], &[f32]),
                 zero: Option<&[u8]>,
                 more: &[(&str, Attr)]| {
        let mut m = OnnxBuilder::new(21);
        m.input("x", &[1_i64, 4]).output("y");
        m.tensor(TensorProto::raw("q", dims, kind, raw))
            .floats("scale", scale.0, scale.1);
        let mut inputs = vec!["q", "scale"];
        if let Some(zero) = zero {
            m.tensor(TensorProto::raw("zero", scale.0, kind, zero));
            inputs.push("zero");
        }
        m.node("DequantizeLinear", &inputs, "w", more)
            .node("Gemm", &["x", "w"], "y", &[]);
        m.build()
    };
    let rows = |matrix: [[f32; 2]; 4]| -> Vec<f32> {
        let x = [1.0, 10.0, 100.0, 1000.0];
        (0..2)
            .map(|column| (0..4).map(|row| x[row] * matrix[row][column]).sum())
            .collect()
    };
    let bytes = [1_i8, -2, 3, 4, -5, 6, 7, -8].map(|x| x as u8);
    let options = ImportOptions::default();
    let x = [1.0, 10.0, 100.0, 1000.0];
    let whole = model(
        data_type::INT8,
        &[4, 2],
        &bytes,
        (&[], &[0.5]),
        Some(&[1]),
        &[],
    );
    let wanted = rows([[0.0, -1.5], [1.0, 1.5], [-3.0, 2.5], [3.0, -4.5]]);
    check(&import(&whole, &options), &x, &wanted);
    let columns = model(
        data_type::UINT8,
        &[4, 2],
        &[1, 2, 3, 4, 5, 6, 7, 200],
        (&[2], &[0.5, 2.0]),
        Some(&[1, 4]),
        &[("axis", Attr::Int(-1))],
    );
    let wanted = rows([[0.0, -4.0], [1.0, 0.0], [2.0, 4.0], [3.0, 392.0]]);
    check(&import(&columns, &options), &x, &wanted);
    let lines = model(
        data_type::INT8,
        &[4, 2],
        &bytes,
        (&[4], &[1.0, 2.0, 3.0, 4.0]),
        None,
        &[("axis", Attr::Int(0))],
    );
    let wanted = rows([[1.0, -2.0], [6.0, 8.0], [-15.0, 18.0], [28.0, -32.0]]);
    check(&import(&lines, &options), &x, &wanted);
    // Halves of bytes, the lower first; blocks of three rows, the last one short.
    for (kind, last) in [(data_type::INT4, -8.0), (data_type::UINT4, 8.0)] {
        let blocks = model(
            kind,
            &[4, 2],
            &[0x21, 0x43, 0x65, 0x87],
            (&[2, 2], &[1.0, 2.0, 10.0, 20.0]),
            None,
            &[("axis", Attr::Int(0)), ("block_size", Attr::Int(3))],
        );
        let wanted = rows([[1.0, 4.0], [3.0, 8.0], [5.0, 12.0], [70.0, 20.0 * last]]);
        check(&import(&blocks, &options), &x, &wanted);
    }
    for (scale, more, words) in [
        (
            (&[3][..], &[1.0; 3][..]),
            ("axis", Attr::Int(0)),
            "does not fit `q`",
        ),
        (
            (&[4][..], &[1.0; 4][..]),
            ("axis", Attr::Int(7)),
            "axis 7 does not exist",
        ),
        (
            (&[2, 2][..], &[1.0; 4][..]),
            ("block_size", Attr::Int(3)),
            "does not fit `q`",
        ),
        (
            (&[2, 2][..], &[1.0; 4][..]),
            ("block_size", Attr::Int(-3)),
            "`block_size` is -3",
        ),
    ] {
        let bytes = model(data_type::INT8, &[4, 2], &bytes, scale, None, &[more]);
        let text = said(&bytes, &options);
        assert!(text.contains(words), "{text}");
    }
    let short = model(data_type::INT4, &[4, 2], &[0x21], (&[], &[1.0]), None, &[]);
    assert!(said(&short, &options).contains("half a byte"));
}

#[test]
fn quantised_values_are_one_problem_a_pair() {
    let mut m = OnnxBuilder::new(13);
    m.input("x", &[1_i64, 2, 2, 2]).output("y");
    m.floats("scale", &[], &[0.5])
        .tensor(TensorProto::raw("zero", &[], data_type::INT8, &[0]))
        .node("QuantizeLinear", &["x", "scale", "zero"], "q", &[])
        .node("DequantizeLinear", &["q", "scale", "zero"], "d", &[])
        .node("NonZero", &["d"], "n", &[])
        .node("Relu", &["d"], "y", &[]);
    let text = said(&m.build(), &ImportOptions::default());
    assert!(
        text.contains("1 problem\n  QuantizeLinear  `q`  quantised values"),
        "{text}"
    );
}
