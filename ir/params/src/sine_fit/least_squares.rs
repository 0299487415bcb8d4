//! Weighted least squares by Householder reflections.

/// Minimises `Σ w (row·c − f)²` by Householder reflections, with a regularisation far below the
/// fit's error that keeps undetermined directions small.
pub(super) fn least_squares(rows: &[Vec<f64>], wanted: &[f64], weights: &[f64]) -> Vec<f64> {
    const REGULARISATION: f64 = 1e-13;
    let n = rows[0].len();
    let mut a: Vec<Vec<f64>> = rows
        .iter()
        .zip(wanted)
        .zip(weights)
        .map(|((row, &f), w)| row.iter().chain([&f]).map(|v| v * w.sqrt()).collect())
        .collect();
    for k in 0..n {
        let mut row = vec![0.0; n + 1];
        row[k] = REGULARISATION;
        a.push(row);
    }
    for k in 0..n {
        let norm = a[k..].iter().map(|row| row[k] * row[k]).sum::<f64>().sqrt();
        let alpha = if a[k][k] > 0.0 { -norm } else { norm };
        let mut v: Vec<f64> = a[k..].iter().map(|row| row[k]).collect();
        v[0] -= alpha;
        let square: f64 = v.iter().map(|x| x * x).sum();
        if square == 0.0 {
            continue;
        }
        for column in k..=n {
            let dot: f64 = v.iter().zip(&a[k..]).map(|(x, row)| x * row[column]).sum();
            let factor = 2.0 * dot / square;
            for (x, row) in v.iter().zip(&mut a[k..]) {
                row[column] -= factor * x;
            }
        }
    }
    let mut solution = vec![0.0; n];
    for k in (0..n).rev() {
        let known: f64 = (k + 1..n).map(|j| a[k][j] * solution[j]).sum();
        solution[k] = if a[k][k] == 0.0 {
            0.0
        } else {
            (a[k][n] - known) / a[k][k]
        };
    }
    solution
}
