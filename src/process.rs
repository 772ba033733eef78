//! What a process has used, from Linux's /proc.

use std::{fs, time::Duration};

/// A process on this machine.
pub(crate) struct Process {
    pid: u32,
}

/// What it has used so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    /// Processor time of all its threads.
    pub(crate) cpu: Duration,
    /// Resident memory.
    pub(crate) resident_bytes: u64,
}

impl Process {
    /// `None` where there is no such process to be seen.
    pub(crate) fn new(pid: u32) -> Option<Self> {
        fs::exists(format!("/proc/{pid}/status")).unwrap_or(false).then_some(Self { pid })
    }

    pub(crate) fn usage(&self) -> Usage {
        Usage { cpu: self.cpu().unwrap_or_default(), resident_bytes: self.resident_bytes().unwrap_or_default() }
    }

    /// The first number of each thread's schedstat is its time on a processor in nanoseconds
    /// (<https://docs.kernel.org/scheduler/sched-stats.html>). The hub ends no threads while it runs.
    fn cpu(&self) -> Option<Duration> {
        let mut nanos = 0_u64;
        for thread in fs::read_dir(format!("/proc/{}/task", self.pid)).ok()? {
            let stat = fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
            nanos = nanos.saturating_add(stat.split_whitespace().next()?.parse().ok()?);
        }
        Some(Duration::from_nanos(nanos))
    }

    /// Resident memory.
    pub(crate) fn resident_bytes(&self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        let kibibytes: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
        Some(kibibytes.saturating_mul(1_024))
    }
}
