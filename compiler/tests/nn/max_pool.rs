//! Max-pool lowering keeps what a model computes, for every window.

use heddle_compiler::Changed;
use heddle_compiler::analysis::ranges::calibrate;
use heddle_compiler::passes::lower_max_pool;
use heddle_compiler::passes::split_channels::Splitting;
use heddle_ir::eval::nn::run;
use heddle_ir::nn::{Activation, LinearOp, Model, Op, Separable, Window};
use heddle_ir::{ValueId, verify};

use crate::build::{Builder, images};

/// Slots of a ciphertext that holds every map here, and of one that holds none.
const LARGE: usize = 1 << 15;
const SMALL: usize = 1;

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

/// The number of elements of every ReLU, in order.
fn relus(model: &Model) -> Vec<usize> {
    let is_relu = |value: &ValueId| {
        matches!(
            model.graph.node(*value).op,
            Op::Activation {
                function: Activation::Relu,
                ..
            }
        )
    };
    let relus = model.graph.values().filter(is_relu);
    relus
        .map(|value| model.graph.ty(value).elements())
        .collect()
}

fn lowered(model: &Model, slots: usize) -> (Model, Changed) {
    lower_max_pool::run(model.clone(), Splitting::WhereNeeded, slots).unwrap()
}

/// Lowers the pool for ciphertexts of so many slots and compares the numbers; returns the number of
/// elements of every ReLU.
fn check(image: [usize; 3], window: Window, slots: usize) -> Vec<usize> {
    let model = pool(image, window);
    assert!(verify::nn::verify(&model).is_empty(), "{window:?}");
    let (lowered, changed) = lowered(&model, slots);
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
                        let few = check(image, window, LARGE);
                        assert!(few.len() <= most, "{window:?}");
                        check(image, window, SMALL);
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
        assert_eq!(check([3, 8, 8], window, LARGE).len(), expected, "{kernel}");
    }
}

/// Of a map with 2^14 elements.
#[test]
fn every_relu_takes_the_positions_of_the_stride_alone() {
    let map = 1 << 14;
    let image = [4, 64, 64];
    let pool = |kernel: [usize; 2], stride: [usize; 2]| Window {
        kernel,
        stride,
        // As many results as a stride of 1 on the whole map divided by the stride.
        pads: [
            0,
            0,
            kernel[0].saturating_sub(stride[0]),
            kernel[1].saturating_sub(stride[1]),
        ],
        dilation: [1; 2],
    };
    for (kernel, stride, expected) in [
        ([2, 2], [2, 2], vec![map / 2, map / 4]),
        ([3, 3], [2, 2], vec![map / 2, map / 2, map / 4, map / 4]),
        ([3, 3], [1, 1], vec![map; 4]),
        (
            [3, 3],
            [3, 3],
            vec![4 * 64 * 21, 4 * 64 * 21, 4 * 21 * 21, 4 * 21 * 21],
        ),
        // The axis with the stride comes first.
        ([2, 2], [2, 1], vec![map / 2, map / 2]),
        ([1, 3], [4, 1], vec![map / 4, map / 4]),
        ([4, 1], [4, 1], vec![map / 2, map / 4]),
    ] {
        let window = pool(kernel, stride);
        let found = check(image, window, LARGE);
        if kernel == stride {
            assert_eq!(found, expected, "{window:?}");
        }
        // Inner runs have a position more or less where the padding begins.
        let elements = |relus: &[usize]| relus.iter().sum::<usize>() as f64;
        let ratio = elements(&found) / elements(&expected);
        assert!((0.98..1.03).contains(&ratio), "{window:?}: {found:?}");
    }
}

#[test]
fn a_pool_over_the_whole_map_halves_it_again_and_again() {
    for [height, width] in [[8, 8], [7, 7], [5, 6]] {
        let window = Window::plain([height, width]);
        let found = check([3, height, width], window, LARGE);
        let halves = |extent: usize| {
            let mut left = extent;
            std::iter::from_fn(move || {
                left = (left > 1).then(|| left.div_ceil(2))?;
                Some(left)
            })
        };
        let [rows, columns] = [halves(height), halves(width)];
        let along_width = columns.map(|columns| 3 * height * columns);
        let expected: Vec<usize> = along_width.chain(rows.map(|rows| 3 * rows)).collect();
        if width > 6 {
            assert_eq!(found, expected, "{height}x{width}");
        }
        // Elsewhere the halves may overlap, which takes fewer elements.
        assert_eq!(found.len(), expected.len());
        assert!(found.iter().sum::<usize>() <= expected.iter().sum());
    }
}

/// Large windows of random sizes, for ciphertexts of both kinds.
#[test]
fn random_windows_keep_their_maxima() {
    let mut state = 11_u64;
    let mut random = |bound: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 33) as usize % bound
    };
    let mut checked = 0;
    while checked < 120 {
        let image = [1 + random(2), 1 + random(24), 1 + random(24)];
        let window = Window {
            kernel: [1 + random(13), 1 + random(13)],
            stride: [1 + random(5), 1 + random(5)],
            pads: [random(6), random(6), random(6), random(6)],
            dilation: [1 + random(3), 1 + random(3)],
        };
        let fits = window.output(image[1], image[2]).is_some();
        if fits && verify::nn::verify(&pool(image, window)).is_empty() {
            check(image, window, LARGE);
            check(image, window, SMALL);
            checked += 1;
        }
    }
}

#[test]
fn matrices_that_take_too_much_memory_are_refused() {
    let window = Window {
        stride: [1, 2],
        ..Window::plain([1, 2])
    };
    let error = lower_max_pool::run(pool([1, 1, 1 << 20], window), Splitting::WhereNeeded, LARGE)
        .unwrap_err();
    let said = error.to_string();
    assert!(
        said.contains("`pool`") && said.contains("does not fit a ciphertext"),
        "{said}"
    );
}

#[test]
fn a_difference_of_taps_is_one_map_with_two_entries_a_row() {
    let window = Window {
        kernel: [2, 1],
        stride: [2, 2],
        pads: [0; 4],
        dilation: [1; 2],
    };
    let (lowered, _) = lowered(&pool([1, 4, 4], window), LARGE);
    let graph = &lowered.graph;
    let relu = graph
        .values()
        .find(|value| matches!(graph.node(*value).op, Op::Activation { .. }))
        .unwrap();
    let map = |value: ValueId| match &graph.node(value).op {
        Op::Linear(LinearOp::Separable(separable)) => separable.clone(),
        op => panic!("{op:?}"),
    };
    let data = |id| lowered.weights.get(id).data.clone();
    // The columns that the stride keeps come first.
    let [difference] = graph.operands(relu)[..] else {
        panic!("a ReLU has one operand");
    };
    let [selection] = graph.operands(difference)[..] else {
        panic!("a map has one operand");
    };
    assert_eq!(graph.operands(selection), [ValueId(0)]);
    let Separable {
        rows,
        columns,
        stride,
    } = map(selection);
    assert_eq!((rows, stride), (None, [1, 2]));
    let columns = data(columns.unwrap());
    assert_eq!(columns, [1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0]);
    let Separable {
        rows,
        columns,
        stride,
    } = map(difference);
    assert_eq!((columns, stride), (None, [2, 1]));
    let rows = data(rows.unwrap());
    assert_eq!(rows, [-1.0, 1.0, 0.0, 0.0, 0.0, 0.0, -1.0, 1.0]);
}

#[test]
fn a_model_without_pools_stays_as_it_is() {
    let model = crate::build::residual();
    let (same, changed) = lowered(&model, LARGE);
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
    let (model, _) = lowered(&b.finish(out), LARGE);
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
