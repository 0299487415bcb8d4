//! Progress, for whoever wants to show it. The compiler itself prints nothing.

use crate::pass::PassRecord;

/// Is told how a compilation gets on. All methods do nothing by default; `()` ignores everything.
pub trait Observer: Sync {
    /// A pass has run and its result was verified.
    fn pass_finished(&self, pass: &PassRecord) {
        let _ = pass;
    }

    /// `done` of `total` calibration images have been evaluated. Called from several threads, so
    /// that calls may overtake one another.
    fn images_calibrated(&self, done: usize, total: usize) {
        let _ = (done, total);
    }
}

impl Observer for () {}
