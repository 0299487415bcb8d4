//! A small residual network as packed graph and as schedule, for the unit tests of this crate.

use heddle_params::bootstrap::{BootstrapParameters, BootstrapVariant};
use heddle_params::{Parameters, named};

use crate::ckks::{
    CiphertextType, LinearMapId, Op, PolynomialId, Schedule, Target, TransformSteps,
};
use crate::graph::{Graph, ValueId};
use crate::layout::MultiplexedLayout;
use crate::linear::parallel::ParallelConvolution;
use crate::linear::siso::SisoConvolution;
use crate::linear::{LinearMap, LinearTerm, ProductPhase};
use crate::nn::{Activation, Conv, Gemm, LinearOp, Window};
use crate::slot::{self, ApproximatedActivation, Chebyshev, GatedTerm, SlotGraph, SlotType};
use crate::verify;
use crate::weights::{Tensor, WeightId, Weights};

fn conv(weight: WeightId, bias: Option<WeightId>) -> LinearOp {
    let window = Window::square(3, 1);
    LinearOp::Conv(Conv {
        weight,
        bias,
        window,
        groups: 1,
    })
}

fn relu() -> ApproximatedActivation {
    // Two odd steps towards the sign function; their shape is all that the tests need.
    let stage = Chebyshev {
        coefficients: vec![0.0, 1.2, 0.0, -0.2],
    };
    let last = Chebyshev {
        coefficients: vec![0.5, 0.55, 0.0, -0.05],
    };
    ApproximatedActivation {
        function: Activation::Relu,
        terms: vec![GatedTerm {
            factor: Chebyshev::identity(),
            gate: vec![stage, last],
        }],
        free: None,
        error: 0.1,
    }
}

/// Image 1×4×4 → convolution to 2×4×4 → ReLU → convolution plus shortcut → ReLU → pool and Gemm to
/// three logits, with its weights.
pub(crate) fn slot_graph() -> (SlotGraph, Weights) {
    let mut weights = Weights::default();
    let mut weight = |name: &str, shape: Vec<usize>| {
        let len = shape.iter().product();
        weights.push(Tensor::new(name, shape, ramp(len, name.len())))
    };
    let conv1 = conv(
        weight("conv1.weight", vec![2, 1, 3, 3]),
        Some(weight("bias", vec![2])),
    );
    let conv2 = conv(weight("block.conv2.weight", vec![2, 2, 3, 3]), None);
    let gemm = LinearOp::Gemm(Gemm {
        weight: weight("fc", vec![3, 2]),
        bias: Some(weight("fc.b", vec![3])),
    });
    let image = MultiplexedLayout::dense(1, 4, 4);
    let middle = image.on_same_grid([1; 2], 2, 4, 4);
    let logits = MultiplexedLayout::dense(3, 1, 1);
    let (b_in, b1, b2, b_out) = (1.5, 3.0, 5.0, 4.0);

    let mut graph = Graph::new();
    let ty = |layout, range| SlotType { layout, range };
    let linear = |terms: Vec<(MultiplexedLayout, Vec<LinearOp>, f64)>, output, range: f64| {
        let terms = terms
            .into_iter()
            .map(|(input, ops, b)| LinearTerm {
                input,
                ops,
                factor: b / range,
            })
            .collect();
        slot::Op::Linear(LinearMap::new(terms, output, 1.0 / range))
    };
    let activation = || slot::Op::Activation(relu());
    let x = graph.add(slot::Op::Input, &[], ty(image, b_in), "image");
    let op = linear(vec![(image, vec![conv1], b_in)], middle, b1);
    let y = graph.add(op, &[x], ty(middle, b1), "conv1");
    let y = graph.add(activation(), &[y], ty(middle, b1), "relu1");
    let op = linear(
        vec![(middle, vec![conv2], b1), (middle, vec![], b1)],
        middle,
        b2,
    );
    let z = graph.add(op, &[y, y], ty(middle, b2), "block.conv2");
    let z = graph.add(activation(), &[z], ty(middle, b2), "relu2");
    let pool = vec![LinearOp::GlobalAveragePool, LinearOp::Flatten, gemm];
    let op = linear(vec![(middle, pool, b2)], logits, b_out);
    let out = graph.add(op, &[z], ty(logits, b_out), "fc");
    graph.set_outputs(vec![out]);
    (graph, weights)
}

