//! Operators that change shapes, axes and extents, and shapes that a model computes.

use super::*;

#[test]
fn squeeze_and_unsqueeze_by_attribute_and_by_input() {
    let tail = |m: &mut OnnxBuilder| {
        weight(m, "w", &[2, 2]);
        m.node("MatMul", &["flat", "w"], "y", &[]);
    };
    let old = model(11, &[1, 2, 3, 3], |m| {
        m.node("GlobalAveragePool", &["x"], "pool", &[])
            .node("Unsqueeze", &["pool"], "more", &[("axes", ints(&[0, -1]))])
            .node(
                "Squeeze",
                &["more"],
                "flat",
                &[("axes", ints(&[0, 3, -1, 4]))],
            );
        tail(m);
    });
    check(&old, &[0.110933, -0.047689]);
    let new = model(13, &[1, 2, 3, 3], |m| {
        m.ints("inserted", &[0])
            .ints("removed", &[-1, 0, 3])
            .node("GlobalAveragePool", &["x"], "pool", &[])
            .node("Unsqueeze", &["pool", "inserted"], "more", &[])
            .node("Squeeze", &["more", "removed"], "flat", &[]);
        tail(m);
    });
    check(&new, &[0.110933, -0.047689]);
}

#[test]
fn slices_by_attribute_and_by_input() {
    let old = model(9, &[1, 3, 4, 3], |m| {
        let attributes = [
            ("starts", ints(&[1, -2])),
            ("ends", ints(&[1000, -1])),
            ("axes", ints(&[1, 3])),
        ];
        m.node("Slice", &["x"], "y", &attributes);
    });
    check(&old, &[0.76, 0.96, -0.86, -0.66, -0.46, -0.26, -0.06, 0.14]);
    let new = model(13, &[1, 2, 5, 4], |m| {
        m.ints("starts", &[1, 0])
            .ints("ends", &[i64::MAX, -1])
            .ints("axes", &[-2, 3])
            .ints("steps", &[3, 2])
            .node("Slice", &["x", "starts", "ends", "axes", "steps"], "y", &[]);
    });
    check(&new, &[0.16, -0.38, 0.96, 0.42, 0.82, 0.28, -0.4, -0.94]);
}

#[test]
fn pads_by_attribute_and_by_input() {
    let old = model(7, &[1, 1, 2, 2], |m| {
        let attributes = [
            ("mode", Attr::Str("constant")),
            ("pads", ints(&[0, 1, 0, 1, 0, 0, 1, 0])),
            ("value", Attr::Float(0.0)),
        ];
        m.node("Conv", &["x", "w"], "two", &[])
            .node("Pad", &["two"], "y", &attributes);
        weight(m, "w", &[2, 1, 1, 1]);
    });
    check(
        &old,
        &[
            0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.6084, 0.0312, 0.0, -0.546, 0.4524,
            0.0, 0.0, 0.0, 0.0, 0.0312, 0.0016, 0.0, -0.028, 0.0232, 0.0, 0.0, 0.0,
        ],
    );
    let new = model(18, &[1, 1, 2, 2], |m| {
        m.ints("pads", &[1, 0, 0, 2])
            .ints("axes", &[-1, 2])
            .floats("zero", &[], &[0.0])
            .node("Pad", &["x", "pads", "zero", "axes"], "y", &[]);
    });
    check(
        &new,
        &[
            0.0, -0.78, -0.04, 0.0, 0.7, -0.58, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0,
        ],
    );
}

#[test]
fn concatenation_with_zeros_is_padding() {
    let bytes = model(13, &[1, 2, 1, 2], |m| {
        m.floats("zeros", &[1, 1, 1, 2], &[0.0; 2]).node(
            "Concat",
            &["zeros", "x", "zeros", "zeros"],
            "y",
            &[("axis", Attr::Int(-3))],
        );
    });
    check(
        &bytes,
        &[0.0, 0.0, -0.78, -0.04, 0.7, -0.58, 0.0, 0.0, 0.0, 0.0],
    );
}

#[test]
fn images_without_channels_and_vectors() {
    let network = |image: &[Dim]| {
        let mut builder = OnnxBuilder::new(13);
        builder.input("x", image).output("y");
        weight(&mut builder, "w", &[6, 2]);
        builder
            .node("Flatten", &["x"], "f", &[])
            .node("MatMul", &["f", "w"], "y", &[])
            .build()
    };
    let (batch, fixed) = (Dim::Symbol("N"), |extent| Dim::Fixed(extent));
    for (image, shape) in [
        (&[batch, fixed(2), fixed(3)][..], [1, 2, 3]),
        (&[fixed(1), fixed(2), fixed(3)], [1, 2, 3]),
        (&[batch, fixed(6)], [1, 1, 6]),
        (&[fixed(1), fixed(6)], [1, 1, 6]),
    ] {
        let bytes = network(image);
        let model = import(&bytes);
        assert_eq!(model.image_shape(), shape);
        check(&bytes, &[1.2696, -0.2012]);
    }
    // A grey image gets its channel from an operator.
    let mut builder = OnnxBuilder::new(13);
    builder.input("x", &[batch, fixed(2), fixed(3)]).output("y");
    weight(&mut builder, "w", &[1, 1, 2, 2]);
    builder
        .ints("axis", &[1])
        .node("Unsqueeze", &["x", "axis"], "u", &[])
        .node("Conv", &["u", "w"], "y", &[]);
    check(&builder.build(), &[0.1112, -0.4068]);
}

