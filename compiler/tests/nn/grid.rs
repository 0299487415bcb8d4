//! The grid of a network's maps, and the checkpoints that keep fused maps small.

use heddle_compiler::Changed;
use heddle_compiler::analysis::grid::Grid;
use heddle_compiler::passes::add_checkpoints;
use heddle_ir::ValueId;
use heddle_ir::nn::{Activation, LinearOp, Model, Op, Pad, Region};

use crate::build::Builder;

/// A stem of stride 2 and a head.
fn network(shape: [usize; 3], channels: usize) -> Model {
    let mut b = Builder::new(shape);
    let x = b.conv(ValueId(0), [channels, 3, 2, 1], "stem");
    let x = b.relu(x, "stem.relu");
    let out = b.head(x, 3);
    b.finish(out)
}

fn extents(grid: &Grid) -> [usize; 3] {
    [grid.height, grid.width, grid.band]
}

#[test]
fn a_grid_has_the_size_of_the_image_in_powers_of_two() {
    let grid = Grid::of(&network([3, 28, 20], 8), 1 << 12).unwrap();
    assert_eq!(extents(&grid), [32, 32, 32]);
    let whole = Region::whole([3, 28, 20]);
    assert_eq!(grid.regions(&grid.dense([3, 28, 20])), [whole]);
}

#[test]
fn a_map_larger_than_the_image_widens_the_grid() {
    let mut b = Builder::new([2, 8, 8]);
    let pad = LinearOp::Pad(Pad {
        before: [0, 1, 1],
        after: [0, 1, 1],
    });
    let x = b.add(Op::Linear(pad), &[ValueId(0)], &[2, 10, 10], "pad");
    let x = b.relu(x, "relu");
    let out = b.head(x, 3);
    let grid = Grid::of(&b.finish(out), 1 << 12).unwrap();
    assert_eq!(extents(&grid), [16, 16, 16]);
}

#[test]
fn the_grid_that_takes_the_fewest_ciphertexts_is_chosen() {
    // 128×128 would hold one plane of 2^14 slots, 96×96 three of 2^15.
    let grid = Grid::of(&network([3, 96, 96], 64), 1 << 15).unwrap();
    assert_eq!(extents(&grid), [96, 96, 96]);
    assert_eq!(grid.regions(&grid.dense([3, 96, 96])).len(), 1);
    let half = grid.dense([64, 48, 48]).on_same_grid([2; 2], 64, 48, 48);
    let channels: Vec<usize> = grid
        .regions(&half)
        .iter()
        .map(|region| region.channels.len())
        .collect();
    assert_eq!(channels, [12, 12, 12, 12, 12, 4]);
}

#[test]
fn planes_that_no_ciphertext_holds_are_cut_into_bands() {
    let grid = Grid::of(&network([3, 224, 224], 8), 1 << 15).unwrap();
    assert!(grid.height * grid.width > 1 << 15 && grid.band * grid.width <= 1 << 15);
    let regions = grid.regions(&grid.dense([3, 224, 224]));
    assert_eq!(regions.len(), 6);
    for map in [[3, 224, 224], [8, 112, 112]] {
        let gap = 224 / map[1];
        let layout = grid
            .dense(map)
            .on_same_grid([gap; 2], map[0], map[1], map[2]);
        let mut covered = vec![false; map[0] * map[1]];
        for Region { channels, rows } in grid.regions(&layout) {
            assert!(rows.len() * gap <= grid.band);
            for channel in channels {
                for row in rows.clone() {
                    assert!(!std::mem::replace(
                        &mut covered[channel * map[1] + row],
                        true
                    ));
                }
            }
        }
        assert!(covered.iter().all(|covered| *covered));
    }
}

/// Sums without activations between them: each convolution reads all that was summed before.
fn joins(count: usize) -> Model {
    let mut b = Builder::new([2, 16, 16]);
    let x = b.conv(ValueId(0), [8, 3, 1, 1], "stem");
    let mut sum = x;
    for index in 0..count {
        let y = b.conv(sum, [8, 1, 1, 1], &format!("expand{index}"));
        let y = b.relu(y, &format!("relu{index}"));
        let y = b.conv(y, [8, 1, 1, 1], &format!("project{index}"));
        sum = b.keep(Op::Add, &[sum, y], &format!("join{index}"));
    }
    let out = b.head(sum, 3);
    b.finish(out)
}

fn checkpoints(model: &Model) -> usize {
    let is = |value: &ValueId| {
        let op = &model.graph.node(*value).op;
        matches!(
            op,
            Op::Activation {
                function: Activation::Checkpoint,
                ..
            }
        )
    };
    model.graph.values().filter(is).count()
}

#[test]
fn joins_in_many_ciphertexts_get_checkpoints() {
    let model = joins(6);
    // In one ciphertext each convolution reads seven at most; in eight it reads 8 · 8 · 7.
    for (slots, expected) in [(1 << 12, Changed::No), (1 << 8, Changed::Yes)] {
        let grid = Grid::of(&model, slots).unwrap();
        let (checked, changed) = add_checkpoints::run(model.clone(), &grid).unwrap();
        assert_eq!(
            (changed, checkpoints(&checked) > 0),
            (expected, expected == Changed::Yes)
        );
        let again = add_checkpoints::run(checked, &grid).unwrap();
        assert_eq!(again.1, Changed::No);
    }
}
