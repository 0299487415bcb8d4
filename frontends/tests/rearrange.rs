//! Rearrangements, reductions and broadcasting, against naive code on ONNX tensors of any rank.

use heddle_frontends::onnx::{ImportOptions, import_bytes};
use heddle_ir::eval;
use heddle_ir::nn::{AxisOrder, LinearOp, Model, Op};
use heddle_tests::onnx_builder::{Attr, OnnxBuilder};

/// A tensor of the naive code.
#[derive(Clone, Debug, PartialEq)]
struct Nd {
    dims: Vec<usize>,
    data: Vec<f32>,
}

impl Nd {
    /// Numbers between −1 and 1 that repeat late.
    fn ramp(dims: &[usize]) -> Self {
        let len: usize = dims.iter().product();
        let data = (0..len).map(|i| ((i * 37 + 11) % 101) as f32 / 50.0 - 1.0);
        Self {
            dims: dims.to_vec(),
            data: data.collect(),
        }
    }

    /// A tensor whose elements follow from their indices.
    fn from_fn(dims: &[usize], of: impl Fn(&[usize]) -> f32) -> Self {
        let len: usize = dims.iter().product();
        let element = |mut rest: usize| {
            let mut index = vec![0; dims.len()];
            for axis in (0..dims.len()).rev() {
                (index[axis], rest) = (rest % dims[axis], rest / dims[axis]);
            }
            of(&index)
        };
        Self {
            dims: dims.to_vec(),
            data: (0..len).map(element).collect(),
        }
    }

    /// The element at an index; axes of extent 1 stand for any.
    fn at(&self, index: &[usize]) -> f32 {
        let front = index.len() - self.dims.len();
        let place = self.dims.iter().zip(&index[front..]);
        let flat = place.fold(0, |flat, (extent, at)| {
            flat * extent + if *extent == 1 { 0 } else { *at }
        });
        self.data[flat]
    }

    fn reshaped(&self, dims: &[usize]) -> Self {
        assert_eq!(dims.iter().product::<usize>(), self.data.len());
        Self {
            dims: dims.to_vec(),
            data: self.data.clone(),
        }
    }

    fn transposed(&self, order: &[usize]) -> Self {
        let dims: Vec<usize> = order.iter().map(|axis| self.dims[*axis]).collect();
        Self::from_fn(&dims, |index| {
            let mut source = vec![0; index.len()];
            for (axis, at) in order.iter().zip(index) {
                source[*axis] = *at;
            }
            self.at(&source)
        })
    }

    /// One number for every group of elements that differ in their positions along `axes` only.
    fn reduced(&self, axes: &[usize], of: impl Fn(&[f32]) -> f32) -> Self {
        let extent = |axis: usize| {
            if axes.contains(&axis) {
                1
            } else {
                self.dims[axis]
            }
        };
        let dims: Vec<usize> = (0..self.dims.len()).map(extent).collect();
        Self::from_fn(&dims, |kept| {
            let mut group = Vec::new();
            let mut index = vec![0; self.dims.len()];
            for _ in 0..self.data.len() {
                let is_same = (0..kept.len()).all(|a| axes.contains(&a) || index[a] == kept[a]);
                if is_same {
                    group.push(self.at(&index));
                }
                for axis in (0..index.len()).rev() {
                    index[axis] += 1;
                    if index[axis] < self.dims[axis] {
                        break;
                    }
                    index[axis] = 0;
                }
            }
            of(&group)
        })
    }
}

fn ints(values: &[i64]) -> Attr {
    Attr::Ints(values.to_vec())
}

fn import(opset: i64, image: &[i64], nodes: impl FnOnce(&mut OnnxBuilder)) -> Model {
    let mut builder = OnnxBuilder::new(opset);
    builder.input("x", image).output("y");
    nodes(&mut builder);
    import_bytes("test.onnx", &builder.build(), &ImportOptions::default()).unwrap()
}

/// Checks a model on a ramp of the shape `[1, C, H, W]` against numbers in the model's own order.
#[track_caller]
fn check(image: [usize; 3], expected: &Nd, nodes: impl FnOnce(&mut OnnxBuilder)) -> Model {
    let dims = [1, image[0], image[1], image[2]].map(|extent| extent as i64);
    let model = import(18, &dims, nodes);
    check_model(&model, expected);
    model
}

