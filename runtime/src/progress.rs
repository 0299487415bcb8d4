//! Progress on whatever takes longer than two seconds: a bar on a terminal, one line afterwards
//! elsewhere.

use std::io::IsTerminal;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Work shorter than this shows nothing.
const PATIENCE: Duration = Duration::from_secs(2);

/// Where progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Show {
    /// On standard error.
    Stderr,
    /// Nowhere.
    Nothing,
}

/// The progress of one stretch of work.
#[derive(Debug)]
pub struct Progress {
    what: String,
    show: Show,
    bar: ProgressBar,
    started: Instant,
    visible: Mutex<bool>,
}

impl Progress {
    /// Work of `total` equal parts; `what` is a phrase such as `encoding weights`.
    pub fn new(what: &str, total: usize, show: Show) -> Self {
        let bar = ProgressBar::with_draw_target(Some(total as u64), ProgressDrawTarget::hidden());
        if let Ok(style) =
            ProgressStyle::with_template("{msg} [{bar:30}] {pos}/{len} {elapsed}, {eta} left")
        {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_message(what.to_string());
        Self {
            what: what.into(),
            show,
            bar,
            started: Instant::now(),
            visible: Mutex::new(false),
        }
    }

    /// Counts one part as done.
    pub fn step(&self) {
        self.bar.inc(1);
        if self.show == Show::Nothing || self.started.elapsed() < PATIENCE {
            return;
        }
        let mut visible = self
            .visible
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
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
        if self.show == Show::Stderr && elapsed >= PATIENCE {
            let line = format!("{}: {:.1} s\n", self.what, elapsed.as_secs_f64());
            // A closed standard error is no reason to fail.
            let _ = std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes());
        }
    }
}
