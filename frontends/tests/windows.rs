//! Convolutions and pools of every shape of window, against loops that know nothing of the
//! interpreter: taps are walked one by one with signed positions.

use heddle_frontends::onnx::{ImportOptions, import_bytes};
use heddle_ir::eval;
use heddle_tests::onnx_builder::{Attr, OnnxBuilder};

/// Numbers between −1 and 1 that repeat late.
fn ramp(len: usize) -> Vec<f32> {
    (0..len)
        .map(|i| ((i * 37 + 11) % 101) as f32 / 50.0 - 1.0)
        .collect()
}

fn ints(values: &[usize]) -> Attr {
    Attr::Ints(values.iter().map(|value| *value as i64).collect())
}

/// A window as the ONNX node declares it.
#[derive(Clone, Copy, Debug)]
struct Case {
    image: [usize; 3],
    kernel: [usize; 2],
    stride: [usize; 2],
    pads: [usize; 4],
    dilation: [usize; 2],
}

const PLAIN: Case = Case {
    image: [4, 7, 6],
    kernel: [3, 3],
    stride: [1, 1],
    pads: [0; 4],
    dilation: [1, 1],
};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Rounding {
    Down,
    Up,
}

impl Case {
    fn attributes(&self) -> Vec<(&'static str, Attr)> {
        vec![
            ("kernel_shape", ints(&self.kernel)),
            ("strides", ints(&self.stride)),
            ("pads", ints(&self.pads)),
            ("dilations", ints(&self.dilation)),
        ]
    }

    /// Number of positions on an axis.
    fn positions(&self, axis: usize, rounding: Rounding) -> usize {
        let padded = self.image[axis + 1] + self.pads[axis] + self.pads[axis + 2];
        let reach = self.dilation[axis] * (self.kernel[axis] - 1) + 1;
        let mut count = 1;
        let mut start = self.stride[axis];
        while start + reach <= padded {
            count += 1;
            start += self.stride[axis];
        }
        let is_cut_off = start - self.stride[axis] + reach < padded;
        let begins_inside = start < self.image[axis + 1] + self.pads[axis];
        if rounding == Rounding::Up && is_cut_off && begins_inside {
            count += 1;
        }
        count
    }

    /// Calls `tap` for every position, in order, and every tap of its window, with the element
    /// below it; `None` in the padding, and no call at all behind the padding.
    fn walk(&self, rounding: Rounding, mut tap: impl FnMut(usize, [usize; 2], Option<[usize; 2]>)) {
        let [rows, columns] = [0, 1].map(|axis| self.positions(axis, rounding));
        for position in 0..rows * columns {
            let output = [position / columns, position % columns];
            for ky in 0..self.kernel[0] {
                for kx in 0..self.kernel[1] {
                    let at = [(0, ky), (1, kx)].map(|(axis, tap)| {
                        (output[axis] * self.stride[axis] + tap * self.dilation[axis]) as isize
                            - self.pads[axis] as isize
                    });
                    let extents = [self.image[1], self.image[2]].map(|extent| extent as isize);
                    let is_behind =
                        (0..2).any(|axis| at[axis] >= extents[axis] + self.pads[axis + 2] as isize);
                    let is_inside = (0..2).all(|axis| (0..extents[axis]).contains(&at[axis]));
                    if !is_behind {
                        let element = is_inside.then(|| at.map(|index| index as usize));
                        tap(position, [ky, kx], element);
                    }
                }
            }
        }
    }

    fn outputs(&self, rounding: Rounding) -> usize {
        self.positions(0, rounding) * self.positions(1, rounding)
    }

    /// Runs one node on the ramp image.
    #[track_caller]
    fn run(
        &self,
        opset: i64,
        op: &str,
        inputs: &[&str],
        attributes: &[(&str, Attr)],
        weights: impl FnOnce(&mut OnnxBuilder),
    ) -> Vec<f32> {
        let [c, h, w] = self.image.map(|extent| extent as i64);
        let mut builder = OnnxBuilder::new(opset);
        builder.input("x", &[1, c, h, w]).output("y");
        weights(&mut builder);
        builder.node(op, inputs, "y", attributes);
        let model = import_bytes("test.onnx", &builder.build(), &ImportOptions::default()).unwrap();
        eval::nn::run(&model, &ramp(self.image.iter().product())).unwrap()
    }

