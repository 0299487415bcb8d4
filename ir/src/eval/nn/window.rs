//! Pools, and maps along height and width.

use crate::nn::{PaddingInMean, Window};

/// The mean over each window.
pub(super) fn average_pool(
    x: &[f32],
    [c, h, w]: [usize; 3],
    [_, rows, columns]: [usize; 3],
    window: &Window,
    padding: PaddingInMean,
) -> Vec<f32> {
    let [top, left, _, _] = window.pads;
    let mut means = Vec::with_capacity(c * rows * columns);
    for plane in x.chunks_exact(h * w) {
        for y in 0..rows {
            let first = y * window.stride[0];
            let covered_rows = first.max(top)..(first + window.kernel[0]).min(h + top);
            for column in 0..columns {
                let first = column * window.stride[1];
                let covered = first.max(left)..(first + window.kernel[1]).min(w + left);
                let sum: f64 = covered_rows
                    .clone()
                    .flat_map(|y| &plane[(y - top) * w..][covered.start - left..covered.end - left])
                    .map(|x| f64::from(*x))
                    .sum();
                let divisor = match padding {
                    PaddingInMean::Counted => window.kernel[0] * window.kernel[1],
                    PaddingInMean::Excluded => covered_rows.len() * covered.len(),
                };
                means.push((sum / divisor as f64) as f32);
            }
        }
    }
    means
}

/// The maximum over each window; padding takes no part in it.
pub(super) fn max_pool(
    x: &[f32],
    [_, h, w]: [usize; 3],
    [_, rows, columns]: [usize; 3],
    window: &Window,
) -> Vec<f32> {
    let covered = |axis: usize, count: usize, extent: usize| -> Vec<Vec<usize>> {
        let taps = |output: usize| {
            (0..window.kernel[axis])
                .filter_map(|tap| window.source(axis, output, tap, extent))
                .collect()
        };
        (0..count).map(taps).collect()
    };
    let (covered_rows, covered_columns) = (covered(0, rows, h), covered(1, columns, w));
    let mut maxima = Vec::new();
    for plane in x.chunks_exact(h * w) {
        for rows in &covered_rows {
            for columns in &covered_columns {
                let elements = rows
                    .iter()
                    .flat_map(|y| columns.iter().map(move |column| plane[y * w + column]));
                // `f32::max` would swallow a NaN.
                maxima.push(elements.fold(f32::NEG_INFINITY, |max, element| {
                    if element > max || element.is_nan() {
                        element
                    } else {
                        max
                    }
                }));
            }
        }
    }
    maxima
}

/// `rows · x · columnsᵀ` in every channel.
pub(super) fn separable(
    x: &[f32],
    [_, h, w]: [usize; 3],
    [_, height, width]: [usize; 3],
    rows: Option<&[f32]>,
    columns: Option<&[f32]>,
) -> Vec<f32> {
    let mut result = Vec::new();
    let mut along_width = vec![0.0; h * width];
    for plane in x.chunks_exact(h * w) {
        match columns {
            None => along_width.copy_from_slice(plane),
            Some(matrix) => {
                for (row, out) in plane
                    .chunks_exact(w)
                    .zip(along_width.chunks_exact_mut(width))
                {
                    for (out, factors) in out.iter_mut().zip(matrix.chunks_exact(w)) {
                        *out = dot(factors.iter().zip(row));
                    }
                }
            }
        }
        match rows {
            None => result.extend_from_slice(&along_width),
            Some(matrix) => {
                for factors in matrix.chunks_exact(h).take(height) {
                    result.extend((0..width).map(|column| {
                        dot(factors
                            .iter()
                            .zip(along_width[column..].iter().step_by(width)))
                    }));
                }
            }
        }
    }
    result
}

fn dot<'a>(pairs: impl Iterator<Item = (&'a f32, &'a f32)>) -> f32 {
    // A factor of 0 hides even an infinity: the entry is not there.
    pairs
        .filter(|(factor, _)| **factor != 0.0)
        .map(|(factor, x)| f64::from(*factor) * f64::from(*x))
        .sum::<f64>() as f32
}
