//! What people's files look like at their ends: several inputs and outputs, open extents, integers,
//! axis orders, functions, weights stored as integers.

use heddle_frontends::Error;
use heddle_frontends::onnx::{FixedInput, ImportOptions, import_bytes};
use heddle_ir::eval;
use heddle_ir::nn::{AxisOrder, Model};
use heddle_tests::onnx_builder::{Attr, Dim, FunctionBuilder, OnnxBuilder, TensorProto, data_type};

#[path = "interface/stored.rs"]
mod stored;

/// Numbers between −1 and 1 that repeat late.
fn ramp(len: usize) -> Vec<f32> {
    (0..len)
        .map(|i| ((i * 37 + 11) % 101) as f32 / 50.0 - 1.0)
        .collect()
}

fn import(bytes: &[u8], options: &ImportOptions) -> Model {
    import_bytes("m", bytes, options).unwrap_or_else(|error| panic!("{error}"))
}

/// What the importer says against a model, subjects included.
fn said(bytes: &[u8], options: &ImportOptions) -> String {
    match import_bytes("m", bytes, options) {
        Err(error @ Error::Unsupported { .. }) => error.to_string(),
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("it was imported"),
    }
}

#[track_caller]
fn check(model: &Model, image: &[f32], wanted: &[f32]) {
    let found = eval::nn::run(model, image).unwrap();
    assert_eq!(found.len(), wanted.len());
    for (found, wanted) in found.iter().zip(wanted) {
        assert!((found - wanted).abs() < 1e-5, "{found} {wanted}");
    }
}

/// Options that fix one input.
fn fixed(input: &str, shape: &[usize], elements: &[f64]) -> ImportOptions {
    ImportOptions {
        fixed_inputs: vec![FixedInput {
            input: input.into(),
            shape: shape.to_vec(),
            elements: elements.to_vec(),
        }],
        ..ImportOptions::default()
    }
}

fn shaped(text: &str) -> ImportOptions {
    ImportOptions {
        input_shapes: vec![text.parse().unwrap()],
        ..ImportOptions::default()
    }
}

fn output(name: &str) -> ImportOptions {
    ImportOptions {
        output: Some(name.into()),
        ..ImportOptions::default()
    }
}

/// A model with two outputs, `a` of `[1, 2]` and the probabilities `p` of `[1, 8]`.
fn two_outputs(also: impl FnOnce(&mut OnnxBuilder)) -> Vec<u8> {
    let mut m = OnnxBuilder::new(13);
    m.input("x", &[1_i64, 2, 2, 2]).output("a").output("p");
    m.node("GlobalAveragePool", &["x"], "g", &[])
        .node("Flatten", &["g"], "a", &[])
        .node("Relu", &["x"], "r", &[])
        .node("Flatten", &["r"], "f", &[])
        .node("Softmax", &["f"], "p", &[]);
    also(&mut m);
    m.build()
}

#[test]
fn one_of_several_outputs_is_chosen_by_name() {
    let bytes = two_outputs(|_| {});
    assert_eq!(
        said(&bytes, &ImportOptions::default()),
        "cannot import `m`: 1 problem\n  model  `graph`  has the outputs `a` [1, 2], `p` [1, 8]; say \
         which with `--output-name NAME`"
    );
    let x = ramp(8);
    let means: Vec<f32> = x.chunks(4).map(|c| c.iter().sum::<f32>() / 4.0).collect();
    check(&import(&bytes, &output("a")), &x, &means);
    let relu: Vec<f32> = x.iter().map(|x| x.max(0.0)).collect();
    let model = import(&bytes, &output("p"));
    check(&model, &x, &relu);
    assert_eq!(model.notes.len(), 1, "the softmax is cut off");
    // Any value, or the node that makes it.
    check(&import(&bytes, &output("r")), &x, &relu);
    assert!(import(&bytes, &output("r")).notes.is_empty());
    assert!(
        said(&bytes, &output("q"))
            .contains("`q`  is no value of the model; its outputs are `a`, `p`")
    );
}