    #[track_caller]
    fn check_conv(&self, outputs: usize, groups: usize, attributes: &[(&str, Attr)]) {
        let [channels, height, width] = self.image;
        let [kernel_height, kernel_width] = self.kernel;
        let per_group = channels / groups;
        let weight = ramp(outputs * per_group * kernel_height * kernel_width);
        let bias = ramp(outputs);
        let mut all = attributes.to_vec();
        all.push(("group", Attr::Int(groups as i64)));
        let found = self.run(11, "Conv", &["x", "w", "b"], &all, |m| {
            let dims = [outputs, per_group, kernel_height, kernel_width];
            m.floats("w", &dims.map(|extent| extent as i64), &weight);
            m.floats("b", &[outputs as i64], &bias);
        });
        let image = ramp(self.image.iter().product());
        let mut expected = Vec::new();
        for (output, bias) in bias.iter().enumerate() {
            let mut sums = vec![f64::from(*bias); self.outputs(Rounding::Down)];
            let first = output / (outputs / groups) * per_group;
            self.walk(Rounding::Down, |position, [ky, kx], element| {
                let Some([y, x]) = element else { return };
                for inner in 0..per_group {
                    let tap = ((output * per_group + inner) * kernel_height + ky) * kernel_width;
                    let pixel = ((first + inner) * height + y) * width + x;
                    sums[position] += f64::from(weight[tap + kx]) * f64::from(image[pixel]);
                }
            });
            expected.extend(sums);
        }
        assert_close(&found, &expected, self);
    }

    #[track_caller]
    fn check_max_pool(&self, rounding: Rounding) {
        let mut attributes = self.attributes();
        attributes.push(("ceil_mode", Attr::Int((rounding == Rounding::Up).into())));
        let found = self.run(12, "MaxPool", &["x"], &attributes, |_| {});
        let expected = self.pooled(rounding, |taps| {
            taps.iter()
                .flatten()
                .copied()
                .fold(f64::NEG_INFINITY, f64::max)
        });
        assert_close(&found, &expected, self);
    }

    #[track_caller]
    fn check_average_pool(&self, rounding: Rounding, counted: bool) {
        let mut attributes = self.attributes();
        attributes.push(("ceil_mode", Attr::Int((rounding == Rounding::Up).into())));
        attributes.push(("count_include_pad", Attr::Int(counted.into())));
        let found = self.run(19, "AveragePool", &["x"], &attributes, |_| {});
        let expected = self.pooled(rounding, |taps| {
            let real: Vec<f64> = taps.iter().flatten().copied().collect();
            let divisor = if counted { taps.len() } else { real.len() };
            real.iter().sum::<f64>() / divisor as f64
        });
        assert_close(&found, &expected, self);
    }

    #[track_caller]
    fn check_pools(&self) {
        for rounding in [Rounding::Down, Rounding::Up] {
            self.check_max_pool(rounding);
            self.check_average_pool(rounding, true);
            self.check_average_pool(rounding, false);
        }
    }

    /// `reduce` of the elements under every window; `None` stands for padding.
    fn pooled(&self, rounding: Rounding, reduce: impl Fn(&[Option<f64>]) -> f64) -> Vec<f64> {
        let [channels, height, width] = self.image;
        let image = ramp(channels * height * width);
        (0..channels)
            .flat_map(|channel| {
                let mut taps = vec![Vec::new(); self.outputs(rounding)];
                self.walk(rounding, |position, _, element| {
                    taps[position].push(
                        element.map(|[y, x]| f64::from(image[(channel * height + y) * width + x])),
                    );
                });
                taps.iter().map(|taps| reduce(taps)).collect::<Vec<f64>>()
            })
            .collect()
    }
}

#[track_caller]
fn assert_close(found: &[f32], expected: &[f64], case: &Case) {
    assert_eq!(found.len(), expected.len(), "{case:?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(
            (f64::from(*found) - expected).abs() < 1e-5,
            "{case:?}: {found}, expected {expected}"
        );
    }
}

#[test]
fn convolutions_of_every_kernel_and_stride() {
    for height in 1..=7 {
        for width in 1..=6 {
            let kernel = [height, width];
            for stride in [[1, 1], [2, 2], [1, 2], kernel] {
                for pads in [
                    [0; 4],
                    [height / 2, width / 2, height / 2, width / 2],
                    [0, width / 2, (height - 1) / 2, 0],
                ] {
                    let case = Case {
                        kernel,
                        stride,
                        pads,
                        ..PLAIN
                    };
                    case.check_conv(3, 1, &case.attributes());
                }
            }
        }
    }
}

#[test]
fn grouped_depthwise_and_dilated_convolutions() {
    for (outputs, groups) in [(6, 2), (4, 4), (8, 4), (5, 1)] {
        for dilation in [[1, 1], [2, 1], [2, 2]] {
            for stride in [[1, 1], [2, 2]] {
                let case = Case {
                    pads: [1, 2, 0, 1],
                    stride,
                    dilation,
                    ..PLAIN
                };
                case.check_conv(outputs, groups, &case.attributes());
            }
        }
    }
}

