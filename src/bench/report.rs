//! The figures, for people: what was asked, whether all of it arrived, how late, and what it cost the hub.

use std::{
    io::{self, Write},
    time::Duration,
};

use hdrhistogram::Histogram;

use super::{Plan, load::Tally};
use crate::process::Usage;

pub(super) struct Report<'a> {
    pub(super) plan: &'a Plan,
    pub(super) tally: Tally,
    pub(super) idle: Usage,
    pub(super) connected: Usage,
    pub(super) before: Usage,
    pub(super) after: Usage,
}

impl Report<'_> {
    /// Whether every message was stored and every member received each of them once, in order.
    pub(super) fn is_whole(&self) -> bool {
        let Tally { sent, acked, received, expected, wrong, refused, .. } = &self.tally;
        acked == sent && received == expected && *wrong == 0 && *refused == 0
    }

    pub(super) fn print(&self) -> io::Result<()> {
        let Self { plan, tally, idle, connected, before, after } = self;
        let connections = u64::from(plan.rooms).saturating_mul(u64::from(plan.members));
        let cpu = after.cpu.saturating_sub(before.cpu);
        let per = |count: u64| micros(cpu) / number(count.max(1));
        let mut out = io::stdout().lock();
        let pace = if plan.wait { "each waits for its own".to_owned() } else { format!("{} messages/s", plan.rate) };
        writeln!(
            out,
            "load       {} rooms x {} members, {} senders a room, {pace}, {} characters, {:.1} s",
            plan.rooms,
            plan.members,
            plan.senders,
            plan.body,
            tally.took.as_secs_f64()
        )?;
        writeln!(
            out,
            "stored     {} of {} sent ({:.0}/s), {} refused",
            tally.acked,
            tally.sent,
            number(tally.acked) / tally.took.as_secs_f64(),
            tally.refused
        )?;
        writeln!(
            out,
            "delivered  {} of {} ({:.0}/s), {} lost, {} doubled or out of order",
            tally.received,
            tally.expected,
            number(tally.received) / tally.took.as_secs_f64(),
            tally.expected.saturating_sub(tally.received),
            tally.wrong
        )?;
        writeln!(out, "delivery   {} from the time it was due", latencies(&tally.delivery))?;
        writeln!(out, "ack        {} from the time it was due", latencies(&tally.ack))?;
        writeln!(
            out,
            "hub cpu    {:.2} us a delivery, {:.1} us a stored message, {:.1} % of a core",
            per(tally.received),
            per(tally.acked),
            100.0 * cpu.as_secs_f64() / tally.took.as_secs_f64()
        )?;
        let opening = connected.cpu.saturating_sub(idle.cpu);
        let grown = connected.resident_bytes.saturating_sub(idle.resident_bytes);
        writeln!(
            out,
            "opening    {:.0} us of hub cpu a connection, {:.1} KB of resident memory",
            micros(opening) / number(connections),
            number(grown) / number(connections) / 1_024.0
        )?;
        writeln!(
            out,
            "memory     {:.1} MB before, {:.1} MB connected, {:.1} MB at the end",
            megabytes(idle.resident_bytes),
            megabytes(connected.resident_bytes),
            megabytes(after.resident_bytes)
        )
    }
}

fn latencies(histogram: &Histogram<u64>) -> String {
    let at = |quantile: f64| number(histogram.value_at_quantile(quantile)) / 1_000.0;
    let (p50, p99, p999) = (at(0.5), at(0.99), at(0.999));
    format!("p50 {p50:.2} ms, p99 {p99:.2} ms, p99.9 {p999:.2} ms, max {:.2} ms", number(histogram.max()) / 1_000.0)
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

fn megabytes(bytes: u64) -> f64 {
    number(bytes) / 1_048_576.0
}

#[expect(clippy::as_conversions, reason = "figures for people: a count above 2^53 may lose its last digit")]
fn number(count: u64) -> f64 {
    count as f64
}
