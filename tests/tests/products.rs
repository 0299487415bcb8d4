//! Products, maxima and minima of two values from ONNX to an encrypted run, over a ring of degree
//! 2^11.

use heddle_compiler::{Compilation, Options, Ring, compile};
use heddle_frontends::onnx;
use heddle_ir::ckks::Op;
use heddle_ir::eval::{ckks::ClearInterpreter, nn};
use heddle_ir::nn::Model;
use heddle_ir::plan::Plan;
use heddle_ir::preprocess::Preprocess;
use heddle_ir::text;
use heddle_params::{Accept, Insecure};
use heddle_runtime::client::{Client, Disclosure, KeyLimit};
use heddle_runtime::memory::Memory;
use heddle_runtime::packing::{pack, unpack};
use heddle_runtime::protocol::Protocol;
use heddle_runtime::server::Server;
use heddle_tests::onnx_builder::{Attr, OnnxBuilder};

/// Numbers between −1 and 1 without a pattern.
fn ramp(len: usize, seed: usize) -> Vec<f32> {
    (0..len)
        .map(|i| ((i * i * 7 + i * 37 + seed * 29) % 101) as f32 / 50.0 - 1.0)
        .collect()
}

fn images(count: usize) -> Vec<Vec<f32>> {
    (0..count).map(|seed| ramp(2 * 8 * 8, seed)).collect()
}

/// A convolution of `from` to some channels without bias, padded to keep the size.
fn conv(m: &mut OnnxBuilder, from: &str, [out, inputs, kernel]: [i64; 3], stride: i64, to: &str) {
    let weight = format!("{to}.w");
    let taps = out * inputs * kernel * kernel;
    let spread = (3.0 / (inputs * kernel * kernel) as f32).sqrt();
    let data: Vec<f32> = ramp(taps as usize, to.len() + 3 * out as usize)
        .into_iter()
        .map(|tap| spread * tap)
        .collect();
    m.floats(&weight, &[out, inputs, kernel, kernel], &data)
        .node(
            "Conv",
            &[from, &weight],
            to,
            &[
                ("pads", Attr::Ints(vec![kernel / 2; 4])),
                ("strides", Attr::Ints(vec![stride; 2])),
            ],
        );
}

/// Convolutions `a` and `b` of the image to four channels of 4×4, `nodes` from there to `y`, a mean
/// and a dense layer.
fn network(nodes: impl FnOnce(&mut OnnxBuilder)) -> Vec<u8> {
    let mut m = OnnxBuilder::new(20);
    m.input("image", &[1_i64, 2, 8, 8]).output("logits");
    conv(&mut m, "image", [4, 2, 3], 2, "a");
    conv(&mut m, "image", [4, 2, 1], 2, "second");
    nodes(&mut m);
    m.node("GlobalAveragePool", &["y"], "pool", &[])
        .node("Flatten", &["pool"], "flat", &[])
        .floats("fc", &[3, 4], &ramp(12, 9))
        .node(
            "Gemm",
            &["flat", "fc"],
            "logits",
            &[("transB", Attr::Int(1))],
        );
    m.build()
}

/// The gate of a squeeze-and-excitation block, by matrix products.
fn gate(m: &mut OnnxBuilder, from: &str) {
    m.node("GlobalAveragePool", &[from], "p", &[])
        .node("Flatten", &["p"], "f", &[])
        .floats("squeeze", &[4, 2], &ramp(8, 4))
        .node("Gemm", &["f", "squeeze"], "s", &[])
        .node("Relu", &["s"], "r", &[])
        .floats("excite", &[2, 4], &ramp(8, 6))
        .node("Gemm", &["r", "excite"], "e", &[])
        .node("Sigmoid", &["e"], "h", &[])
        .ints("shape", &[1, 4, 1, 1])
        .node("Reshape", &["h", "shape"], "gate", &[]);
}

fn squeeze_and_excitation() -> Vec<u8> {
    network(|m| {
        m.node("Relu", &["a"], "x", &[]);
        gate(m, "x");
        m.node("Mul", &["gate", "x"], "y", &[]);
    })
}

/// Networks with the number of bits to which the logits of the plan must be those of the model.
fn cases() -> Vec<(&'static str, Vec<u8>, f64)> {
    vec![
        ("squeeze and excitation", squeeze_and_excitation(), 8.0),
        (
            "a residual around a product",
            network(|m| {
                gate(m, "a");
                m.node("Mul", &["a", "gate"], "q", &[])
                    .node("Add", &["q", "second"], "z", &[])
                    .node("Relu", &["z"], "y", &[]);
            }),
            8.0,
        ),
        (
            "a gate for every pixel",
            network(|m| {
                conv(m, "a", [1, 4, 3], 1, "one");
                m.node("Sigmoid", &["one"], "g", &[])
                    .node("Mul", &["a", "g"], "y", &[]);
            }),
            9.0,
        ),
        (
            "gated linear unit",
            network(|m| {
                conv(m, "a", [8, 4, 1], 1, "wide");
                m.node_in(
                    "",
                    "Split",
                    &["wide"],
                    &["l", "r"],
                    &[("axis", Attr::Int(1))],
                )
                .node("Sigmoid", &["r"], "g", &[])
                .node("Mul", &["l", "g"], "y", &[]);
            }),
            9.0,
        ),
        (
            "product of two convolutions",
            network(|m| {
                m.node("Mul", &["a", "second"], "y", &[]);
            }),
            18.0,
        ),
        (
            "a value times its own mean",
            network(|m| {
                m.node("GlobalAveragePool", &["a"], "p", &[])
                    .node("Mul", &["p", "a"], "y", &[]);
            }),
            18.0,
        ),
        (
            "nested products",
            network(|m| {
                m.node("Mul", &["a", "second"], "q", &[])
                    .node("Mul", &["q", "a"], "r", &[])
                    .node("Mul", &["r", "q"], "y", &[]);
            }),
            14.0,
        ),
        (
            "a product of the image",
            network(|m| {
                conv(m, "image", [2, 2, 3], 1, "c");
                m.node("Mul", &["image", "c"], "q", &[]);
                conv(m, "q", [4, 2, 3], 2, "y");
            }),
            18.0,
        ),
        (
            "maximum of two convolutions",
            network(|m| {
                m.node("Max", &["a", "second"], "y", &[]);
            }),
            8.0,
        ),
        (
            "minimum of three values",
            network(|m| {
                m.node("Relu", &["a"], "r", &[])
                    .node("Min", &["a", "second", "r"], "y", &[]);
            }),
            7.0,
        ),
    ]
}

