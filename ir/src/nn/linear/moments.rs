//! Means and deviations of channels, for ranges that no images tell.

/// Standard deviations between the mean and the bound. Activations have far heavier tails than a
/// normal distribution: CIFAR ResNets of 20 to 110 layers reach 11 to 13 deviations in 5,000 test
/// images. With 16 the bounds are about 1.6 times those from images.
pub const SIGMAS: f64 = 16.0;

/// Mean and standard deviation of every channel of a value.
#[derive(Clone, Debug, PartialEq)]
pub struct Moments {
    /// By channel.
    pub mean: Vec<f64>,
    /// By channel.
    pub deviation: Vec<f64>,
}

impl Moments {
    /// max |mean| + [`SIGMAS`]·σ over the channels.
    pub fn bound(&self) -> f64 {
        let channels = self.mean.iter().zip(&self.deviation);
        channels.fold(0.0_f64, |max, (mean, sigma)| max.max(reach(*mean, *sigma)))
    }

    /// `of` the means and `of` the deviations, for an operation that moves, drops or repeats
    /// channels.
    pub(super) fn rearranged(&self, of: impl Fn(&[f64]) -> Vec<f64>) -> Self {
        Self {
            mean: of(&self.mean),
            deviation: of(&self.deviation),
        }
    }
}

/// How far a value of this mean and deviation goes.
pub(super) fn reach(mean: f64, deviation: f64) -> f64 {
    mean.abs() + SIGMAS * deviation
}
