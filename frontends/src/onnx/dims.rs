//! ONNX's rules about axes and shapes, shared by constants and activations.

/// A possibly negative axis of a tensor of rank `rank`.
pub(super) fn axis(axis: i64, rank: usize) -> Result<usize, String> {
    let wrapped = if axis < 0 {
        axis.checked_add(rank as i64)
    } else {
        Some(axis)
    };
    wrapped
        .and_then(|axis| usize::try_from(axis).ok())
        .filter(|axis| *axis < rank)
        .ok_or_else(|| format!("axis {axis} does not exist in a tensor of rank {rank}"))
}

/// Several axes, as a flag for every axis of the tensor.
pub(super) fn axis_set(axes: &[i64], rank: usize) -> Result<Vec<bool>, String> {
    let mut set = vec![false; rank];
    for axis in axes {
        let axis = self::axis(*axis, rank)?;
        if std::mem::replace(&mut set[axis], true) {
            return Err(format!("axis {axis} is given twice"));
        }
    }
    Ok(set)
}

/// The shape that `Reshape` makes of `dims`.
pub(super) fn reshape(
    dims: &[usize],
    target: &[i64],
    keep_zeros: bool,
) -> Result<Vec<usize>, String> {
    super::tensor::check_rank(target.len())?;
    let misfit = || format!("cannot reshape {dims:?} to {target:?}");
    let mut shape = Vec::with_capacity(target.len());
    let mut inferred = None;
    for (position, extent) in target.iter().enumerate() {
        shape.push(match *extent {
            -1 if inferred.is_none() => {
                inferred = Some(position);
                1
            }
            0 if !keep_zeros => *dims.get(position).ok_or_else(misfit)?,
            extent => usize::try_from(extent).map_err(|_| misfit())?,
        });
    }
    let total = super::tensor::element_count(dims)?;
    let known = super::tensor::element_count(&shape)?;
    if let Some(position) = inferred {
        shape[position] = total.checked_div(known).ok_or_else(misfit)?;
    }
    if super::tensor::element_count(&shape)? != total {
        return Err(misfit());
    }
    Ok(shape)
}

/// The shape that `Flatten` makes of `dims`.
pub(super) fn flatten(dims: &[usize], axis: i64) -> Result<Vec<usize>, String> {
    let axis = if axis == dims.len() as i64 {
        dims.len()
    } else {
        self::axis(axis, dims.len())?
    };
    Ok(vec![
        super::tensor::element_count(&dims[..axis])?,
        super::tensor::element_count(&dims[axis..])?,
    ])
}

/// The shape that `Squeeze` makes of `dims`; without axes every extent of 1 goes.
pub(super) fn squeeze(dims: &[usize], axes: Option<&[i64]>) -> Result<Vec<usize>, String> {
    let set = match axes {
        Some(axes) => axis_set(axes, dims.len())?,
        None => dims.iter().map(|extent| *extent == 1).collect(),
    };
    if let Some(axis) = (0..dims.len()).find(|axis| set[*axis] && dims[*axis] != 1) {
        return Err(format!("cannot squeeze axis {axis} of {dims:?}"));
    }
    Ok((0..dims.len())
        .filter(|axis| !set[*axis])
        .map(|axis| dims[axis])
        .collect())
}

/// The shape that `Unsqueeze` makes of `dims`.
pub(super) fn unsqueeze(dims: &[usize], axes: &[i64]) -> Result<Vec<usize>, String> {
    super::tensor::check_rank(dims.len() + axes.len())?;
    let set = axis_set(axes, dims.len() + axes.len())?;
    let mut rest = dims.iter();
    Ok(set
        .into_iter()
        .map(|inserted| {
            if inserted {
                1
            } else {
                *rest.next().expect("one extent an axis")
            }
        })
        .collect())
}

/// The permutation of `Transpose`; reversal when none is given.
pub(super) fn permutation(perm: Option<&[i64]>, rank: usize) -> Result<Vec<usize>, String> {
    let Some(perm) = perm else {
        return Ok((0..rank).rev().collect());
    };
    if perm.len() != rank {
        return Err(format!(
            "a permutation of {} axes does not fit rank {rank}",
            perm.len()
        ));
    }
    axis_set(perm, rank)?;
    perm.iter().map(|entry| axis(*entry, rank)).collect()
}

/// The shape of an elementwise operation on two tensors.
pub(super) fn broadcast(a: &[usize], b: &[usize]) -> Result<Vec<usize>, String> {
    let rank = a.len().max(b.len());
    let extent = |dims: &[usize], axis: usize| {
        (axis + dims.len())
            .checked_sub(rank)
            .map_or(1, |axis| dims[axis])
    };
    (0..rank)
        .map(|axis| match (extent(a, axis), extent(b, axis)) {
            (a, b) if a == b => Ok(a),
            (1, other) | (other, 1) => Ok(other),
            _ => Err(format!("shapes {a:?} and {b:?} do not broadcast")),
        })
        .collect()
}

/// What a slice keeps of one axis: `start`, `start + step`, …, `len` of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: usize,
    pub(super) step: i64,
    pub(super) len: usize,
}

