//! Maximum over windows.

use crate::nn::Window;

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
                .filter_map(|tap| window.input_index(axis, output, tap, extent))
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
