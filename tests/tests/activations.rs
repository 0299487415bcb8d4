//! Every activation from ONNX to an encrypted run, over a ring of degree 2^11.

use heddle_compiler::{Compilation, Options, Ring, compile};
use heddle_frontends::onnx;
use heddle_ir::ckks::Op;
use heddle_ir::eval::{ckks::ClearInterpreter, nn};
use heddle_ir::nn::{Model, Op as NnOp};
use heddle_ir::plan::Plan;
use heddle_ir::preprocess::Preprocess;
use heddle_ir::slot::{ApproximatedActivation, Op as SlotOp, SlotGraph};
use heddle_params::{Accept, Insecure};
use heddle_runtime::client::{Client, Disclosure, KeyLimit};
use heddle_runtime::memory::Memory;
use heddle_runtime::packing::{pack, unpack};
use heddle_runtime::protocol::Protocol;
use heddle_runtime::server::Server;
use heddle_tests::onnx_builder::{Attr, OnnxBuilder};

const PIXELS: usize = 2 * 8 * 8;

/// Numbers between −1 and 1 without a pattern.
fn ramp(len: usize, seed: usize) -> Vec<f32> {
    (0..len)
        .map(|i| ((i * i * 7 + i * 37 + seed * 29) % 101) as f32 / 50.0 - 1.0)
        .collect()
}

fn images(count: usize) -> Vec<Vec<f32>> {
    (0..count).map(|seed| ramp(PIXELS, seed)).collect()
}

/// A convolution to four channels as `x`, `nodes` from there to `y`, a mean and a dense layer.
fn network(nodes: impl FnOnce(&mut OnnxBuilder)) -> Vec<u8> {
    let mut m = OnnxBuilder::new(20);
    m.input("image", &[1_i64, 2, 8, 8]).output("logits");
    m.floats("kernel", &[4, 2, 3, 3], &ramp(72, 5))
        .floats("bias", &[4], &[0.5, -0.5, 0.0, 1.0])
        .node(
            "Conv",
            &["image", "kernel", "bias"],
            "x",
            &[
                ("pads", Attr::Ints(vec![1; 4])),
                ("strides", Attr::Ints(vec![2, 2])),
            ],
        );
    nodes(&mut m);
    m.floats("fc", &[3, 16], &ramp(48, 9))
        .node(
            "AveragePool",
            &["y"],
            "pool",
            &[
                ("kernel_shape", Attr::Ints(vec![2, 2])),
                ("strides", Attr::Ints(vec![2, 2])),
            ],
        )
        .node("Flatten", &["pool"], "flat", &[])
        .node(
            "Gemm",
            &["flat", "fc"],
            "logits",
            &[("transB", Attr::Int(1))],
        );
    m.build()
}

fn single(op: &str, inputs: &[&str], attributes: &[(&str, Attr)]) -> Vec<u8> {
    network(|m| {
        m.floats("low", &[], &[-1.0])
            .floats("high", &[], &[1.5])
            .floats("six", &[], &[6.0])
            .floats("zero", &[], &[0.0])
            .floats("two", &[], &[2.0])
            .ints("three", &[3])
            .floats("slopes", &[4, 1, 1], &[0.1, -0.25, 0.5, 1.5])
            .floats("element slopes", &[4, 4, 4], &ramp(64, 3))
            .node(op, &[&["x"], inputs].concat(), "y", attributes);
    })
}

/// Every activation with the number of bits to which the logits of the plan must be those of the
/// model.
fn cases() -> Vec<(&'static str, Vec<u8>, f64)> {
    let float = Attr::Float;
    let tanh = [("approximate", Attr::Str("tanh"))];
    vec![
        ("relu", single("Relu", &[], &[]), 12.0),
        (
            "leaky relu",
            single("LeakyRelu", &[], &[("alpha", float(0.2))]),
            12.0,
        ),
        ("parametric relu", single("PRelu", &["slopes"], &[]), 11.0),
        (
            "parametric relu by element",
            single("PRelu", &["element slopes"], &[]),
            11.0,
        ),
        ("clip", single("Clip", &["low", "high"], &[]), 10.0),
        ("relu6", single("Clip", &["zero", "six"], &[]), 10.0),
        ("clip below", single("Clip", &["low"], &[]), 11.0),
        ("clip above", single("Clip", &["", "high"], &[]), 11.0),
        ("sigmoid", single("Sigmoid", &[], &[]), 12.0),
        ("tanh", single("Tanh", &[], &[]), 12.0),
        ("hard sigmoid", single("HardSigmoid", &[], &[]), 10.0),
        ("hard swish", single("HardSwish", &[], &[]), 10.0),
        ("gelu", single("Gelu", &[], &[]), 12.0),
        ("gelu by tanh", single("Gelu", &[], &tanh), 12.0),
        ("square", single("Pow", &["two"], &[]), 18.0),
        (
            "silu",
            network(|m| {
                m.node("Sigmoid", &["x"], "g", &[])
                    .node("Mul", &["x", "g"], "y", &[]);
            }),
            12.0,
        ),
    ]
}

