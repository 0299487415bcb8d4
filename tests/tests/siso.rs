//! Schedules of networks with one channel a ciphertext.

use heddle_compiler::{Compilation, Convolution, Options, Ring, compile};
use heddle_frontends::onnx;
use heddle_ir::ckks::{Op, Schedule};
use heddle_ir::linear::ProductPhase;
use heddle_ir::plan::OutputKind;
use heddle_ir::preprocess::Preprocess;
use heddle_ir::text;
use heddle_params::named;
use heddle_tests::resnet::{self, Shortcut};
use heddle_tests::small;

/// The ring of the paper, whose parameters nobody would call secure.
const FULL: Ring = Ring::Insecure { log_n: 16 };

fn options(ring: Ring) -> Options {
    Options {
        ring,
        convolution: Convolution::Siso,
        ..Options::new(Preprocess::named("unit").unwrap())
    }
}

fn compiled(model: &[u8], options: &Options) -> Compilation {
    let model = onnx::import_bytes("model", model, &onnx::ImportOptions::default()).unwrap();
    compile(model, options, &()).unwrap()
}

/// What the convolutions in front of one ReLU layer take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Layer {
    /// Output channels, a ciphertext each.
    outputs: usize,
    rotations: usize,
    products: usize,
    levels: usize,
}

/// The algorithm of arXiv 2106.07229 counted: `f` is the kernel's extent and `c_i`, `c_o` the
/// channels. Each input channel is rotated once by every tap but the one at the output's own pixel;
/// each output channel is the sum over input channels and taps of a rotated channel times its
/// weights. `shortcut` are the products of a join's other operand, which rotate nothing.
fn siso(f: usize, c_i: usize, c_o: usize, shortcut: usize) -> Layer {
    Layer {
        outputs: c_o,
        rotations: c_i * (f * f - 1),
        products: c_o * c_i * f * f + shortcut,
        levels: 1,
    }
}

/// The layers of ResNet-20 by that count.
fn resnet20(shortcut: Shortcut) -> Vec<Layer> {
    // The image is one ciphertext of three planes, padded to four that rotate into each other's
    // place: every plane is rotated by every tap, and all are multiplied.
    let mut layers = vec![Layer {
        outputs: 16,
        rotations: 4 * 9 - 1,
        products: 16 * 4 * 9,
        levels: 1,
    }];
    for (stage, channels) in [16, 32, 64].into_iter().enumerate() {
        for block in 0..3 {
            let narrows = stage > 0 && block == 0;
            let from = if narrows { channels / 2 } else { channels };
            let join = match (narrows, shortcut) {
                // A convolution of one tap from every channel to every channel.
                (true, Shortcut::B) => from * channels,
                // Every channel that there is; the others are zero.
                (true, Shortcut::A) => from,
                (false, _) => channels,
            };
            layers.push(siso(3, from, channels, 0));
            layers.push(siso(3, channels, channels, join));
        }
    }
    layers
}

/// What a schedule does in front of each ReLU layer.
fn scheduled(schedule: &Schedule) -> Vec<Layer> {
    let graph = &schedule.graph;
    let mut layers = vec![Layer::default()];
    let is_taps = |op: &Op| {
        matches!(
            op,
            Op::MultiplyAccumulate {
                part: ProductPhase::Taps,
                round: 0,
                ..
            }
        )
    };
    for value in graph.values() {
        let node = graph.node(value);
        let operands = graph.operands(value);
        let layer = layers.last_mut().expect("there is a layer");
        match &node.op {
            Op::Polynomial { .. } if layer.outputs > 0 => layers.push(Layer::default()),
            Op::Rotate { .. } => {
                let users = graph.users(value);
                layer.rotations += usize::from(users.iter().all(|u| is_taps(&graph.node(*u).op)));
            }
            op if is_taps(op) => {
                layer.outputs += 1;
                layer.products += operands.len();
                let rescale = graph.users(value)[0];
                assert!(matches!(graph.node(rescale).op, Op::Rescale));
                layer.levels = node.ty.level - graph.ty(rescale).level;
            }
            _ => {}
        }
    }
    layers.pop();
    layers
}

