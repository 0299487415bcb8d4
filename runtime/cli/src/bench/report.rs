//! What `heddle bench` prints.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::machine::Machine;

/// Seconds of some runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(super) struct Timing {
    pub(super) runs: usize,
    pub(super) median_seconds: f64,
    pub(super) least_seconds: f64,
    pub(super) most_seconds: f64,
}

impl Timing {
    /// The median and the spread; all zero for no runs.
    pub(super) fn of(mut seconds: Vec<f64>) -> Self {
        seconds.sort_by(f64::total_cmp);
        let runs = seconds.len();
        let (Some(&least_seconds), Some(&most_seconds)) = (seconds.first(), seconds.last()) else {
            return Self::default();
        };
        Self {
            runs,
            median_seconds: (seconds[(runs - 1) / 2] + seconds[runs / 2]) / 2.0,
            least_seconds,
            most_seconds,
        }
    }
}

/// One measured row.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Row {
    /// `operation/N/limbs/kernel`.
    pub(super) label: String,
    /// What the label leaves out.
    pub(super) what: &'static str,
    pub(super) threads: usize,
    #[serde(flatten)]
    pub(super) timing: Timing,
    /// Butterflies of the transforms in the timed run.
    pub(super) butterflies: u64,
    /// Bytes that move from and to memory in the timed run.
    #[serde(skip)]
    pub(super) bytes: Option<usize>,
    /// The least time that its butterflies can take on its threads, from
    /// [`Report::butterfly_seconds`].
    pub(super) transform_floor_seconds: Option<f64>,
    /// The least time to read its keys once, at the bandwidth of memory.
    pub(super) key_floor_seconds: Option<f64>,
    /// At the median, from and to memory.
    pub(super) bytes_per_second: Option<f64>,
    /// The memory of its keys.
    pub(super) key_bytes: Option<usize>,
    pub(super) log_slots: Option<u32>,
    /// `−log2` of the mean error of a slot.
    pub(super) mean_bits: Option<f64>,
    /// `−log2` of the largest error of a slot.
    pub(super) worst_bits: Option<f64>,
}

impl Row {
    /// A row on one thread, not measured yet.
    pub(super) fn new(label: String, what: &'static str) -> Self {
        Self {
            label,
            what,
            threads: 1,
            timing: Timing::default(),
            butterflies: 0,
            bytes: None,
            transform_floor_seconds: None,
            key_floor_seconds: None,
            bytes_per_second: None,
            key_bytes: None,
            log_slots: None,
            mean_bits: None,
            worst_bits: None,
        }
    }

    /// The row with its times and what follows from them.
    pub(super) fn measured(self, timing: Timing, butterflies: u64) -> Self {
        let median = timing.median_seconds;
        Self {
            timing,
            butterflies,
            bytes_per_second: self.bytes.map(|bytes| bytes as f64 / median),
            ..self
        }
    }

    /// The row with its floors, the least times on this machine: `butterfly` are the seconds of one
    /// butterfly in cache on one thread, `bandwidth` the bytes per second of all threads.
    pub(super) fn with_floors(self, butterfly: Option<f64>, bandwidth: Option<f64>) -> Self {
        let seconds = |butterfly| self.butterflies as f64 * butterfly / self.threads as f64;
        Self {
            transform_floor_seconds: butterfly.filter(|_| self.butterflies > 0).map(seconds),
            key_floor_seconds: (self.key_bytes.zip(bandwidth))
                .map(|(bytes, bandwidth)| bytes as f64 / bandwidth),
            ..self
        }
    }

    /// The last column.
    fn notes(&self) -> String {
        let mut notes = Vec::new();
        if let Some(seconds) = self.transform_floor_seconds {
            notes.push(format!("floor of its transforms {}", time(seconds)));
        }
        if let Some(seconds) = self.key_floor_seconds {
            notes.push(format!("of reading its keys {}", time(seconds)));
        }
        if let Some(rate) = self.bytes_per_second {
            notes.push(format!("{:.1} GB/s", rate * 1e-9));
        }
        if let Some(log_slots) = self.log_slots {
            notes.push(format!("2^{log_slots} slots"));
        }
        if let (Some(mean), Some(worst)) = (self.mean_bits, self.worst_bits) {
            notes.push(format!("{mean:.1} bits mean, {worst:.1} worst"));
        }
        if let Some(bytes) = self.key_bytes {
            notes.push(format!("{} of keys", memory(bytes as u64)));
        }
        if !self.what.is_empty() {
            notes.push(self.what.into());
        }
        notes.join(", ")
    }
}

