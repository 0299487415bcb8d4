//! Networks whose convolutions are multiplexed and parallel, from the schedule to encrypted logits,
//! and SISO ones run beside them; `siso.rs` has the schedules of those.

use std::collections::BTreeMap;

use heddle_compiler::{Compilation, Convolution, Options, Ring, compile};
use heddle_frontends::onnx;
use heddle_ir::ckks::{Op, Schedule, Target};
use heddle_ir::eval::{ckks::ClearInterpreter, nn};
use heddle_ir::linear::ProductPhase;
use heddle_ir::nn::{Conv, LinearOp, Model, Op as NnOp};
use heddle_ir::plan::Plan;
use heddle_ir::preprocess::Preprocess;
use heddle_ir::{ValueId, text, verify};
use heddle_params::{Accept, Insecure};
use heddle_runtime::backend::noisy::NoisyInterpreter;
use heddle_runtime::client::{Client, Disclosure, KeyLimit};
use heddle_runtime::executor::execute;
use heddle_runtime::memory::Memory;
use heddle_runtime::packing::{pack, unpack};
use heddle_runtime::protocol::Protocol;
use heddle_runtime::server::Server;
use heddle_tests::resnet::{self, Shortcut};
use heddle_tests::small::{self, largest_difference, picture};

fn options(ring: Ring, preprocess: &str, samples: Vec<Vec<f32>>) -> Options {
    Options {
        samples,
        ring,
        convolution: Convolution::MultiplexedParallel,
        ..Options::new(Preprocess::named(preprocess).unwrap())
    }
}

fn compiled(model: &[u8], ring: Ring) -> Compilation {
    let model = onnx::import_bytes("model", model, &onnx::ImportOptions::default()).unwrap();
    compile(model, &options(ring, "unit", Vec::new()), &()).unwrap()
}

/// Rotations of one convolution by their purpose: kernel, sums, selection, replication.
type Rotations = [usize; 4];

/// The counts of Lee et al., ICML 2022, in the paper's variables, for n_t = 2^15 slots. A rotation
/// by nothing is none.
fn paper(
    [f_h, f_w]: [usize; 2],
    [c_i, h_i, w_i, k_i]: [usize; 4],
    [c_o, h_o, w_o, k_o]: [usize; 4],
) -> Rotations {
    let n_t = 1_usize << 15;
    let t_i = c_i.div_ceil(k_i * k_i);
    let t_o = c_o.div_ceil(k_o * k_o);
    let p_i = 1 << (n_t / (k_i * k_i * h_i * w_i * t_i)).ilog2();
    let p_o = 1_usize << (n_t / (k_o * k_o * h_o * w_o * t_o)).ilog2();
    let q = c_o.div_ceil(p_i);
    // SUMSLOTS of m slots: log2 m doublings, and one more for every further bit of m.
    let sum_slots = |m: usize| m.ilog2() as usize + m.count_ones() as usize - 1;
    let placed = (0..c_o).filter(|i| {
        let to =
            i / (k_o * k_o) * k_o * k_o * h_o * w_o + i % (k_o * k_o) / k_o * k_o * w_o + i % k_o;
        let from = n_t / p_i * (i % p_i);
        from != to
    });
    [
        f_h * f_w - 1,
        q * (2 * sum_slots(k_i) + sum_slots(t_i)),
        placed.count(),
        p_o.ilog2() as usize,
    ]
}

/// What a schedule does for every node that is a multiplexed parallel convolution: rotations by
/// their purpose, and levels.
fn scheduled(schedule: &Schedule) -> BTreeMap<String, (Rotations, usize)> {
    let graph = &schedule.graph;
    let users = |value: ValueId| graph.users(value);
    let mut found: BTreeMap<String, (Rotations, usize)> = BTreeMap::new();
    let products = |value: &ValueId| match graph.node(*value).op {
        Op::MultiplyAccumulate { part, .. } => Some(part),
        _ => None,
    };
    for value in graph.values().filter(|value| products(value).is_some()) {
        found.entry(graph.node(value).name.clone()).or_default();
    }
    for value in graph.values() {
        let node = graph.node(value);
        let Some((rotations, levels)) = found.get_mut(&node.name) else {
            continue;
        };
        match node.op {
            Op::Rotate { .. } => {
                let narrows = |user: &ValueId| graph.ty(*user).log_slots < node.ty.log_slots;
                let purpose = match users(value).iter().find_map(products) {
                    Some(ProductPhase::Weights) => 0,
                    Some(ProductPhase::Selection) => 2,
                    Some(ProductPhase::Taps) => panic!("{} is a SISO convolution", node.name),
                    None if users(value).iter().any(narrows) => 3,
                    None => 1,
                };
                rotations[purpose] += 1;
            }
            // The first product is at the operand's level, everything else below.
            Op::MultiplyAccumulate { .. } | Op::Rescale => {
                let operand = graph.operands(value)[0];
                *levels = (*levels).max(graph.ty(operand).level);
            }
            _ => {}
        }
    }
    for value in graph.values() {
        let node = graph.node(value);
        if let Some((_, levels)) = found.get_mut(&node.name)
            && matches!(node.op, Op::AddBias { .. })
        {
            *levels -= node.ty.level;
        }
    }
    found
}

