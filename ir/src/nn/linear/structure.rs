//! The structure of a matrix whose axes can be told apart.
//!
//! Most operations treat channels, rows and columns apart. From operand element `(c, y, x)` to
//! result element `(m, i, j)` their matrix has the entry
//!
//! ```text
//! F[m, c, ky, kx] · Y[i, y] · X[j, x],
//! ```
//!
//! where `ky` is the one tap that leads from `i` to `y`, `kx` that from `j` to `x`, and `F` is a
//! filter, or connects each channel with one other where there is no filter. A dense layer is a
//! convolution whose filter covers its operand. Chains of such operations have the same structure
//! as long as one of them has a filter, so that an entry, or all distances from row to column, can
//! be had without the matrix.

use super::{Chw, LinearOp};
use crate::weights::{WeightId, Weights};

/// Most entries of one axis; longer ones are left to the matrix.
const MAX_AXIS_ENTRIES: usize = 1 << 20;

/// What leads from a result's index on an axis to one of the operand's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AxisEntry {
    /// The operand's index.
    pub operand: u32,
    /// The filter's index on this axis; 0 without a filter.
    pub tap: u32,
    /// The factor, not 0.
    pub weight: f64,
}

/// Height or width: for every result's index the operand's indices that it is made of.
#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    starts: Vec<usize>,
    /// By result, ascending by operand within one.
    entries: Vec<AxisEntry>,
}

impl Axis {
    /// An axis from the entries of every result's index, in any order. Entries of one operand and
    /// one tap are added up.
    ///
    /// Returns `None` if several taps lead from one index to one other, or if there are too many
    /// entries.
    pub fn new<I: IntoIterator<Item = AxisEntry>>(
        results: impl IntoIterator<Item = I>,
    ) -> Option<Self> {
        let mut axis = Self {
            starts: vec![0],
            entries: Vec::new(),
        };
        let mut row: Vec<AxisEntry> = Vec::new();
        for entries in results {
            row.clear();
            row.extend(entries.into_iter().take(MAX_AXIS_ENTRIES + 1));
            row.sort_by_key(|entry| entry.operand);
            let first = axis.entries.len();
            for entry in &row {
                match axis.entries[first..].last_mut() {
                    Some(last) if last.operand == entry.operand => {
                        if last.tap != entry.tap {
                            return None;
                        }
                        last.weight += entry.weight;
                    }
                    _ => axis.entries.push(*entry),
                }
            }
            if axis.entries.len() > MAX_AXIS_ENTRIES {
                return None;
            }
            axis.starts.push(axis.entries.len());
        }
        axis.entries
            .iter()
            .all(|entry| entry.weight != 0.0)
            .then_some(axis)
    }

    /// An axis on which nothing moves.
    pub fn identity(extent: usize) -> Option<Self> {
        Self::selection((0..extent).map(Some))
    }

    /// An axis that takes every index from one of the operand's, or is zero there.
    pub fn selection(operands: impl IntoIterator<Item = Option<usize>>) -> Option<Self> {
        Self::new(operands.into_iter().map(|operand| {
            operand.map(|operand| AxisEntry {
                operand: operand as u32,
                tap: 0,
                weight: 1.0,
            })
        }))
    }

    /// Extent of the result.
    pub fn results(&self) -> usize {
        self.starts.len() - 1
    }

    /// The entries of a result's index, ascending by operand.
    pub fn of(&self, result: usize) -> &[AxisEntry] {
        &self.entries[self.starts[result]..self.starts[result + 1]]
    }

    /// The entry from a result's index to an operand's.
    pub fn find(&self, result: usize, operand: u32) -> Option<&AxisEntry> {
        let entries = self.of(result);
        // Windows are short.
        if entries.len() <= 8 {
            return entries.iter().find(|entry| entry.operand == operand);
        }
        let at = entries.binary_search_by_key(&operand, |entry| entry.operand);
        at.ok().map(|at| &entries[at])
    }

    /// Whether every factor is 1.
    pub fn is_plain(&self) -> bool {
        self.entries.iter().all(|entry| entry.weight == 1.0)
    }

    /// This axis behind another one. At most one of them has taps.
    fn after(&self, inner: &Self) -> Option<Self> {
        Self::new((0..self.results()).map(|result| {
            self.of(result).iter().flat_map(|outer| {
                inner
                    .of(outer.operand as usize)
                    .iter()
                    .map(|inner| AxisEntry {
                        operand: inner.operand,
                        tap: outer.tap + inner.tap,
                        weight: outer.weight * inner.weight,
                    })
            })
        }))
    }
}

/// For every channel the one that it is taken from, with a factor; `None` where it is zero.
pub type Channels = Vec<Option<(u32, f64)>>;

/// A filter `[outputs, inputs of a group, ky, kx]`, row-major.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filter {
    /// The weights.
    pub weight: WeightId,
    /// Input channels of a group.
    pub per_group: usize,
    /// Output channels of a group.
    pub outputs_per_group: usize,
    /// Extent `[height, width]`.
    pub taps: [usize; 2],
}

