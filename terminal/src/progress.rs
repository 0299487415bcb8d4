//! Progress of long computations.

use std::io::IsTerminal;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A shorter computation shows no progress.
const PATIENCE: Duration = Duration::from_secs(2);

/// The progress of one computation on standard error, once it has taken two seconds: a bar on a
/// terminal, elsewhere one line at the end.
pub struct Progress {
    what: String,
    bar: ProgressBar,
    started: Instant,
    visible: Mutex<bool>,
}

impl Progress {
    /// A computation of `total` parts begins.
    pub fn new(what: &str, total: usize) -> Self {
        let bar = ProgressBar::with_draw_target(Some(total as u64), ProgressDrawTarget::hidden());
        if let Ok(style) =
            ProgressStyle::with_template("{msg} [{bar:30}] {pos}/{len} {elapsed}, {eta} left")
        {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_message(what.to_string());
        Self {
            what: what.into(),
            bar,
            started: Instant::now(),
            visible: Mutex::new(false),
        }
    }

    /// One part is done.
    pub fn advance(&self) {
        self.bar.inc(1);
        if self.started.elapsed() < PATIENCE {
            return;
        }
        let mut visible = self.visible.lock().unwrap_or_else(PoisonError::into_inner);
        if !*visible && std::io::stderr().is_terminal() {
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
        *visible = true;
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
        let elapsed = self.started.elapsed();
        if elapsed >= PATIENCE {
            crate::say(&format!("{}: {:.1} s", self.what, elapsed.as_secs_f64()));
        }
    }
}

/// A computation of unknown length: a spinner on a terminal, nothing elsewhere.
pub struct Spinner(ProgressBar);

impl Spinner {
    /// The computation begins.
    pub fn new() -> Self {
        if !std::io::stderr().is_terminal() {
            return Self(ProgressBar::hidden());
        }
        let bar = ProgressBar::new_spinner();
        bar.set_style(ProgressStyle::default_spinner());
        bar.enable_steady_tick(Duration::from_millis(120));
        Self(bar)
    }

    /// Says what is being done now.
    pub fn say(&self, what: &str) {
        self.0.set_message(what.to_owned());
    }
}

impl Default for Spinner {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Spinner {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