#[track_caller]
fn check_model(model: &Model, expected: &Nd) {
    let [channels, height, width] = model.image_shape();
    // The ramp is in the order of the model's file.
    let x = match model.input_order {
        AxisOrder::Chw => Nd::ramp(&[channels, height, width]),
        AxisOrder::Hwc => Nd::ramp(&[height, width, channels]).transposed(&[2, 0, 1]),
    };
    let found = eval::nn::run(model, &x.data).unwrap();
    assert_eq!(found.len(), expected.data.len(), "{:?}", expected.dims);
    for (index, (found, wanted)) in found.iter().zip(&expected.data).enumerate() {
        assert!(
            (found - wanted).abs() < 1e-5,
            "element {index} of {:?}: {found}, expected {wanted}",
            expected.dims
        );
    }
}

/// The ramp image as ONNX sees it.
fn image([channels, height, width]: [usize; 3]) -> Nd {
    Nd::ramp(&[1, channels, height, width])
}

fn relu(x: f32) -> f32 {
    x.max(0.0)
}

#[test]
fn channels_are_shuffled() {
    let (shape, x) = ([6, 2, 3], image([6, 2, 3]));
    let expected = x
        .reshaped(&[1, 2, 3, 2, 3])
        .transposed(&[0, 2, 1, 3, 4])
        .reshaped(&[1, 6, 2, 3]);
    let model = check(shape, &expected, |m| {
        m.ints("split", &[1, 2, 3, 2, 3])
            .ints("merge", &[1, -1, 2, 3])
            .node("Reshape", &["x", "split"], "a", &[])
            .node(
                "Transpose",
                &["a"],
                "b",
                &[("perm", ints(&[0, 2, 1, 3, 4]))],
            )
            .node("Reshape", &["b", "merge"], "y", &[]);
    });
    let moves = model.graph.values().filter(|value| {
        let op = &model.graph.node(*value).op;
        matches!(op, Op::Linear(LinearOp::Rearrange(_)))
    });
    assert_eq!(moves.count(), 1);
}

/// As the first ShuffleNet networks choose a half: an axis of a reshaped value is indexed.
#[test]
fn a_half_is_chosen_by_an_index_of_a_split_axis() {
    let x = image([4, 3, 2]);
    let split = x.reshaped(&[1, 2, 2, 3, 2]);
    let expected = Nd::from_fn(&[1, 2, 3, 2], |index| {
        split.at(&[0, 1, index[1], index[2], index[3]])
    });
    check([4, 3, 2], &expected, |m| {
        m.ints("split", &[1, 2, 2, 3, 2])
            .tensor(heddle_tests::onnx_builder::TensorProto::ints(
                "one",
                &[],
                &[-1],
            ))
            .node("Reshape", &["x", "split"], "a", &[])
            .node("Gather", &["a", "one"], "y", &[("axis", Attr::Int(1))]);
    });
}

#[test]
fn blocks_become_channels_and_channels_blocks() {
    let x = image([2, 4, 6]);
    let deep = x
        .reshaped(&[1, 2, 2, 2, 3, 2])
        .transposed(&[0, 3, 5, 1, 2, 4])
        .reshaped(&[1, 8, 2, 3]);
    let block = [("blocksize", Attr::Int(2))];
    check([2, 4, 6], &deep, |m| {
        m.node("SpaceToDepth", &["x"], "y", &block);
    });
    let x = image([8, 2, 3]);
    let split = |dims: [usize; 6], order: [usize; 6]| {
        let wide = x.reshaped(&dims).transposed(&order);
        wide.reshaped(&[1, 2, 4, 6])
    };
    for (mode, expected) in [
        ("DCR", split([1, 2, 2, 2, 2, 3], [0, 3, 4, 1, 5, 2])),
        ("CRD", split([1, 2, 2, 2, 2, 3], [0, 1, 4, 2, 5, 3])),
    ] {
        let attributes = [("blocksize", Attr::Int(2)), ("mode", Attr::Str(mode))];
        check([8, 2, 3], &expected, |m| {
            m.node("DepthToSpace", &["x"], "y", &attributes);
        });
    }
}

