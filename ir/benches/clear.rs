//! Speed of the schedule's interpreter on the widths and layouts of a CIFAR ResNet-20: nineteen
//! convolutions, nineteen sign compositions of degrees 15, 15 and 27, pooling and a dense layer.
#![allow(
    missing_docs,
    reason = "criterion's macro makes an undocumented function"
)]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use heddle_ir::ckks::{CiphertextType, LinearMapId, Op, PolynomialId, Schedule};
use heddle_ir::eval::ckks::ClearInterpreter;
use heddle_ir::layout::MultiplexedLayout;
use heddle_ir::linear::{LinearMap, LinearTerm};
use heddle_ir::nn::{Conv, Gemm, LinearOp, Window};
use heddle_ir::slot::Chebyshev;
use heddle_ir::{Graph, Tensor, ValueId, Weights};
use heddle_params::bootstrap::{BootstrapParameters, BootstrapVariant};

/// A schedule without the levels and scales that the interpreter does not look at.
struct Builder {
    graph: Graph<Op, CiphertextType>,
    maps: Vec<LinearMap>,
    weights: Weights,
}

impl Builder {
    fn add(&mut self, op: Op, operands: &[ValueId], period: usize) -> ValueId {
        let log_slots = period.trailing_zeros();
        let ty = CiphertextType {
            log_slots,
            level: 4,
            log_scale: 40.0,
        };
        self.graph.add(op, operands, ty, "")
    }

    fn weight(&mut self, shape: Vec<usize>) -> heddle_ir::WeightId {
        let len = shape.iter().product::<usize>();
        let data = (0..len)
            .map(|i| ((i * 37 % 101) as f32 - 50.0) / len as f32)
            .collect();
        self.weights.push(Tensor::new("weight", shape, data))
    }

    fn linear(
        &mut self,
        x: ValueId,
        input: MultiplexedLayout,
        output: MultiplexedLayout,
        ops: Vec<LinearOp>,
    ) -> ValueId {
        let map = LinearMapId(self.maps.len() as u32);
        let terms = vec![LinearTerm {
            input,
            ops,
            factor: 1.0,
        }];
        self.maps.push(LinearMap::new(terms, output, 1.0));
        self.add(
            Op::LinearTransform {
                map,
                steps: Vec::new(),
            },
            &[x],
            output.period(),
        )
    }

    fn convolution(
        &mut self,
        x: ValueId,
        input: MultiplexedLayout,
        output: MultiplexedLayout,
    ) -> ValueId {
        let weight = self.weight(vec![output.channels, input.channels, 3, 3]);
        let stride = [input.height / output.height; 2];
        let window = Window {
            stride,
            ..Window::square(3, 1)
        };
        let conv = LinearOp::Conv(Conv {
            weight,
            bias: None,
            window,
            groups: 1,
        });
        let y = self.linear(x, input, output, vec![conv]);
        let slots = output.period();
        let variant = BootstrapVariant::Real;
        let y = self.add(Op::Bootstrap { variant }, &[y], slots);
        let gate = [0, 0, 1].into_iter().fold(y, |gate, polynomial| {
            let polynomial = PolynomialId(polynomial);
            self.add(Op::Polynomial { polynomial }, &[gate], slots)
        });
        self.add(Op::Multiply, &[y, gate], slots)
    }
}

fn resnet20() -> (Schedule, Weights) {
    let mut b = Builder {
        graph: Graph::new(),
        maps: Vec::new(),
        weights: Weights::default(),
    };
    let image = MultiplexedLayout::dense(3, 32, 32);
    let mut x = b.add(Op::Input, &[], image.period());
    let mut input = image;
    for (gap, channels, extent, layers) in [(1, 16, 32, 7), (2, 32, 16, 6), (4, 64, 8, 6)] {
        let output = image.on_same_grid([gap; 2], channels, extent, extent);
        for _ in 0..layers {
            x = b.convolution(x, input, output);
            input = output;
        }
    }
    let weight = b.weight(vec![10, 64]);
    let ops = vec![
        LinearOp::GlobalAveragePool,
        LinearOp::Flatten,
        LinearOp::Gemm(Gemm { weight, bias: None }),
    ];
    let logits = b.linear(x, input, MultiplexedLayout::dense(10, 1, 1), ops);
    b.graph.set_outputs(vec![logits]);
    let odd = |degree: usize| {
        let coefficients = (0..=degree).map(|k| if k % 2 == 1 { 1.0 / k as f64 } else { 0.0 });
        Chebyshev {
            coefficients: coefficients.collect(),
        }
    };
    let polynomials = vec![odd(15), odd(27)];
    (
        Schedule {
            graph: b.graph,
            linear_maps: b.maps,
            polynomials,
        },
        b.weights,
    )
}

fn clear(c: &mut Criterion) {
    let (schedule, weights) = resnet20();
    let machine = ClearInterpreter::new(&schedule, &weights, &BootstrapParameters::default())
        .expect("the maps fit their weights");
    let image = |image: i32| -> Vec<f64> {
        let slots = 0..4096;
        slots
            .map(|i| f64::from((i * 7 + image) % 200) / 100.0 - 1.0)
            .collect()
    };
    let images: Vec<Vec<Vec<f64>>> = (0..16).map(|index| vec![image(index)]).collect();
    let mut group = c.benchmark_group("clear");
    group.sample_size(10);
    group.throughput(Throughput::Elements(1));
    group.bench_function("resnet20/run/1", |bench| {
        bench.iter(|| machine.run(&images[0], |_, _| {}));
    });
    group.throughput(Throughput::Elements(images.len() as u64));
    group.bench_function("resnet20/run_batch/16", |bench| {
        bench.iter(|| machine.run_batch(&images));
    });
    group.finish();
}

criterion_group!(benches, clear);
criterion_main!(benches);
