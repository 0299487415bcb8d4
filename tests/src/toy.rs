//! A small network as a plan: convolution, activation, bootstrap, pooling and a dense layer, over a
//! ring of degree 2^10.

use std::collections::BTreeSet;

use heddle_ir::ckks::{CiphertextType, LinearMapId, Op, PolynomialId, Schedule, TransformSteps};
use heddle_ir::layout::MultiplexedLayout;
use heddle_ir::linear::{LinearMap, LinearTerm};
use heddle_ir::nn::{AxisOrder, ChannelAffine, Conv, Gemm, LinearOp, Pad, Region, Window};
use heddle_ir::plan::{InputPacking, InputPiece, OutputKind, Plan};
use heddle_ir::preprocess::Preprocess;
use heddle_ir::slot::{Chebyshev, SlotType};
use heddle_ir::weights::{Tensor, WeightId, Weights};
use heddle_ir::{Graph, ValueId};
use heddle_params::bootstrap::{BootstrapParameters, BootstrapVariant};
use heddle_params::bsgs::BsgsPlan;
use heddle_params::{Parameters, named};

/// Builds a schedule op by op and keeps account of scales.
struct Builder {
    parameters: Parameters,
    bootstrap: BootstrapParameters,
    graph: Graph<Op, CiphertextType>,
    weights: Weights,
    linear_maps: Vec<LinearMap>,
    polynomials: Vec<Chebyshev>,
}

const LOG_SCALE: f64 = 40.0;

impl Builder {
    fn new() -> Self {
        Self {
            parameters: named::toy(10).unwrap(),
            bootstrap: BootstrapParameters::default(),
            graph: Graph::new(),
            weights: Weights::default(),
            linear_maps: Vec::new(),
            polynomials: Vec::new(),
        }
    }

    fn finish(
        mut self,
        outputs: Vec<ValueId>,
        input: InputPacking,
        output: MultiplexedLayout,
    ) -> Plan {
        self.graph.set_outputs(outputs);
        Plan {
            name: "toy".into(),
            model_digest: [7; 32],
            parameters: self.parameters.literal().clone(),
            insecure: true,
            bootstrap: self.bootstrap,
            schedule: Schedule {
                graph: self.graph,
                linear_maps: self.linear_maps,
                polynomials: self.polynomials,
            },
            weights: self.weights,
            input,
            output: SlotType {
                layout: output,
                range: 2.0,
            },
            output_kind: OutputKind::Logits,
            input_order: AxisOrder::Chw,
            preprocess: Preprocess::named("unit").unwrap(),
            labels: ["ant", "bee", "cow", "dog"].map(String::from).to_vec(),
            ranges: Vec::new(),
            notes: vec!["made by hand".into()],
        }
    }

    fn log_q(&self, level: usize) -> f64 {
        (self.parameters.q()[level] as f64).log2()
    }

    fn weight(&mut self, name: &str, shape: Vec<usize>, size: f32) -> WeightId {
        let count: usize = shape.iter().product();
        let seed = self.weights.len() * 7 + 1;
        let data = (0..count)
            .map(|i| size * (((i * 37 + seed) % 41) as f32 / 20.0 - 1.0))
            .collect();
        self.weights.push(Tensor::new(name, shape, data))
    }

    fn add(&mut self, op: Op, operands: &[ValueId], ty: CiphertextType, name: &str) -> ValueId {
        self.graph.add(op, operands, ty, name)
    }

    /// A linear map with its rescale and its bias; the result has the scale 2^40.
    fn linear(&mut self, operands: &[ValueId], map: LinearMap, name: &str) -> ValueId {
        let operand = *self.graph.ty(operands[0]);
        let mut steps = Vec::new();
        for term in 0..map.terms.len() {
            let diagonals = map.diagonals(term, &self.weights).unwrap();
            let indices: Vec<usize> = diagonals.entries.keys().copied().collect();
            let (period, work) = (diagonals.input_period, diagonals.work_period);
            let plan = BsgsPlan::for_diagonals(&indices, period, work, Default::default()).unwrap();
            let reduced: BTreeSet<usize> = plan.baby.iter().map(|baby| baby % period).collect();
            let baby: Vec<usize> = reduced.into_iter().collect();
            let giant: Vec<usize> = plan.giants.iter().map(|giant| giant.shift).collect();
            steps.push(TransformSteps {
                diagonals: indices.len(),
                baby,
                giant,
            });
        }
        let log_slots = map.output.period().trailing_zeros();
        let id = LinearMapId(self.linear_maps.len() as u32);
        self.linear_maps.push(map);
        let mut ty = CiphertextType {
            log_slots,
            level: operand.level,
            log_scale: LOG_SCALE + self.log_q(operand.level),
        };
        let product = self.add(Op::LinearTransform { map: id, steps }, operands, ty, name);
        ty.level -= 1;
        ty.log_scale = LOG_SCALE;
        let rescaled = self.add(Op::Rescale, &[product], ty, name);
        self.add(Op::AddBias { map: id }, &[rescaled], ty, name)
    }