#[test]
fn a_vector_becomes_an_image_and_an_odd_reshape_is_possible() {
    let x = Nd::ramp(&[12]);
    let model = import(13, &[1, 12], |m| {
        m.ints("shape", &[1, 2, 2, 3])
            .floats("w", &[1, 2, 1, 1], &[2.0, -1.0])
            .node("Reshape", &["x", "shape"], "a", &[])
            .node("Conv", &["a", "w"], "y", &[]);
    });
    let expected = Nd::from_fn(&[1, 1, 2, 3], |index| {
        let at = index[2] * 3 + index[3];
        2.0 * x.data[at] - x.data[6 + at]
    });
    check_model(&model, &expected);
    // Six channels of four columns become eight of three.
    let odd = image([6, 1, 4]).reshaped(&[1, 8, 1, 3]);
    check([6, 1, 4], &odd.transposed(&[0, 3, 2, 1]), |m| {
        m.ints("shape", &[1, 8, 1, 3])
            .node("Reshape", &["x", "shape"], "a", &[])
            .node("Transpose", &["a"], "y", &[("perm", ints(&[0, 3, 2, 1]))]);
    });
}

#[test]
fn outputs_in_another_axis_order_are_put_into_order() {
    let expected = image([3, 2, 4]).transposed(&[0, 2, 3, 1]);
    check([3, 2, 4], &expected, |m| {
        m.node("Transpose", &["x"], "y", &[("perm", ints(&[0, 2, 3, 1]))]);
    });
}

#[test]
fn positions_are_gathered_along_any_axis() {
    let x = image([3, 4, 5]);
    for (axis, indices) in [
        (1, vec![2_i64, 0, -1, 1]),
        (2, vec![3, 3]),
        (3, vec![4, 1, 0]),
    ] {
        let extent = x.dims[axis] as i64;
        let mut dims = x.dims.clone();
        dims[axis] = indices.len();
        let expected = Nd::from_fn(&dims, |index| {
            let mut source = index.to_vec();
            source[axis] = i64::rem_euclid(indices[index[axis]], extent) as usize;
            x.at(&source)
        });
        check([3, 4, 5], &expected, |m| {
            m.ints("i", &indices).node(
                "Gather",
                &["x", "i"],
                "y",
                &[("axis", Attr::Int(axis as i64))],
            );
        });
    }
    let pixel = Nd::from_fn(&[1, 3], |index| x.at(&[0, index[1], 1, 0]));
    check([3, 4, 5], &pixel, |m| {
        let scalar = heddle_tests::onnx_builder::TensorProto::ints;
        m.tensor(scalar("one", &[], &[1]))
            .tensor(scalar("zero", &[], &[0]))
            .node("Gather", &["x", "one"], "a", &[("axis", Attr::Int(2))])
            .node("Gather", &["a", "zero"], "y", &[("axis", Attr::Int(2))]);
    });
}

#[test]
fn several_axes_are_gathered_at_once() {
    let x = image([2, 4, 5]).transposed(&[2, 3, 0, 1]);
    // Windows of two rows and three columns, as an average pool of uneven windows is written.
    let (rows, columns) = ([[0, 1], [2, 3]], [[0, 1, 2], [2, 3, 4]]);
    let mut indices = Vec::new();
    for row in rows.iter().flatten() {
        for column in columns.iter().flatten() {
            indices.extend([*row as i64, *column as i64]);
        }
    }
    let windows = Nd::from_fn(&[2, 2, 2, 3, 1, 2], |index| {
        let (row, column) = (rows[index[0]][index[1]], columns[index[2]][index[3]]);
        x.at(&[row, column, index[4], index[5]])
    });
    let mean = |group: &[f32]| group.iter().sum::<f32>() / group.len() as f32;
    let expected = windows
        .reduced(&[1, 3], mean)
        .transposed(&[4, 5, 0, 1, 2, 3]);
    check([2, 4, 5], &expected, |m| {
        m.tensor(heddle_tests::onnx_builder::TensorProto::ints(
            "i",
            &[2, 2, 2, 3, 2],
            &indices,
        ))
        .ints("axes", &[1, 3])
        .node("Transpose", &["x"], "a", &[("perm", ints(&[2, 3, 0, 1]))])
        .node("GatherND", &["a", "i"], "b", &[])
        .node("ReduceMean", &["b", "axes"], "c", &[])
        .node(
            "Transpose",
            &["c"],
            "y",
            &[("perm", ints(&[4, 5, 0, 1, 2, 3]))],
        );
    });
    let x = image([2, 2, 3]);
    let picks = [2_i64, 0, 1, -1, 0, 0, 1, 2];
    let elements = Nd::from_fn(&[1, 2, 2, 2], |index| {
        let pick = picks[(index[1] * 2 + index[2]) * 2 + index[3]];
        x.at(&[0, index[1], index[2], pick.rem_euclid(3) as usize])
    });
    check([2, 2, 3], &elements, |m| {
        m.tensor(heddle_tests::onnx_builder::TensorProto::ints(
            "i",
            &[1, 2, 2, 2],
            &picks,
        ))
        .node(
            "GatherElements",
            &["x", "i"],
            "y",
            &[("axis", Attr::Int(3))],
        );
    });
}

