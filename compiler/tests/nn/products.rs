//! Products of two values through the passes: ranges, layouts, pieces, levels and scales.

use heddle_compiler::analysis::ranges::{self, BoundOrigin, IMAGE_MARGIN, calibrate};
use heddle_compiler::passes::split_channels::{self, Splitting};
use heddle_compiler::{Changed, Compilation, Convolution, Options, Ring, compile};
use heddle_ir::eval::nn::run_all;
use heddle_ir::nn::{Activation, LinearOp, Model, Op, Rearrange};
use heddle_ir::preprocess::Preprocess;
use heddle_ir::{ValueId, ckks, slot};

use crate::build::{Builder, images};
use crate::passes::{assert_computes, assert_same};

/// One number per channel, repeated over a map.
fn over_map(b: &mut Builder, from: ValueId, [c, h, w]: [usize; 3], name: &str) -> ValueId {
    let channels = (0..c).map(|channel| Some(channel as u32)).collect();
    let axes = vec![channels, vec![Some(0); h], vec![Some(0); w]];
    let op = LinearOp::Rearrange(Rearrange::whole(axes, [c, 1, 1], [c, h, w]));
    b.add(Op::Linear(op), &[from], &[c, h, w], name)
}

fn sigmoid(b: &mut Builder, from: ValueId, name: &str) -> ValueId {
    b.keep(Op::activation(Activation::Sigmoid), &[from], name)
}

/// A map times a gate made of its own means, twice, with a shortcut around the second.
fn squeeze_and_excitation(channels: usize) -> Model {
    let mut b = Builder::new([3, 8, 8]);
    let x = b.conv(ValueId(0), [channels, 3, 2, 1], "stem");
    let mut x = b.relu(x, "stem.relu");
    for block in ["a", "b"] {
        let pool = Op::Linear(LinearOp::GlobalAveragePool);
        let g = b.add(pool, &[x], &[channels, 1, 1], &format!("{block}.pool"));
        let g = b.conv(g, [2, 1, 1, 1], &format!("{block}.squeeze"));
        let g = b.relu(g, &format!("{block}.relu"));
        let g = b.conv(g, [channels, 1, 1, 1], &format!("{block}.excite"));
        let g = sigmoid(&mut b, g, &format!("{block}.gate"));
        let g = over_map(&mut b, g, [channels, 4, 4], &format!("{block}.spread"));
        let y = b.keep(Op::multiply(), &[x, g], &format!("{block}.product"));
        x = match block {
            "a" => b.conv(y, [channels, 3, 1, 1], "a.conv"),
            _ => b.keep(Op::Add, &[y, x], "b.add"),
        };
    }
    let out = b.head(x, 5);
    b.finish(out)
}

/// The product of two convolutions of the image, times another, times the image's own channels.
fn nested() -> Model {
    let mut b = Builder::new([4, 4, 4]);
    let a = b.conv(ValueId(0), [4, 3, 1, 1], "a");
    let c = b.conv(ValueId(0), [4, 3, 1, 1], "c");
    let p = b.keep(Op::multiply(), &[a, c], "p");
    let d = b.conv(ValueId(0), [4, 1, 1, 1], "d");
    let q = b.keep(Op::multiply(), &[p, d], "q");
    let r = b.keep(Op::multiply(), &[q, ValueId(0)], "r");
    let s = b.keep(Op::multiply(), &[r, r], "s");
    let out = b.head(s, 3);
    b.finish(out)
}

/// A product that an activation follows, and one that is the output itself.
fn at_both_ends() -> Model {
    let mut b = Builder::new([2, 4, 4]);
    let a = b.conv(ValueId(0), [4, 3, 1, 1], "a");
    let p = b.keep(Op::multiply(), &[a, a], "square");
    let r = b.relu(p, "relu");
    let c = b.conv(r, [4, 3, 1, 1], "c");
    let g = sigmoid(&mut b, c, "gate");
    let out = b.keep(Op::multiply(), &[c, g], "out");
    b.finish(out)
}

