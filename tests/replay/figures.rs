//! What a message and a delivery of it cost, as it was measured and as tests/replay/figures.json keeps it: for each kind of
//! processor, since they have different instructions. Pure but for that file.

use std::{collections::BTreeMap, fs, path::PathBuf};

use serde::{Deserialize, Serialize};

use crate::play::{MEMBERS, MESSAGES, Memory};

/// How far a figure may be from the one that is kept, in parts of it.
const TOLERANCE: f64 = 0.1;

/// What a part of the replay cost.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    pub instructions: u64,
    pub memory: Memory,
}

/// The cost of something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    pub instructions: f64,
    pub allocations: f64,
    pub bytes: f64,
}

/// What is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// With which compiler they were taken.
    pub rustc: String,
    /// A message, without its deliveries.
    pub message: Cost,
    /// A delivery of it to a member.
    pub delivery: Cost,
}

/// What can be compared: its name, how to get it, and a difference of no meaning.
type Figure = (&'static str, fn(&Figures) -> f64, f64);

const FIGURES: [Figure; 6] = [
    ("instructions a message", |figures| figures.message.instructions, 100.0),
    ("allocations a message", |figures| figures.message.allocations, 0.1),
    ("bytes allocated a message", |figures| figures.message.bytes, 10.0),
    ("instructions a delivery", |figures| figures.delivery.instructions, 5.0),
    ("allocations a delivery", |figures| figures.delivery.allocations, 0.05),
    ("bytes allocated a delivery", |figures| figures.delivery.bytes, 5.0),
];

impl Part {
    /// What each of its messages cost.
    fn a_message(self) -> Cost {
        let each = |sum: u64| f64::from(u32::try_from(sum / 1_000).unwrap()) * 1_000.0 / f64::from(MESSAGES);
        let count = |sum: usize| f64::from(u32::try_from(sum).unwrap()) / f64::from(MESSAGES);
        Cost {
            instructions: each(self.instructions),
            allocations: count(self.memory.allocations),
            bytes: count(self.memory.bytes),
        }
    }
}

impl Figures {
    /// From what the replay cost with each number of members.
    pub fn of(rustc: String, [few, many]: [Part; 2]) -> Self {
        let (few, many) = (few.a_message(), many.a_message());
        let members = MEMBERS.map(f64::from);
        // Where it is nothing, what else went on may make it less.
        let a_delivery = |cost: fn(Cost) -> f64| ((cost(many) - cost(few)) / (members[1] - members[0])).max(0.0);
        let delivery = Cost {
            instructions: round(a_delivery(|cost| cost.instructions)),
            allocations: round(a_delivery(|cost| cost.allocations)),
            bytes: round(a_delivery(|cost| cost.bytes)),
        };
        let message = Cost {
            instructions: round(few.instructions - members[0] * delivery.instructions),
            allocations: round(few.allocations - members[0] * delivery.allocations),
            bytes: round(few.bytes - members[0] * delivery.bytes),
        };
        Self { rustc, message, delivery }
    }

    /// What is kept for this kind of processor.
    pub fn kept() -> Result<Self, String> {
        let mut all = read()?;
        all.remove(arch()).ok_or_else(|| format!("nothing is kept for {}", arch()))
    }

    /// Keeps these instead.
    pub fn keep(&self) -> Result<(), String> {
        let mut all = read().unwrap_or_default();
        all.insert(arch().to_owned(), self.clone());
        let text = serde_json::to_string_pretty(&all).map_err(|error| error.to_string())?;
        fs::write(path(), text + "\n").map_err(|error| format!("{}: {error}", path().display()))
    }

    /// A line for each figure beside what is kept, and how many are too far from that.
    pub fn compare(&self, kept: &Self) -> (Vec<String>, usize) {
        let mut off = 0;
        let line = |(name, figure, slack): Figure| {
            let (now, then) = (figure(self), figure(kept));
            let (verdict, why) = if (now - then).abs() <= slack.max(then.abs() * TOLERANCE) {
                ("as kept", "")
            } else if now > then {
                off += 1;
                ("OVER", "  more than 10 % worse")
            } else {
                off += 1;
                ("UNDER", "  better: keep the new figure with `cargo test --test replay -- --keep`")
            };
            // Of next to nothing no part is worth a word.
            let part = if then > slack { format!(", {:+.1} %", (now / then - 1.0) * 100.0) } else { String::new() };
            format!("{verdict:<8} {name:<26} {now:>10.2}, kept {then:>10.2}{part}{why}")
        };
        (FIGURES.map(line).to_vec(), off)
    }
}

fn round(figure: f64) -> f64 {
    (figure * 100.0).round() / 100.0
}

fn arch() -> &'static str {
    std::env::consts::ARCH
}

fn path() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "replay", "figures.json"].iter().collect()
}

fn read() -> Result<BTreeMap<String, Figures>, String> {
    let path = path();
    let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))
}
