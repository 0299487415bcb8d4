//! Max-pool lowering keeps what a model computes, for every window.

use heddle_compiler::Changed;
use heddle_compiler::analysis::ranges::calibrate;
use heddle_compiler::passes::lower_max_pool;
use heddle_ir::eval::nn::run;
use heddle_ir::nn::{Activation, LinearOp, Model, Op, Separable, Window};
use heddle_ir::{ValueId, verify};

use crate::build::{Builder, images};

fn pool(image: [usize; 3], window: Window) -> Model {
    let mut b = Builder::new(image);
    let [h, w] = window.output(image[1], image[2]).expect("the window fits");
    let out = b.add(
        Op::MaxPool { window },
        &[ValueId(0)],
        &[image[0], h, w],
        "pool",
    );
    b.finish(out)
}

fn relus(model: &Model) -> usize {
    let is_relu = |value: &ValueId| {
        matches!(
            model.graph.node(*value).op,
            Op::Activation {
                function: Activation::Relu,
                ..
            }
        )
    };
    model.graph.values().filter(is_relu).count()
}

/// Lowers the pool and compares the numbers; returns the number of ReLUs.
fn check(image: [usize; 3], window: Window) -> usize {
    let model = pool(image, window);
    assert!(verify::nn::verify(&model).is_empty(), "{window:?}");
    let (lowered, changed) = lower_max_pool::run(model.clone()).unwrap();
    assert_eq!(changed, Changed::Yes);
    let violations = verify::nn::verify(&lowered);
    assert!(violations.is_empty(), "{window:?}: {violations:?}");
    for image in images(2, image.iter().product()) {
        let (expected, found) = (run(&model, &image).unwrap(), run(&lowered, &image).unwrap());
        assert_eq!(expected.len(), found.len());
        for (expected, found) in expected.iter().zip(&found) {
            assert!(
                (expected - found).abs() < 1e-6,
                "{window:?}: {found}, not {expected}"
            );
        }
    }
    relus(&lowered)
}

/// ⌈log2 k⌉, counted.
fn doublings(kernel: usize) -> usize {
    (0..).find(|steps| 1 << steps >= kernel).unwrap()
}

#[test]
fn every_window_keeps_its_maxima() {
    let mut checked = 0;
    for height in 1..=5 {
        for width in [1, 2, 3, 5] {
            for stride in [[1, 1], [2, 2], [3, 1]] {
                for pads in [[0; 4], [1, 0, 0, 1], [2, 1, 1, 2], [3, 2, 4, 0]] {
                    for dilation in [[1, 1], [2, 1], [1, 3]] {
                        let window = Window {
                            kernel: [height, width],
                            stride,
                            pads,
                            dilation,
                        };
                        let image = [2, 9, 8];
                        let Some([rows, columns]) = window.output(9, 8) else {
                            continue;
                        };
                        // A window in the padding alone is the verifier's to refuse.
                        let is_empty = |axis: usize, count: usize, extent: usize| {
                            (0..count).any(|output| {
                                (0..window.kernel[axis]).all(|tap| {
                                    window.input_index(axis, output, tap, extent).is_none()
                                })
                            })
                        };
                        if is_empty(0, rows, 9) || is_empty(1, columns, 8) {
                            let model = pool(image, window);
                            assert!(!verify::nn::verify(&model).is_empty(), "{window:?}");
                            continue;
                        }
                        checked += 1;
                        let most = doublings(height) + doublings(width);
                        assert!(check(image, window) <= most, "{window:?}");
                    }
                }
            }
        }
    }
    assert!(checked > 300, "{checked}");
}

#[test]
fn the_number_of_relus_is_logarithmic() {
    for (kernel, expected) in [(1, 0), (2, 2), (3, 4), (4, 4), (5, 6), (8, 6)] {
        let window = Window {
            stride: [kernel; 2],
            ..Window::plain([kernel; 2])
        };
        assert_eq!(check([3, 8, 8], window), expected, "{kernel}");
    }
}

#[test]
fn a_difference_of_taps_is_one_map_with_two_entries_a_row() {
    let window = Window {
        kernel: [2, 1],
        stride: [2, 2],
        pads: [0; 4],
        dilation: [1; 2],
    };
    let (lowered, _) = lower_max_pool::run(pool([1, 4, 4], window)).unwrap();
    let graph = &lowered.graph;
    let relu = graph
        .values()
        .find(|value| matches!(graph.node(*value).op, Op::Activation { .. }))
        .unwrap();
    let difference = graph.operands(relu)[0];
    assert_eq!(graph.operands(difference), [ValueId(0)]);
    let Op::Linear(LinearOp::Separable(Separable {
        rows: Some(rows),
        columns: Some(columns),
        stride,
    })) = graph.node(difference).op
    else {
        panic!("{:?}", graph.node(difference).op)
    };
    assert_eq!(stride, [2, 2]);
    let data = |id| lowered.weights.get(id).data.clone();
    assert_eq!(data(rows), [-1.0, 1.0, 0.0, 0.0, 0.0, 0.0, -1.0, 1.0]);
    assert_eq!(data(columns), [1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0]);
}

#[test]
fn a_model_without_pools_stays_as_it_is() {
    let model = crate::build::residual();
    let (same, changed) = lower_max_pool::run(model.clone()).unwrap();
    assert_eq!((same, changed), (model, Changed::No));
}

/// Statistics of a batch norm in front of a pool bound the differences that the pool takes.
#[test]
fn statistics_reach_through_a_pool() {
    let mut b = Builder::new([3, 8, 8]);
    let x = b.conv(ValueId(0), [4, 3, 1, 1], "conv");
    let x = b.batch_norm(x, "bn");
    let x = b.relu(x, "relu");
    let window = Window::square(3, 2);
    let x = b.add(Op::MaxPool { window }, &[x], &[4, 4, 4], "pool");
    let out = b.head(x, 3);
    let (model, _) = lower_max_pool::run(b.finish(out)).unwrap();
    let samples = images(20, 192);
    let sampled = calibrate(&model, &samples, &[], 1.0, &()).unwrap();
    let statistical = calibrate(&model, &[], &[], 1.0, &()).unwrap();
    assert_eq!(statistical.activations().len(), 5);
    for (range, sampled) in statistical.details().zip(sampled.details()) {
        let observed = sampled.observed.unwrap();
        assert!(
            observed < range.bound,
            "{}: {observed}, {}",
            range.name,
            range.bound
        );
    }
}