impl Filter {
    /// Weights between a pair of channels.
    pub fn taps(&self) -> usize {
        self.taps[0] * self.taps[1]
    }

    /// The first input channel of an output channel.
    pub fn first_input(&self, output: usize) -> usize {
        output / self.outputs_per_group * self.per_group
    }

    /// Where the weights of a pair of channels begin; `None` if they are in different groups.
    pub fn start(&self, output: usize, input: usize) -> Option<usize> {
        let inner = input.checked_sub(self.first_input(output))?;
        (inner < self.per_group).then(|| (output * self.per_group + inner) * self.taps())
    }
}

/// A matrix whose axes can be told apart; see the module. Offsets are left out.
#[derive(Clone, Debug, PartialEq)]
pub struct Structure {
    /// From the result's channels to those of the filter's result; to the operand's without a
    /// filter.
    pub outer: Channels,
    /// The filter.
    pub filter: Option<Filter>,
    /// From the filter's input channels to the operand's, each to another one; empty without a
    /// filter.
    pub inner: Channels,
    /// Height.
    pub rows: Axis,
    /// Width.
    pub columns: Axis,
}

impl Structure {
    /// The identity on elements of a shape.
    pub fn identity(shape: Chw) -> Option<Self> {
        Self::in_channels(
            shape[0],
            Axis::identity(shape[1])?,
            Axis::identity(shape[2])?,
        )
    }

    /// What each of `channels` channels does by itself along height and width.
    pub fn in_channels(channels: usize, rows: Axis, columns: Axis) -> Option<Self> {
        Some(Self {
            outer: plain(channels),
            filter: None,
            inner: Vec::new(),
            rows,
            columns,
        })
    }

    /// A factor for each channel.
    pub fn scaled(shape: Chw, factor: impl Fn(usize) -> f64) -> Option<Self> {
        let channels = 0..shape[0];
        Some(Self {
            outer: channels.map(|c| Some((c as u32, factor(c)))).collect(),
            ..Self::identity(shape)?
        })
    }

    /// A filter from `inputs` to `outputs` channels. `None` if its weights are missing or too few.
    pub fn filtered(
        filter: Filter,
        [outputs, inputs]: [usize; 2],
        [rows, columns]: [Axis; 2],
        weights: &Weights,
    ) -> Option<Self> {
        let needed = (outputs.checked_mul(filter.per_group)?).checked_mul(filter.taps())?;
        let fits = weights.try_get(filter.weight)?.data.len() == needed && inputs > 0;
        fits.then(|| Self {
            outer: plain(outputs),
            filter: Some(filter),
            inner: plain(inputs),
            rows,
            columns,
        })
    }

    /// The result's channels, rows and columns.
    pub fn shape(&self) -> Chw {
        [
            self.outer.len(),
            self.rows.results(),
            self.columns.results(),
        ]
    }

    /// The structure of a chain of operations, first to last, if it has one. A reshape to a vector
    /// is left out where a dense layer comes next, or nothing.
    pub fn of_chain(ops: &[LinearOp], operand: Chw, weights: &Weights) -> Option<Self> {
        let mut whole = Self::identity(operand)?;
        let mut is_flat = false;
        for op in ops {
            match op {
                LinearOp::Flatten => {
                    is_flat = whole.shape()[1..] != [1, 1];
                    continue;
                }
                LinearOp::Gemm(_) => is_flat = false,
                _ if is_flat => return None,
                _ => {}
            }
            let operation = op.as_operation().structure(whole.shape(), weights)?;
            whole = operation.after(whole)?;
        }
        Some(whole)
    }

    /// This structure behind another one, unless both have filters.
    fn after(self, inner: Self) -> Option<Self> {
        let rows = self.rows.after(&inner.rows)?;
        let columns = self.columns.after(&inner.columns)?;
        let (outer, filter, channels) = match (self.filter, inner.filter) {
            (Some(_), Some(_)) => return None,
            (Some(filter), None) => {
                let channels = channels_after(&self.inner, &inner.outer);
                if !is_injective(&channels) {
                    return None;
                }
                (self.outer, Some(filter), channels)
            }
            (None, filter) => {
                let outer = channels_after(&self.outer, &inner.outer);
                (outer, filter, inner.inner)
            }
        };
        Some(Self {
            outer,
            filter,
            inner: channels,
            rows,
            columns,
        })
    }
}

fn plain(channels: usize) -> Channels {
    (0..channels).map(|c| Some((c as u32, 1.0))).collect()
}

fn channels_after(outer: &Channels, inner: &Channels) -> Channels {
    let behind = |channel: &Option<(u32, f64)>| {
        let (channel, factor) = (*channel)?;
        let (operand, inner) = (*inner.get(channel as usize)?)?;
        Some((operand, factor * inner))
    };
    outer.iter().map(behind).collect()
}

/// Whether no two channels are taken from the same one.
fn is_injective(channels: &Channels) -> bool {
    let mut taken: Vec<u32> = channels.iter().flatten().map(|(c, _)| *c).collect();
    taken.sort_unstable();
    taken.windows(2).all(|pair| pair[0] != pair[1])
}
