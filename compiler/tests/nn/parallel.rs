//! Multiplexed parallel convolutions compute what plain convolutions do.

use heddle_ir::eval::nn;
use heddle_ir::eval::slot::{Activations, SlotInterpreter};
use heddle_ir::layout::MultiplexedLayout;
use heddle_ir::linear::parallel::ParallelConvolution;
use heddle_ir::linear::{LinearMap, LinearTerm};
use heddle_ir::nn::{Conv, LinearOp, Model, Op as NnOp, Window};
use heddle_ir::slot::{Op, SlotGraph, SlotType};
use heddle_ir::{Graph, ValueId, text, verify};

use crate::build::{Builder, images};

/// A convolution by itself: the operand's layout, output channels, groups and window.
struct Case {
    input: MultiplexedLayout,
    outputs: usize,
    groups: usize,
    window: Window,
    slots: usize,
}

impl Case {
    fn model(&self) -> Model {
        let MultiplexedLayout {
            channels,
            height,
            width,
            ..
        } = self.input;
        let mut b = Builder::new([channels, height, width]);
        let [rows, columns] = self.window.kernel;
        let per_group = channels / self.groups;
        let op = LinearOp::Conv(Conv {
            weight: b.weight("w", &[self.outputs, per_group, rows, columns], 0.0, 0.3),
            bias: Some(b.weight("b", &[self.outputs], 0.0, 0.5)),
            window: self.window,
            groups: self.groups,
        });
        let [rows, columns] = self.window.output(height, width).unwrap();
        let y = b.add(
            NnOp::Linear(op),
            &[ValueId(0)],
            &[self.outputs, rows, columns],
            "conv",
        );
        b.finish(y)
    }

    /// The packed convolution, and a mask, as every packed graph ends in a linear map.
    fn packed(&self, model: &Model) -> SlotGraph {
        let NnOp::Linear(op) = model.graph.node(model.output()).op.clone() else {
            panic!("the model is a convolution");
        };
        let [channels, height, width] = model.graph.ty(model.output()).chw();
        let gap = [0, 1].map(|axis| self.input.gap[axis] * self.window.stride[axis]);
        let output = self.input.on_same_grid(gap, channels, height, width);
        let (before, after) = (2.0, 5.0);
        let ty = |layout, range| SlotType { layout, range };
        let term = |input, ops, factor| LinearTerm { input, ops, factor };
        let mut graph = Graph::new();
        let x = graph.add(Op::Input, &[], ty(self.input, before), "image");
        let map = LinearMap::new(
            vec![term(self.input, vec![op], before / after)],
            output,
            1.0 / after,
        );
        let slots = self.slots;
        let op = Op::ParallelConvolution { map, slots };
        let y = graph.add(op, &[x], ty(output, after), "conv");
        let y = graph.add(Op::Add, &[y, y], ty(output, after), "twice");
        let mask = LinearMap::new(vec![term(output, Vec::new(), 1.0)], output, 1.0 / after);
        let y = graph.add(Op::Linear(mask), &[y], ty(output, after), "mask");
        graph.set_outputs(vec![y]);
        graph
    }

    #[track_caller]
    fn check(&self) {
        let model = self.model();
        assert!(verify::nn::verify(&model).is_empty());
        let graph = self.packed(&model);
        assert!(verify::slot::verify(&graph, &model.weights).is_empty());
        let printed = text::print_slot(&graph);
        assert_eq!(text::parse_slot(&printed).unwrap(), graph);
        let machine = SlotInterpreter::new(&graph, &model.weights).unwrap();
        let image = &images(
            1,
            self.input.channels * self.input.height * self.input.width,
        )[0];
        let expected = nn::run(&model, image).unwrap();
        let image: Vec<f64> = image.iter().map(|x| f64::from(*x)).collect();
        // What lies in slots without an element must not matter.
        let mut slots = vec![0.77; self.input.period()];
        for (slot, x) in self.input.slots().into_iter().zip(&image) {
            slots[slot] = x / 2.0;
        }
        let output = machine
            .run(&[slots], Activations::Exact, |_, _| {})
            .unwrap();
        let found = graph.ty(graph.outputs()[0]).layout.unpack(&output);
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(&expected) {
            let found = found * 5.0 / 2.0;
            assert!(
                (found - f64::from(*expected)).abs() < 1e-3,
                "{found} {expected}"
            );
        }
    }
}

#[test]
fn every_convolution_of_resnet20_agrees_with_the_plain_one() {
    let image = MultiplexedLayout::dense(3, 32, 32);
    for (gap, inputs, outputs, kernel, stride) in [
        (1, 3, 16, 3, 1),
        (1, 16, 16, 3, 1),
        (1, 16, 32, 3, 2),
        (1, 16, 32, 1, 2),
        (2, 32, 32, 3, 1),
        (2, 32, 64, 3, 2),
        (2, 32, 64, 1, 2),
        (4, 64, 64, 3, 1),
    ] {
        let case = Case {
            input: image.on_same_grid([gap; 2], inputs, 32 / gap, 32 / gap),
            outputs,
            groups: 1,
            window: Window::square(kernel, stride),
            slots: 1 << 15,
        };
        case.check();
    }
}