#[test]
fn slices_run_backwards() {
    let x = image([3, 4, 5]);
    let expected = Nd::from_fn(&[1, 2, 4, 3], |index| {
        x.at(&[0, 2 - 2 * index[1], index[2], 4 - 2 * index[3]])
    });
    check([3, 4, 5], &expected, |m| {
        m.ints("starts", &[-1, -1])
            .ints("ends", &[i64::MIN, i64::MIN])
            .ints("axes", &[1, 3])
            .ints("steps", &[-2, -2])
            .node("Slice", &["x", "starts", "ends", "axes", "steps"], "y", &[]);
    });
}

#[test]
fn padding_has_four_modes_any_value_and_takes_away() {
    let x = image([2, 3, 4]);
    let pads: [[i64; 2]; 4] = [[0, 0], [1, 0], [1, -1], [-1, 2]];
    let dims: Vec<usize> = (0..4)
        .map(|axis| (x.dims[axis] as i64 + pads[axis][0] + pads[axis][1]) as usize)
        .collect();
    let cases = [
        ("constant", 0),
        ("constant", -1),
        ("edge", 0),
        ("wrap", 0),
        ("reflect", 0),
    ];
    for (mode, value) in cases {
        let expected = Nd::from_fn(&dims, |index| {
            let mut source = index.to_vec();
            for axis in 0..4 {
                let [before, after] = pads[axis].map(|pad| pad.min(0));
                let extent = x.dims[axis] as i64 + before + after;
                let at = index[axis] as i64 - pads[axis][0].max(0);
                let at = match mode {
                    "constant" if !(0..extent).contains(&at) => return value as f32,
                    "edge" => at.clamp(0, extent - 1),
                    "wrap" => at.rem_euclid(extent),
                    "reflect" if at < 0 => -at,
                    "reflect" if at >= extent => 2 * extent - 2 - at,
                    _ => at,
                };
                source[axis] = (at - before) as usize;
            }
            x.at(&source)
        });
        let [before, after] = [0, 1].map(|side| pads.map(|pads| pads[side]));
        check([2, 3, 4], &expected, |m| {
            let attributes = [("mode", Attr::Str(mode))];
            m.ints("pads", &[before, after].concat());
            if value == 0 {
                m.node("Pad", &["x", "pads"], "y", &attributes);
            } else {
                m.floats("value", &[], &[value as f32]).node(
                    "Pad",
                    &["x", "pads", "value"],
                    "y",
                    &attributes,
                );
            }
        });
    }
}

