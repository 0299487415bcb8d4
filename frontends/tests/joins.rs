//! Concatenations and splits: what goes where, by position.

use heddle_frontends::onnx::{ImportOptions, import_bytes};
use heddle_ir::eval;
use heddle_tests::onnx_builder::{Attr, OnnxBuilder};

/// The output for an image whose elements count from 0.
fn run(opset: i64, image: &[i64], nodes: impl FnOnce(&mut OnnxBuilder)) -> Vec<f32> {
    let mut builder = OnnxBuilder::new(opset);
    builder.input("x", image).output("y");
    nodes(&mut builder);
    let model = import_bytes("test.onnx", &builder.build(), &ImportOptions::default()).unwrap();
    let elements: usize = model.image_shape().iter().product();
    let image: Vec<f32> = (0..elements).map(|element| element as f32).collect();
    eval::nn::run(&model, &image).unwrap()
}

fn axis(axis: i64) -> [(&'static str, Attr); 1] {
    [("axis", Attr::Int(axis))]
}

/// `scale·x` as a node.
fn scaled<'a>(m: &'a mut OnnxBuilder, name: &str, scale: f32) -> &'a mut OnnxBuilder {
    let factor = format!("{name}.factor");
    m.floats(&factor, &[], &[scale])
        .node("Mul", &["x", &factor], name, &[])
}

#[test]
fn channels_are_concatenated_in_the_order_of_the_operands() {
    let found = run(13, &[1, 2, 1, 2], |m| {
        scaled(m, "a", 10.0);
        scaled(m, "b", -1.0);
        m.node("Concat", &["b", "x", "a", "b"], "y", &axis(1));
    });
    #[rustfmt::skip]
    assert_eq!(found, [
        0.0, -1.0, -2.0, -3.0, 0.0, 1.0, 2.0, 3.0,
        0.0, 10.0, 20.0, 30.0, 0.0, -1.0, -2.0, -3.0,
    ]);
}

#[test]
fn zeros_may_stand_between_the_operands() {
    let found = run(13, &[1, 1, 1, 2], |m| {
        scaled(m, "a", 10.0);
        m.floats("zeros", &[1, 2, 1, 2], &[0.0; 4]).node(
            "Concat",
            &["zeros", "x", "zeros", "a"],
            "y",
            &axis(-3),
        );
    });
    assert_eq!(
        found,
        [0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 10.0]
    );
}

#[test]
fn height_width_and_features_are_concatenated_too() {
    let heights = run(13, &[1, 2, 1, 2], |m| {
        scaled(m, "a", 10.0);
        m.node("Concat", &["x", "a"], "y", &axis(2));
    });
    assert_eq!(heights, [0.0, 1.0, 0.0, 10.0, 2.0, 3.0, 20.0, 30.0]);
    let widths = run(13, &[1, 1, 2, 2], |m| {
        scaled(m, "a", 10.0);
        m.node("Concat", &["a", "x"], "y", &axis(3));
    });
    assert_eq!(widths, [0.0, 10.0, 0.0, 1.0, 20.0, 30.0, 2.0, 3.0]);
    let features = run(13, &[1, 1, 1, 2], |m| {
        scaled(m, "a", 10.0);
        m.node("Flatten", &["x"], "f", &[])
            .node("Flatten", &["a"], "g", &[])
            .node("Concat", &["f", "g"], "y", &axis(1));
    });
    assert_eq!(features, [0.0, 1.0, 0.0, 10.0]);
}

#[test]
fn channels_last_files_concatenate_channels() {
    // An image of 2x2 pixels with 2 channels, channels last in the file; ours are planes.
    let found = run(13, &[1, 8, 8, 2], |m| {
        scaled(m, "a", -1.0);
        m.node("Concat", &["x", "a"], "c", &axis(3)).node(
            "Transpose",
            &["c"],
            "y",
            &[("perm", Attr::Ints(vec![0, 3, 1, 2]))],
        );
    });
    let expected: Vec<f32> = (0..128)
        .chain((0..128).map(|x| -x))
        .map(|x| x as f32)
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn splits_of_three_operator_sets() {
    let order = |m: &mut OnnxBuilder| {
        m.node("Concat", &["c", "a", "b"], "y", &axis(1));
    };
    let image = [1, 5, 1, 1];
    let by_attribute = run(11, &image, |m| {
        let attributes = [("axis", Attr::Int(1)), ("split", Attr::Ints(vec![1, 3, 1]))];
        m.node_in("", "Split", &["x"], &["a", "b", "c"], &attributes);
        order(m);
    });
    assert_eq!(by_attribute, [4.0, 0.0, 1.0, 2.0, 3.0]);
    let by_input = run(13, &image, |m| {
        m.ints("sizes", &[2, 1, 2]).node_in(
            "",
            "Split",
            &["x", "sizes"],
            &["a", "b", "c"],
            &axis(-3),
        );
        order(m);
    });
    assert_eq!(by_input, [3.0, 4.0, 0.0, 1.0, 2.0]);
    let by_number = run(18, &image, |m| {
        let attributes = [("axis", Attr::Int(1)), ("num_outputs", Attr::Int(3))];
        m.node_in("", "Split", &["x"], &["a", "b", "c"], &attributes);
        order(m);
    });
    assert_eq!(by_number, [4.0, 0.0, 1.0, 2.0, 3.0]);
}