#[test]
fn behind_several_outputs_everything_else_is_reported() {
    let bytes = two_outputs(|m| {
        m.output("q")
            .node("NonZero", &["r"], "n", &[])
            .node("Relu", &["n"], "q", &[]);
    });
    let text = said(&bytes, &ImportOptions::default());
    for words in ["2 problems", "NonZero", "`a` [1, 2], `p` [1, 8], `q` "] {
        assert!(text.contains(words), "{words}: {text}");
    }
}

/// `relu(x) + b`, where both are inputs.
fn two_inputs() -> OnnxBuilder {
    let mut m = OnnxBuilder::new(13);
    m.input("x", &[1_i64, 2, 1, 2])
        .input("b", &[1_i64, 2, 1, 1])
        .output("y");
    m.node("Relu", &["x"], "r", &[])
        .node("Add", &["r", "b"], "y", &[]);
    m
}

#[test]
fn inputs_are_fixed_to_constants() {
    let bytes = two_inputs().build();
    let model = import(&bytes, &fixed("b", &[1, 2, 1, 1], &[0.5, -1.0]));
    check(&model, &[1.0, -1.0, 2.0, -2.0], &[1.5, 0.5, 1.0, -1.0]);
    let text = said(&bytes, &ImportOptions::default());
    assert!(
        text.contains("has inputs `x` [1, 2, 1, 2], `b` [1, 2, 1, 1]; one image is supported"),
        "{text}"
    );
    assert!(text.contains("--input NAME=FILE.npy"), "{text}");
    for (options, words) in [
        (fixed("c", &[1], &[0.0]), "is no input of the model"),
        (
            fixed("b", &[2], &[0.0, 1.0]),
            "is given a tensor of shape [2]",
        ),
        (fixed("b", &[1, 2, 1, 1], &[0.0]), "is given 1 elements"),
        (fixed("b", &[1; 40], &[0.0]), "40 axes"),
        (fixed("b", &[usize::MAX, 2], &[0.0]), "too many elements"),
    ] {
        let text = said(&bytes, &options);
        assert!(text.contains(words), "{text}");
    }
    let mut both = fixed("b", &[1, 2, 1, 1], &[0.0, 0.0]);
    both.fixed_inputs.push(FixedInput {
        input: "x".into(),
        shape: vec![1, 2, 1, 2],
        elements: vec![0.0; 4],
    });
    assert!(said(&bytes, &both).contains("does not depend on any input"));
}

#[test]
fn a_fixed_input_may_be_joined_to_values() {
    let x: Vec<f32> = (1..9_u8).map(f32::from).collect();
    for (axis, wanted) in [
        (
            1,
            vec![9.0, 9.5, 10.0, 10.5, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0],
        ),
        (
            2,
            vec![9.0, 9.5, 1.0, 2.0, 3.0, 4.0, 10.0, 10.5, 5.0, 6.0, 7.0, 8.0],
        ),
        (
            3,
            vec![9.0, 1.0, 2.0, 9.5, 3.0, 4.0, 10.0, 5.0, 6.0, 10.5, 7.0, 8.0],
        ),
    ] {
        let shape: [i64; 4] = match axis {
            1 => [1, 1, 2, 2],
            2 => [1, 2, 1, 2],
            _ => [1, 2, 2, 1],
        };
        let mut m = OnnxBuilder::new(13);
        m.input("x", &[1_i64, 2, 2, 2])
            .input("c", &shape)
            .output("y");
        m.node("Concat", &["c", "x"], "y", &[("axis", Attr::Int(axis))]);
        let extents = shape.map(|extent| extent as usize);
        let model = import(&m.build(), &fixed("c", &extents, &[9.0, 9.5, 10.0, 10.5]));
        check(&model, &x, &wanted);
    }
    let mut m = OnnxBuilder::new(13);
    m.input("x", &[1_i64, 3])
        .input("c", &[1_i64, 2])
        .output("y");
    m.node("Relu", &["x"], "r", &[])
        .node("Concat", &["r", "c"], "y", &[("axis", Attr::Int(-1))]);
    let model = import(&m.build(), &fixed("c", &[1, 2], &[9.0, -9.0]));
    check(&model, &[1.0, -1.0, 2.0], &[1.0, 0.0, 2.0, 9.0, -9.0]);
}