/// For every convolution of a model, its kernel and the operand's and result's channels, height,
/// width and gap on a grid of 32×32.
fn convolutions(model: &Model) -> BTreeMap<String, [Vec<usize>; 3]> {
    let graph = &model.graph;
    let packing = |value: ValueId| {
        let [c, h, w] = graph.ty(value).chw();
        vec![c, h, w, 32 / h]
    };
    graph
        .values()
        .filter_map(|value| match &graph.node(value).op {
            NnOp::Linear(LinearOp::Conv(Conv { window, .. })) => {
                let operand = graph.operands(value)[0];
                let entry = [window.kernel.to_vec(), packing(operand), packing(value)];
                Some((graph.node(value).name.clone(), entry))
            }
            _ => None,
        })
        .collect()
}

#[test]
fn rotations_and_levels_are_those_of_the_papers_formulas() {
    for (shortcut, expected) in [(Shortcut::A, 19), (Shortcut::B, 21)] {
        let compilation = compiled(&resnet::cifar(20, shortcut, 1), Ring::Secure);
        let literal = &compilation.plan.parameters;
        assert_eq!(*literal, heddle_params::named::n16_qp1684_dense_literal());
        let schedule = &compilation.plan.schedule;
        let found = scheduled(schedule);
        let shapes = convolutions(&compilation.model);
        assert_eq!((found.len(), shapes.len()), (expected, expected));
        for (name, (rotations, levels)) in &found {
            let [kernel, input, output] = &shapes[name];
            let array = |shape: &Vec<usize>| -> [usize; 4] { shape[..].try_into().unwrap() };
            let formula = paper([kernel[0], kernel[1]], array(input), array(output));
            assert_eq!(*rotations, formula, "{name}");
            assert_eq!(*levels, 2, "{name}");
        }
        // One bootstrap a ReLU, as with convolutions of one level.
        assert!((18..=19).contains(&schedule.bootstraps()));
        if shortcut == Shortcut::B {
            insta::assert_snapshot!("resnet20_b_parallel", text::summary(schedule));
        }
    }
}

#[test]
fn the_formulas_for_resnet20_layer_by_layer() {
    // c, h, w, k of the four packings.
    let (image, first, second, third) = (
        [3, 32, 32, 1],
        [16, 32, 32, 1],
        [32, 16, 16, 2],
        [64, 8, 8, 4],
    );
    let three = [3, 3];
    assert_eq!(paper(three, image, first), [8, 4, 15, 1]);
    assert_eq!(paper(three, first, first), [8, 32, 15, 1]);
    assert_eq!(paper(three, first, second), [8, 64, 31, 2]);
    assert_eq!(paper(three, second, second), [8, 40, 31, 2]);
    assert_eq!(paper(three, second, third), [8, 80, 63, 3]);
    assert_eq!(paper(three, third, third), [8, 48, 63, 3]);
}

fn clear(plan: &Plan, tensor: &[f32]) -> Vec<f64> {
    let machine = ClearInterpreter::new(&plan.schedule, &plan.weights, &plan.bootstrap).unwrap();
    let slots = pack(&plan.input, "picture", tensor).unwrap();
    unpack(&plan.output, &machine.run(&slots, |_, _| {}).unwrap()).unwrap()
}

#[test]
fn a_small_network_agrees_with_plaintext_on_every_backend() {
    let kinds = [
        (Convolution::MultiplexedParallel, 11, 4, 4),
        (Convolution::Siso, 10, 2, 3),
    ];
    let shortcuts = [Shortcut::A, Shortcut::B];
    for ((convolution, log_n, width, classes), shortcut) in kinds
        .into_iter()
        .flat_map(|kind| shortcuts.map(|shortcut| (kind, shortcut)))
    {
        let model = small::network(width, classes, shortcut).build();
        let model = onnx::import_bytes("model", &model, &onnx::ImportOptions::default()).unwrap();
        let options = Options {
            convolution,
            ..options(Ring::Insecure { log_n }, "unit", Vec::new())
        };
        let compilation = compile(model, &options, &()).unwrap();
        let mut bytes = Vec::new();
        compilation.plan.write(&mut bytes, "plan").unwrap();
        let plan = Plan::read(&bytes[..], "plan", Accept::Any(Insecure::acknowledged())).unwrap();
        assert_eq!(plan, compilation.plan);
        let tensor = picture(1);
        let reference: Vec<f64> = nn::run(&compilation.model, &tensor)
            .unwrap()
            .into_iter()
            .map(f64::from)
            .collect();
        let clear = clear(&plan, &tensor);
        let off = largest_difference(&clear, &reference) / plan.output.range;
        assert!(off < 0.01, "clear {clear:?} plaintext {reference:?}");

        let machine = NoisyInterpreter::load(&plan).unwrap();
        let backend = machine.execution(3);
        let scale = plan.schedule.graph.ty(ValueId(0)).scale();
        let pieces = pack(&plan.input, "picture", &tensor).unwrap().into_iter();
        let inputs = pieces
            .map(|slots| backend.encrypted(slots, scale))
            .collect();
        let noisy = execute(&plan.schedule, &backend, inputs, &mut |_, _| {}).unwrap();
        let noisy = unpack(&plan.output, &noisy[0]).unwrap();
        let modelled = largest_difference(&noisy, &clear) / plan.output.range;
        assert!(modelled > 0.0 && modelled < 1e-3, "{modelled}");

        let protocol = Protocol::of(&plan, Accept::Any(Insecure::acknowledged())).unwrap();
        let client = Client::generate(&protocol).unwrap();
        let keys = client.server_keys(KeyLimit::default(), &()).unwrap();
        let server = Server::load(plan.clone(), &protocol, keys, Memory::FullSpeed, &()).unwrap();
        let input = client.encrypt("picture", &tensor).unwrap();
        let (output, _) = server.run(input, &()).unwrap();
        let logits = client.decrypt(&output, Disclosure::Private).unwrap();
        let noise = largest_difference(&logits, &clear) / plan.output.range;
        println!(
            "{convolution:?}, {shortcut:?}: clear {off:.1e}, modelled noise {modelled:.1e}, noise {noise:.1e}"
        );
        assert!(noise < 1e-3, "encrypted {logits:?} clear {clear:?}");
    }
}

