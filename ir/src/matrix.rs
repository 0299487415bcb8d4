//! Sparse matrices by compressed rows, with an offset.

/// Takes a row of a matrix: its entries as column and value, and its offset. Entries may be zero.
pub type ShowRow<'a> = &'a mut dyn FnMut(&[(usize, f64)], f64);

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
            let mut sum = 0.0;
            for (column, value) in self.row(row) {
                sum += value * x[column];
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
            let mut sum = [0.0; L];
            for (column, value) in self.row(row) {
                let operand = &x[column];
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

    /// The matrix with each row spread over the rows `row, row + P, …` below `period`, where `P` is
    /// the number of rows now and divides `period`: the entry of a column goes where column less
    /// row is nearest to zero modulo `P`. Entries are multiplied by `factor`; the bias is dropped.
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

impl AffineMatrix {
    /// Whether every row has one entry at most, at a higher column than the rows before: no two
    /// rows share a column, and their order is that of the columns.
    fn is_selection(&self) -> bool {
        let is_short = self.row_starts.windows(2).all(|at| at[1] - at[0] <= 1);
        is_short && self.column_indices.is_sorted_by(|a, b| a < b)
    }
}

/// A matrix that selects rows of another one in order: `outer` after what is shown row by row.
pub(crate) struct Selection<'a> {
    outer: &'a AffineMatrix,
    /// Row of the inner matrix that comes next.
    inner_row: usize,
    /// Row of the outer matrix that comes next.
    outer_row: usize,
    row: Vec<(usize, f64)>,
}

impl<'a> Selection<'a> {
    /// The selection that `outer` is, if it is one.
    pub(crate) fn of(outer: &'a AffineMatrix) -> Option<Self> {
        outer.is_selection().then_some(Self {
            outer,
            inner_row: 0,
            outer_row: 0,
            row: Vec::new(),
        })
    }

    /// Takes the next row of the inner matrix and shows the row of the product that it becomes, and
    /// the empty ones in front of it.
    pub(crate) fn row(&mut self, entries: &[(usize, f64)], offset: f64, show: ShowRow<'_>) {
        let next = self.inner_row;
        self.inner_row += 1;
        while self.outer_row < self.outer.rows() {
            let bias = self.outer.bias[self.outer_row];
            match self.outer.row(self.outer_row).next() {
                None => show(&[], bias),
                Some((middle, factor)) if middle == next => {
                    let scaled = entries
                        .iter()
                        .map(|(column, value)| (*column, factor * value));
                    self.row.clear();
                    self.row.extend(scaled);
                    show(&self.row, bias + factor * offset);
                }
                Some(_) => break,
            }
            self.outer_row += 1;
        }
    }

    /// Shows the empty rows behind the last one.
    pub(crate) fn end(self, show: ShowRow<'_>) {
        for row in self.outer_row..self.outer.rows() {
            show(&[], self.outer.bias[row]);
        }
    }
}

/// The product of the rows of one matrix with another matrix.
pub(crate) struct RowProduct<'a> {
    inner: &'a AffineMatrix,
    /// Whether no column of the product has several terms.
    is_selection: bool,
    /// By column of the inner matrix; zero between rows.
    sums: Vec<f64>,
    touched: Vec<usize>,
    row: Vec<(usize, f64)>,
}

impl<'a> RowProduct<'a> {
    pub(crate) fn new(inner: &'a AffineMatrix) -> Self {
        Self {
            inner,
            is_selection: inner.is_selection(),
            sums: vec![0.0; inner.columns],
            touched: Vec::new(),
            row: Vec::new(),
        }
    }

