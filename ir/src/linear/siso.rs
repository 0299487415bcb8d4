//! SISO convolution: single input, single output. A ciphertext holds one channel. An output channel
//! is a sum over all taps of the filter: the input channels, rotated under the tap, times its
//! weights.
//!
//! Source: Juvekar et al., "Gazelle" (USENIX Security 2018), and Lee et al., "Privacy-Preserving
//! Machine Learning with Fully Homomorphic Encryption for Deep Neural Network", arXiv 2106.07229.
//!
//! The plaintext of a tap holds its weight at those pixels of the output for which the tap reads a
//! pixel. It is zero where the tap reads padding, between the pixels of a strided convolution, and
//! in all other slots. The result therefore needs no mask, and a strided result stays on the grid
//! with its pixels farther apart. It takes one level. The rotations are the same for all output
//! channels, which share them. The shortcut of a residual join is one more term, with one tap.

use super::{LinearMap, LinearTerm, ProductPhase, tensor};
use crate::error::Error;
use crate::layout::MultiplexedLayout;
use crate::nn::{Conv, LinearOp, Slice, Window};
use crate::weights::Weights;

/// The structure of one output channel: which rotations of its operands are multiplied, no weights.
#[derive(Clone, Debug, PartialEq)]
pub struct SisoConvolution {
    output: MultiplexedLayout,
    terms: Vec<Term>,
}

/// One operand and the window that reads it.
#[derive(Clone, Debug, PartialEq)]
struct Term {
    input: MultiplexedLayout,
    /// A selection of pixels is a window of one tap; pads do not count for it.
    window: Window,
    /// The first row and column that the first output pixel reads, under the first tap.
    start: [i64; 2],
}

impl SisoConvolution {
    /// The output channel that `map` is; the map's layouts are consistent.
    ///
    /// Every term is a convolution in one group, strided selections of pixels, or nothing but a
    /// factor. Its operand has one channel, or for a convolution the gap 1, so that every channel
    /// has a plane of its own.
    ///
    /// # Errors
    /// [`Error::Shape`] if the map is not of this kind, the result's gap is not the operand's times
    /// the stride on each axis, the grids differ, or a filter has more taps than its operand slots.
    pub fn of(map: &LinearMap) -> Result<Self, Error> {
        if map.output.channels != 1 || map.terms.is_empty() {
            return Err(misfit(
                "terms that end in one channel",
                format!("{} terms, {}", map.terms.len(), map.output),
            ));
        }
        let terms = map.terms.iter().map(|term| Term::of(term, &map.output));
        Ok(Self {
            output: map.output,
            terms: terms.collect::<Result<_, _>>()?,
        })
    }

    /// Plaintext products of an execution: one for every tap of every plane of every term.
    pub fn products(&self) -> usize {
        self.terms
            .iter()
            .fold(0, |sum, term| sum.saturating_add(term.products()))
    }

    /// Plaintext products of one term.
    ///
    /// # Panics
    /// If there is no such term.
    pub fn products_of(&self, term: usize) -> usize {
        self.terms[term].products()
    }

    /// Left rotations of a term's operand, one for every product in order, modulo `slots`, a power
    /// of two that is no less than the operand's period; planes first, then the filter in row-major
    /// order. Rotations by a multiple of the period are none.
    ///
    /// # Panics
    /// If there is no such term.
    pub fn rotations(&self, term: usize, slots: usize) -> Vec<usize> {
        let Term {
            input,
            window,
            start,
        } = &self.terms[term];
        let [down, right] = input.gap.map(|gap| gap as i64);
        let row = down.wrapping_mul(input.grid_width as i64);
        let at = |axis: usize, tap: usize| {
            (tap as i64)
                .wrapping_mul(window.dilation[axis] as i64)
                .wrapping_add(start[axis])
        };
        let mut rotations = Vec::with_capacity(self.terms[term].products());
        for plane in 0..planes(input) {
            for ky in 0..window.kernel[0] {
                for kx in 0..window.kernel[1] {
                    let pixel = at(0, ky)
                        .wrapping_mul(row)
                        .wrapping_add(at(1, kx).wrapping_mul(right));
                    let by = ((plane * input.plane()) as i64).wrapping_add(pixel);
                    rotations.push(by.rem_euclid(slots as i64) as usize);
                }
            }
        }
        rotations
    }
}

