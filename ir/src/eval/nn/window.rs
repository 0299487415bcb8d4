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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linear::AffineMatrix;
    use crate::nn::LinearOp;
    use crate::weights::{Tensor, Weights};

    #[test]
    fn average_pool_divides_by_what_it_is_told() {
        let window = Window {
            kernel: [2, 2],
            stride: [2, 2],
            pads: [1, 1, 0, 0],
            dilation: [1, 1],
        };
        let x: Vec<f32> = (1..=9).map(|x| x as f32).collect();
        let pool = |padding| average_pool(&x, [1, 3, 3], [1, 2, 2], &window, padding);
        assert_eq!(pool(PaddingInMean::Counted), [0.25, 1.25, 2.75, 7.0]);
        assert_eq!(pool(PaddingInMean::Excluded), [1.0, 2.5, 5.5, 7.0]);
    }

    #[test]
    fn a_maximum_leaves_padding_out() {
        let window = Window {
            kernel: [2, 2],
            stride: [2, 2],
            pads: [1, 1, 0, 0],
            dilation: [1, 1],
        };
        let x: Vec<f32> = (1..=9).map(|x| -(x as f32)).collect();
        let maxima = max_pool(&x, [1, 3, 3], [1, 2, 2], &window);
        assert_eq!(maxima, [-1.0, -2.0, -4.0, -5.0]);
        let broken = [1.0, f32::NAN, 2.0, 3.0];
        let whole = Window {
            stride: [1, 1],
            pads: [0; 4],
            ..window
        };
        assert!(max_pool(&broken, [1, 2, 2], [1, 1, 1], &whole)[0].is_nan());
    }

    /// By hand, by the interpreter and as a sparse matrix.
    #[test]
    fn a_separable_map_is_a_product_on_either_side() {
        let x = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, -1.0, 0.0, 1.0, 0.0, 2.0, 0.0];
        let rows = [1.0, -1.0];
        let columns = [1.0, 0.0, 0.5, 0.0, 2.0, 0.0];
        // [[1, 2, 3], [4, 5, 6]] gives [-3, -3, -3], then [-3 - 1.5, -6].
        let expected = [-4.5, -6.0, -0.5, -4.0];
        let found = separable(&x, [2, 2, 3], [2, 1, 2], Some(&rows), Some(&columns));
        assert_eq!(found, expected);
        let mut weights = Weights::default();
        let op = LinearOp::Separable {
            rows: Some(weights.push(Tensor::new("rows", vec![1, 2], rows.to_vec()))),
            columns: Some(weights.push(Tensor::new("columns", vec![2, 3], columns.to_vec()))),
            stride: [2, 1],
        };
        let matrix = AffineMatrix::of_chain(&[op], &weights, [2, 2, 3]).unwrap();
        let mut product = vec![0.0; 4];
        matrix.apply_add(&x.map(f64::from), &mut product);
        assert_eq!(product, expected.map(f64::from));
        let along_height = separable(&x, [2, 2, 3], [2, 1, 3], Some(&rows), None);
        assert_eq!(along_height, [-3.0, -3.0, -3.0, -1.0, -2.0, 1.0]);
    }
}
