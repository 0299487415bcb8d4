//! One-dimensional networks: convolutions and pools over time, against naive sums.

use heddle_frontends::onnx::{ImportOptions, import_bytes};
use heddle_ir::eval;
use heddle_tests::onnx_builder::{Attr, OnnxBuilder};

/// Numbers between −1 and 1 that repeat late.
fn ramp(len: usize) -> Vec<f32> {
    (0..len)
        .map(|i| ((i * 37 + 11) % 101) as f32 / 50.0 - 1.0)
        .collect()
}

fn ints(values: &[i64]) -> Attr {
    Attr::Ints(values.to_vec())
}

/// A model with the signal `x`, whose output is `y`.
fn model(shape: &[i64], nodes: impl FnOnce(&mut OnnxBuilder)) -> Vec<u8> {
    let mut builder = OnnxBuilder::new(17);
    builder.input("x", shape).output("y");
    nodes(&mut builder);
    builder.build()
}

/// The output for a signal given channel by channel.
fn run(bytes: &[u8], signal: &[f32]) -> Vec<f32> {
    let model = import_bytes("test.onnx", bytes, &ImportOptions::default())
        .unwrap_or_else(|error| panic!("{error}"));
    eval::nn::run(&model, signal).unwrap()
}

#[track_caller]
fn check(found: &[f32], wanted: &[f32]) {
    assert_eq!(found.len(), wanted.len());
    for (found, wanted) in found.iter().zip(wanted) {
        assert!((found - wanted).abs() < 1e-4, "{found} {wanted}");
    }
}

/// Windows along time: first tap, distance of taps, number of taps, distance of windows, padding
/// before, and number of windows.
struct Windows {
    dilation: usize,
    taps: usize,
    stride: usize,
    before: usize,
    count: usize,
}

impl Windows {
    /// The times of a window's taps; `None` in the padding.
    fn taps(&self, window: usize, times: usize) -> Vec<Option<usize>> {
        (0..self.taps)
            .map(|tap| {
                let at = window * self.stride + tap * self.dilation;
                at.checked_sub(self.before).filter(|at| *at < times)
            })
            .collect()
    }

    /// A convolution of `[channels, times]` by `[outputs, channels / groups, taps]`.
    fn convolve(
        &self,
        x: &[f32],
        times: usize,
        w: &[f32],
        outputs: usize,
        groups: usize,
    ) -> Vec<f32> {
        let channels = x.len() / times;
        let each = channels / groups;
        let mut results = Vec::new();
        for output in 0..outputs {
            let group = output / (outputs / groups);
            for window in 0..self.count {
                let taps = self.taps(window, times);
                let mut sum = 0.0;
                for channel in 0..each {
                    for (tap, at) in taps.iter().enumerate() {
                        let Some(at) = at else { continue };
                        let weight = w[(output * each + channel) * self.taps + tap];
                        sum += weight * x[(group * each + channel) * times + at];
                    }
                }
                results.push(sum);
            }
        }
        results
    }

    /// What `fold` makes of the taps of every window of every channel.
    fn pool(&self, x: &[f32], times: usize, fold: impl Fn(&[f32]) -> f32) -> Vec<f32> {
        let mut results = Vec::new();
        for row in x.chunks_exact(times) {
            for window in 0..self.count {
                let taps = self.taps(window, times);
                let taps: Vec<f32> = taps.iter().flatten().map(|at| row[*at]).collect();
                results.push(fold(&taps));
            }
        }
        results
    }
}

fn mean(taps: &[f32]) -> f32 {
    taps.iter().sum::<f32>() / taps.len() as f32
}

fn largest(taps: &[f32]) -> f32 {
    taps.iter().copied().fold(f32::NEG_INFINITY, f32::max)
}

#[test]
fn convolutions_with_groups_dilation_stride_and_pads() {
    let (x, w) = (ramp(4 * 11), ramp(6 * 2 * 3));
    let bytes = model(&[1, 4, 11], |m| {
        m.floats("w", &[6, 2, 3], &w);
        let attributes = [
            ("kernel_shape", ints(&[3])),
            ("strides", ints(&[2])),
            ("pads", ints(&[2, 1])),
            ("dilations", ints(&[2])),
            ("group", Attr::Int(2)),
        ];
        m.node("Conv", &["x", "w"], "y", &attributes);
    });
    let windows = Windows {
        dilation: 2,
        taps: 3,
        stride: 2,
        before: 2,
        count: 5,
    };
    check(&run(&bytes, &x), &windows.convolve(&x, 11, &w, 6, 2));
}

#[test]
fn automatic_padding_follows_the_length() {
    let (x, w) = (ramp(2 * 7), ramp(2 * 4));
    for (mode, before) in [("SAME_UPPER", 1), ("SAME_LOWER", 2)] {
        let bytes = model(&[1, 2, 7], |m| {
            m.floats("w", &[1, 2, 4], &w);
            m.node("Conv", &["x", "w"], "y", &[("auto_pad", Attr::Str(mode))]);
        });
        let windows = Windows {
            dilation: 1,
            taps: 4,
            stride: 1,
            before,
            count: 7,
        };
        check(&run(&bytes, &x), &windows.convolve(&x, 7, &w, 1, 1));
    }
}