#[test]
fn values_grow_and_shrink() {
    let x = image([2, 3, 4]);
    let twice = Nd::from_fn(&[1, 2, 6, 8], |index| {
        x.at(&[0, index[1], index[2] / 2, index[3] / 2])
    });
    check([2, 3, 4], &twice, |m| {
        m.floats("scales", &[4], &[1.0, 1.0, 2.0, 2.0]).node(
            "Resize",
            &["x", "", "scales"],
            "y",
            &[],
        );
    });
    let upsampled = import(9, &[1, 2, 3, 4], |m| {
        m.floats("scales", &[4], &[1.0, 1.0, 2.0, 2.0]).node(
            "Upsample",
            &["x", "scales"],
            "y",
            &[],
        );
    });
    check_model(&upsampled, &twice);
    // Corners stay where they are; rows 0, 1/2, 1, 3/2, 2.
    let linear = Nd::from_fn(&[1, 2, 5, 4], |index| {
        let row = |row: usize| x.at(&[0, index[1], row, index[3]]);
        (row(index[2] / 2) + row(index[2].div_ceil(2))) / 2.0
    });
    check([2, 3, 4], &linear, |m| {
        let mode = ("mode", Attr::Str("linear"));
        let corners = Attr::Str("align_corners");
        m.ints("sizes", &[1, 2, 5, 4]).node(
            "Resize",
            &["x", "", "", "sizes"],
            "y",
            &[mode, ("coordinate_transformation_mode", corners)],
        );
    });
}

#[test]
fn sums_and_means_go_over_any_axes() {
    let x = image([3, 4, 2]);
    let sum = |group: &[f32]| group.iter().sum::<f32>();
    let mean = |group: &[f32]| group.iter().sum::<f32>() / group.len() as f32;
    let max = |group: &[f32]| group.iter().copied().fold(f32::MIN, f32::max);
    let min = |group: &[f32]| group.iter().copied().fold(f32::MAX, f32::min);
    let squares = |group: &[f32]| group.iter().map(|x| x * x).sum::<f32>();
    type Reduce<'a> = (&'a str, &'a dyn Fn(&[f32]) -> f32);
    let reductions: [Reduce<'_>; 5] = [
        ("ReduceSum", &sum),
        ("ReduceMean", &mean),
        ("ReduceMax", &max),
        ("ReduceMin", &min),
        ("ReduceSumSquare", &squares),
    ];
    for (op, of) in reductions {
        for axes in [&[1][..], &[2], &[3], &[2, 3], &[1, 3], &[1, 2, 3]] {
            let expected = x.reduced(axes, of);
            for keep in [0, 1] {
                check([3, 4, 2], &expected, |m| {
                    let list: Vec<i64> = axes.iter().map(|axis| *axis as i64).collect();
                    m.ints("axes", &list).node(
                        op,
                        &["x", "axes"],
                        "y",
                        &[("keepdims", Attr::Int(keep))],
                    );
                });
            }
        }
        check([3, 4, 2], &x, |m| {
            let flag = [("noop_with_empty_axes", Attr::Int(1))];
            let name = if op == "ReduceSumSquare" {
                "Identity"
            } else {
                op
            };
            let flags = if name == op { &flag[..] } else { &[] };
            m.node(name, &["x"], "y", flags);
        });
    }
}

#[test]
fn values_are_repeated_and_summed_up() {
    let x = image([2, 1, 3]);
    let tiled = Nd::from_fn(&[1, 4, 2, 3], |index| x.at(&[0, index[1] % 2, 0, index[3]]));
    check([2, 1, 3], &tiled, |m| {
        m.ints("repeats", &[1, 2, 2, 1])
            .node("Tile", &["x", "repeats"], "y", &[]);
    });
    let expanded = Nd::from_fn(&[1, 2, 4, 3], |index| x.at(&[0, index[1], 0, index[3]]));
    check([2, 1, 3], &expanded, |m| {
        m.ints("shape", &[2, 4, 1])
            .node("Expand", &["x", "shape"], "y", &[]);
    });
    let sums = Nd::from_fn(&[1, 2, 1, 3], |index| {
        (index[3] + 1..3)
            .map(|at| x.at(&[0, index[1], 0, at]))
            .sum()
    });
    check([2, 1, 3], &sums, |m| {
        let attributes = [("reverse", Attr::Int(1)), ("exclusive", Attr::Int(1))];
        m.tensor(heddle_tests::onnx_builder::TensorProto::ints(
            "axis",
            &[],
            &[-1],
        ))
        .node("CumSum", &["x", "axis"], "y", &attributes);
    });
}