    /// A row, of ascending columns, after the inner matrix: its entries by ascending column, and
    /// its offset.
    pub(crate) fn row(&mut self, entries: &[(usize, f64)], offset: f64) -> (&[(usize, f64)], f64) {
        self.row.clear();
        let mut bias = offset;
        let entries = entries.iter().filter(|(_, value)| *value != 0.0);
        for (middle, outer) in entries.copied() {
            bias += outer * self.inner.bias[middle];
            if self.is_selection {
                let terms = self.inner.row(middle);
                self.row
                    .extend(terms.map(|(column, inner)| (column, outer * inner)));
                continue;
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn matrix(columns: usize, rows: &[(&[(usize, f64)], f64)]) -> AffineMatrix {
        let mut matrix = AffineMatrix::with_columns(columns);
        for (entries, bias) in rows {
            matrix.push_row(entries, *bias);
        }
        matrix
    }

    fn product(outer: &AffineMatrix, inner: &AffineMatrix) -> AffineMatrix {
        let mut product = AffineMatrix::with_columns(inner.columns());
        let mut multiply = RowProduct::new(inner);
        for row in 0..outer.rows() {
            let entries: Vec<(usize, f64)> = outer.row(row).collect();
            let (entries, bias) = multiply.row(&entries, outer.bias[row]);
            product.push_row(entries, bias);
        }
        product
    }

    /// `outer` after `inner`, whose rows come one by one.
    fn selected(outer: &AffineMatrix, inner: &AffineMatrix) -> AffineMatrix {
        let mut product = AffineMatrix::with_columns(inner.columns());
        let mut selection = Selection::of(outer).expect("the matrix selects");
        let mut show = |entries: &[(usize, f64)], bias: f64| product.push_row(entries, bias);
        for row in 0..inner.rows() {
            let entries: Vec<(usize, f64)> = inner.row(row).collect();
            selection.row(&entries, inner.bias[row], &mut show);
        }
        selection.end(&mut show);
        product
    }

    /// Entry by entry.
    fn naive(outer: &AffineMatrix, inner: &AffineMatrix) -> AffineMatrix {
        let mut product = AffineMatrix::with_columns(inner.columns());
        for row in 0..outer.rows() {
            let mut sums = vec![0.0; inner.columns()];
            let mut bias = outer.bias[row];
            for (middle, factor) in outer.row(row) {
                bias += factor * inner.bias[middle];
                inner
                    .row(middle)
                    .for_each(|(column, value)| sums[column] += factor * value);
            }
            let entries: Vec<(usize, f64)> = sums.into_iter().enumerate().collect();
            product.push_row(&entries, bias);
        }
        product
    }

    #[test]
    fn products_agree_whichever_way_they_are_taken() {
        let dense = matrix(
            4,
            &[
                (&[(0, 1.5), (2, -2.0)], 1.0),
                (&[(1, 0.5), (2, 2.0), (3, 1.0)], -0.25),
                (&[], 3.0),
                (&[(0, -1.5), (3, 4.0)], 0.0),
            ],
        );
        let selection = matrix(
            4,
            &[
                (&[], 0.5),
                (&[(0, 2.0)], 0.0),
                (&[(1, 1.0)], 0.0),
                (&[], 0.0),
                (&[(3, -1.0)], 0.25),
                (&[], 1.0),
            ],
        );
        assert_eq!(selected(&selection, &dense), naive(&selection, &dense));
        assert_eq!(product(&selection, &dense), naive(&selection, &dense));
        // Entries of 1.5 and −1.5 cancel.
        let sum = matrix(4, &[(&[(0, 1.0), (1, 1.0), (3, 1.0)], 0.0)]);
        assert_eq!(product(&sum, &dense), naive(&sum, &dense));
        let wide = matrix(
            6,
            &[(&[(0, 1.0), (2, 3.0), (4, 2.0)], 0.5), (&[(1, -1.0)], 0.0)],
        );
        assert_eq!(product(&wide, &selection), naive(&wide, &selection));
        assert!(Selection::of(&dense).is_none());
        let reversed = matrix(2, &[(&[(1, 1.0)], 0.0), (&[(0, 1.0)], 0.0)]);
        assert!(Selection::of(&reversed).is_none());
    }
}