fn compiled(model: &Model, samples: &[Vec<f32>], convolution: Convolution) -> Compilation {
    let options = Options {
        samples: samples.to_vec(),
        ring: Ring::Insecure { log_n: 9 },
        convolution,
        ..Options::new(Preprocess::named("unit").unwrap())
    };
    compile(model.clone(), &options, &()).unwrap()
}

fn elements(model: &Model) -> usize {
    model.graph.ty(model.input()).elements()
}

#[test]
fn products_compile_and_run() {
    for model in [squeeze_and_excitation(4), nested(), at_both_ends()] {
        let samples = images(20, elements(&model));
        let packings = [
            Convolution::SingleLevel,
            Convolution::MultiplexedParallel,
            Convolution::Siso,
        ];
        for convolution in packings {
            let compilation = compiled(&model, &samples, convolution);
            assert_computes(&compilation.plan, &model, &samples[..4], 0.02);
        }
    }
}

/// Without images, ranges follow from statistics and from what these allow at most.
#[test]
fn statistics_and_worst_cases_bound_both_operands() {
    let mut b = Builder::new([3, 8, 8]);
    let x = b.conv(ValueId(0), [4, 3, 1, 1], "conv");
    let x = b.batch_norm(x, "bn");
    let g = sigmoid(&mut b, x, "gate");
    let y = b.keep(Op::multiply(), &[x, g], "product");
    let z = b.keep(Op::multiply(), &[ValueId(0), ValueId(0)], "image");
    let z = b.conv(z, [4, 1, 1, 1], "of image");
    let sum = b.keep(Op::multiply(), &[y, z], "outer");
    let out = b.head(sum, 3);
    let mut model = b.finish(out);
    model.number_activations();
    let samples = images(50, 192);
    let found = calibrate(&model, &[], &[], 1.0, &()).unwrap();
    let seen = calibrate(&model, &samples, &[], 1.0, &()).unwrap();
    for (found, seen) in found
        .products()
        .iter()
        .flatten()
        .zip(seen.products().iter().flatten())
    {
        let observed = seen.observed.unwrap();
        assert_eq!(seen.bound, IMAGE_MARGIN * observed);
        assert!(
            found.bound >= observed,
            "{}: {} < {observed}",
            found.name,
            found.bound
        );
        let statistical = [BoundOrigin::Statistics, BoundOrigin::WorstCase];
        assert!(statistical.contains(&found.origin), "{found:?}");
    }
    let names: Vec<&str> = found.details().map(|range| range.name.as_str()).collect();
    let products =
        ["product", "image", "outer"].map(|name| [0, 1].map(|i| format!("{name}/operand.{i}")));
    let products = products.iter().flatten().map(String::as_str);
    let expected: Vec<&str> = ["gate"].into_iter().chain(products).chain(["fc"]).collect();
    assert_eq!(names, expected);
}

#[test]
fn operands_are_bounded_by_name() {
    let mut model = squeeze_and_excitation(4);
    model.number_activations();
    let samples = images(10, 192);
    let given = |text: &str| -> ranges::RangeOverride { text.parse().unwrap() };
    let overrides = [given("b.product/operand.0=77"), given("a.spread=5")];
    let ranges = calibrate(&model, &samples, &overrides, 1.0, &()).unwrap();
    let [a, b] = [&ranges.products()[0], &ranges.products()[1]];
    assert_eq!([a[1].bound, b[0].bound], [5.0, 77.0]);
    assert_eq!(
        (a[0].origin, a[1].origin),
        (BoundOrigin::Images, BoundOrigin::User)
    );
    // An activation's name is that of its operand's range alone.
    let by_activation = calibrate(&model, &samples, &[given("stem.relu=50")], 1.0, &()).unwrap();
    assert_eq!(by_activation.products()[0][0].origin, BoundOrigin::Images);
}

