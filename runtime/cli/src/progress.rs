//! Progress of the library's long computations on the terminal.

use std::sync::{Mutex, PoisonError};

use heddle_runtime::observer::{Activity, Observer};
use heddle_terminal::Progress;

/// One bar for each computation that is under way. Commands count images themselves: a command may
/// take several batches of them.
#[derive(Default)]
pub(super) struct Bars(Mutex<Vec<(Activity, Progress)>>);

impl Bars {
    fn with(&self, change: impl FnOnce(&mut Vec<(Activity, Progress)>)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Observer for Bars {
    fn begin(&self, activity: Activity, total: usize) {
        if activity != Activity::AnsweringImages {
            let progress = Progress::new(&activity.to_string(), total);
            self.with(|bars| bars.push((activity, progress)));
        }
    }

    fn advance(&self, activity: Activity) {
        self.with(|bars| {
            if let Some((_, bar)) = bars.iter().rev().find(|(shown, _)| *shown == activity) {
                bar.advance();
            }
        });
    }

    fn end(&self, activity: Activity) {
        self.with(|bars| {
            if let Some(at) = bars.iter().rposition(|(shown, _)| *shown == activity) {
                bars.remove(at);
            }
        });
    }
}