#[test]
fn rotations_products_and_levels_of_resnet20_follow_the_algorithm() {
    for shortcut in [Shortcut::A, Shortcut::B] {
        let compilation = compiled(&resnet::cifar(20, shortcut, 1), &options(FULL));
        let schedule = &compilation.plan.schedule;
        assert_eq!(scheduled(schedule), resnet20(shortcut), "{shortcut:?}");
        assert_eq!(
            compilation.plan.parameters,
            named::n16_qp1750_sparse64_literal()
        );
        assert!(compilation.plan.insecure);
        if shortcut == Shortcut::B {
            insta::assert_snapshot!("resnet20_b_siso", text::summary(schedule));
        }
    }
}

#[test]
fn bootstraps_of_resnet20_are_those_of_its_relus_channels() {
    let relus: Vec<usize> = resnet20(Shortcut::B).iter().map(|l| l.outputs).collect();
    assert_eq!(relus.len(), 19);
    let ciphertexts: usize = relus.iter().sum();
    assert_eq!(ciphertexts, 16 * 7 + 32 * 6 + 64 * 6);
    assert_eq!(ciphertexts, 688);
    // Between two ReLUs of depth 14 lies one level of convolution, and a bootstrap gives 15 levels:
    // one is needed between each two, for every channel of the earlier ReLU's result (`after`) or
    // of the later one's operand (`before`). Where a layer bootstraps after its ReLU, the ReLU ends
    // at the level that the bootstrap starts from and all later layers do the same. The image is
    // encrypted high enough for the first ReLU; nothing follows the last, but for softmax, which
    // asks for levels again.
    let before: usize = relus[1..].iter().sum();
    let after: usize = relus[..18].iter().sum();
    assert_eq!((before, after), (688 - 16, 688 - 64));
    let model = resnet::cifar(20, Shortcut::B, 1);
    for (output_kind, expected) in [
        (OutputKind::Logits, after),
        // Its one ciphertext takes three.
        (OutputKind::Probabilities, before + 3),
    ] {
        let options = Options {
            output_kind,
            ..options(FULL)
        };
        let schedule = compiled(&model, &options).plan.schedule;
        println!("{output_kind:?}: {} bootstraps", schedule.bootstraps());
        assert_eq!(schedule.bootstraps(), expected, "{output_kind:?}");
    }
}

#[test]
fn schedule_and_packed_graph_print_and_parse_back() {
    let options = options(Ring::Insecure { log_n: 10 });
    let compilation = compiled(&small::network(2, 3, Shortcut::B).build(), &options);
    let schedule = &compilation.plan.schedule;
    let printed = text::print_ckks(schedule);
    assert_eq!(text::parse_ckks(&printed).unwrap(), *schedule);
    let packed = text::print_slot(&compilation.packed);
    assert!(packed.contains("siso_convolution"));
    assert_eq!(text::parse_slot(&packed).unwrap(), compilation.packed);
    let summary = text::summary(schedule);
    let lines = |what: &str| summary.lines().filter(|line| line.contains(what)).count();
    assert_eq!(lines("  siso ×"), 5, "{summary}");
    assert_eq!(lines("  activation ×"), 5, "{summary}");
}

#[test]
fn the_papers_parameters_are_refused_unless_acknowledged() {
    let model = small::network(2, 3, Shortcut::A).build();
    let model = onnx::import_bytes("model", &model, &onnx::ImportOptions::default()).unwrap();
    let error = compile(model, &options(Ring::Secure), &()).unwrap_err();
    let message = error.to_string();
    for part in ["98.1 bits", "128 are needed", "--insecure-log-n 16"] {
        assert!(message.contains(part), "{message}");
    }
}