#[test]
fn channels_last_with_transposes() {
    let bytes = model(13, &[1, 6, 5, 2], |m| {
        weight(m, "w", &[3, 2, 3, 3]);
        weight(m, "bias", &[3]);
        weight(m, "dense", &[18, 2]);
        let (first, last) = (("perm", ints(&[0, 3, 1, 2])), ("perm", ints(&[0, 2, 3, 1])));
        m.ints("shape", &[-1, 18])
            .node("Transpose", &["x"], "a", std::slice::from_ref(&first))
            .node(
                "Conv",
                &["a", "w"],
                "b",
                &[("strides", ints(&[2, 1])), ("pads", ints(&[1, 0, 0, 0]))],
            )
            .node("Transpose", &["b"], "c", &[last])
            .node("Add", &["c", "bias"], "d", &[])
            .node("Relu", &["d"], "e", &[])
            .node("Transpose", &["e"], "e1", &[first])
            .node(
                "AveragePool",
                &["e1"],
                "e2",
                &[("kernel_shape", ints(&[2, 1])), ("strides", ints(&[1, 1]))],
            )
            .node("Transpose", &["e2"], "e3", &[("perm", ints(&[0, 2, 3, 1]))])
            .node("Reshape", &["e3", "shape"], "f", &[])
            .node("MatMul", &["f", "dense"], "y", &[]);
    });
    check(&bytes, &[2.08534, 2.331228]);
}

#[test]
fn computed_shapes_are_folded() {
    let bytes = model(13, &[1, 2, 2, 2], |m| {
        weight(m, "w", &[8, 3]);
        let constant = |values: &[i64]| {
            [(
                "value",
                Attr::Tensor(TensorProto::ints("", &[values.len() as i64], values)),
            )]
        };
        m.ints("axis0", &[0])
            .node("Shape", &["x"], "shape", &[])
            .node("Constant", &[], "index", &[("value_int", Attr::Int(0))])
            .node(
                "Gather",
                &["shape", "index"],
                "batch",
                &[("axis", Attr::Int(0))],
            )
            .node("Unsqueeze", &["batch", "axis0"], "batch1", &[])
            .node("Constant", &[], "rest", &constant(&[-1]))
            .node(
                "Concat",
                &["batch1", "rest"],
                "target",
                &[("axis", Attr::Int(0))],
            )
            .node("Constant", &[], "two", &[("value_ints", ints(&[2]))])
            .node("Expand", &["rest", "two"], "minus", &[])
            .node("Equal", &["target", "minus"], "free", &[])
            .node("Where", &["free", "minus", "target"], "chosen", &[])
            .node("Reshape", &["x", "chosen"], "flat", &[])
            .node("MatMul", &["flat", "w"], "y", &[]);
    });
    check(&bytes, &[0.7348, 1.0268, -1.1052]);
}

#[test]
fn legacy_option_a_pads_are_folded() {
    let bytes = model(13, &[1, 2, 4, 4], |m| {
        let scalar = |value: i64| [("value", Attr::Tensor(TensorProto::ints("", &[], &[value])))];
        m.ints("front", &[0, 0, 0, 0, 1, 1])
            .ints("count", &[2])
            .ints("rows", &[-1, 2])
            .ints("start", &[-1])
            .ints("end", &[-9_223_372_036_854_775_807])
            .ints("axis", &[0])
            .ints("step", &[-1])
            .ints("flat", &[-1])
            .ints("zero", &[0, 0])
            .ints("far", &[100, 100])
            .ints("axes", &[2, 3])
            .ints("strides", &[2, 2])
            .node(
                "ConstantOfShape",
                &["count"],
                "fill",
                &[("value", Attr::Tensor(TensorProto::ints("", &[1], &[0])))],
            )
            .node(
                "Concat",
                &["front", "fill"],
                "all",
                &[("axis", Attr::Int(0))],
            )
            .node("Reshape", &["all", "rows"], "pairs", &[])
            .node(
                "Slice",
                &["pairs", "start", "end", "axis", "step"],
                "reversed",
                &[],
            )
            .node(
                "Transpose",
                &["reversed"],
                "columns",
                &[("perm", ints(&[1, 0]))],
            )
            .node("Reshape", &["columns", "flat"], "pads", &[])
            .node(
                "Cast",
                &["pads"],
                "pads64",
                &[("to", Attr::Int(data_type::INT64 as i64))],
            )
            .node("Constant", &[], "one", &scalar(1))
            .node("Range", &["lower", "upper", "one"], "range", &[])
            .node("Mul", &["range", "one"], "axes2", &[])
            .node(
                "Slice",
                &["x", "zero", "far", "axes2", "strides"],
                "half",
                &[],
            )
            .node(
                "Pad",
                &["half", "pads64"],
                "y",
                &[("mode", Attr::Str("constant"))],
            )
            .tensor(TensorProto::ints("lower", &[], &[2]))
            .tensor(TensorProto::ints("upper", &[], &[4]));
    });
    check(
        &bytes,
        &[
            0.0, 0.0, 0.0, 0.0, -0.78, 0.7, -0.92, 0.56, 0.96, 0.42, 0.82, 0.28, 0.0, 0.0, 0.0, 0.0,
        ],
    );
}
