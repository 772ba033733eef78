//! What people read: a block for each scenario, with every figure.

use super::{
    scenario::Outcome,
    times::{PHASES, Spread, millis},
    verdict::ANOMALIES,
};

pub fn print(outcome: &Outcome) {
    let (verdict, times) = (&outcome.verdict, &outcome.times);
    let line = |name: &str, value: &str| println!("  {name:<22} {value}");
    println!("\n{} (seed {}): {}", outcome.name, outcome.seed, if outcome.passed() { "passed" } else { "FAILED" });
    line("load", &outcome.load);
    for note in &outcome.notes {
        line("", note);
    }
    let counts = format!(
        "{} sent, {} acked, {} stored; {} deliveries to {} members",
        verdict.attempted, verdict.acked, verdict.stored, verdict.seen, verdict.members
    );
    line("messages", &counts);
    if verdict.too_far_behind > 0 {
        line("", &format!("{} resets of members that were more than 500 events behind", verdict.too_far_behind));
    }
    let zero = verdict.found.is_empty();
    let names: Vec<_> =
        ANOMALIES.iter().map(|(name, _)| *name).filter(|name| !verdict.found.contains_key(name)).collect();
    line("anomalies", &format!("{}0 of {}", if zero { "none: " } else { "" }, names.join(", ")));
    for (name, promise) in ANOMALIES {
        let Some(finding) = verdict.found.get(name) else { continue };
        line(&format!("{} {name}", finding.count), promise);
        for example in &finding.examples {
            line("", &format!("- {example}"));
        }
    }
    let spreads = [
        ("ack from due", &times.ack),
        ("everywhere from ack", &times.everywhere),
        ("… on the same node", &times.same_node),
        ("… on other nodes", &times.cross_node),
    ];
    for (name, phases) in spreads {
        for (phase, spread) in PHASES.iter().zip(phases).filter(|(_, spread)| spread.count() > 0) {
            line(&format!("{name} ({phase})"), &spread.to_string());
        }
    }
    shown("… from the heal", &times.cross_from_heal);
    shown("clients back", &times.back);
    if !times.losses.is_empty() {
        let losses: Vec<_> = times.losses.iter().map(|(code, count)| format!("{count} by {code}")).collect();
        line("connections lost", &losses.join(", "));
    }
    if !times.refusals.is_empty() {
        let refusals: Vec<_> = times.refusals.iter().map(|(code, count)| format!("{count} by {code}")).collect();
        line("tries without an ack", &refusals.join(", "));
    }
    if !outcome.counted.is_empty() {
        let counted =
            outcome.counted.iter().map(|(name, count)| format!("{} {count}", name.trim_start_matches("hubbub_")));
        line("counted by the nodes", &counted.collect::<Vec<_>>().join(", "));
    }
    if let (Some(to_heal), Some((begin, end))) = (times.to_heal, times.fault) {
        line("time to heal", &format!("{}, after a fault of {}", millis(to_heal), millis(end - begin)));
    }
    let memory: Vec<_> =
        outcome.memory.iter().map(|(node, bytes)| format!("node{node} {} MiB", bytes / 1_048_576)).collect();
    line("memory at most", &memory.join(", "));
    for bound in &outcome.bounds {
        let kept = if bound.holds() { "kept" } else { "BROKEN" };
        line("bound", &format!("{}: {}: {kept}", bound.what, bound.compared()));
    }
    for failure in &outcome.failures {
        line("FAILURE", failure);
    }
    if !outcome.passed() {
        line("history", &outcome.history.display().to_string());
    }
}

/// A row for each run, as docs/reliability.md has them.
pub fn table(outcomes: &[Outcome]) {
    println!(
        "\n| scenario | messages, deliveries | ack p99 | across p99 | clients back p99 | bounds |\n|---|---|---|---|---|---|"
    );
    for Outcome { name, verdict, times, bounds, .. } in outcomes {
        let phase = usize::from(times.fault.is_some());
        let [ack, across] =
            [&times.ack, &times.cross_node].map(|spread| spread[phase].p99().map_or("–".to_owned(), millis));
        let back = times.back.p99().map_or("–".to_owned(), |p99| format!("{} ({})", millis(p99), times.back.count()));
        let bounds: Vec<_> = bounds.iter().map(|bound| format!("{} {}", bound.what, bound.compared())).collect();
        let (messages, deliveries) = (verdict.acked, verdict.seen);
        println!("| {name} | {messages}, {deliveries} | {ack} | {across} | {back} | {} |", bounds.join("; "));
    }
}

fn shown(name: &str, spread: &Spread) {
    if spread.count() > 0 {
        println!("  {name:<22} {spread}");
    }
}
