//! What the compiler makes of known networks, stage by stage. A moved level, scale, rotation or
//! bootstrap shows as a changed line.

use heddle_compiler::{Compilation, Options, Ring, compile};
use heddle_frontends::onnx;
use heddle_ir::preprocess::Preprocess;
use heddle_ir::text;
use heddle_tests::onnx_builder::{Attr, OnnxBuilder};
use heddle_tests::resnet::{self, Shortcut};
use heddle_tests::small;

fn compiled(model: &[u8], ring: Ring) -> Compilation {
    compiled_with(model, ring, Vec::new())
}

fn compiled_with(model: &[u8], ring: Ring, samples: Vec<Vec<f32>>) -> Compilation {
    let options = Options {
        samples,
        ring,
        ..Options::new(Preprocess::named("unit").unwrap())
    };
    compile(
        onnx::import_bytes("model", model, &onnx::ImportOptions::default()).unwrap(),
        &options,
        &(),
    )
    .unwrap()
}

/// Snapshots every stage of a model on a ring of 2^9 slots.
fn snapshot_stages(name: &str, model: &[u8], samples: Vec<Vec<f32>>) {
    let compilation = compiled_with(model, Ring::Insecure { log_n: 10 }, samples);
    insta::assert_snapshot!(format!("{name}_nn"), text::print_nn(&compilation.model));
    insta::assert_snapshot!(
        format!("{name}_slot"),
        text::print_slot(&compilation.packed)
    );
    insta::assert_snapshot!(
        format!("{name}_ckks"),
        text::print_ckks(&compilation.plan.schedule)
    );
}

#[test]
fn one_convolution() {
    let kernel: Vec<f32> = (0..4 * 2 * 9)
        .map(|tap| (tap % 7) as f32 / 8.0 - 0.375)
        .collect();
    let mut onnx = OnnxBuilder::new(13);
    onnx.input("image", &[1_i64, 2, 8, 8]);
    onnx.floats("kernel", &[4, 2, 3, 3], &kernel);
    onnx.floats("bias", &[4], &[0.5, -0.25, 0.0, 1.0]);
    let attributes = [
        ("pads", Attr::Ints(vec![1, 1, 1, 1])),
        ("strides", Attr::Ints(vec![2, 2])),
    ];
    onnx.node("Conv", &["image", "kernel", "bias"], "conv", &attributes);
    onnx.output("conv");
    // A lone convolution has no batch norm that would tell its range.
    let sample = (0..2 * 64)
        .map(|pixel| (pixel % 5) as f32 / 4.0 - 0.5)
        .collect();
    snapshot_stages("one_convolution", &onnx.build(), vec![sample]);
}

fn one_block(shortcut: Shortcut) -> Vec<u8> {
    small::network(4, 4, shortcut).build()
}

#[test]
fn one_residual_block_with_option_a() {
    snapshot_stages("residual_block_a", &one_block(Shortcut::A), Vec::new());
}

#[test]
fn one_residual_block_with_option_b() {
    snapshot_stages("residual_block_b", &one_block(Shortcut::B), Vec::new());
}

/// Snapshots levels and bootstraps of a whole network at full size.
fn snapshot_schedule(name: &str, depth: usize, shortcut: Shortcut) {
    let compilation = compiled(&resnet::cifar(depth, shortcut, 1), Ring::Secure);
    let bootstraps = compilation.plan.schedule.bootstraps();
    let relus = depth - 1;
    assert!(
        (relus - 1..=relus).contains(&bootstraps),
        "{bootstraps} bootstraps for {relus} ReLUs"
    );
    insta::assert_snapshot!(name, text::plan_summary(&compilation.plan).unwrap());
}

#[test]
fn schedule_of_resnet20_with_option_a() {
    snapshot_schedule("resnet20_a", 20, Shortcut::A);
}

#[test]
fn schedule_of_resnet20_with_option_b() {
    snapshot_schedule("resnet20_b", 20, Shortcut::B);
}

#[test]
fn schedule_of_resnet110() {
    snapshot_schedule("resnet110_a", 110, Shortcut::A);
}

#[test]
fn the_same_model_gives_the_same_plan_to_the_byte() {
    let bytes = || {
        let mut bytes = Vec::new();
        compiled(&one_block(Shortcut::B), Ring::Insecure { log_n: 10 })
            .plan
            .write(&mut bytes, "plan")
            .unwrap();
        bytes
    };
    assert_eq!(bytes(), bytes());
}
