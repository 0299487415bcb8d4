//! Elements around a value: zeros, another number, or its own.

use crate::onnx::build::{Graph, Picks};
use crate::onnx::call::{Call, Traced, Value};
use crate::onnx::dims;

/// What padding holds.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mode {
    Constant,
    Reflect,
    Edge,
    Wrap,
}

impl Mode {
    fn of(call: &Call<'_>) -> Result<Self, String> {
        Ok(
            match call.attributes.string("mode")?.unwrap_or("constant") {
                "constant" => Self::Constant,
                "reflect" => Self::Reflect,
                "edge" => Self::Edge,
                "wrap" => Self::Wrap,
                other => {
                    return Err(format!(
                        "padding mode `{other}` is not supported; `constant`, `reflect`, `edge` and \
                     `wrap` are"
                    ));
                }
            },
        )
    }

    /// The position, of `extent` positions, that stands at `position`, which may be outside.
    fn source(self, position: i64, extent: usize) -> Option<usize> {
        let extent = i64::try_from(extent).ok().filter(|extent| *extent > 0)?;
        let source = match self {
            Self::Constant => Some(position).filter(|at| (0..extent).contains(at))?,
            Self::Edge => position.clamp(0, extent - 1),
            Self::Wrap => position.rem_euclid(extent),
            Self::Reflect if extent == 1 => 0,
            Self::Reflect => {
                let at = position.rem_euclid(2 * extent - 2);
                at.min(2 * extent - 2 - at)
            }
        };
        usize::try_from(source).ok()
    }
}

/// How many elements an axis gets before and after; a negative number takes some away.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Padding {
    before: i64,
    after: i64,
}

pub(super) fn pad(graph: &mut Graph, call: &Call<'_>) -> Result<Value, String> {
    let x = call.traced(0)?;
    let mode = Mode::of(call)?;
    let (pads, value) = if call.opset < 11 {
        let pads = call
            .attributes
            .ints("pads")?
            .ok_or("attribute `pads` is missing")?;
        let value = call.attributes.float("value")?.map(f64::from);
        (pads.to_vec(), value)
    } else {
        let value = call.optional_constant(2, "the padding value")?;
        let value = value.filter(|value| value.len() > 0);
        (
            call.ints(1, "the pads")?,
            value.map(|value| value.scalar()).transpose()?,
        )
    };
    let rank = x.view.dims().len();
    let axes = match call.optional_ints(3, "the axes")? {
        Some(axes) => axes,
        None => (0..rank as i64).collect(),
    };
    dims::axis_set(&axes, rank)?;
    if pads.len() != 2 * axes.len() {
        return Err(format!("{} pads for {} axes", pads.len(), axes.len()));
    }
    let (before, after) = pads.split_at(axes.len());
    let mut padding = vec![Padding::default(); rank];
    for ((axis, before), after) in axes.iter().zip(before).zip(after) {
        padding[dims::axis(*axis, rank)?] = Padding {
            before: *before,
            after: *after,
        };
    }
    let picks = picks(graph, x, mode, &padding)?;
    let padded = graph.picked(x, &picks, call.name)?;
    filled(graph, call, padded, &picks, value.unwrap_or(0.0) as f32)
}

/// What every padded axis is made of. Elements are taken away first.
fn picks(
    graph: &mut Graph,
    x: &Traced,
    mode: Mode,
    padding: &[Padding],
) -> Result<Vec<Option<Picks>>, String> {
    let mut picks = Vec::with_capacity(padding.len());
    for (axis, (extent, Padding { before, after })) in x.view.dims().iter().zip(padding).enumerate()
    {
        if (*before, *after) == (0, 0) {
            picks.push(None);
            continue;
        }
        let misfit = || format!("pads an axis of {extent} by {before} and {after}");
        let cut = |pad: i64| usize::try_from(pad.min(0).unsigned_abs()).map_err(|_| misfit());
        let (first, last) = (cut(*before)?, cut(*after)?);
        let held = extent
            .checked_sub(first)
            .and_then(|rest| rest.checked_sub(last));
        let held = held.filter(|held| *held > 0).ok_or_else(misfit)?;
        let (before, after) = ((*before).max(0), (*after).max(0));
        let total = usize::try_from(before)
            .ok()
            .and_then(|before| before.checked_add(held))
            .and_then(|sum| sum.checked_add(usize::try_from(after).ok()?))
            .ok_or_else(misfit)?;
        let furthest = before.max(after).unsigned_abs();
        if mode == Mode::Reflect && furthest >= held as u64 {
            return Err(format!(
                "reflects {furthest} elements along axis {axis}, which has {held}; at most {} can be",
                held - 1
            ));
        }
        graph.room(total)?;
        let source = |index: usize| mode.source(index as i64 - before, held);
        let sources = (0..total).map(|index| source(index).map(|source| source + first));
        picks.push(Some(sources.collect()));
    }
    Ok(picks)
}

/// Adds a number to what is zero because a pick is missing.
pub(super) fn filled(
    graph: &mut Graph,
    call: &Call<'_>,
    x: Traced,
    picks: &[Option<Picks>],
    value: f32,
) -> Result<Value, String> {
    let is_padded = picks.iter().flatten().flatten().any(Option::is_none);
    if !is_padded || value == 0.0 {
        return graph.flattened(x, call.name);
    }
    let dims = x.view.dims();
    graph.room(graph.ty(x.id).elements())?;
    // In the order of the ONNX tensor: whether an element is padding along any axis.
    let mut is_outside = vec![false];
    for (extent, picks) in dims.iter().zip(picks) {
        let along = |position: usize| {
            picks
                .as_ref()
                .is_some_and(|picks| picks[position].is_none())
        };
        is_outside = is_outside
            .iter()
            .flat_map(|outside| (0..*extent).map(move |position| *outside || along(position)))
            .collect();
    }
    let numbers = is_outside
        .iter()
        .map(|outside| if *outside { value } else { 0.0 });
    let filled = graph.shifted(
        &x,
        numbers.collect(),
        &format!("{}.value", call.name),
        call.name,
    )?;
    graph.flattened(filled, call.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_outside_have_sources_inside() {
        let sources = |mode: Mode| -> Vec<Option<usize>> {
            (-3..6).map(|position| mode.source(position, 3)).collect()
        };
        let all = |list: [usize; 9]| list.map(Some).to_vec();
        assert_eq!(sources(Mode::Edge), all([0, 0, 0, 0, 1, 2, 2, 2, 2]));
        assert_eq!(sources(Mode::Wrap), all([0, 1, 2, 0, 1, 2, 0, 1, 2]));
        assert_eq!(sources(Mode::Reflect), all([1, 2, 1, 0, 1, 2, 1, 0, 1]));
        assert_eq!(sources(Mode::Constant)[2..4], [None, Some(0)]);
        assert_eq!(Mode::Reflect.source(i64::MIN, 1), Some(0));
    }
}
