//! Images that come in several pieces.

use heddle_compiler::{Options, Ring, compile};
use heddle_ir::ValueId;
use heddle_ir::eval::nn::run;
use heddle_ir::nn::{Model, Op, Region, TensorType};
use heddle_ir::preprocess::Preprocess;
use heddle_ir::slot;
use heddle_ir::text::{parse_nn, print_nn};

use crate::build::{Builder, images};
use crate::passes::{assert_computes, assert_same};

const IMAGE: [usize; 3] = [3, 8, 8];

fn network(mut b: Builder, image: ValueId) -> Model {
    let x = b.conv(image, [4, 3, 1, 1], "stem");
    let x = b.relu(x, "stem.relu");
    let x = b.conv(x, [4, 3, 1, 1], "conv");
    // The image is needed again where its level is used up.
    let y = b.conv(image, [4, 1, 1, 1], "shortcut");
    let x = b.keep(Op::Add, &[x, y], "sum");
    let x = b.relu(x, "relu");
    let out = b.head(x, 5);
    b.finish(out)
}

fn whole() -> Model {
    network(Builder::new(IMAGE), ValueId(0))
}

fn regions() -> [Region; 3] {
    [0..1, 1..2, 2..3].map(|channels| Region {
        channels,
        rows: 0..8,
    })
}

fn in_pieces() -> Model {
    let (b, image) = Builder::in_pieces(IMAGE, &regions());
    network(b, image)
}

fn options(samples: &[Vec<f32>]) -> Options {
    Options {
        samples: samples.to_vec(),
        ring: Ring::Insecure { log_n: 10 },
        ..Options::new(Preprocess::named("unit").unwrap())
    }
}

#[test]
fn an_image_in_pieces_is_the_image() {
    let model = in_pieces();
    assert_same(&whole(), &model);
    assert_eq!(
        parse_nn(&print_nn(&model), model.weights.clone()).unwrap(),
        model
    );
}

#[test]
fn a_plan_takes_its_image_in_pieces() {
    let samples = images(8, 3 * 64);
    let compilation = compile(in_pieces(), &options(&samples), &()).unwrap();
    let plan = &compilation.plan;
    plan.check().unwrap();
    assert_eq!(plan.input.shape, IMAGE);
    let found = plan.input.pieces.iter().map(|piece| &piece.region);
    assert!(found.eq(&regions()));
    let client = plan.client_plan().unwrap();
    client.check().unwrap();
    assert_eq!(client.input.ciphertexts.len(), 3);
    assert_computes(plan, &whole(), &samples[..3], 0.02);
    // As many bootstraps as for an image in one piece.
    let alone = compile(whole(), &options(&samples), &()).unwrap().plan;
    assert_eq!(plan.schedule.bootstraps(), alone.schedule.bootstraps());
}

#[test]
fn pieces_have_one_level_wherever_they_stand_in_the_graph() {
    let samples = images(4, 3 * 64);
    // The last piece comes behind an operation on the first two.
    let mut model = in_pieces();
    let graph = std::mem::take(&mut model.graph);
    let order = [0, 1, 3, 4, 2].map(ValueId);
    let rest = graph.values().skip(5);
    let mut renumbered = vec![ValueId(0); graph.len()];
    for value in order.into_iter().chain(rest) {
        let node = graph.node(value);
        let operands = graph.renumbered_operands(value, &renumbered);
        let (op, ty) = (node.op.clone(), node.ty.clone());
        renumbered[value.index()] = model.graph.add(op, &operands, ty, &*node.name);
    }
    let outputs = graph
        .outputs()
        .iter()
        .map(|output| renumbered[output.index()]);
    model.graph.set_outputs(outputs.collect());
    assert_same(&whole(), &model);
    let compilation = compile(model.clone(), &options(&samples), &()).unwrap();
    compilation.plan.check().unwrap();
    let is_input = |op: &slot::Op| matches!(op, slot::Op::Input);
    let inputs = compilation.packed.select(is_input);
    assert!(inputs.eq([0, 1, 2].map(ValueId)));
    assert_computes(&compilation.plan, &whole(), &samples, 0.02);
}

#[test]
fn a_network_need_not_look_at_every_piece() {
    let samples = images(4, 3 * 64);
    let (mut b, _) = Builder::in_pieces(IMAGE, &regions());
    let x = b.conv(ValueId(1), [4, 3, 1, 1], "stem");
    let x = b.relu(x, "relu");
    let out = b.head(x, 5);
    let model = b.finish(out);
    let plan = compile(model.clone(), &options(&samples), &())
        .unwrap()
        .plan;
    plan.check().unwrap();
    assert_eq!(plan.schedule.inputs().count(), 3);
    let image: Vec<f32> = samples[0].clone();
    assert!(run(&model, &image).is_ok());
    assert_computes(&plan, &model, &samples, 0.02);
    assert_eq!(TensorType::new(model.image_shape()).elements(), 3 * 64);
}
