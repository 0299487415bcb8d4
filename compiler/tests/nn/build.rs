//! Small models with seeded weights.

use heddle_ir::nn::{
    Activation, AxisOrder, BatchNorm, ChannelAffine, Conv, ElementAffine, Gemm, LinearOp, Model,
    Op, Pad, Region, Slice, TensorType, Window,
};
use heddle_ir::{Graph, Tensor, ValueId, WeightId, Weights};

/// Builds a model operation by operation.
pub struct Builder {
    model: Model,
    state: u64,
}

impl From<Model> for Builder {
    /// Goes on with a finished model.
    fn from(model: Model) -> Self {
        Self { model, state: 7 }
    }
}

impl Builder {
    /// A model with an image of the given shape, which is value 0.
    pub fn new(shape: [usize; 3]) -> Self {
        let mut graph = Graph::new();
        graph.add(Op::Input, &[], TensorType::new(shape), "input");
        let model = Model {
            name: "test".to_owned(),
            digest: [0; 32],
            graph,
            weights: Weights::default(),
            input_regions: vec![Region::whole(shape)],
            input_order: AxisOrder::Chw,
            notes: Vec::new(),
        };
        Self { model, state: 7 }
    }

    /// A model whose image comes in these regions, and the whole image, put together.
    pub fn in_pieces(shape: [usize; 3], regions: &[Region]) -> (Self, ValueId) {
        let mut b = Self::new(shape);
        b.model.graph = Graph::new();
        b.model.input_regions = regions.to_vec();
        let [channels, height, width] = shape;
        let inputs: Vec<ValueId> = (regions.iter())
            .map(|region| b.add(Op::Input, &[], &region.shape(width), "input"))
            .collect();
        let placed: Vec<ValueId> = (inputs.into_iter().zip(regions))
            .map(|(input, region)| {
                let pad = LinearOp::Pad(Pad {
                    before: [region.channels.start, region.rows.start, 0],
                    after: [channels - region.channels.end, height - region.rows.end, 0],
                });
                b.add(Op::Linear(pad), &[input], &shape, "place")
            })
            .collect();
        let whole = placed
            .into_iter()
            .reduce(|sum, piece| b.keep(Op::Add, &[sum, piece], "whole"));
        (b, whole.expect("there are regions"))
    }