/// As [`cases`], of the activations that take the same paths.
fn more_cases() -> Vec<(&'static str, Vec<u8>, f64)> {
    let float = Attr::Float;
    vec![
        ("elu", single("Elu", &[], &[]), 12.0),
        (
            "elu with a kink",
            single("Elu", &[], &[("alpha", float(0.5))]),
            11.0,
        ),
        ("selu", single("Selu", &[], &[]), 11.0),
        ("celu", single("Celu", &[], &[("alpha", float(2.0))]), 12.0),
        ("softplus", single("Softplus", &[], &[]), 12.0),
        ("softsign", single("Softsign", &[], &[]), 11.0),
        ("mish", single("Mish", &[], &[]), 12.0),
        ("error function", single("Erf", &[], &[]), 12.0),
        ("absolute value", single("Abs", &[], &[]), 11.0),
        ("cube", single("Pow", &["three"], &[]), 18.0),
        (
            "soft shrink",
            single("Shrink", &[], &[("bias", float(0.5))]),
            10.0,
        ),
        (
            "exponential",
            network(|m| {
                m.floats("tenth", &[], &[0.1])
                    .node("Mul", &["x", "tenth"], "s", &[])
                    .node("Exp", &["s"], "y", &[]);
            }),
            11.0,
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

fn in_plain(model: &Model, image: &[f32]) -> Vec<f64> {
    let logits = nn::run(model, image).unwrap();
    logits.into_iter().map(f64::from).collect()
}

fn in_clear(plan: &Plan, image: &[f32]) -> Vec<f64> {
    let interpreter =
        ClearInterpreter::new(&plan.schedule, &plan.weights, &plan.bootstrap).unwrap();
    let slots = interpreter
        .run(&pack(&plan.input, "image", image).unwrap(), |_, _| {})
        .unwrap();
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
    for (name, bytes, least) in cases().into_iter().chain(more_cases()) {
        let model = import(&bytes);
        let plan = compiled(&model).plan;
        for image in images(12) {
            let (clear, plain) = (in_clear(&plan, &image), in_plain(&model, &image));
            let found = bits(&clear, &plain, plan.output.range);
            assert!(
                found > least,
                "{name}: {found:.1} bits, {clear:?} {plain:?}"
            );
        }
    }
}

#[test]
fn plans_record_function_precision_and_levels() {
    for (name, bytes, _) in cases().into_iter().chain(more_cases()) {
        let compilation = compiled(&import(&bytes));
        let records: Vec<_> = compilation
            .plan
            .ranges
            .iter()
            .filter_map(|range| range.activation.as_ref())
            .collect();
        assert_eq!(records.len(), 1, "{name}");
        let record = records[0];
        assert!(
            (9.5..=52.0).contains(&record.precision_bits),
            "{name}: {record:?}"
        );
        let graph = &compilation.plan.schedule.graph;
        let levels = |is: fn(&Op) -> bool, pick: fn(&[usize]) -> usize| {
            let found: Vec<usize> = graph
                .values()
                .filter(|value| is(&graph.node(*value).op))
                .map(|value| graph.ty(value).level)
                .collect();
            pick(&found)
        };
        // From the first convolution's rescale to the last transform's operand.
        let first = levels(|op| matches!(op, Op::Rescale), |levels| levels[0]);
        let last = levels(
            |op| matches!(op, Op::LinearTransform { .. }),
            |levels| levels[levels.len() - 1],
        );
        assert_eq!(first - last, record.depth, "{name}");
    }
}

#[test]
fn encrypted_runs_are_those_in_clear() {
    let image = &images(9)[8];
    let more = more_cases().into_iter().filter(|(name, _, _)| {
        ["elu with a kink", "softsign", "cube", "exponential"].contains(name)
    });
    for (name, bytes, _) in cases().into_iter().chain(more) {
        let plan = reread(&compiled(&import(&bytes)).plan);
        let (clear, encrypted) = (in_clear(&plan, image), encrypted(&plan, image));
        let found = bits(&clear, &encrypted, plan.output.range);
        println!("{name}: {found:.1} bits");
        assert!(found > 14.0, "{name}: {clear:?} {encrypted:?}");
    }
}

/// One activation after another, on channels that lie in ±2.2, with nothing behind them.
fn pair(first: &Function, second: &Function) -> Vec<u8> {
    let mut m = OnnxBuilder::new(24);
    m.input("image", &[1_i64, 2, 8, 8]).output("y");
    m.floats("kernel", &[2, 2, 1, 1], &[1.0, 0.7, -0.5, 1.2])
        .floats("bias", &[2], &[0.25, -0.5])
        .floats("low", &[], &[-1.0])
        .floats("high", &[], &[1.5])
        .floats("two", &[], &[2.0])
        .ints("three", &[3])
        .node(
            "Conv",
            &["image", "kernel", "bias"],
            "x",
            &[("strides", Attr::Ints(vec![4, 4]))],
        );
    for (function, from, to) in [(first, "x", "between"), (second, "between", "y")] {
        let (op, inputs, attributes) = function;
        let inputs = [&[from], &inputs[..]].concat();
        let attributes: Vec<(&str, Attr)> = attributes
            .iter()
            .map(|(name, value)| (*name, Attr::Float(*value)))
            .collect();
        m.node(op, &inputs, to, &attributes);
    }
    m.build()
}

/// An operator, its inputs but the first, and its attributes.
type Function = (&'static str, Vec<&'static str>, Vec<(&'static str, f32)>);

fn functions() -> Vec<Function> {
    let plain = |op| (op, Vec::new(), Vec::new());
    let with = |op, name, value| (op, Vec::new(), vec![(name, value)]);
    vec![
        plain("Relu"),
        with("LeakyRelu", "alpha", 0.2),
        ("Clip", vec!["low", "high"], Vec::new()),
        plain("Sigmoid"),
        plain("Tanh"),
        plain("HardSigmoid"),
        plain("HardSwish"),
        plain("Swish"),
        plain("Gelu"),
        ("Pow", vec!["two"], Vec::new()),
        ("Pow", vec!["three"], Vec::new()),
        plain("Abs"),
        plain("Elu"),
        plain("Selu"),
        with("Celu", "alpha", 2.0),
        plain("Softplus"),
        plain("Softsign"),
        plain("Mish"),
        plain("Erf"),
        plain("Exp"),
        with("Shrink", "bias", 0.5),
        with("ThresholdedRelu", "alpha", 0.3),
    ]
}

/// The activations of a packed graph with the bounds of their results, in order.
fn approximations(packed: &SlotGraph) -> Vec<(ApproximatedActivation, f64)> {
    let of_value = |value| match &packed.node(value).op {
        SlotOp::Activation(activation) => Some((activation.clone(), packed.ty(value).range)),
        _ => None,
    };
    packed.values().filter_map(of_value).collect()
}

/// Every activation behind every other one: the plan's result is off by what the errors that its
/// polynomials state explain, and by no more.
#[test]
fn two_activations_in_a_row_compute_what_models_do() {
    for first in &functions() {
        for second in &functions() {
            let model = import(&pair(first, second));
            let name = format!("{} {}", first.0, second.0);
            let Compilation { plan, packed, .. } = compiled(&model);
            let approximated = approximations(&packed);
            let (last, bound) = approximated.last().unwrap();
            let earlier = match &approximated[..] {
                [(first, bound), _] => Some((first, first.error * bound)),
                [_] => None,
                more => panic!("{name}: {} activations", more.len()),
            };
            // That of the model: the plan's may be shifted, together with its operand.
            let ids: Vec<_> = model.activations().collect();
            let NnOp::Activation { function, .. } = model.graph.node(ids[ids.len() - 1]).op else {
                panic!("{name}: an activation is none");
            };
            for image in images(3) {
                let values = nn::run_all(&model, &image).unwrap();
                let between = ids[0];
                let found = in_clear(&plan, &image);
                let exact = values.last().unwrap();
                for (index, (found, exact)) in found.iter().zip(exact).enumerate() {
                    let exact = f64::from(*exact);
                    let propagated = earlier.map_or(0.0, |(_, error)| {
                        let v = f64::from(values[between.index()][index]);
                        (-8..=8)
                            .map(|i| function.apply(v + error * f64::from(i) / 8.0) - exact)
                            .fold(0.0, |worst: f64, change| worst.max(change.abs()))
                    });
                    let most = 1.01 * (last.error * bound + propagated) + 1e-5 * bound;
                    assert!(
                        (found - exact).abs() <= most,
                        "{name}: {found} for {exact}, at most {most:e} off"
                    );
                }
            }
        }
    }
}

/// Logarithms, roots and quotients get ranges that stay clear of their poles.
#[test]
fn functions_of_positive_values_are_centred() {
    for op in ["Sqrt", "Log", "Reciprocal"] {
        let model = import(&network(|m| {
            m.floats("one", &[], &[1.0])
                .floats("tenth", &[], &[0.1])
                .node("Mul", &["x", "x"], "s", &[])
                .node("Mul", &["s", "tenth"], "t", &[])
                .node("Add", &["t", "one"], "p", &[])
                .node(op, &["p"], "y", &[]);
        }));
        let plan = compiled(&model).plan;
        for image in images(12) {
            let (clear, plain) = (in_clear(&plan, &image), in_plain(&model, &image));
            let found = bits(&clear, &plain, plan.output.range);
            assert!(found > 11.0, "{op}: {found:.1} bits, {clear:?} {plain:?}");
        }
    }
    let quotient = network(|m| {
        m.node("Relu", &["x"], "r", &[])
            .node("Div", &["x", "r"], "y", &[]);
    });
    for bytes in [single("Sqrt", &[], &[]), quotient] {
        let message = refused(&import(&bytes));
        assert!(message.contains("must stay above 0"), "{message}");
    }
}

/// Why a model does not compile.
fn refused(model: &Model) -> String {
    let options = Options {
        samples: images(8),
        ring: Ring::Insecure { log_n: 11 },
        ..Options::new(Preprocess::named("unit").unwrap())
    };
    compile(model.clone(), &options, &())
        .unwrap_err()
        .to_string()
}

/// The sum over channels may lie far above the bias, or far below.
#[test]
fn local_response_normalisation_is_a_product_with_a_power() {
    for (alpha, bias) in [(0.5, 1.0), (1e-4, 1.0), (20.0, 2.0)] {
        let attributes = [
            ("size", Attr::Int(3)),
            ("alpha", Attr::Float(alpha)),
            ("bias", Attr::Float(bias)),
        ];
        let model = import(&single("LRN", &[], &attributes));
        let plan = compiled(&model).plan;
        for image in images(12) {
            let (clear, plain) = (in_clear(&plan, &image), in_plain(&model, &image));
            let found = bits(&clear, &plain, plan.output.range);
            assert!(
                found > 10.0,
                "{alpha}: {found:.1} bits, {clear:?} {plain:?}"
            );
        }
    }
}

#[test]
fn a_jump_carries_a_note() {
    let model = import(&single("ThresholdedRelu", &[], &[]));
    let plan = compiled(&model).plan;
    let jumps = |note: &String| note.contains("which jumps");
    assert!(plan.notes.iter().any(jumps), "{:?}", plan.notes);
}

#[test]
fn a_chain_of_activations_is_refreshed_between_them() {
    let ops = ["Clip", "Sigmoid", "HardSwish", "Gelu", "LeakyRelu", "Tanh"];
    let bytes = network(|m| {
        m.floats("zero", &[], &[0.0]).floats("six", &[], &[6.0]);
        let mut last = "x".to_owned();
        for (index, op) in ops.into_iter().enumerate() {
            let name = |what: &str| format!("{what}{index}");
            let kernel: Vec<f32> = ramp(16, index).iter().map(|tap| 3.0 * tap).collect();
            m.floats(&name("w"), &[4, 4, 1, 1], &kernel);
            m.node("Conv", &[&last, &name("w")], &name("c"), &[]);
            let output = if index + 1 == ops.len() {
                "y".to_owned()
            } else {
                name("a")
            };
            let operand = name("c");
            let inputs = match op {
                "Clip" => vec![operand.as_str(), "zero", "six"],
                _ => vec![operand.as_str()],
            };
            m.node(op, &inputs, &output, &[]);
            last = output;
        }
    });
    let model = import(&bytes);
    let plan = reread(&compiled(&model).plan);
    let depth: usize = plan
        .ranges
        .iter()
        .filter_map(|range| Some(range.activation.as_ref()?.depth))
        .sum();
    let bootstraps = plan.schedule.bootstraps();
    assert!(depth > 50 && bootstraps >= 3, "{depth} {bootstraps}");
    let image = &images(9)[8];
    let (plain, clear) = (in_plain(&model, image), in_clear(&plan, image));
    let found = bits(&clear, &plain, plan.output.range);
    assert!(found > 8.0, "{found:.1} bits: {clear:?} {plain:?}");
    let found = bits(&clear, &encrypted(&plan, image), plan.output.range);
    assert!(found > 11.0, "{found:.1} bits of the encrypted run");
}