#[test]
fn sums_broadcast_their_values() {
    let x = image([3, 2, 4]);
    let mean = |group: &[f32]| group.iter().sum::<f32>() / group.len() as f32;
    let pooled = x.reduced(&[2, 3], mean);
    let plane = x.reduced(&[1], mean);
    let all = Nd::from_fn(&x.dims, |index| {
        pooled.at(index) - x.at(index) + plane.at(index) + 0.5 + relu(x.at(index))
    });
    check([3, 2, 4], &all, |m| {
        m.ints("channels", &[1])
            .floats("half", &[], &[0.5])
            .node("GlobalAveragePool", &["x"], "pooled", &[])
            .node("ReduceMean", &["x", "channels"], "plane", &[])
            .node("Relu", &["x"], "relu", &[])
            .node("Sub", &["pooled", "x"], "a", &[])
            .node("Sum", &["a", "plane", "half", "relu"], "y", &[]);
    });
    // Neither has the shape of the result.
    let outer = Nd::from_fn(&x.dims, |index| (pooled.at(index) + plane.at(index)) / 2.0);
    check([3, 2, 4], &outer, |m| {
        m.ints("channels", &[1])
            .node("GlobalAveragePool", &["x"], "pooled", &[])
            .node("ReduceMean", &["x", "channels"], "plane", &[])
            .node("Mean", &["pooled", "plane"], "y", &[]);
    });
    // A value in another axis order, and a constant that is larger than the value.
    let square = image([2, 3, 3]);
    let flipped = square.transposed(&[0, 1, 3, 2]);
    let sum = Nd::from_fn(&square.dims, |index| square.at(index) + flipped.at(index));
    check([2, 3, 3], &sum, |m| {
        m.node("Transpose", &["x"], "t", &[("perm", ints(&[0, 1, 3, 2]))])
            .node("Add", &["x", "t"], "y", &[]);
    });
    let grid = Nd::ramp(&[1, 3, 2, 4]);
    let shifted = Nd::from_fn(&grid.dims, |index| pooled.at(index) + grid.at(index));
    check([3, 2, 4], &shifted, |m| {
        m.floats("grid", &[1, 3, 2, 4], &grid.data)
            .node("GlobalAveragePool", &["x"], "pooled", &[])
            .node("Add", &["pooled", "grid"], "y", &[]);
    });
}

#[test]
fn constants_and_other_orders_are_concatenated() {
    let x = image([2, 3, 3]);
    let flipped = x.transposed(&[0, 1, 3, 2]);
    let constant = Nd::ramp(&[1, 1, 3, 3]);
    let expected = Nd::from_fn(&[1, 5, 3, 3], |index| {
        let [channel, row, column] = [index[1], index[2], index[3]];
        match channel {
            0..2 => x.at(index),
            2 => constant.at(&[0, 0, row, column]),
            _ => flipped.at(&[0, channel - 3, row, column]),
        }
    });
    check([2, 3, 3], &expected, |m| {
        m.floats("c", &[1, 1, 3, 3], &constant.data)
            .node("Transpose", &["x"], "t", &[("perm", ints(&[0, 1, 3, 2]))])
            .node("Concat", &["x", "c", "t"], "y", &[("axis", Attr::Int(1))]);
    });
    // A new axis is made for the pieces, which are then shuffled.
    let stacked = Nd::from_fn(&[1, 4, 3, 3], |index| {
        let source = [0, index[1] / 2, index[2], index[3]];
        if index[1] % 2 == 0 {
            x.at(&source)
        } else {
            -x.at(&source)
        }
    });
    check([2, 3, 3], &stacked, |m| {
        m.ints("axis", &[2])
            .ints("shape", &[1, 4, 3, 3])
            .node("Neg", &["x"], "n", &[])
            .node("Unsqueeze", &["x", "axis"], "a", &[])
            .node("Unsqueeze", &["n", "axis"], "b", &[])
            .node("Concat", &["a", "b"], "c", &[("axis", Attr::Int(2))])
            .node("Reshape", &["c", "shape"], "y", &[]);
    });
}