#[test]
fn fixed_integers_stay_integers() {
    let mut m = OnnxBuilder::new(13);
    m.input("x", &[1_i64, 6])
        .input_of(data_type::INT64, "shape", &[3_i64])
        .output("y");
    m.node("Reshape", &["x", "shape"], "r", &[])
        .node("Relu", &["r"], "y", &[]);
    let model = import(&m.build(), &fixed("shape", &[3], &[1.0, -1.0, 1.0]));
    check(
        &model,
        &[1.0, -1.0, 2.0, -2.0, 0.0, 3.0],
        &[1.0, 0.0, 2.0, 0.0, 0.0, 3.0],
    );
}

#[test]
fn all_that_stands_in_the_way_is_in_one_report() {
    let mut m = two_inputs();
    m.output("z")
        .floats("w", &[2, 2, 3, 3, 3], &[0.0; 108])
        .node("Conv", &["r", "w"], "c", &[])
        .node("InstanceNormalization", &["r"], "s", &[])
        // Behind an operator that keeps the shape there is more to say.
        .node("NonZero", &["s"], "n", &[])
        // Behind an unknown value, too, where it makes no difference.
        .node("Loop", &["c"], "l", &[])
        .node("Relu", &["l"], "quiet", &[])
        .node("Sum", &["quiet", "n"], "z", &[]);
    let text = said(&m.build(), &ImportOptions::default());
    for words in [
        "6 problems",
        "3-D convolution",
        "`s`",
        "`n`",
        "`l`",
        "has inputs",
        "outputs",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
}

#[test]
fn open_extents_are_given() {
    let mut m = OnnxBuilder::new(13);
    let dims = ["n".into(), Dim::Fixed(1), "h".into(), "w".into()];
    m.input("x", &dims).output("y");
    m.node("GlobalAveragePool", &["x"], "y", &[]);
    let bytes = m.build();
    for text in ["1,1,2,3", "?,1,2,3", "x=1,1,2,3"] {
        let model = import(&bytes, &shaped(text));
        assert_eq!(model.image_shape(), [1, 2, 3]);
        check(&model, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], &[3.5]);
    }
    let text = said(&bytes, &ImportOptions::default());
    assert!(text.contains("`--input-shape 1,1,HEIGHT,WIDTH`"), "{text}");
    for (shape, words) in [
        ("1,3,2,3", "gives 3 for axis 1; only dynamic extents"),
        ("1,2,3", "gives 3 extents"),
        ("4,1,2,3", "a batch of 4"),
        ("z=1,1,2,3", "`z`  is given a shape, but is no input"),
        ("1,1,?,3", "--input-shape 1,1,HEIGHT,3"),
        ("1,1,4611686018427387904,4611686018427387904", "input"),
    ] {
        let text = said(&bytes, &shaped(shape));
        assert!(text.contains(words), "{text}");
    }
}

