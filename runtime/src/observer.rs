//! What a library tells whoever waits for it. The library prints nothing itself.

use std::fmt;

/// A computation that may take long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Activity {
    /// A client makes evaluation keys; counted in keys.
    MakingKeys,
    /// A server reads evaluation keys from a file; counted in keys.
    ReadingKeys,
    /// A server encodes the weights of a plan; counted in linear maps, biases and bootstraps.
    EncodingWeights,
    /// A server runs a plan on one image; counted in operations of the schedule.
    RunningPlan,
    /// A runner answers images; counted in images.
    AnsweringImages,
}

impl fmt::Display for Activity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::MakingKeys => "making evaluation keys",
            Self::ReadingKeys => "reading evaluation keys",
            Self::EncodingWeights => "encoding weights",
            Self::RunningPlan => "running the plan",
            Self::AnsweringImages => "images",
        })
    }
}

/// Follows long computations. Every method does nothing unless it is implemented; `()` implements
/// none.
///
/// Calls come from several threads.
pub trait Observer: Sync {
    /// A computation of `total` parts begins.
    fn begin(&self, activity: Activity, total: usize) {
        let _ = (activity, total);
    }

    /// One part is done.
    fn advance(&self, activity: Activity) {
        let _ = activity;
    }

    /// The computation ends, whether it succeeded or not.
    fn end(&self, activity: Activity) {
        let _ = activity;
    }
}

impl Observer for () {}

/// A computation that is under way: tells its observer of its parts, and of its end when dropped.
pub(crate) struct Observed<'a> {
    observer: &'a dyn Observer,
    activity: Activity,
}

impl<'a> Observed<'a> {
    pub(crate) fn begin(observer: &'a dyn Observer, activity: Activity, total: usize) -> Self {
        observer.begin(activity, total);
        Self { observer, activity }
    }

    pub(crate) fn advance(&self) {
        self.observer.advance(self.activity);
    }
}

impl Drop for Observed<'_> {
    fn drop(&mut self) {
        self.observer.end(self.activity);
    }
}