impl Term {
    fn of(term: &LinearTerm, output: &MultiplexedLayout) -> Result<Self, Error> {
        let input = term.input;
        let pixels = |stride: [usize; 2], start: [i64; 2]| Self {
            input,
            window: Window {
                stride,
                ..Window::plain([1; 2])
            },
            start,
        };
        let found = match &term.ops[..] {
            [
                LinearOp::Conv(Conv {
                    window, groups: 1, ..
                }),
            ] => Self {
                input,
                window: *window,
                start: [window.pads[0], window.pads[1]].map(|pad| (pad as i64).wrapping_neg()),
            },
            ops => {
                // Exporters select rows and columns one after the other.
                let (mut stride, mut start) = ([1_usize; 2], [0_usize; 2]);
                for op in ops {
                    let LinearOp::Slice(Slice {
                        start: first, step, ..
                    }) = op
                    else {
                        return Err(misfit(
                            "a convolution, selections of pixels or a factor",
                            format!("{} operations", ops.len()),
                        ));
                    };
                    for axis in 0..2 {
                        let offset = first[axis + 1].saturating_mul(stride[axis]);
                        start[axis] = start[axis].saturating_add(offset);
                        stride[axis] = stride[axis].saturating_mul(step[axis + 1]);
                    }
                }
                pixels(
                    stride,
                    start.map(|at| i64::try_from(at).unwrap_or(i64::MAX)),
                )
            }
        };
        let convolves = matches!(term.ops[..], [LinearOp::Conv(_)]);
        let separate = input.channels == 1 || input.cell() == 1 && convolves;
        if !separate {
            return Err(misfit("one channel a plane", input.to_string()));
        }
        let stride = found.window.stride;
        if !output.is_strided(&input, stride) {
            return Err(misfit(
                "a gap that grows by the stride of each axis",
                format!("{:?} to {:?} at strides {stride:?}", input.gap, output.gap),
            ));
        }
        if [input.grid_height, input.grid_width] != [output.grid_height, output.grid_width] {
            return Err(misfit("one grid", format!("{input} and {output}")));
        }
        let [rows, columns] = found.window.kernel;
        if rows.saturating_mul(columns) > input.period() {
            return Err(misfit(
                &format!("a filter of at most {} taps", input.period()),
                format!("{rows}x{columns}"),
            ));
        }
        Ok(found)
    }

    fn products(&self) -> usize {
        let [rows, columns] = self.window.kernel;
        planes(&self.input) * rows * columns
    }

    /// Whether a tap of an output's row or column reads one of the input's.
    fn reads(&self, axis: usize, output: usize, tap: usize) -> bool {
        let extent = [self.input.height, self.input.width][axis];
        let Window {
            stride, dilation, ..
        } = &self.window;
        let at = output
            .saturating_mul(stride[axis])
            .saturating_add(tap.saturating_mul(dilation[axis]));
        i64::try_from(at)
            .ok()
            .and_then(|at| at.checked_add(self.start[axis]))
            .is_some_and(|at| (0..extent as i64).contains(&at))
    }
}

/// Planes of one period of a layout, those that hold nothing included.
fn planes(layout: &MultiplexedLayout) -> usize {
    layout.period() / layout.plane()
}

fn misfit(expected: &str, found: String) -> Error {
    Error::Shape {
        what: "SISO convolution".into(),
        expected: expected.into(),
        found,
    }
}

/// One output channel with its weights: gives the plaintexts.
#[derive(Clone, Debug)]
pub struct SisoFilter {
    convolution: SisoConvolution,
    /// By term: the weight of every channel's taps, `[channels, filter height, filter width]`, the
    /// factor included.
    taps: Vec<Vec<f64>>,
}

impl SisoFilter {
    /// The filters of `map`.
    ///
    /// # Errors
    /// As [`SisoConvolution::of`], and if a weight is missing or its shape does not fit.
    pub fn new(map: &LinearMap, weights: &Weights) -> Result<Self, Error> {
        let convolution = SisoConvolution::of(map)?;
        let mut taps = Vec::with_capacity(map.terms.len());
        for term in &map.terms {
            let LinearTerm { input, ops, factor } = term;
            taps.push(match &ops[..] {
                [LinearOp::Conv(Conv { weight, window, .. })] => {
                    let tensor = tensor(weights, *weight)?;
                    let [height, width] = window.kernel;
                    if tensor.shape != [1, input.channels, height, width] {
                        return Err(Error::Shape {
                            what: format!("weight `{}`", tensor.name),
                            expected: format!("[1, {}, {height}, {width}]", input.channels),
                            found: format!("{:?}", tensor.shape),
                        });
                    }
                    let data = tensor.data.iter();
                    data.map(|tap| factor * f64::from(*tap)).collect()
                }
                _ => vec![*factor],
            });
        }
        Ok(Self { convolution, taps })
    }

    /// The structure.
    pub fn convolution(&self) -> &SisoConvolution {
        &self.convolution
    }

    /// The plaintexts, one a product, each as long as the larger of the operand's and the result's
    /// periods; none for another phase than [`ProductPhase::Taps`].
    pub fn plaintexts(&self, phase: ProductPhase) -> Vec<Vec<f64>> {
        match phase {
            ProductPhase::Taps => {
                let terms = 0..self.convolution.terms.len();
                terms.flat_map(|term| self.plaintexts_of(term)).collect()
            }
            ProductPhase::Weights | ProductPhase::Selection => Vec::new(),
        }
    }