#[test]
fn matrices_multiply_any_axis() {
    let x = image([3, 2, 4]);
    let channels = Nd::ramp(&[3, 5]);
    let product = Nd::from_fn(&[1, 2, 4, 5], |index| {
        let term = |c: usize| x.at(&[0, c, index[1], index[2]]) * channels.at(&[c, index[3]]);
        (0..3).map(term).sum()
    });
    check([3, 2, 4], &product, |m| {
        m.floats("w", &[3, 5], &channels.data)
            .node("Transpose", &["x"], "t", &[("perm", ints(&[0, 2, 3, 1]))])
            .node("MatMul", &["t", "w"], "y", &[]);
    });
    let rows = Nd::ramp(&[3, 2]);
    let product = Nd::from_fn(&[1, 3, 3, 4], |index| {
        let term = |row: usize| rows.at(&[index[2], row]) * x.at(&[0, index[1], row, index[3]]);
        (0..2).map(term).sum()
    });
    check([3, 2, 4], &product, |m| {
        m.floats("w", &[3, 2], &rows.data)
            .node("MatMul", &["w", "x"], "y", &[]);
    });
    // Along channels and height together, which are one axis of the model.
    let merged = Nd::ramp(&[2, 6]);
    let product = Nd::from_fn(&[1, 2, 4], |index| {
        let term = |at: usize| merged.at(&[index[1], at]) * x.at(&[0, at / 2, at % 2, index[2]]);
        (0..6).map(term).sum()
    });
    check([3, 2, 4], &product, |m| {
        m.ints("shape", &[1, 6, 4])
            .floats("w", &[2, 6], &merged.data)
            .node("Reshape", &["x", "shape"], "r", &[])
            .node("MatMul", &["w", "r"], "y", &[]);
    });
}

#[test]
fn what_does_not_fit_is_refused_in_a_sentence() {
    let refusal = |nodes: &dyn Fn(&mut OnnxBuilder)| {
        let mut builder = OnnxBuilder::new(18);
        builder.input("x", &[1, 2, 4, 4]).output("y");
        nodes(&mut builder);
        let options = ImportOptions::default();
        import_bytes("bad.onnx", &builder.build(), &options)
            .unwrap_err()
            .to_string()
    };
    let huge = refusal(&|m| {
        m.ints("repeats", &[1, 1 << 40, 1 << 40, 1])
            .node("Tile", &["x", "repeats"], "y", &[]);
    });
    assert!(
        huge.contains("more than") || huge.contains("too much"),
        "{huge}"
    );
    let outside = refusal(&|m| {
        m.ints("i", &[2])
            .node("Gather", &["x", "i"], "y", &[("axis", Attr::Int(1))]);
    });
    assert!(outside.contains("the index 2 is outside"), "{outside}");
    let far = refusal(&|m| {
        m.ints("pads", &[0, 0, 4, 0, 0, 0, 0, 0]).node(
            "Pad",
            &["x", "pads"],
            "y",
            &[("mode", Attr::Str("reflect"))],
        );
    });
    assert!(far.contains("reflects 4 elements"), "{far}");
    let gone = refusal(&|m| {
        m.ints("pads", &[0, 0, -2, 0, 0, 0, -2, 0])
            .node("Pad", &["x", "pads"], "y", &[]);
    });
    assert!(gone.contains("pads an axis of 4 by -2 and -2"), "{gone}");
    let uneven = refusal(&|m| {
        m.node("SpaceToDepth", &["x"], "y", &[("blocksize", Attr::Int(3))]);
    });
    assert!(uneven.contains("blocks of 3×3"), "{uneven}");
    let shapes = refusal(&|m| {
        m.ints("axes", &[2])
            .ints("split", &[1, 2, 2, 2, 4])
            .node("Reshape", &["x", "split"], "r", &[])
            .node("Softmax", &["r"], "s", &[])
            .node("Relu", &["s"], "y", &[]);
    });
    assert!(
        shapes.contains("last operation") || shapes.contains("three axes"),
        "{shapes}"
    );
    let antialias = refusal(&|m| {
        m.ints("sizes", &[1, 2, 2, 2]).node(
            "Resize",
            &["x", "", "", "sizes"],
            "y",
            &[("mode", Attr::Str("linear")), ("antialias", Attr::Int(1))],
        );
    });
    assert!(antialias.contains("antialias"), "{antialias}");
}
