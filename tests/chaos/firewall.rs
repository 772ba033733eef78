//! What is done to packets on the loopback, by nftables and by the kernel's own `ss -K`. The rules are in a table of their
//! own, which goes with the run. On the loopback everything comes in, whichever way it goes: one hook sees both directions.

use std::{
    io::Write,
    process::{Command, Stdio},
};

/// Of this process alone: several checkers may run side by side.
fn table() -> String {
    format!("inet hubbub_chaos_{}", std::process::id())
}

/// What becomes of the packets to and from a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Nothing arrives, and nobody is told.
    Blackhole,
    /// What is said to the port arrives, and no answer does.
    NoAnswers,
    /// Whoever says something to it is told that nobody listens.
    Reset,
    /// One packet in five is lost.
    Lossy,
}

/// From now on this becomes of what goes to and from this port.
pub fn set(port: &str, rule: Rule) {
    let rules = match rule {
        Rule::Blackhole => format!("tcp dport {port} drop\ntcp sport {port} drop"),
        Rule::NoAnswers => format!("tcp sport {port} drop"),
        Rule::Reset => format!("tcp dport {port} reject with tcp reset"),
        Rule::Lossy => {
            let lost = "numgen random mod 100 < 20 drop";
            format!("tcp dport {port} {lost}\ntcp sport {port} {lost}")
        }
    };
    let chain = format!("chain input {{ type filter hook input priority 0; policy accept;\n{rules}\n}}");
    nft(&format!("table {} {{\n{chain}\n}}\n", table())).unwrap_or_else(|error| panic!("{rule:?}: {error}"));
}

pub fn can_be_used() -> bool {
    nft(&without()).is_ok()
}

/// No rule of ours is left. Where there is none this does nothing.
pub fn lift() {
    drop(nft(&without()));
}

/// Tables of checkers that were killed.
pub fn lift_forgotten() {
    let Ok(listed) = Command::new("nft").args(["list", "tables"]).output() else { return };
    for line in String::from_utf8_lossy(&listed.stdout).lines() {
        let Some((_, pid)) = line.split_once("hubbub_chaos_") else { continue };
        if !std::path::Path::new("/proc").join(pid).exists() {
            drop(nft(&format!("delete table inet hubbub_chaos_{pid}\n")));
        }
    }
}

/// Makes the table first, so that there is one to delete.
fn without() -> String {
    let table = table();
    format!("table {table} {{ }}\ndelete table {table}\n")
}

fn nft(script: &str) -> Result<(), String> {
    let mut command = Command::new("nft");
    command.args(["-f", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| format!("nft (of the package nftables): {error}"))?;
    child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    if output.status.success() { Ok(()) } else { Err(format!("nft: {}", String::from_utf8_lossy(&output.stderr))) }
}

/// Ends the TCP connections to (`dport`) or from (`sport`) these ports, and says how many, or why not.
pub fn cut(end: &str, ports: &[String]) -> Result<usize, String> {
    let mut words = Vec::new();
    for port in ports {
        words.extend([if words.is_empty() { "(" } else { "or" }, end, "=", port]);
    }
    words.push(")");
    let output =
        Command::new("ss").args(["-K", "-H", "-t"]).args(words).output().map_err(|error| format!("ss: {error}"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).lines().count())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
    }
}
