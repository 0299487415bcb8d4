//! Sparse matrices by compressed rows, with an offset.

/// `y = A·x + b` with a sparse `A`, stored by rows.
#[derive(Clone, Debug, PartialEq)]
pub struct AffineMatrix {
    columns: usize,
    row_starts: Vec<usize>,
    column_indices: Vec<u32>,
    values: Vec<f64>,
    bias: Vec<f64>,
}

impl AffineMatrix {
    /// A matrix without rows, which [`push_row`](Self::push_row) adds.
    pub(crate) fn with_columns(columns: usize) -> Self {
        Self {
            columns,
            row_starts: vec![0],
            column_indices: Vec::new(),
            values: Vec::new(),
            bias: Vec::new(),
        }
    }

    /// Adds a row of entries as column and value; zeros are left out.
    pub(crate) fn push_row(&mut self, entries: &[(usize, f64)], bias: f64) {
        for (column, value) in entries {
            self.push(*column, *value);
        }
        self.end_row(bias);
    }

    fn push(&mut self, column: usize, value: f64) {
        if value != 0.0 {
            self.column_indices.push(column as u32);
            self.values.push(value);
        }
    }

    fn end_row(&mut self, bias: f64) {
        self.row_starts.push(self.values.len());
        self.bias.push(bias);
    }

    /// Length of the result.
    pub fn rows(&self) -> usize {
        self.bias.len()
    }

    /// Length of the operand.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Number of non-zero entries.
    pub fn entries(&self) -> usize {
        self.values.len()
    }

    /// The offset `b`.
    pub fn bias(&self) -> &[f64] {
        &self.bias
    }

    /// The non-zero entries of a row as (column, value).
    pub fn row(&self, row: usize) -> impl Iterator<Item = (usize, f64)> + '_ {
        let range = self.row_starts[row]..self.row_starts[row + 1];
        self.column_indices[range.clone()]
            .iter()
            .map(|column| *column as usize)
            .zip(self.values[range].iter().copied())
    }

    /// Adds `A·x` to `y`; the bias is left out.
    ///
    /// # Panics
    /// If the lengths are not the matrix's.
    pub fn apply_add(&self, x: &[f64], y: &mut [f64]) {
        assert_eq!(
            (x.len(), y.len()),
            (self.columns, self.rows()),
            "lengths disagree"
        );
        for (row, result) in y.iter_mut().enumerate() {
            let range = self.row_starts[row]..self.row_starts[row + 1];
            let columns = &self.column_indices[range.clone()];
            let mut sum = 0.0;
            for (column, value) in columns.iter().zip(&self.values[range]) {
                sum += value * x[*column as usize];
            }
            *result += sum;
        }
    }

    /// As [`apply_add`](Self::apply_add) on `L` interleaved vectors: each entry is read once for
    /// all of them.
    ///
    /// # Panics
    /// If the lengths are not the matrix's.
    pub fn apply_add_lanes<const L: usize>(&self, x: &[[f64; L]], y: &mut [[f64; L]]) {
        assert_eq!(
            (x.len(), y.len()),
            (self.columns, self.rows()),
            "lengths disagree"
        );
        for (row, result) in y.iter_mut().enumerate() {
            let range = self.row_starts[row]..self.row_starts[row + 1];
            let columns = &self.column_indices[range.clone()];
            let mut sum = [0.0; L];
            for (column, value) in columns.iter().zip(&self.values[range]) {
                let operand = &x[*column as usize];
                for lane in 0..L {
                    sum[lane] += value * operand[lane];
                }
            }
            for lane in 0..L {
                result[lane] += sum[lane];
            }
        }
    }

    /// The matrix with its rows and columns moved to other positions and every entry multiplied by
    /// `factor`; rows at no position are empty. The bias is dropped.
    pub(crate) fn moved(
        &self,
        column_positions: &[usize],
        columns: usize,
        row_positions: &[usize],
        rows: usize,
        factor: f64,
    ) -> Self {
        let mut row_at = vec![None; rows];
        for (row, position) in row_positions.iter().enumerate() {
            row_at[*position] = Some(row);
        }
        let mut moved = Self::with_columns(columns);
        for row in row_at {
            if let Some(row) = row {
                for (column, value) in self.row(row) {
                    moved.push(column_positions[column], factor * value);
                }
            }
            moved.end_row(0.0);
        }
        moved
    }

    /// The matrix with each row spread over the rows `row, row + P, …` below `period`, where `P` is the
    /// number of rows now and divides `period`: the entry of a column goes where column less row is
    /// nearest to zero modulo `P`. Entries are multiplied by `factor`; the bias is dropped.
    pub(crate) fn in_shares(&self, period: usize, factor: f64) -> Self {
        let of_result = self.rows();
        let mut rows = vec![Vec::new(); period];
        for row in 0..of_result {
            for (column, value) in self.row(row) {
                let ahead = (column + of_result - row % of_result) % of_result;
                // Up to half of the result's period ahead, less than half behind.
                let slot = match 2 * ahead <= of_result {
                    true => column + period - ahead,
                    false => column + of_result - ahead,
                };
                rows[slot % period].push((column, factor * value));
            }
        }
        let mut shared = Self::with_columns(self.columns);
        for entries in rows {
            for (column, value) in entries {
                shared.push(column, value);
            }
            shared.end_row(0.0);
        }
        shared
    }
}

/// The product of the rows of one matrix with another matrix.
pub(crate) struct RowProduct<'a> {
    inner: &'a AffineMatrix,
    /// By column of the inner matrix; zero between rows.
    sums: Vec<f64>,
    touched: Vec<usize>,
    row: Vec<(usize, f64)>,
}

impl<'a> RowProduct<'a> {
    pub(crate) fn new(inner: &'a AffineMatrix) -> Self {
        Self {
            inner,
            sums: vec![0.0; inner.columns],
            touched: Vec::new(),
            row: Vec::new(),
        }
    }

    /// A row after the inner matrix: its entries by ascending column, and its offset.
    pub(crate) fn row(&mut self, entries: &[(usize, f64)], offset: f64) -> (&[(usize, f64)], f64) {
        self.row.clear();
        let mut bias = offset;
        let entries = entries.iter().filter(|(_, value)| *value != 0.0);
        for (middle, outer) in entries.copied() {
            bias += outer * self.inner.bias[middle];
            for (column, inner) in self.inner.row(middle) {
                if self.sums[column] == 0.0 {
                    self.touched.push(column);
                }
                self.sums[column] += outer * inner;
            }
        }
        self.touched.sort_unstable();
        self.touched.dedup();
        for column in self.touched.drain(..) {
            self.row
                .push((column, std::mem::take(&mut self.sums[column])));
        }
        (&self.row, bias)
    }
}