/// One axis of `Slice`, clamped to the extent as ONNX says.
pub(super) fn span(extent: usize, start: i64, end: i64, step: i64) -> Result<Span, String> {
    if step == 0 {
        return Err("a slice with step 0".into());
    }
    let size = extent as i64;
    let wrap = |index: i64| {
        if index < 0 {
            index.saturating_add(size)
        } else {
            index
        }
    };
    let (start, end) = if step > 0 {
        (wrap(start).clamp(0, size), wrap(end).clamp(0, size))
    } else {
        (
            wrap(start).clamp(-1, size - 1),
            wrap(end).clamp(-1, size - 1),
        )
    };
    let distance = if step > 0 { end - start } else { start - end };
    let len = if distance > 0 {
        (distance as u64).div_ceil(step.unsigned_abs()) as usize
    } else {
        0
    };
    Ok(Span {
        start: start.max(0) as usize,
        step,
        len,
    })
}

/// What a slice keeps of every axis. Without `axes` the lists are those of the first axes; without
/// `steps` every step is 1.
pub(super) fn spans(
    extents: &[usize],
    starts: &[i64],
    ends: &[i64],
    axes: Option<&[i64]>,
    steps: Option<&[i64]>,
) -> Result<Vec<Span>, String> {
    let axes = axes.map_or_else(|| (0..starts.len() as i64).collect(), <[i64]>::to_vec);
    let steps = steps.map_or_else(|| vec![1; starts.len()], <[i64]>::to_vec);
    if [ends.len(), axes.len(), steps.len()] != [starts.len(); 3] {
        return Err("starts, ends, axes and steps differ in length".into());
    }
    axis_set(&axes, extents.len())?;
    let whole = |extent: &usize| Span {
        start: 0,
        step: 1,
        len: *extent,
    };
    let mut spans: Vec<Span> = extents.iter().map(whole).collect();
    for (index, axis) in axes.iter().enumerate() {
        let axis = self::axis(*axis, extents.len())?;
        spans[axis] = span(extents[axis], starts[index], ends[index], steps[index])?;
    }
    Ok(spans)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reshapes_follow_zeros_and_minus_one() {
        assert_eq!(reshape(&[1, 64, 1, 1], &[0, -1], false).unwrap(), [1, 64]);
        assert_eq!(reshape(&[2, 3], &[-1], false).unwrap(), [6]);
        assert!(reshape(&[2, 3], &[0, -1], true).is_err());
        assert!(reshape(&[2, 3], &[4, -1], false).is_err());
        assert!(reshape(&[2, 3], &[-1, -1], false).is_err());
        assert!(reshape(&[2, 3], &[i64::MAX, i64::MAX], false).is_err());
        assert!(reshape(&[2], &[2, 0], false).is_err());
    }

    #[test]
    fn spans_clamp_at_both_ends() {
        assert_eq!(
            span(32, 0, i64::MAX, 2).unwrap(),
            Span {
                start: 0,
                step: 2,
                len: 16
            }
        );
        assert_eq!(
            span(5, -2, 100, 1).unwrap(),
            Span {
                start: 3,
                step: 1,
                len: 2
            }
        );
        assert_eq!(
            span(5, -1, i64::MIN, -2).unwrap(),
            Span {
                start: 4,
                step: -2,
                len: 3
            }
        );
        assert_eq!(span(5, 4, 2, 1).unwrap().len, 0);
        assert_eq!(span(5, 0, 5, i64::MAX).unwrap().len, 1);
        assert_eq!(span(5, 4, i64::MIN, i64::MIN).unwrap().len, 1);
        assert!(span(5, 0, 5, 0).is_err());
    }

    #[test]
    fn a_slice_keeps_whole_axes_that_it_does_not_name() {
        let whole = |len| Span {
            start: 0,
            step: 1,
            len,
        };
        let tail = Span {
            start: 2,
            step: 1,
            len: 3,
        };
        let kept = spans(&[4, 5], &[-3], &[9], Some(&[1]), None);
        assert_eq!(kept.unwrap(), [whole(4), tail]);
        let kept = spans(&[5, 4], &[2], &[5], None, Some(&[1]));
        assert_eq!(kept.unwrap(), [tail, whole(4)]);
        for (axes, steps) in [
            (Some(&[0, 1][..]), None),
            (None, Some(&[1, 1][..])),
            (Some(&[2][..]), None),
            (None, Some(&[0][..])),
        ] {
            assert!(spans(&[4, 5], &[0], &[1], axes, steps).is_err());
        }
        assert!(spans(&[4, 5], &[0, 0], &[1, 1], Some(&[1, -1]), None).is_err());
    }

    #[test]
    fn axes_wrap_once() {
        assert_eq!(axis(-1, 4), Ok(3));
        assert!(axis(4, 4).is_err() && axis(-5, 4).is_err() && axis(i64::MIN, 4).is_err());
        assert!(axis_set(&[1, -3], 4).is_err());
        assert_eq!(permutation(None, 3).unwrap(), [2, 1, 0]);
        assert!(permutation(Some(&[0, 0]), 2).is_err());
        assert_eq!(unsqueeze(&[5], &[0, -1]).unwrap(), [1, 5, 1]);
        assert_eq!(squeeze(&[1, 5, 1], Some(&[-1])).unwrap(), [1, 5]);
        assert_eq!(flatten(&[2, 3, 4], 3).unwrap(), [24, 1]);
        assert_eq!(broadcast(&[3, 1], &[2, 1, 4]).unwrap(), [2, 3, 4]);
    }
}
