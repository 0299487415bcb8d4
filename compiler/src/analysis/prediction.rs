//! How long an inference takes, as far as a plan tells.

use std::fmt;
use std::time::Duration;

/// Seconds of one unit of [`CostModel`](super::cost::CostModel) on two threads with AVX-512 IFMA:
/// ResNet-20 for CIFAR-10 costs 444,874 units and takes 34 s on a Xeon of 2.9 GHz.
const IFMA: f64 = 7.6e-5;

/// The same with AVX2: 90 s on an EPYC (Zen 3) of 2.45 GHz, 185 s on a Xeon of 2.5 GHz.
const AVX2: [f64; 2] = [2.0e-4, 4.2e-4];

/// What one inference is predicted to take on two cores.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prediction {
    /// With AVX-512 IFMA.
    pub ifma: Duration,
    /// With AVX2, on a fast and on a slow machine.
    pub avx2: [Duration; 2],
}

impl Prediction {
    /// The time of a schedule of this cost, in limb transforms.
    pub fn of(cost: f64) -> Self {
        // A cost that is no number of seconds is that of no schedule.
        let seconds = |unit: f64| Duration::try_from_secs_f64(cost * unit).unwrap_or(Duration::MAX);
        Self {
            ifma: seconds(IFMA),
            avx2: AVX2.map(seconds),
        }
    }
}

/// A duration of two digits.
fn rounded(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    match seconds {
        ..10.0 => format!("{seconds:.1} s"),
        ..180.0 => format!("{seconds:.0} s"),
        ..10_800.0 => format!("{:.0} min", seconds / 60.0),
        _ => format!("{:.0} h", seconds / 3600.0),
    }
}

impl fmt::Display for Prediction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [fast, slow] = self.avx2.map(rounded);
        write!(
            f,
            "on two cores an inference takes about {} with AVX-512 IFMA, {fast} to {slow} with AVX2",
            rounded(self.ifma)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_two_digits() {
        let said = Prediction::of(444_874.0).to_string();
        let times = "about 34 s with AVX-512 IFMA, 89 s to 3 min with AVX2";
        assert!(said.ends_with(times), "{said}");
        assert!(
            Prediction::of(2000.0)
                .to_string()
                .contains("about 0.2 s with")
        );
        assert!(Prediction::of(1e9).to_string().contains("about 21 h with"));
        assert_eq!(Prediction::of(f64::INFINITY).ifma, Duration::MAX);
    }
}
