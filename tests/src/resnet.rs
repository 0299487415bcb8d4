//! Residual networks with seeded weights, as ONNX files.
//!
//! Weights follow He's initialisation and the running statistics follow the second moments that it
//! implies, so that activations stay of order one at any depth.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::onnx_builder::{Attr, OnnxBuilder};

/// How a block's input reaches a sum of another shape (He et al., arXiv 1512.03385, section 3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shortcut {
    /// Option A: every other pixel, missing channels zero.
    A,
    /// Option B: a strided 1×1 convolution with batch norm.
    B,
}

/// The shape of a residual network of basic blocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// Blocks in every stage.
    pub blocks_per_stage: usize,
    /// Stages; each but the first halves the image and doubles the channels.
    pub stages: usize,
    /// Channels of the first stage.
    pub width: usize,
    /// Channels, height and width of the image.
    pub image: [usize; 3],
    /// Number of logits.
    pub classes: usize,
    /// Shortcut where the shape changes.
    pub shortcut: Shortcut,
    /// Seed of all weights.
    pub seed: u64,
}

impl Spec {
    /// ResNet-`depth` for CIFAR-10: three stages of 16, 32 and 64 channels on 3×32×32 images.
    ///
    /// # Panics
    /// If `depth` is not `6·n + 2`.
    pub fn cifar(depth: usize, shortcut: Shortcut, seed: u64) -> Self {
        assert!(depth >= 8 && depth % 6 == 2, "depth {depth} is not 6n + 2");
        Self {
            blocks_per_stage: (depth - 2) / 6,
            stages: 3,
            width: 16,
            image: [3, 32, 32],
            classes: 10,
            shortcut,
            seed,
        }
    }

    /// The network as an ONNX file of operator set 13, batch norms kept, names as PyTorch's.
    pub fn build(&self) -> Vec<u8> {
        let mut writer = Writer {
            onnx: OnnxBuilder::new(13),
            rng: ChaCha8Rng::seed_from_u64(self.seed),
        };
        let [channels, height, width] = self.image.map(|extent| extent as i64);
        writer.onnx.input("input", &[1, channels, height, width]);
        // The second moment of what the next convolution reads; images are normalised.
        let mut moment = 1.0;
        let stem = Conv {
            channels: [self.image[0], self.width],
            kernel: 3,
            stride: 1,
        };
        let mut x = writer.conv_bn("conv1", "bn1", "input", stem, moment, 1.0);
        x = writer.relu("relu", &x);
        moment = 0.5;
        // Every block adds this second moment on average, so that a stage adds about one.
        let branch = 1.0 / self.blocks_per_stage as f32;
        let mut from = self.width;
        for stage in 0..self.stages {
            let to = self.width << stage;
            for block in 0..self.blocks_per_stage {
                let name = format!("layer{}.{block}", stage + 1);
                let stride = if stage > 0 && block == 0 { 2 } else { 1 };
                let named = |part: &str| format!("{name}.{part}");
                let first = Conv {
                    channels: [from, to],
                    kernel: 3,
                    stride,
                };
                let mut y = writer.conv_bn(&named("conv1"), &named("bn1"), &x, first, moment, 1.0);
                y = writer.relu(&named("relu1"), &y);
                let second = Conv {
                    channels: [to, to],
                    kernel: 3,
                    stride: 1,
                };
                let gain = branch.sqrt();
                y = writer.conv_bn(&named("conv2"), &named("bn2"), &y, second, 0.5, gain);
                if stride != 1 {
                    x = match self.shortcut {
                        Shortcut::A => writer.option_a(&named("shortcut"), &x, to - from),
                        Shortcut::B => {
                            let conv = Conv {
                                channels: [from, to],
                                kernel: 1,
                                stride,
                            };
                            let (conv_name, bn_name) = (named("shortcut.0"), named("shortcut.1"));
                            writer.conv_bn(&conv_name, &bn_name, &x, conv, moment, 1.0)
                        }
                    };
                    moment = if self.shortcut == Shortcut::A {
                        moment / 2.0
                    } else {
                        1.0
                    };
                }
                writer.onnx.node("Add", &[&y, &x], &named("add"), &[]);
                x = writer.relu(&named("relu2"), &named("add"));
                moment += branch / 2.0;
                from = to;
            }
        }
        writer.head(&x, from, self.classes);
        writer.onnx.build()
    }
}

/// ResNet-`depth` for CIFAR-10 with seeded weights, as an ONNX file.
///
/// # Panics
/// If `depth` is not `6·n + 2`.
pub fn cifar(depth: usize, shortcut: Shortcut, seed: u64) -> Vec<u8> {
    Spec::cifar(depth, shortcut, seed).build()
}

