//! Networks with every kind of window and join, from the ONNX file to the schedule, packed as one
//! ciphertext or as one a channel, run on plain numbers: sizes that are no powers of two
//! throughout.

use heddle_compiler::{Convolution, Options, Ring, compile};
use heddle_frontends::onnx;
use heddle_ir::eval::{ckks::ClearInterpreter, nn};
use heddle_ir::nn::Model;
use heddle_ir::preprocess::Preprocess;
use heddle_runtime::packing::{pack, unpack};
use heddle_tests::onnx_builder::{Attr, OnnxBuilder};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// An ONNX file under construction; every layer returns the name of its result.
struct Net {
    onnx: OnnxBuilder,
    rng: ChaCha8Rng,
    layers: usize,
}

type Attributes<'a> = &'a [(&'a str, Attr)];

fn ints(values: &[i64]) -> Attr {
    Attr::Ints(values.to_vec())
}

impl Net {
    fn new(image: [i64; 3]) -> Self {
        let mut onnx = OnnxBuilder::new(13);
        let [c, h, w] = image;
        onnx.input("x", &[1, c, h, w]);
        Self {
            onnx,
            rng: ChaCha8Rng::seed_from_u64(5),
            layers: 0,
        }
    }

    fn name(&mut self, op: &str) -> String {
        self.layers += 1;
        format!("{}{op}", self.layers)
    }

    fn weight(&mut self, name: &str, dims: &[i64], spread: f32) {
        let data: Vec<f32> = (0..dims.iter().product::<i64>())
            .map(|_| self.rng.random_range(-spread..spread))
            .collect();
        self.onnx.floats(name, dims, &data);
    }

    fn node(&mut self, op: &str, inputs: &[&str], attributes: Attributes<'_>) -> String {
        let name = self.name(op);
        self.onnx.node(op, inputs, &name, attributes);
        name
    }

    /// A convolution with weight `[M, C/groups, kH, kW]`, a bias, and He's spread.
    fn conv(&mut self, x: &str, dims: [i64; 4], attributes: Attributes<'_>) -> String {
        let name = self.name("Conv");
        let fan_in: i64 = dims[1..].iter().product();
        let (weight, bias) = (format!("{name}.w"), format!("{name}.b"));
        self.weight(&weight, &dims, (6.0 / fan_in as f32).sqrt());
        self.weight(&bias, &dims[..1], 0.2);
        self.onnx
            .node("Conv", &[x, &weight, &bias], &name, attributes);
        name
    }

    fn relu(&mut self, x: &str) -> String {
        self.node("Relu", &[x], &[])
    }

    fn gemm(&mut self, x: &str, [inputs, outputs]: [i64; 2]) -> String {
        let name = self.name("Gemm");
        let (weight, bias) = (format!("{name}.w"), format!("{name}.b"));
        self.weight(&weight, &[inputs, outputs], (6.0 / inputs as f32).sqrt());
        self.weight(&bias, &[outputs], 0.2);
        self.onnx.node("Gemm", &[x, &weight, &bias], &name, &[]);
        name
    }

    /// Compiles for a small ring and compares the schedules with the tensor graph on images that
    /// they were not calibrated with. Returns the number of ReLUs.
    fn check(mut self, output: &str, log_n: u32) -> usize {
        self.onnx.output(output);
        let bytes = self.onnx.build();
        let model = onnx::import_bytes("net", &bytes, &onnx::ImportOptions::default()).unwrap();
        let elements: usize = model.image_shape().iter().product();
        let mut image = || -> Vec<f32> {
            (0..elements)
                .map(|_| self.rng.random_range(-1.0..1.0))
                .collect()
        };
        let options = Options {
            samples: (0..20).map(|_| image()).collect(),
            ring: Ring::Insecure { log_n },
            ..Options::new(Preprocess::named("unit").unwrap())
        };
        let images: Vec<Vec<f32>> = (0..4).map(|_| image()).collect();
        let relus = [Convolution::SingleLevel, Convolution::Siso].map(|convolution| {
            let options = Options {
                convolution,
                ..options.clone()
            };
            compared(&model, &options, &images)
        });
        assert_eq!(relus[0], relus[1]);
        relus[0]
    }
}

/// Compares a compiled model's schedule with its tensor graph; the number of ReLUs.
fn compared(model: &Model, options: &Options, images: &[Vec<f32>]) -> usize {
    let plan = compile(model.clone(), options, &()).unwrap().plan;
    let clear = ClearInterpreter::new(&plan.schedule, &plan.weights, &plan.bootstrap).unwrap();
    for image in images {
        let expected = nn::run(model, image).unwrap();
        let slots = clear
            .run(&pack(&plan.input, "image", image).unwrap(), |_, _| {})
            .unwrap();
        let found = unpack(&plan.output, &slots).unwrap();
        assert_eq!(expected.len(), found.len());
        let largest = expected
            .iter()
            .fold(0.0_f64, |max, x| max.max(f64::from(x.abs())));
        for (expected, found) in expected.iter().zip(&found) {
            let difference = (f64::from(*expected) - found).abs();
            let convolution = options.convolution;
            assert!(
                difference < 0.02 * largest,
                "{convolution:?}: {found}, expected {expected}"
            );
        }
    }
    plan.ranges.len() - 1
}

#[test]
fn vgg_style_with_max_pools_dilation_and_a_hidden_layer() {
    let mut net = Net::new([3, 12, 12]);
    let x = net.conv("x", [5, 3, 5, 5], &[("auto_pad", Attr::Str("SAME_UPPER"))]);
    let x = net.relu(&x);
    let halve = [("kernel_shape", ints(&[2, 2])), ("strides", ints(&[2, 2]))];
    let x = net.node("MaxPool", &[&x], &halve);
    let attributes = [("pads", ints(&[2, 2, 2, 2])), ("dilations", ints(&[2, 2]))];
    let x = net.conv(&x, [7, 5, 3, 3], &attributes);
    let x = net.relu(&x);
    let overlapping = [
        ("kernel_shape", ints(&[3, 3])),
        ("strides", ints(&[2, 2])),
        ("pads", ints(&[1, 1, 1, 1])),
    ];
    let x = net.node("MaxPool", &[&x], &overlapping);
    let x = net.node("Flatten", &[&x], &[]);
    let x = net.gemm(&x, [63, 11]);
    let x = net.relu(&x);
    let y = net.gemm(&x, [11, 4]);
    // Three ReLUs, two of the first pool and four of the second.
    assert_eq!(net.check(&y, 13), 9);
}

#[test]
fn a_pool_in_front_of_its_activation_and_on_the_image_itself() {
    let mut net = Net::new([2, 9, 7]);
    let tall = [
        ("kernel_shape", ints(&[3, 1])),
        ("strides", ints(&[2, 1])),
        ("ceil_mode", Attr::Int(1)),
    ];
    let x = net.node("MaxPool", &["x"], &tall);
    let x = net.conv(&x, [6, 2, 2, 3], &[("pads", ints(&[0, 1, 1, 1]))]);
    let x = net.node("GlobalMaxPool", &[&x], &[]);
    let x = net.relu(&x);
    let x = net.node("Flatten", &[&x], &[]);
    let y = net.gemm(&x, [6, 3]);
    // Two of the first pool, 3 + 3 of the second on 4×7 elements less one.
    let relus = net.check(&y, 12);
    assert!(relus <= 9, "{relus}");
}

#[test]
fn fire_modules_join_branches_of_different_strides() {
    let mut net = Net::new([3, 10, 10]);
    let x = net.conv("x", [6, 3, 3, 3], &[("pads", ints(&[1, 1, 1, 1]))]);
    let x = net.relu(&x);
    let s = net.conv(&x, [3, 6, 1, 1], &[]);
    let s = net.relu(&s);
    let a = net.conv(&s, [5, 3, 1, 1], &[]);
    let a = net.relu(&a);
    let b = net.conv(&s, [4, 3, 3, 3], &[("pads", ints(&[1, 1, 1, 1]))]);
    let b = net.relu(&b);
    let x = net.node("Concat", &[&a, &b], &[("axis", Attr::Int(1))]);
    let strided = [("strides", ints(&[2, 2])), ("pads", ints(&[0, 0, 1, 1]))];
    let a = net.conv(&x, [4, 9, 3, 3], &strided);
    let a = net.relu(&a);
    let mean = [
        ("kernel_shape", ints(&[3, 3])),
        ("strides", ints(&[2, 2])),
        ("ceil_mode", Attr::Int(1)),
    ];
    let b = net.node("AveragePool", &[&x], &mean);
    let maximum = [("kernel_shape", ints(&[2, 2])), ("strides", ints(&[2, 2]))];
    let c = net.node("MaxPool", &[&x], &maximum);
    let x = net.node("Concat", &[&b, &a, &c], &[("axis", Attr::Int(1))]);
    let x = net.conv(&x, [6, 22, 1, 1], &[]);
    let x = net.relu(&x);
    let x = net.node("GlobalAveragePool", &[&x], &[]);
    let x = net.node("Flatten", &[&x], &[]);
    let y = net.gemm(&x, [6, 3]);
    assert_eq!(net.check(&y, 13), 8);
}

#[test]
fn grouped_depthwise_and_large_kernels_with_explicit_padding() {
    let mut net = Net::new([3, 16, 16]);
    // Padded, the image no longer fits its grid: the convolution takes the zeros over.
    net.onnx.ints("pads", &[0, 0, 2, 3, 0, 0, 3, 2]);
    let x = net.node("Pad", &["x", "pads"], &[]);
    let x = net.conv(&x, [6, 3, 7, 7], &[("strides", ints(&[2, 2]))]);
    let x = net.relu(&x);
    let depthwise = [
        ("group", Attr::Int(6)),
        ("auto_pad", Attr::Str("SAME_LOWER")),
        ("strides", ints(&[1, 1])),
    ];
    let x = net.conv(&x, [6, 1, 4, 2], &depthwise);
    let x = net.relu(&x);
    net.onnx.ints("sizes", &[2, 4]).node_in(
        "",
        "Split",
        &[&x, "sizes"],
        &["a", "b"],
        &[("axis", Attr::Int(1))],
    );
    let grouped = [("group", Attr::Int(2)), ("strides", ints(&[2, 2]))];
    let b = net.conv("b", [4, 2, 2, 2], &grouped);
    let b = net.relu(&b);
    let a = net.conv("a", [4, 2, 1, 1], &[("strides", ints(&[2, 2]))]);
    let x = net.node("Add", &[&a, &b], &[]);
    let x = net.relu(&x);
    let mean = [("kernel_shape", ints(&[2, 2])), ("strides", ints(&[2, 2]))];
    let x = net.node("AveragePool", &[&x], &mean);
    let x = net.node("Flatten", &[&x], &[]);
    let y = net.gemm(&x, [16, 3]);
    assert_eq!(net.check(&y, 13), 4);
}

#[test]
fn strides_that_differ_between_the_axes() {
    let mut net = Net::new([2, 12, 10]);
    let wide = [("strides", ints(&[1, 2])), ("pads", ints(&[1, 1, 1, 1]))];
    let x = net.conv("x", [5, 2, 3, 3], &wide);
    let x = net.relu(&x);
    let tall = [
        ("kernel_shape", ints(&[3, 3])),
        ("strides", ints(&[2, 1])),
        ("pads", ints(&[1, 1, 1, 1])),
    ];
    let x = net.node("MaxPool", &[&x], &tall);
    let tall = [("strides", ints(&[2, 1])), ("pads", ints(&[1, 1, 1, 1]))];
    let x = net.conv(&x, [6, 5, 3, 3], &tall);
    let x = net.relu(&x);
    let mean = [("kernel_shape", ints(&[1, 5]))];
    let x = net.node("AveragePool", &[&x], &mean);
    let x = net.node("Flatten", &[&x], &[]);
    let y = net.gemm(&x, [18, 3]);
    assert_eq!(net.check(&y, 13), 6);
}
