//! The figures of a work: for people, one a line with the earlier one beside it, and as JSON.

use std::{
    io::{self, Write},
    time::Duration,
};

use hdrhistogram::Histogram;
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::tally::Tally;

/// What came of one work.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Report {
    /// The scenario's name.
    pub(super) work: String,
    /// What was asked for, in words.
    pub(super) load: String,
    /// Whether every message was stored and every member received each of them once, in order.
    pub(super) whole: bool,
    /// Figures by name; the name ends with the unit.
    pub(super) figures: IndexMap<String, f64>,
}

impl Report {
    pub(super) fn new(work: &str, load: String) -> Self {
        Self { work: work.to_owned(), load, whole: true, figures: IndexMap::new() }
    }

    /// Adds a figure.
    pub(super) fn set(&mut self, name: &str, value: f64) {
        self.figures.insert(name.to_owned(), value);
    }

    /// Adds what was counted of a load and what the server used for it.
    pub(super) fn count(&mut self, tally: &Tally, cpu: Duration) {
        let seconds = tally.took.as_secs_f64();
        self.whole &= tally.is_whole();
        self.set("sent", number(tally.sent()));
        self.set("stored", number(tally.acked));
        self.set("refused", number(tally.refused));
        self.set("stored_per_s", number(tally.acked) / seconds);
        self.set("delivered", number(tally.received));
        self.set("delivered_per_s", number(tally.received) / seconds);
        self.set("lost", number(tally.expected.saturating_sub(tally.received)));
        self.set("doubled_or_out_of_order", number(tally.wrong));
        self.set("told_that_they_lag", number(tally.lagged));
        self.set("cpu_us_per_delivery", micros(cpu) / number(tally.received.max(1)));
        self.set("cpu_us_per_message", micros(cpu) / number(tally.acked.max(1)));
        self.set("cpu_percent", 100.0 * cpu.as_secs_f64() / seconds);
        self.set("delivered_per_cpu_s", number(tally.received) / cpu.as_secs_f64());
        self.set("stored_per_cpu_s", number(tally.acked) / cpu.as_secs_f64());
        for (class, histogram) in tally.delivery.iter().enumerate() {
            let name = if class == 0 { "delivery".to_owned() } else { format!("delivery_of_class_{class}") };
            self.latencies(&name, histogram);
        }
        self.latencies("ack", &tally.ack);
    }

    /// Adds percentiles, from the time at which a message was due.
    pub(super) fn latencies(&mut self, name: &str, histogram: &Histogram<u64>) {
        if histogram.is_empty() {
            return;
        }
        for (percentile, quantile) in [("p50", 0.5), ("p99", 0.99), ("p99_9", 0.999), ("max", 1.0)] {
            self.set(&format!("{name}_{percentile}_ms"), number(histogram.value_at_quantile(quantile)) / 1_000.0);
        }
    }

    pub(super) fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Prints it; `earlier` is lines of [`Report::json`], of which the last of the same work counts.
    pub(super) fn print(&self, earlier: Option<&str>) -> io::Result<()> {
        let mut earlier =
            earlier.into_iter().flat_map(str::lines).filter_map(|line| serde_json::from_str::<Self>(line).ok());
        let earlier = earlier.rfind(|report| report.work == self.work);
        let mut out = io::stdout().lock();
        writeln!(out, "{}: {}", self.work, self.load)?;
        for (name, value) in &self.figures {
            let before = earlier.as_ref().and_then(|earlier| earlier.figures.get(name));
            let compared = before.map(|before| format!("   was {}{}", shown(*before), change(*before, *value)));
            writeln!(out, "  {name:<32}{:>14}{}", shown(*value), compared.unwrap_or_default())?;
        }
        let verdict = if self.whole { "every message stored once, delivered once, in order" } else { "NOT WHOLE" };
        writeln!(out, "  {verdict}")
    }
}

fn change(before: f64, now: f64) -> String {
    if before == 0.0 { String::new() } else { format!(", {:+.1} %", 100.0 * (now / before - 1.0)) }
}

fn shown(value: f64) -> String {
    if value == value.trunc() || value.abs() >= 1_000.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}

pub(super) fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

#[expect(clippy::as_conversions, reason = "figures for people: a count above 2^53 may lose its last digit")]
pub(super) fn number(count: u64) -> f64 {
    count as f64
}