/// The parameters of [`schedule`]: the chain of `N16_QP1714_DENSE` at N = 2^10.
pub(crate) fn parameters() -> (Parameters, BootstrapParameters) {
    (
        named::toy(10).expect("the toy set exists"),
        BootstrapParameters::default(),
    )
}

/// The type of an encrypted image of 16 elements.
const IMAGE: CiphertextType = CiphertextType {
    log_slots: 4,
    level: 4,
    log_scale: 40.0,
};

struct Builder {
    parameters: Parameters,
    graph: Graph<Op, CiphertextType>,
}

impl Builder {
    fn new() -> Self {
        let (parameters, _) = parameters();
        Self {
            parameters,
            graph: Graph::new(),
        }
    }

    fn add(&mut self, op: Op, operands: &[ValueId], ty: CiphertextType, name: &str) -> ValueId {
        self.graph.add(op, operands, ty, name)
    }

    /// A linear map, the rescale behind it, the sum of its shares and its bias; the result has
    /// `2^log_slots` slots.
    fn linear(
        &mut self,
        map: u32,
        operands: &[ValueId],
        (log_slots, log_shares): (u32, u32),
        steps: Vec<TransformSteps>,
    ) -> ValueId {
        let map = LinearMapId(map);
        let operand = *self.graph.ty(operands[0]);
        let log_q = (self.parameters.q()[operand.level] as f64).log2();
        let ty = CiphertextType {
            log_slots: log_slots + log_shares,
            level: operand.level,
            log_scale: 40.0 + log_q,
        };
        let y = self.add(Op::LinearTransform { map, steps }, operands, ty, "linear");
        let mut ty = CiphertextType {
            level: ty.level - 1,
            log_scale: 40.0,
            ..ty
        };
        let mut y = self.add(Op::Rescale, &[y], ty, "linear");
        for log_shares in (0..log_shares).rev() {
            let by = 1 << (log_slots + log_shares);
            let rotated = self.add(Op::Rotate { by }, &[y], ty, "linear");
            ty.log_slots -= 1;
            y = self.add(Op::Add, &[y, rotated], ty, "linear");
        }
        self.add(Op::AddBias { map }, &[y], ty, "linear")
    }

    /// A bootstrap and `x·(1 + s(x))/2`, down to level 4.
    fn relu(&mut self, x: ValueId) -> ValueId {
        let ty = CiphertextType {
            level: 18,
            log_scale: 40.0,
            ..*self.graph.ty(x)
        };
        let x = self.add(
            Op::Bootstrap {
                variant: BootstrapVariant::Real,
            },
            &[x],
            ty,
            "relu",
        );
        let mut stage = x;
        for polynomial in 0..2 {
            let ty = *self.graph.ty(stage);
            let ty = CiphertextType {
                level: ty.level - 2,
                ..ty
            };
            let polynomial = PolynomialId(polynomial);
            stage = self.add(Op::Polynomial { polynomial }, &[stage], ty, "relu");
        }
        let ty = *self.graph.ty(stage);
        let x = self.add(Op::DropLevel, &[x], ty, "relu");
        let ty = CiphertextType {
            log_scale: 80.0,
            ..ty
        };
        let y = self.add(Op::Multiply, &[x, stage], ty, "relu");
        let log_q = (self.parameters.q()[ty.level] as f64).log2();
        let ty = CiphertextType {
            level: ty.level - 1,
            log_scale: 80.0 - log_q,
            ..ty
        };
        let y = self.add(Op::Rescale, &[y], ty, "relu");
        self.add(
            Op::DropLevel,
            &[y],
            CiphertextType { level: 4, ..ty },
            "relu",
        )
    }
}

/// What the verifier says of a schedule on [`parameters`], one message a violation.
pub(crate) fn violations(schedule: &Schedule, weights: &Weights) -> Vec<String> {
    let (parameters, bootstrap) = parameters();
    let target = Target {
        parameters: &parameters,
        bootstrap: &bootstrap,
    };
    let violations = verify::ckks::verify(schedule, target, Some(weights));
    violations.iter().map(ToString::to_string).collect()
}

/// Numbers in [−0.4, 0.6) that repeat after 23.
pub(crate) fn ramp(len: usize, seed: usize) -> Vec<f32> {
    (0..len)
        .map(|i| ((i * 37 + seed * 11) % 23) as f32 / 23.0 - 0.4)
        .collect()
}