    /// One polynomial of a gate; the result has the given scale.
    fn polynomial(&mut self, x: ValueId, stage: &Chebyshev, log_scale: f64, name: &str) -> ValueId {
        let from = *self.graph.ty(x);
        let level = from.level - stage.depth();
        let id = PolynomialId(self.polynomials.len() as u32);
        self.polynomials.push(stage.clone());
        let ty = CiphertextType {
            level,
            log_scale,
            ..from
        };
        self.add(Op::Polynomial { polynomial: id }, &[x], ty, name)
    }

    /// `x·g(x)`, where the gate `g` is a composition of polynomials.
    fn activation(&mut self, x: ValueId, stages: &[Chebyshev], name: &str) -> ValueId {
        let from = *self.graph.ty(x);
        let mut gate = x;
        for (index, stage) in stages.iter().enumerate() {
            let log_scale = if index + 1 < stages.len() {
                LOG_SCALE
            } else {
                let level = self.graph.ty(gate).level - stage.depth();
                LOG_SCALE + self.log_q(level) - from.log_scale
            };
            gate = self.polynomial(gate, stage, log_scale, name);
        }
        let mut ty = *self.graph.ty(gate);
        let (level, log_scale) = (ty.level, ty.log_scale);
        ty.log_scale = from.log_scale;
        let dropped = self.add(Op::DropLevel, &[x], ty, name);
        ty.log_scale += log_scale;
        let product = self.add(Op::Multiply, &[dropped, gate], ty, name);
        ty = CiphertextType {
            level: level - 1,
            log_scale: LOG_SCALE,
            ..ty
        };
        self.add(Op::Rescale, &[product], ty, name)
    }

    fn drop_to(&mut self, x: ValueId, level: usize, name: &str) -> ValueId {
        let ty = CiphertextType {
            level,
            ..*self.graph.ty(x)
        };
        self.add(Op::DropLevel, &[x], ty, name)
    }

    fn refresh(&mut self, x: ValueId, variant: BootstrapVariant, name: &str) -> ValueId {
        let x = self.drop_to(x, self.bootstrap.input_level(), name);
        let from = *self.graph.ty(x);
        let level = self.bootstrap.output_level(&self.parameters);
        let ty = CiphertextType { level, ..from };
        self.add(Op::Bootstrap { variant }, &[x], ty, name)
    }
}

fn conv(weight: WeightId, bias: Option<WeightId>, stride: usize) -> LinearOp {
    let window = Window::square(3, stride);
    LinearOp::Conv(Conv {
        weight,
        bias,
        window,
        groups: 1,
    })
}

fn map(input: MultiplexedLayout, ops: Vec<LinearOp>, output: MultiplexedLayout) -> LinearMap {
    let term = LinearTerm {
        input,
        ops,
        factor: 1.0,
    };
    LinearMap::new(vec![term], output, 1.0)
}

/// The image of the toy network.
const IMAGE: [usize; 3] = [3, 8, 8];

/// The plan of a residual network on `3×8×8` images with four classes.
///
/// # Panics
/// Never: the plan is made by hand.
pub fn plan() -> Plan {
    plan_of(&[Region::whole(IMAGE)])
}

/// [`plan`] with the image in three ciphertexts of different periods: two channels, and two bands
/// of the third.
///
/// # Panics
/// Never: the plan is made by hand.
pub fn plan_in_pieces() -> Plan {
    let region = |channels, rows| Region { channels, rows };
    plan_of(&[region(0..2, 0..8), region(2..3, 3..8), region(2..3, 0..3)])
}

/// The packing of an image in these regions.
fn packing(regions: &[Region]) -> InputPacking {
    let piece = |region: &Region| {
        let [channels, height, width] = region.shape(IMAGE[2]);
        InputPiece {
            region: region.clone(),
            layout: MultiplexedLayout::dense(channels, height, width),
        }
    };
    InputPacking {
        shape: IMAGE,
        range: 1.0,
        pieces: regions.iter().map(piece).collect(),
    }
}

/// The first map's terms: each piece of the image in its place, then a convolution, whose bias the
/// first term has.
fn stem(packing: &InputPacking, weight: WeightId, bias: WeightId) -> Vec<LinearTerm> {
    let pieces = packing.pieces.iter().enumerate();
    pieces
        .map(|(index, InputPiece { region, layout })| {
            let (channels, rows) = (&region.channels, &region.rows);
            let pad = Pad {
                before: [channels.start, rows.start, 0],
                after: [IMAGE[0] - channels.end, IMAGE[1] - rows.end, 0],
            };
            let conv = conv(weight, (index == 0).then_some(bias), 1);
            LinearTerm {
                input: *layout,
                ops: match *region == Region::whole(IMAGE) {
                    true => vec![conv],
                    false => vec![LinearOp::Pad(pad), conv],
                },
                factor: 1.0,
            }
        })
        .collect()
}