struct Conv {
    /// Input and output channels.
    channels: [usize; 2],
    kernel: usize,
    stride: i64,
}

struct Writer {
    onnx: OnnxBuilder,
    rng: ChaCha8Rng,
}

impl Writer {
    /// A convolution without bias and its batch norm, for an input of second moment `moment`; the
    /// result has a standard deviation of about `gain`.
    fn conv_bn(
        &mut self,
        conv: &str,
        bn: &str,
        x: &str,
        Conv {
            channels: [from, to],
            kernel,
            stride,
        }: Conv,
        moment: f32,
        gain: f32,
    ) -> String {
        let fan_in = (from * kernel * kernel) as f32;
        let weight = self.normal(to * from * kernel * kernel, (2.0 / fan_in).sqrt());
        let weight_name = format!("{conv}.weight");
        let dims = [to, from, kernel, kernel].map(|extent| extent as i64);
        self.onnx.floats(&weight_name, &dims, &weight);
        let (kernel, pad) = (kernel as i64, kernel as i64 / 2);
        let attributes = [
            ("kernel_shape", Attr::Ints(vec![kernel; 2])),
            ("strides", Attr::Ints(vec![stride; 2])),
            ("pads", Attr::Ints(vec![pad; 4])),
        ];
        self.onnx
            .node("Conv", &[x, &weight_name], conv, &attributes);
        let variance = 2.0 * moment;
        let statistics = [
            ("weight", self.uniform(to, 0.8 * gain, 1.2 * gain)),
            ("bias", self.normal(to, 0.1 * gain)),
            ("running_mean", self.normal(to, 0.1)),
            (
                "running_var",
                self.uniform(to, 0.8 * variance, 1.2 * variance),
            ),
        ];
        let mut inputs = vec![conv.to_string()];
        for (part, data) in statistics {
            let name = format!("{bn}.{part}");
            self.onnx.floats(&name, &[to as i64], &data);
            inputs.push(name);
        }
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        self.onnx.node(
            "BatchNormalization",
            &inputs,
            bn,
            &[("epsilon", Attr::Float(1e-5))],
        );
        bn.to_string()
    }

    fn relu(&mut self, name: &str, x: &str) -> String {
        self.onnx.node("Relu", &[x], name, &[]);
        name.to_string()
    }

    fn option_a(&mut self, name: &str, x: &str, missing: usize) -> String {
        let [starts, ends, axes, steps, pads] =
            ["starts", "ends", "axes", "steps", "pads"].map(|part| format!("{name}.{part}"));
        let before = missing as i64 / 2;
        let after = missing as i64 - before;
        self.onnx
            .ints(&starts, &[0, 0])
            .ints(&ends, &[i64::MAX, i64::MAX])
            .ints(&axes, &[2, 3])
            .ints(&steps, &[2, 2])
            .ints(&pads, &[0, before, 0, 0, 0, after, 0, 0]);
        let sliced = format!("{name}.slice");
        self.onnx
            .node("Slice", &[x, &starts, &ends, &axes, &steps], &sliced, &[]);
        self.onnx.node("Pad", &[&sliced, &pads], name, &[]);
        name.to_string()
    }

    fn head(&mut self, x: &str, features: usize, classes: usize) {
        let weight = self.normal(classes * features, (4.0 / features as f32).sqrt());
        let bias = self.normal(classes, 0.1);
        self.onnx
            .floats("fc.weight", &[classes as i64, features as i64], &weight)
            .floats("fc.bias", &[classes as i64], &bias)
            .node("GlobalAveragePool", &[x], "pool", &[])
            .node("Flatten", &["pool"], "flatten", &[("axis", Attr::Int(1))])
            .node(
                "Gemm",
                &["flatten", "fc.weight", "fc.bias"],
                "fc",
                &[("transB", Attr::Int(1))],
            )
            .output("fc");
    }

    fn normal(&mut self, len: usize, deviation: f32) -> Vec<f32> {
        (0..len)
            .map(|_| {
                // Box–Muller; 1 − u keeps the logarithm finite.
                let radius = (-2.0 * (1.0 - self.rng.random::<f64>()).ln()).sqrt();
                let angle = std::f64::consts::TAU * self.rng.random::<f64>();
                (radius * angle.cos()) as f32 * deviation
            })
            .collect()
    }

    fn uniform(&mut self, len: usize, low: f32, high: f32) -> Vec<f32> {
        (0..len).map(|_| self.rng.random_range(low..high)).collect()
    }
}