#[test]
fn pools_slide_along_time() {
    let x = ramp(3 * 10);
    let windows = Windows {
        dilation: 1,
        taps: 3,
        stride: 2,
        before: 1,
        count: 5,
    };
    let pool = |op: &str| {
        model(&[1, 3, 10], |m| {
            let attributes = [
                ("kernel_shape", ints(&[3])),
                ("strides", ints(&[2])),
                ("pads", ints(&[1, 0])),
            ];
            m.node(op, &["x"], "y", &attributes);
        })
    };
    check(&run(&pool("MaxPool"), &x), &windows.pool(&x, 10, largest));
    check(&run(&pool("AveragePool"), &x), &windows.pool(&x, 10, mean));
    for (op, fold) in [
        ("GlobalAveragePool", mean as fn(&[f32]) -> f32),
        ("GlobalMaxPool", largest),
    ] {
        let bytes = model(&[1, 3, 10], |m| {
            m.node(op, &["x"], "pool", &[])
                .node("Flatten", &["pool"], "y", &[]);
        });
        let wanted: Vec<f32> = x.chunks_exact(10).map(fold).collect();
        check(&run(&bytes, &x), &wanted);
    }
}

#[test]
fn what_stands_around_a_convolution_behaves() {
    let x = ramp(2 * 6);
    let w = ramp(2 * 2);
    // Batch norm, sums of values and constants, concatenation, a mean over time.
    let bytes = model(&[1, 2, 6], |m| {
        m.floats("w", &[2, 2, 1], &w)
            .floats("scale", &[2], &[2.0, -1.0])
            .floats("bias", &[2], &[0.5, 0.25])
            .floats("mean", &[2], &[0.0, 1.0])
            .floats("var", &[2], &[1.0, 4.0])
            .floats("shift", &[2, 1], &[1.0, 2.0])
            .node("Conv", &["x", "w"], "c", &[])
            .node(
                "BatchNormalization",
                &["c", "scale", "bias", "mean", "var"],
                "n",
                &[("epsilon", Attr::Float(0.0))],
            )
            .node("Add", &["n", "shift"], "s", &[])
            .node("Add", &["s", "x"], "r", &[])
            .node("Concat", &["r", "x"], "j", &[("axis", Attr::Int(2))])
            .node("Flatten", &["j"], "y", &[]);
    });
    let mut wanted = Vec::new();
    for channel in 0..2 {
        let normal = [(2.0, 0.5, 0.0, 1.0, 1.0), (-1.0, 0.25, 1.0, 2.0, 2.0)][channel];
        let (scale, bias, mean, deviation, shift) = normal;
        for time in 0..6 {
            let c = w[2 * channel] * x[time] + w[2 * channel + 1] * x[6 + time];
            let n = scale * (c - mean) / deviation + bias;
            wanted.push(n + shift + x[6 * channel + time]);
        }
        wanted.extend_from_slice(&x[6 * channel..][..6]);
    }
    check(&run(&bytes, &x), &wanted);
}

#[test]
fn channels_may_come_last() {
    // `[batch, time, channels]`, as Keras has it: transposed to the convolution and back.
    let (x, w) = (ramp(3 * 5), ramp(2 * 3 * 2));
    let perm = || [("perm", ints(&[0, 2, 1]))];
    for flat in [true, false] {
        let bytes = model(&[1, 5, 3], |m| {
            m.floats("w", &[2, 3, 2], &w)
                .node("Transpose", &["x"], "t", &perm())
                .node("Conv", &["t", "w"], "c", &[]);
            if flat {
                m.floats("last", &[8, 8], &{
                    let mut unit = vec![0.0; 64];
                    (0..8).for_each(|i| unit[9 * i] = 1.0);
                    unit
                })
                .node("Transpose", &["c"], "back", &perm())
                .node("Flatten", &["back"], "flat", &[])
                .node("MatMul", &["flat", "last"], "y", &[]);
            } else {
                m.node("Relu", &["c"], "y", &[]);
            }
        });
        let windows = Windows {
            dilation: 1,
            taps: 2,
            stride: 1,
            before: 0,
            count: 4,
        };
        let c = windows.convolve(&x, 5, &w, 2, 1);
        let wanted: Vec<f32> = match flat {
            true => (0..8).map(|i| c[i % 2 * 4 + i / 2]).collect(),
            false => c.iter().map(|x| x.max(0.0)).collect(),
        };
        // Images are channel by channel in the graph, whatever the file's order.
        check(&run(&bytes, &x), &wanted);
    }
}

#[test]
fn a_signal_may_come_from_two_dimensions_or_a_vector() {
    let (x, w) = (ramp(2 * 6), ramp(2 * 3));
    let windows = Windows {
        dilation: 1,
        taps: 3,
        stride: 1,
        before: 0,
        count: 4,
    };
    let wanted = windows.convolve(&x, 6, &w, 1, 1);
    // `[1, 2, 6, 1]`: a two-dimensional operation, then one axis less.
    let squeezed = model(&[1, 2, 6, 1], |m| {
        m.floats("w", &[1, 2, 3], &w)
            .ints("last", &[3])
            .node("MaxPool", &["x"], "p", &[("kernel_shape", ints(&[1, 1]))])
            .node("Squeeze", &["p", "last"], "s", &[])
            .node("Conv", &["s", "w"], "y", &[]);
    });
    check(&run(&squeezed, &x), &wanted);
    // `[1, 12]`: one channel.
    let w = ramp(3);
    let wanted = Windows {
        count: 10,
        ..windows
    }
    .convolve(&x, 12, &w, 1, 1);
    let vector = model(&[1, 12], |m| {
        m.floats("w", &[1, 1, 3], &w)
            .ints("second", &[1])
            .node("Unsqueeze", &["x", "second"], "s", &[])
            .node("Conv", &["s", "w"], "y", &[]);
    });
    check(&run(&vector, &x), &wanted);
}