/// The schedule of [`slot_graph`] on [`parameters`], with the weights.
pub(crate) fn schedule() -> (Schedule, Weights) {
    let (graph, weights) = slot_graph();
    let linear_maps: Vec<LinearMap> = graph
        .values()
        .filter_map(|value| match &graph.node(value).op {
            slot::Op::Linear(map) => Some(map.clone()),
            _ => None,
        })
        .collect();
    let polynomials = relu().terms.remove(0).gate;
    let steps = |map: usize, term: usize| {
        let diagonals = linear_maps[map]
            .diagonals(term, &weights)
            .expect("the maps fit");
        TransformSteps {
            diagonals: diagonals.entries.len(),
            baby: vec![0, 1, 2, 3],
            giant: (0..diagonals.input_period).step_by(4).collect(),
        }
    };
    let mut b = Builder::new();
    let ty = IMAGE;
    let x = b.add(Op::Input, &[], ty, "image");
    let y = b.linear(0, &[x], (5, 0), vec![steps(0, 0)]);
    let y = b.relu(y);
    let z = b.linear(1, &[y, y], (5, 0), vec![steps(1, 0), steps(1, 1)]);
    let z = b.relu(z);
    let out = b.linear(2, &[z], (2, 0), vec![steps(2, 0)]);
    b.graph.set_outputs(vec![out]);

    (
        Schedule {
            graph: b.graph,
            linear_maps,
            polynomials,
        },
        weights,
    )
}

/// Image 1×4×4 → multiplexed parallel convolution to 2×4×4 → pool and Gemm to three logits, in four
/// shares, with its weights.
pub(crate) fn parallel_slot_graph() -> (SlotGraph, Weights) {
    let (graph, weights) = slot_graph();
    let node = |value: u32| graph.node(ValueId(value));
    let (slot::Op::Linear(conv), slot::Op::Linear(head)) = (&node(1).op, &node(5).op) else {
        unreachable!("the graph starts and ends with linear maps");
    };
    let range = node(1).ty.range;
    let mut head = head.clone();
    head.terms[0].factor = range / node(5).ty.range;
    head.log_shares = 2;
    let mut parallel = Graph::new();
    let x = parallel.add(slot::Op::Input, &[], node(0).ty.clone(), "image");
    let op = slot::Op::ParallelConvolution {
        map: conv.clone(),
        slots: 512,
    };
    let y = parallel.add(op, &[x], node(1).ty.clone(), "conv");
    let y = parallel.add(slot::Op::Add, &[y, y], node(1).ty.clone(), "twice");
    let out = parallel.add(slot::Op::Linear(head), &[y], node(5).ty.clone(), "fc");
    parallel.set_outputs(vec![out]);
    (parallel, weights)
}