#[test]
fn integers_are_taken_as_floats() {
    for kind in [data_type::UINT8, data_type::INT8, data_type::INT32] {
        let mut m = OnnxBuilder::new(13);
        m.input_of(kind, "x", &[1_i64, 2, 2, 1]).output("y");
        m.floats("scale", &[], &[0.5])
            .node(
                "Transpose",
                &["x"],
                "t",
                &[("perm", Attr::Ints(vec![0, 3, 1, 2]))],
            )
            .node("Cast", &["t"], "c", &[("to", Attr::Int(1))])
            .node("Mul", &["c", "scale"], "m", &[])
            .node("GlobalAveragePool", &["m"], "y", &[]);
        let model = import(&m.build(), &ImportOptions::default());
        check(&model, &[1.0, 2.0, 3.0, 6.0], &[1.5]);
        let note =
            "input `x` holds integers in the model; the plan takes the same numbers as floats";
        assert_eq!(model.notes[0].to_string(), note);
    }
    let mut m = OnnxBuilder::new(13);
    m.input_of(data_type::INT32, "x", &[1_i64, 4]).output("y");
    m.tensor(TensorProto::raw(
        "two",
        &[],
        data_type::INT32,
        &2_i32.to_le_bytes(),
    ))
    .node("Div", &["x", "two"], "d", &[])
    .node("Cast", &["d"], "y", &[("to", Attr::Int(1))]);
    let text = said(&m.build(), &ImportOptions::default());
    assert!(text.contains("Div `d` computes with them"), "{text}");
    let mut m = OnnxBuilder::new(13);
    m.input_of(data_type::BOOL, "x", &[1_i64, 4]).output("y");
    m.node("Cast", &["x"], "y", &[("to", Attr::Int(1))]);
    assert!(said(&m.build(), &ImportOptions::default()).contains("booleans"));
}

/// A model that convolves `x` by a kernel of ones, with a `Transpose` in front if asked.
fn convolved(shape: &[i64], perm: Option<&[i64]>, kernel: &[i64]) -> Vec<u8> {
    let mut m = OnnxBuilder::new(13);
    m.input("x", shape).output("y");
    let count = kernel.iter().product::<i64>() as usize;
    m.floats("w", kernel, &vec![1.0; count]);
    let x = match perm {
        Some(perm) => {
            m.node(
                "Transpose",
                &["x"],
                "t",
                &[("perm", Attr::Ints(perm.to_vec()))],
            );
            "t"
        }
        None => "x",
    };
    m.node("Conv", &[x, "w"], "y", &[]);
    m.build()
}

#[test]
fn the_network_decides_which_axis_the_channels_are() {
    for (shape, perm, kernel, chw) in [
        // Sensor data: six channels, a width of 1.
        ([1, 6, 16, 1], None, [2, 6, 3, 1], [6, 16, 1]),
        ([1, 6, 1, 3], None, [2, 6, 1, 3], [6, 1, 3]),
        // Many channels last.
        (
            [1, 8, 8, 12],
            Some(&[0, 3, 1, 2][..]),
            [2, 12, 3, 3],
            [12, 8, 8],
        ),
        (
            [1, 3, 8, 2],
            Some(&[0, 3, 1, 2][..]),
            [2, 2, 3, 3],
            [2, 3, 8],
        ),
    ] {
        let bytes = convolved(&shape, perm, &kernel);
        let model = import(&bytes, &ImportOptions::default());
        assert_eq!(model.image_shape(), chw);
        let order = match perm {
            Some(_) => AxisOrder::Hwc,
            None => AxisOrder::Chw,
        };
        assert_eq!(model.input_order, order);
        let forced = |order| ImportOptions {
            input_order: Some(order),
            ..ImportOptions::default()
        };
        assert_eq!(import(&bytes, &forced(order)).graph, model.graph);
        let other = match order {
            AxisOrder::Chw => AxisOrder::Hwc,
            AxisOrder::Hwc => AxisOrder::Chw,
        };
        // The contrary of what the convolution says.
        if let Err(error) = import_bytes("m", &bytes, &forced(other)) {
            assert!(error.to_string().contains("`y`"), "{error}");
        }
    }
}

#[test]
fn a_constant_is_cast_like_a_value() {
    let mut m = OnnxBuilder::new(18);
    m.input("x", &[1_i64, 2, 1, 1]).output("y");
    m.tensor(TensorProto::raw(
        "shift",
        &[2, 1, 1],
        data_type::DOUBLE,
        &[0.5_f64, -1.0].map(f64::to_le_bytes).concat(),
    ))
    .node("CastLike", &["shift", "x"], "like", &[])
    .node("Add", &["x", "like"], "y", &[]);
    let model = import(&m.build(), &ImportOptions::default());
    check(&model, &[1.0, 2.0], &[1.5, 1.0]);
}