#[test]
fn unusual_windows_groups_and_gaps_agree_too() {
    let image = MultiplexedLayout::dense(3, 16, 16);
    let case = |gap, channels, size, outputs, groups, window| Case {
        input: image.on_same_grid([gap; 2], channels, size, size),
        outputs,
        groups,
        window,
        slots: 1 << 13,
    };
    // No padding, asymmetric padding, dilation, a kernel that is not square.
    case(
        1,
        5,
        13,
        7,
        1,
        Window {
            pads: [0; 4],
            ..Window::square(5, 1)
        },
    )
    .check();
    case(
        1,
        3,
        16,
        6,
        1,
        Window {
            pads: [0, 0, 1, 1],
            ..Window::square(3, 2)
        },
    )
    .check();
    case(
        2,
        6,
        8,
        6,
        1,
        Window {
            dilation: [2, 3],
            pads: [2, 3, 2, 3],
            ..Window::square(3, 1)
        },
    )
    .check();
    case(
        1,
        4,
        12,
        3,
        1,
        Window {
            kernel: [1, 7],
            pads: [0, 3, 0, 3],
            ..Window::square(1, 1)
        },
    )
    .check();
    // Strides that differ between the axes, and what follows them.
    case(
        1,
        5,
        16,
        6,
        1,
        Window {
            stride: [1, 2],
            ..Window::square(3, 1)
        },
    )
    .check();
    Case {
        input: image.on_same_grid([1, 2], 5, 16, 8),
        outputs: 7,
        groups: 1,
        window: Window::square(3, 1),
        slots: 1 << 13,
    }
    .check();
    // Depthwise and grouped; channels that do not fill a cell; a gap that is no power of two.
    case(2, 6, 8, 6, 6, Window::square(3, 1)).check();
    case(1, 4, 16, 8, 2, Window::square(3, 2)).check();
    case(3, 11, 5, 20, 1, Window::square(3, 1)).check();
    case(
        1,
        3,
        15,
        10,
        1,
        Window {
            pads: [1; 4],
            ..Window::square(3, 3)
        },
    )
    .check();
}

#[test]
fn what_the_algorithm_cannot_express_is_refused() {
    let case = Case {
        input: MultiplexedLayout::dense(4, 8, 8),
        outputs: 4,
        groups: 1,
        window: Window::square(3, 2),
        slots: 1 << 10,
    };
    let model = case.model();
    let graph = case.packed(&model);
    let Op::ParallelConvolution { map, .. } = graph.node(ValueId(1)).op.clone() else {
        panic!("the second value is the convolution");
    };
    let refused = |slots: usize, edit: fn(&mut LinearMap)| {
        let mut map = map.clone();
        edit(&mut map);
        let error = ParallelConvolution::of(&map, slots)
            .unwrap_err()
            .to_string();
        let mut graph = graph.clone();
        graph.node_mut(ValueId(1)).op = Op::ParallelConvolution { map, slots };
        assert!(!verify::slot::verify(&graph, &model.weights).is_empty());
        error
    };
    assert!(refused(100, |_| {}).contains("a power of two of at least 256"));
    assert!(refused(128, |_| {}).contains("found 128"));
    let doubled = refused(1 << 10, |map| map.terms.push(map.terms[0].clone()));
    assert!(doubled.contains("2 terms"), "{doubled}");
    assert!(refused(1 << 10, |map| map.terms[0].ops.clear()).contains("one convolution"));
    let gap = refused(1 << 10, |map| map.output.gap = [1; 2]);
    assert!(gap.contains("[1, 1] to [1, 1] at strides [2, 2]"), "{gap}");
    let strides = refused(1 << 10, |map| {
        if let LinearOp::Conv(Conv { window, .. }) = &mut map.terms[0].ops[0] {
            window.stride = [2, 1];
        }
    });
    assert!(strides.contains("at strides [2, 1]"), "{strides}");
    let taps = refused(1 << 10, |map| {
        if let LinearOp::Conv(Conv { window, .. }) = &mut map.terms[0].ops[0] {
            window.kernel = [usize::MAX, 3];
        }
    });
    assert!(taps.contains("at most 1024 taps"), "{taps}");
    let grid = refused(1 << 10, |map| map.output.grid_width = 16);
    assert!(grid.contains("one grid"), "{grid}");
}

#[test]
fn additions_join_equal_types_only() {
    let case = Case {
        input: MultiplexedLayout::dense(4, 8, 8),
        outputs: 4,
        groups: 1,
        window: Window::square(3, 1),
        slots: 1 << 10,
    };
    let model = case.model();
    let mut graph = case.packed(&model);
    graph.node_mut(ValueId(2)).ty.range = 6.0;
    let violations = verify::slot::verify(&graph, &model.weights);
    assert!(
        violations
            .iter()
            .any(|violation| violation.to_string().contains("an operand slots<")),
        "{violations:?}"
    );
}