fn import(bytes: &[u8]) -> Model {
    onnx::import_bytes("model", bytes, &onnx::ImportOptions::default()).unwrap()
}

fn compiled(model: &Model) -> Compilation {
    let options = Options {
        samples: images(8),
        ring: Ring::Insecure { log_n: 11 },
        ..Options::new(Preprocess::named("unit").unwrap())
    };
    compile(model.clone(), &options, &()).unwrap()
}

/// What a reader of the plan's file gets.
fn reread(plan: &Plan) -> Plan {
    let mut bytes = Vec::new();
    plan.write(&mut bytes, "plan").unwrap();
    let read = Plan::read(&bytes[..], "plan", Accept::Any(Insecure::acknowledged())).unwrap();
    assert_eq!(read.ranges, plan.ranges);
    read
}

fn in_clear(plan: &Plan, image: &[f32]) -> Vec<f64> {
    let clear = ClearInterpreter::new(&plan.schedule, &plan.weights, &plan.bootstrap).unwrap();
    let packed = pack(&plan.input, "image", image).unwrap();
    let slots = clear.run(&packed, |_, _| {}).unwrap();
    unpack(&plan.output, &slots).unwrap()
}

fn encrypted(plan: &Plan, image: &[f32]) -> Vec<f64> {
    let protocol = Protocol::of(plan, Accept::Any(Insecure::acknowledged())).unwrap();
    let client = Client::generate(&protocol).unwrap();
    let keys = client.server_keys(KeyLimit::default(), &()).unwrap();
    let server = Server::load(plan.clone(), &protocol, keys, Memory::FullSpeed, &()).unwrap();
    let input = client.encrypt("image", image).unwrap();
    let (output, _) = server.run(input, &()).unwrap();
    client.decrypt(&output, Disclosure::Private).unwrap()
}

/// −log2 of the largest difference, in units of `range`.
fn bits(left: &[f64], right: &[f64], range: f64) -> f64 {
    let pairs = left.iter().zip(right);
    let worst = pairs
        .map(|(left, right)| (left - right).abs() / range)
        .fold(0.0, f64::max);
    -worst.log2()
}

#[test]
fn plans_compute_what_models_do() {
    for (name, bytes, least) in cases() {
        let model = import(&bytes);
        let plan = reread(&compiled(&model).plan);
        for image in images(12) {
            let plain = nn::run(&model, &image).unwrap();
            let plain: Vec<f64> = plain.into_iter().map(f64::from).collect();
            let clear = in_clear(&plan, &image);
            let found = bits(&clear, &plain, plan.output.range);
            assert!(
                found > least,
                "{name}: {found:.1} bits, {clear:?} {plain:?}"
            );
        }
    }
}

#[test]
fn encrypted_runs_are_those_in_clear() {
    let image = &images(9)[8];
    let chosen = ["squeeze and excitation", "nested products"];
    for (name, bytes, _) in cases() {
        if !chosen.contains(&name) {
            continue;
        }
        let plan = reread(&compiled(&import(&bytes)).plan);
        let (clear, encrypted) = (in_clear(&plan, image), encrypted(&plan, image));
        let found = bits(&clear, &encrypted, plan.output.range);
        println!("{name}: {found:.1} bits");
        assert!(found > 9.0, "{name}: {clear:?} {encrypted:?}");
    }
}

/// Every product of two values comes out at the network's scale.
#[test]
fn products_end_at_the_scale_of_the_network() {
    for (name, bytes, _) in cases() {
        let plan = compiled(&import(&bytes)).plan;
        let graph = &plan.schedule.graph;
        let log_scale = f64::from(plan.bootstrap.log_scale);
        let products = graph
            .values()
            .filter(|x| matches!(graph.node(*x).op, Op::Multiply));
        for product in products {
            for user in graph.users(product) {
                if matches!(graph.node(user).op, Op::Rescale) {
                    assert_eq!(graph.ty(user).log_scale, log_scale, "{name}");
                }
            }
        }
    }
}

#[test]
fn schedule_of_a_squeeze_and_excitation_block() {
    let compilation = compiled(&import(&squeeze_and_excitation()));
    insta::assert_snapshot!("se_block_slot", text::print_slot(&compilation.packed));
    insta::assert_snapshot!(
        "se_block_ckks",
        text::print_ckks(&compilation.plan.schedule)
    );
}
