//! What commands say about the machine that they ran on.

use std::fs;

use serde::Serialize;

/// The processor.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Machine {
    /// Its name, or the architecture where the system tells no name.
    pub(super) cpu: String,
    /// Threads that run at once.
    pub(super) cores: usize,
}

impl Machine {
    /// This machine.
    pub(super) fn this() -> Self {
        let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        Self {
            cpu: cpu_of(&info).unwrap_or_else(|| std::env::consts::ARCH.into()),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
        }
    }
}

/// The name in the text of `/proc/cpuinfo`, with family and model, since virtual machines hide the
/// rest.
fn cpu_of(info: &str) -> Option<String> {
    let field = |name: &str| {
        info.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            (key.trim() == name).then(|| value.trim().to_string())
        })
    };
    let name = field("model name")?;
    Some(match (field("cpu family"), field("model")) {
        (Some(family), Some(model)) => format!("{name} (family {family}, model {model})"),
        _ => name,
    })
}

/// The largest resident size of this process so far, where the system tells it.
pub(super) fn peak_rss_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kibibytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_are_named() {
        let info = "processor\t: 0\ncpu family\t: 6\nmodel\t\t: 207\nmodel name\t: Some Processor\n\nprocessor\t: 1\n";
        assert_eq!(
            cpu_of(info).as_deref(),
            Some("Some Processor (family 6, model 207)")
        );
        assert_eq!(cpu_of("model name : Other\n").as_deref(), Some("Other"));
        assert_eq!(cpu_of("CPU part : 0xd0c\n"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn peak_memory_is_known() {
        assert!(peak_rss_bytes().unwrap() > 1 << 20);
    }
}