    /// The plaintexts of one term. An operand of several planes repeats with them, the result with
    /// one: in plane `k` of a plaintext stands the weight of the channel that the rotation brings
    /// there.
    fn plaintexts_of(&self, index: usize) -> Vec<Vec<f64>> {
        let SisoConvolution { output, terms } = &self.convolution;
        let term = &terms[index];
        let [rows, columns] = term.window.kernel;
        let planes = planes(&term.input);
        let work = term.input.period().max(output.period());
        let mut plaintexts = Vec::with_capacity(term.products());
        for plane in 0..planes {
            for tap in 0..rows * columns {
                let [ky, kx] = [tap / columns, tap % columns];
                let mut plaintext = vec![0.0; work];
                for (k, slots) in plaintext.chunks_mut(output.plane()).enumerate() {
                    let channel = (k + plane) % planes;
                    if channel >= term.input.channels {
                        continue;
                    }
                    let weight = self.taps[index][channel * rows * columns + tap];
                    for row in (0..output.height).filter(|row| term.reads(0, *row, ky)) {
                        for column in (0..output.width).filter(|at| term.reads(1, *at, kx)) {
                            slots[output.slot(0, row, column)] = weight;
                        }
                    }
                }
                plaintexts.push(plaintext);
            }
        }
        plaintexts
    }