/// The total is what brings ⌈input / stride⌉ positions about; an odd zero goes behind or before.
#[test]
fn automatic_padding_is_the_pads_that_it_stands_for() {
    for (mode, odd_before) in [("SAME_UPPER", 0), ("SAME_LOWER", 1)] {
        for kernel in [[1, 1], [2, 3], [3, 2], [4, 4], [5, 5]] {
            for stride in [[1, 1], [2, 2], [3, 2]] {
                let mut pads = [0; 4];
                for axis in 0..2 {
                    let input = PLAIN.image[axis + 1];
                    let positions = input.div_ceil(stride[axis]);
                    let total = ((positions - 1) * stride[axis] + kernel[axis]).max(input) - input;
                    pads[axis] = (total + odd_before) / 2;
                    pads[axis + 2] = total - pads[axis];
                }
                let case = Case {
                    kernel,
                    stride,
                    pads,
                    ..PLAIN
                };
                let attributes = [
                    ("auto_pad", Attr::Str(mode)),
                    ("kernel_shape", ints(&kernel)),
                    ("strides", ints(&stride)),
                ];
                case.check_conv(2, 1, &attributes);
                let found = case.run(12, "MaxPool", &["x"], &attributes, |_| {});
                let expected = case.pooled(Rounding::Down, |taps| {
                    taps.iter()
                        .flatten()
                        .copied()
                        .fold(f64::NEG_INFINITY, f64::max)
                });
                assert_close(&found, &expected, &case);
            }
        }
    }
    let case = Case {
        stride: [2, 2],
        ..PLAIN
    };
    let attributes = [("auto_pad", Attr::Str("VALID")), ("strides", ints(&[2, 2]))];
    case.check_conv(2, 1, &attributes);
}

#[test]
fn pools_of_every_window() {
    for kernel in [[2, 2], [3, 3], [1, 3], [3, 1], [4, 2], [5, 5], [1, 1]] {
        for stride in [[1, 1], [2, 2], [3, 2], kernel] {
            for pads in [[0; 4], [1, 1, 1, 1], [0, 1, 1, 0], [0, 0, 2, 1]] {
                if (0..4).any(|side| pads[side] >= kernel[side % 2]) {
                    continue;
                }
                let case = Case {
                    kernel,
                    stride,
                    pads,
                    ..PLAIN
                };
                case.check_pools();
            }
        }
    }
}

#[test]
fn dilated_pools() {
    for (dilation, pads) in [
        ([2, 1], [1, 1, 1, 0]),
        ([2, 2], [0; 4]),
        ([3, 2], [1, 0, 1, 2]),
    ] {
        for stride in [[1, 1], [2, 2]] {
            let case = Case {
                dilation,
                stride,
                pads,
                kernel: [2, 3],
                ..PLAIN
            };
            case.check_pools();
        }
    }
}

#[test]
fn a_global_maximum_is_the_largest_element_of_every_channel() {
    let found = PLAIN.run(13, "GlobalMaxPool", &["x"], &[], |_| {});
    let expected: Vec<f64> = ramp(4 * 42)
        .chunks(42)
        .map(|plane| plane.iter().copied().map(f64::from).fold(-2.0, f64::max))
        .collect();
    assert_close(&found, &expected, &PLAIN);
}

/// Numbers of onnxruntime 1.31.1 for the same nodes on the same image.
#[test]
fn pools_agree_with_onnxruntime() {
    let case = Case {
        image: [1, 5, 6],
        kernel: [3, 2],
        stride: [2, 2],
        pads: [1, 0, 0, 1],
        ..PLAIN
    };
    let mut attributes = case.attributes();
    attributes.push(("ceil_mode", Attr::Int(1)));
    let found = case.run(12, "MaxPool", &["x"], &attributes, |_| {});
    assert_close(&found, &MAXIMA, &case);
    attributes.push(("count_include_pad", Attr::Int(1)));
    let found = case.run(19, "AveragePool", &["x"], &attributes, |_| {});
    assert_close(&found, &MEANS, &case);
}

const MAXIMA: [f64; 9] = [0.36, 0.7, 0.9, 0.76, 0.62, 0.96, 0.82, 0.62, 0.48];
const MEANS: [f64; 9] = [
    -0.14, -0.163333, 0.15, 0.053333, -0.15, -0.016667, -0.02, -0.055, -0.09,
];