#[test]
fn a_product_is_split_like_its_operands() {
    for (channels, slots) in [(12, 64), (9, 32)] {
        let mut model = squeeze_and_excitation(channels);
        model.number_activations();
        let (split, changed) = split_channels::run(model.clone(), Splitting::WhereNeeded, slots);
        assert_eq!(changed, Changed::Yes);
        assert!(split.products().count() > model.products().count());
        assert_same(&model, &split);
    }
    let model = squeeze_and_excitation(20);
    let samples = images(10, 192);
    let options = Options {
        samples: samples.clone(),
        ring: Ring::Insecure { log_n: 8 },
        ..Options::new(Preprocess::named("unit").unwrap())
    };
    let compilation = compile(model.clone(), &options, &()).unwrap();
    let products = |graph: &slot::SlotGraph| {
        let ops = graph.values().map(|value| graph.node(value).op.clone());
        ops.filter(|op| matches!(op, slot::Op::Multiply)).count()
    };
    assert!(products(&compilation.packed) > 2);
    assert_computes(&compilation.plan, &model, &samples[..3], 0.02);
}

/// The gate's linear map ends at the scale of the product's prime: no constant is multiplied, and a
/// product takes one level.
#[test]
fn a_linear_map_brings_a_product_to_scale() {
    let model = squeeze_and_excitation(4);
    let samples = images(20, 192);
    let compilation = compiled(&model, &samples, Convolution::SingleLevel);
    let schedule = &compilation.plan.schedule;
    let identity = slot::Chebyshev::identity();
    assert!(!schedule.polynomials.contains(&identity));
    let mut products = 0;
    for value in schedule.graph.values() {
        let node = schedule.graph.node(value);
        if matches!(node.op, ckks::Op::Multiply) && node.name.ends_with("product") {
            let rescaled = schedule.graph.users(value)[0];
            let log_scale = f64::from(compilation.plan.bootstrap.log_scale);
            assert_eq!(schedule.graph.ty(rescaled).log_scale, log_scale);
            products += 1;
        }
    }
    assert_eq!(products, 2);
    // Two activations have no map of their own that could.
    let mut b = Builder::new([3, 8, 8]);
    let x = b.conv(ValueId(0), [4, 3, 1, 1], "conv");
    let r = b.relu(x, "relu");
    let g = sigmoid(&mut b, x, "gate");
    let p = b.keep(Op::multiply(), &[r, g], "product");
    let out = b.head(p, 3);
    let model = b.finish(out);
    let compilation = compiled(&model, &samples, Convolution::SingleLevel);
    let schedule = &compilation.plan.schedule;
    assert!(schedule.polynomials.contains(&identity));
    assert_computes(&compilation.plan, &model, &samples[..4], 0.02);
}

/// A gate that stays near 0 keeps its bits: its range is what it reaches, not 1.
#[test]
fn small_operands_have_small_ranges() {
    let mut b = Builder::new([3, 4, 4]);
    let small = b.elements(ValueId(0), "elements");
    let x = b.conv(ValueId(0), [3, 3, 1, 1], "conv");
    let p = b.keep(Op::multiply(), &[x, small], "product");
    let q = b.keep(Op::multiply(), &[p, x], "cubic");
    let r = b.keep(Op::multiply(), &[q, x], "quartic");
    let out = b.head(r, 3);
    let model = b.finish(out);
    let samples = images(30, 48);
    let compilation = compiled(&model, &samples, Convolution::SingleLevel);
    let all = |name: &str| {
        let index = model
            .graph
            .values()
            .find(|v| model.graph.node(*v).name == name);
        let of_image =
            |image: &Vec<f32>| run_all(&model, image).unwrap()[index.unwrap().index()].clone();
        let largest = samples
            .iter()
            .flat_map(of_image)
            .fold(0.0_f32, |max, x| max.max(x.abs()));
        f64::from(largest)
    };
    for value in compilation.packed.values() {
        let node = compilation.packed.node(value);
        if matches!(node.op, slot::Op::Multiply) {
            let excess = node.ty.range / all(&node.name);
            assert!((1.0..512.0).contains(&excess), "{}: {excess}", node.name);
        }
    }
    assert_computes(&compilation.plan, &model, &samples[..3], 0.02);
}
