//! What is done to a process, and read of it, by its number.

use std::{fs, process::Command, time::Duration};

use tokio::time::sleep;

pub fn kill(signal: &str, pid: u32) {
    // It may have ended.
    drop(Command::new("kill").args([&format!("-{signal}"), &pid.to_string()]).output());
}

/// Stands still four fifths of the time.
pub async fn slow_down(pid: u32) {
    loop {
        kill("STOP", pid);
        sleep(Duration::from_millis(80)).await;
        kill("CONT", pid);
        sleep(Duration::from_millis(20)).await;
    }
}

/// How many files a process may have open; those that it has stay. Gives what it was.
pub fn limit_files(pid: u32, most: &str) -> String {
    let prlimit = |words: &[&str]| {
        let output = Command::new("prlimit").args(["--pid", &pid.to_string()]).args(words).output().unwrap();
        assert!(output.status.success(), "prlimit: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let before = prlimit(&["--nofile", "--raw", "--noheadings", "--output", "SOFT"]);
    prlimit(&[&format!("--nofile={most}:")]);
    before
}

/// Seconds that a process has used of the processors; by Linux's unit in /proc, a hundredth.
pub fn processor_time(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let after_name = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    let ticks: u32 = after_name.split(' ').skip(11).take(2).filter_map(|ticks| ticks.parse::<u32>().ok()).sum();
    f64::from(ticks) / 100.0
}