/// All rows, with what they depend on.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Report {
    pub(super) version: &'static str,
    #[serde(flatten)]
    pub(super) machine: Machine,
    /// The kernel of all rows that do not name another.
    pub(super) kernel: &'static str,
    pub(super) threads: usize,
    pub(super) repeat: usize,
    pub(super) log_n: u32,
    pub(super) log_qp: f64,
    pub(super) security_bits: f64,
    pub(super) insecure: bool,
    /// Seconds of one butterfly on one thread, of limbs that stay in cache, by kernel: the least of
    /// several runs. The floors of the rows follow from it.
    pub(super) butterfly_seconds: BTreeMap<&'static str, f64>,
    pub(super) rows: Vec<Row>,
    pub(super) peak_rss_bytes: Option<u64>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = |count: usize| if count == 1 { "" } else { "s" };
        writeln!(
            f,
            "{}, {} core{}; kernel {}, {} thread{}",
            self.machine.cpu,
            self.machine.cores,
            plural(self.machine.cores),
            self.kernel,
            self.threads,
            plural(self.threads)
        )?;
        writeln!(
            f,
            "N = 2^{}, log2 QP = {:.0}, {}{:.1} bits of security; {} run{} per row after a first one",
            self.log_n,
            self.log_qp,
            if self.insecure { "INSECURE: " } else { "" },
            self.security_bits,
            self.repeat,
            plural(self.repeat)
        )?;
        for (kernel, seconds) in &self.butterfly_seconds {
            writeln!(
                f,
                "{:.3} ns per butterfly in cache, {kernel}",
                seconds * 1e9
            )?;
        }
        writeln!(f)?;
        let widths = self.rows.iter().map(|row| row.label.len());
        let width = widths.max().unwrap_or_default().max("row".len());
        writeln!(
            f,
            "{:<width$}  {:>10}  {:>10}  {:>10}",
            "row", "median", "least", "most"
        )?;
        for row in &self.rows {
            let timing = &row.timing;
            let line = format!(
                "{:<width$}  {:>10}  {:>10}  {:>10}  {}",
                row.label,
                time(timing.median_seconds),
                time(timing.least_seconds),
                time(timing.most_seconds),
                row.notes()
            );
            writeln!(f, "{}", line.trim_end())?;
        }
        match self.peak_rss_bytes {
            Some(bytes) => write!(f, "\n{} of memory at peak", memory(bytes)),
            None => Ok(()),
        }
    }
}

/// Seconds in the unit that suits them.
fn time(seconds: f64) -> String {
    match seconds {
        1.0.. => format!("{seconds:.3} s"),
        1e-3..1.0 => format!("{:.2} ms", seconds * 1e3),
        1e-6..1e-3 => format!("{:.2} µs", seconds * 1e6),
        _ => format!("{:.1} ns", seconds * 1e9),
    }
}

fn memory(bytes: u64) -> String {
    match bytes {
        0..0x4000_0000 => format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20)),
        _ => format!("{:.2} GiB", bytes as f64 / f64::from(1 << 30)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timings_are_medians_with_their_spread() {
        let timing = Timing::of(vec![3.0, 1.0, 7.0]);
        assert_eq!((timing.runs, timing.median_seconds), (3, 3.0));
        assert_eq!((timing.least_seconds, timing.most_seconds), (1.0, 7.0));
        assert_eq!(Timing::of(vec![1.0, 2.0]).median_seconds, 1.5);
        assert_eq!(Timing::of(Vec::new()), Timing::default());
    }

    #[test]
    fn units_suit_their_values() {
        assert_eq!(time(1.2345), "1.234 s");
        assert_eq!(time(0.0123), "12.30 ms");
        assert_eq!(time(61.2e-6), "61.20 µs");
        assert_eq!(time(4.2e-9), "4.2 ns");
        assert_eq!(memory(3 << 19), "1.5 MiB");
        assert_eq!(memory(3 << 29), "1.50 GiB");
    }
}