    /// The result's slots, one period, for one period of every operand; the bias is left out.
    pub fn apply(&self, operands: &[&[f64]]) -> Vec<f64> {
        let mut sum = vec![0.0; self.convolution.output.period()];
        for (index, operand) in operands.iter().enumerate() {
            let rotations = self.convolution.rotations(index, operand.len());
            for (by, plaintext) in rotations.iter().zip(self.plaintexts_of(index)) {
                for (slot, (sum, weight)) in sum.iter_mut().zip(&plaintext).enumerate() {
                    *sum += weight * operand[(slot + by) % operand.len()];
                }
            }
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::ramp;
    use crate::weights::Tensor;

    fn conv(weights: &mut Weights, channels: usize, window: Window) -> LinearOp {
        let shape = vec![1, channels, window.kernel[0], window.kernel[1]];
        let data = ramp(shape.iter().product(), channels);
        LinearOp::Conv(Conv {
            weight: weights.push(Tensor::new("weight", shape, data)),
            bias: None,
            window,
            groups: 1,
        })
    }

    /// The products give what the terms' matrices give, whatever lies in slots without an element.
    #[track_caller]
    fn check(map: &LinearMap, weights: &Weights) -> usize {
        let filter = SisoFilter::new(map, weights).unwrap();
        let mut expected = vec![0.0; map.output.period()];
        let mut operands = Vec::new();
        for (index, term) in map.terms.iter().enumerate() {
            let slots = ramp(term.input.period(), 3 + index);
            let slots: Vec<f64> = slots.into_iter().map(f64::from).collect();
            let matrix = map.slot_matrix(index, weights).unwrap();
            matrix.apply_add(&slots, &mut expected);
            operands.push(slots);
        }
        let operands: Vec<&[f64]> = operands.iter().map(Vec::as_slice).collect();
        let found = filter.apply(&operands);
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(&expected) {
            assert!((found - expected).abs() < 1e-9, "{found} {expected}");
        }
        let structure = filter.convolution();
        let terms = 0..map.terms.len();
        let each: usize = terms.clone().map(|term| structure.products_of(term)).sum();
        assert_eq!(structure.products(), each);
        let plaintexts = filter.plaintexts(ProductPhase::Taps);
        assert_eq!(plaintexts.len(), each);
        assert!(filter.plaintexts(ProductPhase::Weights).is_empty());
        let rotations = |term| structure.rotations(term, 1 << 12).len();
        assert_eq!(terms.map(rotations).sum::<usize>(), each);
        each
    }

    fn term(input: MultiplexedLayout, op: LinearOp) -> LinearTerm {
        LinearTerm {
            input,
            ops: vec![op],
            factor: 0.7,
        }
    }

    fn map(terms: Vec<LinearTerm>, output: MultiplexedLayout) -> LinearMap {
        LinearMap::new(terms, output, 1.0)
    }

    #[test]
    fn windows_of_every_kind_agree_with_their_matrix() {
        let grid = MultiplexedLayout::dense(1, 16, 16);
        let windows = [
            ([1; 2], 16, Window::square(3, 1)),
            ([1; 2], 16, Window::square(1, 1)),
            ([1; 2], 16, Window::square(3, 2)),
            ([2; 2], 8, Window::square(1, 2)),
            ([2; 2], 8, Window::square(5, 1)),
            ([1, 2], 8, Window::square(3, 1)),
            (
                [1; 2],
                16,
                Window {
                    stride: [2, 1],
                    ..Window::square(3, 2)
                },
            ),
            (
                [1; 2],
                16,
                Window {
                    pads: [0, 0, 1, 1],
                    ..Window::square(2, 2)
                },
            ),
            (
                [1; 2],
                13,
                Window {
                    pads: [0; 4],
                    ..Window::square(3, 1)
                },
            ),
            (
                [2; 2],
                7,
                Window {
                    kernel: [1, 5],
                    pads: [0, 4, 0, 4],
                    dilation: [1, 2],
                    ..Window::square(3, 1)
                },
            ),
        ];
        for (gap, size, window) in windows {
            let mut weights = Weights::default();
            let input = grid.on_same_grid(gap, 1, size, size);
            let [height, width] = window.output(size, size).unwrap();
            let strided = [0, 1].map(|axis| gap[axis] * window.stride[axis]);
            let output = grid.on_same_grid(strided, 1, height, width);
            let op = conv(&mut weights, 1, window);
            let taps = window.kernel[0] * window.kernel[1];
            assert_eq!(check(&map(vec![term(input, op)], output), &weights), taps);
        }
    }

    #[test]
    fn a_join_adds_its_shortcut_as_a_term() {
        let mut weights = Weights::default();
        let input = MultiplexedLayout::dense(1, 8, 8);
        let output = input.on_same_grid([2; 2], 1, 4, 4);
        let convolution = conv(&mut weights, 1, Window::square(3, 1));
        let selection = LinearOp::Slice(Slice {
            start: [0, 1, 0],
            end: [1, 8, 8],
            step: [1, 2, 2],
        });
        // Every other row, and of those all but the first column, every other.
        let [rows, columns] = [([0; 3], [1, 2, 1]), ([0, 0, 1], [1, 1, 2])].map(|(start, step)| {
            let end = [1, if step[1] == 2 { 8 } else { 4 }, 8];
            LinearOp::Slice(Slice { start, end, step })
        });
        let identity = LinearTerm {
            input: output,
            ops: Vec::new(),
            factor: 1.5,
        };
        let joined = map(
            vec![
                term(output, convolution),
                term(input, selection),
                identity,
                LinearTerm {
                    input,
                    ops: vec![rows, columns],
                    factor: 0.3,
                },
            ],
            output,
        );
        assert_eq!(check(&joined, &weights), 12);
    }

    #[test]
    fn an_image_of_several_planes_is_read_whole() {
        for (channels, planes) in [(2, 2), (3, 4)] {
            let mut weights = Weights::default();
            let input = MultiplexedLayout::dense(channels, 7, 8);
            let output = input.on_same_grid([1; 2], 1, 7, 8);
            let op = conv(&mut weights, channels, Window::square(3, 1));
            let found = check(&map(vec![term(input, op)], output), &weights);
            assert_eq!(found, 9 * planes);
        }
    }

    #[test]
    fn what_is_of_another_kind_is_refused() {
        let mut weights = Weights::default();
        let layout = MultiplexedLayout::dense(1, 8, 8);
        let op = conv(&mut weights, 1, Window::square(3, 1));
        let good = map(vec![term(layout, op)], layout);
        let refused = |edit: &dyn Fn(&mut LinearMap)| {
            let mut map = good.clone();
            edit(&mut map);
            SisoConvolution::of(&map).unwrap_err().to_string()
        };
        assert!(refused(&|map| map.output.channels = 2).contains("one channel"));
        assert!(refused(&|map| map.terms.clear()).contains("0 terms"));
        assert!(refused(&|map| map.output.gap = [2; 2]).contains("[1, 1] to [2, 2] at"));
        assert!(refused(&|map| map.output.grid_width = 16).contains("one grid"));
        let pooled = refused(&|map| map.terms[0].ops = vec![LinearOp::GlobalAveragePool]);
        assert!(pooled.contains("found 1 operations"), "{pooled}");
        let crowded = refused(&|map| {
            map.terms[0].input.channels = 4;
            map.terms[0].input.gap = [2; 2];
        });
        assert!(crowded.contains("one channel a plane"), "{crowded}");
        let edited = |edit: &dyn Fn(&mut Window)| {
            refused(&|map| {
                if let LinearOp::Conv(Conv { window, .. }) = &mut map.terms[0].ops[0] {
                    edit(window);
                }
            })
        };
        assert!(edited(&|window| window.kernel = [usize::MAX, 2]).contains("at most 64 taps"));
        assert!(edited(&|window| window.stride = [2, 1]).contains("strides [2, 1]"));
        let error = SisoFilter::new(&good, &Weights::default()).unwrap_err();
        assert!(error.to_string().contains("weight"), "{error}");
    }
}