fn plan_of(regions: &[Region]) -> Plan {
    let mut b = Builder::new();
    let image = MultiplexedLayout::dense(3, 8, 8);
    let input = packing(regions);
    let wide = image.on_same_grid([1; 2], 4, 8, 8);
    let small = image.on_same_grid([2; 2], 8, 4, 4);
    let gate = [Chebyshev {
        coefficients: vec![0.5, 0.4, 0.0, -0.1],
    }];
    let level = 8;
    let inputs: Vec<ValueId> = (input.pieces.iter())
        .map(|piece| {
            let ty = CiphertextType {
                log_slots: piece.layout.period().trailing_zeros(),
                level,
                log_scale: LOG_SCALE,
            };
            b.add(Op::Input, &[], ty, "image")
        })
        .collect();
    let weight = b.weight("stem.weight", vec![4, 3, 3, 3], 0.05);
    let bias = b.weight("stem.bias", vec![4], 0.1);
    let terms = stem(&input, weight, bias);
    let x = b.linear(&inputs, LinearMap::new(terms, wide, 1.0), "stem");
    let x = b.activation(x, &gate, "relu0");
    let x = b.refresh(x, BootstrapVariant::Real, "relu0");
    let x = b.drop_to(x, level, "block");
    // A strided convolution and its shortcut, summed before the one rescale.
    let weight = b.weight("block.weight", vec![8, 4, 3, 3], 0.05);
    let shortcut = b.weight("block.shortcut", vec![8, 4, 3, 3], 0.04);
    let mut join = map(wide, vec![conv(weight, None, 2)], small);
    join.terms.push(LinearTerm {
        input: wide,
        ops: vec![conv(shortcut, None, 2)],
        factor: 0.5,
    });
    let x = b.linear(&[x, x], join, "block");
    let x = b.activation(x, &gate, "relu1");
    let weight = b.weight("fc.weight", vec![4, 8], 0.5);
    let bias = b.weight("fc.bias", vec![4], 0.2);
    let logits = MultiplexedLayout {
        channels: 4,
        height: 1,
        width: 1,
        ..small
    };
    let ops = vec![
        LinearOp::GlobalAveragePool,
        LinearOp::Flatten,
        LinearOp::Gemm(Gemm {
            weight,
            bias: Some(bias),
        }),
    ];
    let x = b.linear(&[x], map(small, ops, logits), "fc");
    b.finish(vec![x], input, logits)
}

/// A chain of `x ← 0.9 − 1.8·|x|`, with `|x| = 2·relu(x) − x` and a bootstrap after each link, as a
/// residual network computes it. The outputs are the refreshed values. The map keeps real values in
/// [−1, 1] and multiplies small deviations, imaginary ones too, by 1.8.
pub fn chain(length: usize, variant: BootstrapVariant, relu: &[Chebyshev]) -> Plan {
    let mut b = Builder::new();
    let layout = MultiplexedLayout::dense(1, 4, 8);
    let level = b.bootstrap.output_level(&b.parameters);
    let ty = CiphertextType {
        log_slots: layout.period().trailing_zeros(),
        level,
        log_scale: LOG_SCALE,
    };
    let mut x = b.add(Op::Input, &[], ty, "input");
    let shift = b.weights.push(Tensor::new("shift", vec![1], vec![0.9]));
    let shifted = vec![LinearOp::ChannelAffine(ChannelAffine {
        scale: None,
        shift: Some(shift),
    })];
    let mut outputs = Vec::new();
    for link in 0..length {
        let name = format!("link{link}");
        let positive = b.activation(x, relu, &name);
        let x_low = b.drop_to(x, b.graph.ty(positive).level, &name);
        let mut join = map(layout, shifted.clone(), layout);
        join.terms[0].factor = -3.6;
        join.terms.push(LinearTerm {
            input: layout,
            ops: Vec::new(),
            factor: 1.8,
        });
        let next = b.linear(&[positive, x_low], join, &name);
        x = b.refresh(next, variant, &name);
        outputs.push(x);
    }
    let input = InputPacking::whole(&SlotType { layout, range: 1.0 });
    b.finish(outputs, input, layout)
}

/// An image in `[0, 1]`.
pub fn tensor(seed: usize) -> Vec<f32> {
    (0..3 * 64)
        .map(|i| ((i * 29 + seed * 13) % 64) as f32 / 63.0)
        .collect()
}