    /// Uniform in [−1, 1).
    fn random(&mut self) -> f32 {
        self.state = self
            .state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.state >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    /// A tensor of `center + spread·[−1, 1)`.
    pub fn weight(&mut self, name: &str, shape: &[usize], center: f32, spread: f32) -> WeightId {
        let data = (0..shape.iter().product())
            .map(|_| center + spread * self.random())
            .collect();
        self.model
            .weights
            .push(Tensor::new(name, shape.to_vec(), data))
    }

    /// Appends an operation.
    pub fn add(&mut self, op: Op, operands: &[ValueId], shape: &[usize], name: &str) -> ValueId {
        self.model
            .graph
            .add(op, operands, TensorType::new(shape), name)
    }

    /// A convolution with padding 1 for 3×3 and 0 for 1×1 kernels.
    pub fn conv(
        &mut self,
        from: ValueId,
        [channels, kernel, stride, groups]: [usize; 4],
        name: &str,
    ) -> ValueId {
        let [c, h, w] = self.model.graph.ty(from).chw();
        let fan_in = (c / groups * kernel * kernel) as f32;
        let weight = self.weight(
            &format!("{name}.weight"),
            &[channels, c / groups, kernel, kernel],
            0.0,
            (3.0 / fan_in).sqrt(),
        );
        let bias = Some(self.weight(&format!("{name}.bias"), &[channels], 0.0, 0.1));
        let window = Window::square(kernel, stride);
        let [h, w] = window.output(h, w).expect("the kernel fits");
        let op = LinearOp::Conv(Conv {
            weight,
            bias,
            window,
            groups,
        });
        self.add(Op::Linear(op), &[from], &[channels, h, w], name)
    }

    /// A batch normalisation with statistics near (0, 1), multiplier near 1 and offset near 0.
    pub fn batch_norm(&mut self, from: ValueId, name: &str) -> ValueId {
        let shape = self.model.graph.ty(from).shape.clone();
        let channels = [shape[0]];
        let op = LinearOp::BatchNorm(BatchNorm {
            scale: self.weight(&format!("{name}.scale"), &channels, 1.0, 0.4),
            bias: self.weight(&format!("{name}.bias"), &channels, 0.0, 0.4),
            mean: self.weight(&format!("{name}.mean"), &channels, 0.0, 0.3),
            variance: self.weight(&format!("{name}.variance"), &channels, 0.8, 0.3),
            epsilon: 1e-5,
        });
        self.add(Op::Linear(op), &[from], &shape, name)
    }

    /// `scale·x + shift` per channel, seeded.
    pub fn affine(&mut self, from: ValueId, name: &str) -> ValueId {
        let shape = self.model.graph.ty(from).shape.clone();
        let op = LinearOp::ChannelAffine(ChannelAffine {
            scale: Some(self.weight(&format!("{name}.scale"), &shape[..1], 1.0, 0.5)),
            shift: Some(self.weight(&format!("{name}.shift"), &shape[..1], 0.0, 0.5)),
        });
        self.add(Op::Linear(op), &[from], &shape, name)
    }

    /// `scale·x + shift` per element, seeded.
    pub fn elements(&mut self, from: ValueId, name: &str) -> ValueId {
        let shape = self.model.graph.ty(from).shape.clone();
        let op = LinearOp::ElementAffine(ElementAffine {
            scale: Some(self.weight(&format!("{name}.scale"), &shape, 1.0, 0.5)),
            shift: Some(self.weight(&format!("{name}.shift"), &shape, 0.0, 0.5)),
        });
        self.add(Op::Linear(op), &[from], &shape, name)
    }

    /// An operation that keeps its operands' shape.
    pub fn keep(&mut self, op: Op, operands: &[ValueId], name: &str) -> ValueId {
        let shape = self.model.graph.ty(operands[0]).shape.clone();
        self.add(op, operands, &shape, name)
    }

    /// ReLU.
    pub fn relu(&mut self, from: ValueId, name: &str) -> ValueId {
        self.keep(Op::activation(Activation::Relu), &[from], name)
    }

    /// Global mean and a matrix product to `classes` logits.
    pub fn head(&mut self, from: ValueId, classes: usize) -> ValueId {
        let [c, _, _] = self.model.graph.ty(from).chw();
        let pooled = self.add(
            Op::Linear(LinearOp::GlobalAveragePool),
            &[from],
            &[c, 1, 1],
            "pool",
        );
        let flat = self.add(Op::Linear(LinearOp::Flatten), &[pooled], &[c], "flatten");
        self.dense(flat, classes, "fc")
    }

    /// A matrix product with a bias.
    pub fn dense(&mut self, from: ValueId, results: usize, name: &str) -> ValueId {
        let features = self.model.graph.ty(from).elements();
        let weight = self.weight(&format!("{name}.weight"), &[results, features], 0.0, 1.0);
        let bias = Some(self.weight(&format!("{name}.bias"), &[results], 0.0, 0.3));
        let op = LinearOp::Gemm(Gemm { weight, bias });
        self.add(Op::Linear(op), &[from], &[results], name)
    }

    /// The model with `output` as its logits.
    pub fn finish(mut self, output: ValueId) -> Model {
        self.model.graph.set_outputs(vec![output]);
        self.model
    }

    /// Changes a finished tensor.
    pub fn set(&mut self, id: WeightId, change: impl Fn(&mut Tensor)) {
        let mut weights = Weights::default();
        for (old, tensor) in self.model.weights.iter() {
            let mut tensor = tensor.clone();
            if old == id {
                change(&mut tensor);
            }
            weights.push(tensor);
        }
        self.model.weights = weights;
    }
}

/// A residual network with a stride-2 block: batch norms behind every convolution, a parameter-free
/// shortcut, an identity.
pub fn residual() -> Model {
    let mut b = Builder::new([3, 8, 8]);
    let x = b.conv(ValueId(0), [4, 3, 1, 1], "stem");
    let x = b.batch_norm(x, "stem.bn");
    let x = b.relu(x, "stem.relu");
    let y = b.conv(x, [8, 3, 2, 1], "block.conv1");
    let y = b.batch_norm(y, "block.bn1");
    let y = b.keep(Op::Identity, &[y], "dropout");
    let y = b.relu(y, "block.relu1");
    let y = b.conv(y, [8, 3, 1, 2], "block.conv2");
    let y = b.batch_norm(y, "block.bn2");
    let slice = LinearOp::Slice(Slice {
        start: [0; 3],
        end: [4, 8, 8],
        step: [1, 2, 2],
    });
    let s = b.add(Op::Linear(slice), &[x], &[4, 4, 4], "slice");
    let pad = LinearOp::Pad(Pad {
        before: [2, 0, 0],
        after: [2, 0, 0],
    });
    let s = b.add(Op::Linear(pad), &[s], &[8, 4, 4], "pad");
    let z = b.keep(Op::Add, &[y, s], "block.add");
    let z = b.relu(z, "block.relu2");
    let out = b.head(z, 5);
    b.finish(out)
}

/// Images with elements in [−1, 1).
pub fn images(count: usize, elements: usize) -> Vec<Vec<f32>> {
    let mut source = Builder::new([1, 1, 1]);
    (0..count)
        .map(|_| (0..elements).map(|_| source.random()).collect())
        .collect()
}
