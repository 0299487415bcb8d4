//! Sets of distances modulo a power of two, a bit each.

/// A set of distances.
#[derive(Clone, Debug)]
pub(super) struct Distances {
    period: usize,
    words: Vec<u64>,
}

impl Distances {
    /// No distance yet; `period` is a power of two.
    pub(super) fn new(period: usize) -> Self {
        Self {
            period,
            words: vec![0; period.div_ceil(64)],
        }
    }

    /// Adds a distance below the period.
    pub(super) fn add(&mut self, distance: usize) {
        self.words[distance / 64] |= 1 << (distance % 64);
    }

    /// Adds every distance of another set plus `shift`, which is below the period.
    pub(super) fn add_shifted(&mut self, other: &Self, shift: usize) {
        if self.period < 64 {
            let ahead = other.words[0] << shift;
            let around = other.words[0] >> (self.period - shift);
            self.words[0] |= (ahead | around) & ((1 << self.period) - 1);
            return;
        }
        let (words, bits) = (shift / 64, shift % 64);
        let mask = self.words.len() - 1;
        for (index, word) in other.words.iter().enumerate() {
            self.words[(index + words) & mask] |= word << bits;
            if bits > 0 {
                self.words[(index + words + 1) & mask] |= word >> (64 - bits);
            }
        }
    }

    /// By distance: whether it is in the set.
    pub(super) fn present(&self) -> Vec<bool> {
        let is_set = |distance: usize| self.words[distance / 64] >> (distance % 64) & 1 == 1;
        (0..self.period).map(is_set).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shifted_sets_wrap_around() {
        for period in [1, 2, 16, 64, 256] {
            for shift in (0..period).step_by(7) {
                let mut set = Distances::new(period);
                for distance in (0..period).step_by(5) {
                    set.add(distance);
                }
                let mut shifted = Distances::new(period);
                shifted.add(shift);
                shifted.add_shifted(&set, shift);
                let mut expected = vec![false; period];
                for distance in (0..period).step_by(5) {
                    expected[(distance + shift) % period] = true;
                }
                assert_eq!(
                    shifted.present(),
                    expected,
                    "period {period}, shift {shift}"
                );
            }
        }
    }
}