/// The schedule of [`parallel_slot_graph`] on [`parameters`], with the weights.
pub(crate) fn parallel_schedule() -> (Schedule, Weights) {
    let (graph, weights) = parallel_slot_graph();
    let node = |value: u32| &graph.node(ValueId(value)).op;
    let (slot::Op::ParallelConvolution { map, slots }, slot::Op::Linear(head)) = (node(1), node(3))
    else {
        unreachable!("the graph is a convolution and a linear map");
    };
    let convolution = ParallelConvolution::of(map, *slots).expect("the map is a convolution");
    let mut b = Builder::new();
    let ty = |b: &Builder, log_slots: u32, level: usize, products: bool| CiphertextType {
        log_slots,
        level,
        log_scale: match products {
            true => 40.0 + (b.parameters.q()[level] as f64).log2(),
            false => 40.0,
        },
    };
    let rotate = |b: &mut Builder, x: ValueId, by: usize| {
        let ty = *b.graph.ty(x);
        if by == 0 {
            return x;
        }
        b.add(Op::Rotate { by }, &[x], ty, "conv")
    };
    let id = LinearMapId(0);
    let input = ty(&b, 4, 4, false);
    let x = b.add(Op::Input, &[], input, "image");
    let taps: Vec<ValueId> = (convolution.tap_rotations().into_iter())
        .map(|by| rotate(&mut b, x, by))
        .collect();
    // One channel and gap 1: nothing is summed.
    let mut y = x;
    for (part, level) in [(ProductPhase::Weights, 4), (ProductPhase::Selection, 3)] {
        let operands = match part {
            ProductPhase::Weights => taps.clone(),
            ProductPhase::Selection => (0..2)
                .map(|channel| rotate(&mut b, y, convolution.selection_rotation(channel)))
                .collect(),
            ProductPhase::Taps => Vec::new(),
        };
        let op = Op::MultiplyAccumulate {
            map: id,
            part,
            round: 0,
        };
        let (product, rescaled) = (ty(&b, 9, level, true), ty(&b, 9, level - 1, false));
        y = b.add(op, &operands, product, "conv");
        y = b.add(Op::Rescale, &[y], rescaled, "conv");
    }
    for (by, log_slots) in convolution.replication().into_iter().zip([8, 7, 6, 5]) {
        let rotated = rotate(&mut b, y, by);
        let halved = ty(&b, log_slots, 2, false);
        y = b.add(Op::Add, &[y, rotated], halved, "conv");
    }
    let replicated = ty(&b, 5, 2, false);
    y = b.add(Op::AddBias { map: id }, &[y], replicated, "conv");
    y = b.add(Op::Add, &[y, y], replicated, "twice");
    let diagonals = head.diagonals(0, &weights).expect("the map fits");
    let steps = TransformSteps {
        diagonals: diagonals.entries.len(),
        baby: vec![0, 1, 2, 3],
        giant: (0..diagonals.input_period).step_by(4).collect(),
    };
    let out = b.linear(1, &[y], (2, head.log_shares), vec![steps]);
    b.graph.set_outputs(vec![out]);
    let schedule = Schedule {
        graph: b.graph,
        linear_maps: vec![map.clone(), head.clone()],
        polynomials: Vec::new(),
    };
    (schedule, weights)
}

/// One channel of 4×4: its SISO convolution added to itself, then the identity; on [`parameters`],
/// with the weights.
pub(crate) fn siso_schedule() -> (Schedule, Weights) {
    let layout = MultiplexedLayout::dense(1, 4, 4);
    let mut weights = Weights::default();
    let kernel = Tensor::new("kernel", vec![1, 1, 3, 3], ramp(9, 2));
    let window = Window::square(3, 1);
    let conv = LinearOp::Conv(Conv {
        weight: weights.push(kernel),
        bias: Some(weights.push(Tensor::new("bias", vec![1], vec![0.5]))),
        window,
        groups: 1,
    });
    let term = |ops| LinearTerm {
        input: layout,
        ops,
        factor: 0.5,
    };
    let map = |terms: Vec<_>| LinearMap::new(terms.into_iter().map(term).collect(), layout, 1.0);
    let maps = vec![map(vec![Vec::new(), vec![conv]]), map(vec![Vec::new()])];
    let convolution = SisoConvolution::of(&maps[0]).expect("the map is a convolution");
    let (parameters, _) = parameters();
    let n = parameters.n();
    let log_q = (parameters.q()[4] as f64).log2();
    let mut b = Builder::new();
    let ty = IMAGE;
    let x = b.add(Op::Input, &[], ty, "image");
    let mut operands = Vec::new();
    for by in (0..2).flat_map(|term| convolution.rotations(term, n / 2)) {
        operands.push(match by {
            0 => x,
            _ => b.add(Op::Rotate { by }, &[x], ty, "conv"),
        });
    }
    let op = Op::MultiplyAccumulate {
        map: LinearMapId(0),
        part: ProductPhase::Taps,
        round: 0,
    };
    let log_scale = 40.0 + log_q;
    let y = b.add(op, &operands, CiphertextType { log_scale, ..ty }, "conv");
    let rescaled = CiphertextType { level: 3, ..ty };
    let y = b.add(Op::Rescale, &[y], rescaled, "conv");
    let map = LinearMapId(0);
    let y = b.add(Op::AddBias { map }, &[y], rescaled, "conv");
    let steps = TransformSteps {
        diagonals: 1,
        baby: vec![0],
        giant: vec![0],
    };
    let out = b.linear(1, &[y], (4, 0), vec![steps]);
    b.graph.set_outputs(vec![out]);
    let schedule = Schedule {
        graph: b.graph,
        linear_maps: maps,
        polynomials: Vec::new(),
    };
    (schedule, weights)
}