#[test]
fn the_schedule_prints_and_parses_back() {
    let compilation = compiled(
        &small::network(4, 4, Shortcut::B).build(),
        Ring::Insecure { log_n: 10 },
    );
    let schedule = &compilation.plan.schedule;
    let printed = text::print_ckks(schedule);
    assert_eq!(text::parse_ckks(&printed).unwrap(), *schedule);
    let packed = text::print_slot(&compilation.packed);
    assert_eq!(text::parse_slot(&packed).unwrap(), compilation.packed);
    assert!(text::summary(schedule).contains("parallel"));
}

#[test]
fn the_verifier_follows_the_algorithm() {
    let compilation = compiled(
        &small::network(4, 4, Shortcut::B).build(),
        Ring::Insecure { log_n: 10 },
    );
    let plan = &compilation.plan;
    let parameters = plan.checked_parameters().unwrap();
    let target = Target {
        parameters: &parameters,
        bootstrap: &plan.bootstrap,
    };
    let after = |edit: &dyn Fn(&mut Schedule)| -> String {
        let mut schedule = plan.schedule.clone();
        edit(&mut schedule);
        let violations = verify::ckks::verify(&schedule, target, Some(&plan.weights));
        let messages: Vec<String> = violations.iter().map(ToString::to_string).collect();
        messages.join("\n")
    };
    assert_eq!(after(&|_| {}), "");
    let graph = &plan.schedule.graph;
    let first = |is: &dyn Fn(&Op) -> bool| {
        let found = graph.values().find(|value| is(&graph.node(*value).op));
        found.expect("the schedule has one")
    };
    let kernel = |op: &Op| {
        matches!(
            op,
            Op::MultiplyAccumulate {
                part: ProductPhase::Weights,
                ..
            }
        )
    };
    let products = first(&kernel);
    let rotation = first(&|op| matches!(op, Op::Rotate { .. }));
    let has = |edit: &dyn Fn(&mut Schedule), expected: &str| {
        let messages = after(edit);
        assert!(messages.contains(expected), "{expected}: {messages}");
    };
    has(
        &|schedule| schedule.graph.node_mut(rotation).op = Op::Rotate { by: 5 },
        "is not rotated by",
    );
    has(
        &|schedule| schedule.graph.node_mut(rotation).op = Op::Rotate { by: 1 << 20 },
        "slots by 1048576",
    );
    let edited = |edit: fn(&mut ProductPhase, &mut usize)| {
        move |schedule: &mut Schedule| match &mut schedule.graph.node_mut(products).op {
            Op::MultiplyAccumulate { part, round, .. } => edit(part, round),
            other => panic!("{other:?}"),
        }
    };
    has(
        &edited(|_, round| *round = 99),
        "round 99 of a convolution of",
    );
    has(
        &edited(|part, _| *part = ProductPhase::Selection),
        "operands, found 9",
    );
    has(
        &|schedule| schedule.graph.node_mut(products).ty.level -= 1,
        "for operands at",
    );
    has(
        &|schedule| schedule.graph.node_mut(products).ty.log_scale = 42.0,
        "leaves none for the plaintexts",
    );
    has(
        &|schedule| schedule.graph.node_mut(products).ty.log_slots -= 1,
        "is used in another way elsewhere",
    );
    let narrowed = graph
        .values()
        .find(|value| plan.schedule.halves_period(*value));
    let narrowed = narrowed.expect("a result is repeated");
    has(
        &|schedule| schedule.graph.node_mut(narrowed).ty.log_slots -= 1,
        "expected ct<",
    );
    let sum = graph.values().find(|value| {
        matches!(graph.node(*value).op, Op::Add) && !plan.schedule.halves_period(*value)
    });
    let sum = sum.expect("there are sums over slots");
    has(
        &|schedule| schedule.graph.node_mut(sum).ty.log_slots -= 1,
        "expected ct<",
    );
}
