//! Whether the hub's hot path costs what it did: instructions and allocations of a fixed replay, held against the figures in
//! tests/replay/figures.json. No clock is in it, so it says the same on a machine that is busy with others. Runs the replay in
//! processes of its own: once under valgrind, which counts instructions, and once without, since there the allocator counts.
//! `cargo test --test replay` compares; with `-- --keep` it keeps what it finds.
//!
//! Seen to fail with the hub broken so (scripts/mutants): the frames copied for each member.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a program for those who test, which stops at the first thing that is not as it should be"
)]

#[path = "replay/figures.rs"]
mod figures;
#[path = "replay/play.rs"]
mod play;
#[path = "replay/stage.rs"]
mod stage;

use std::{
    env, fs,
    io::ErrorKind,
    path::Path,
    process::{Command, ExitCode, Output},
};

use clap::Parser;

use figures::{Figures, Part};
use play::{MARK, Memory};

/// Runs of which the one that allocates least counts: what the hub does by its timers comes on top, more in one than in another.
const RUNS: usize = 3;

/// Holds what a message costs against what it cost.
#[derive(Parser)]
struct Arguments {
    /// Keep what is found in tests/replay/figures.json.
    #[arg(long)]
    keep: bool,
    /// Only run what is measured, and say what it allocated.
    #[arg(long, hide = true)]
    play: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.play {
        println!("{}", serde_json::to_string(&play::play()).unwrap());
        return ExitCode::SUCCESS;
    }
    match measure().and_then(|figures| judge(&figures, arguments.keep)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Says how the figures stand to those that are kept, and whether that is good.
fn judge(figures: &Figures, keep: bool) -> Result<bool, String> {
    let kept = match Figures::kept() {
        Ok(kept) => kept,
        // The first ones of this kind of processor.
        Err(_) if keep => figures.clone(),
        Err(error) => return Err(format!("{error}: keep the figures with `cargo test --test replay -- --keep`")),
    };
    let (lines, off) = figures.compare(&kept);
    println!("{}", lines.join("\n"));
    if keep {
        figures.keep()?;
        println!("kept, of {}", figures.rustc);
        return Ok(true);
    }
    if off > 0 && figures.rustc != kept.rustc {
        println!("the figures are kept of {}, this is {}", kept.rustc, figures.rustc);
    }
    println!("{} passed, {off} failed", lines.len() - off);
    Ok(off == 0)
}

fn measure() -> Result<Figures, String> {
    let this = env::current_exe().map_err(|error| error.to_string())?;
    let runs: Vec<_> = (0..RUNS).map(|_| allocated(&this)).collect::<Result<_, _>>()?;
    let [few, many] = counted(&this)?;
    let part = |part: usize, instructions| {
        let memory = runs.iter().map(|run| run[part]).min_by_key(|memory| memory.allocations);
        Part { instructions, memory: memory.unwrap_or_default() }
    };
    let rustc = run(Command::new("rustc").arg("--version"));
    let rustc = rustc.map_or_else(|_| "an unknown compiler".to_owned(), |said| text(&said.stdout));
    Ok(Figures::of(rustc, [part(0, few), part(1, many)]))
}

/// What the two parts of the replay allocate in a run.
fn allocated(this: &Path) -> Result<[Memory; 2], String> {
    let said = run(Command::new(this).arg("--play"))?.stdout;
    let marks: [Memory; 4] = serde_json::from_slice(&said).map_err(|error| format!("the replay said {error}"))?;
    let [few, many] = [&marks[..2], &marks[2..]].map(|marks| Memory {
        allocations: marks[1].allocations - marks[0].allocations,
        bytes: marks[1].bytes - marks[0].bytes,
    });
    Ok([few, many])
}

/// How many instructions the two parts of the replay are.
fn counted(this: &Path) -> Result<[u64; 2], String> {
    run(Command::new("valgrind").arg("--version"))?;
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let counted = folder.path().join("counted");
    // On one processor, or it is left to chance how often this thread and SQLite's wait for each other: 3 % of a message.
    let mut valgrind = Command::new("taskset");
    valgrind.args(["-c", &processor()?, "valgrind", "--quiet", "--tool=callgrind"]);
    valgrind.arg(format!("--callgrind-out-file={}", counted.display()));
    valgrind.arg(format!("--dump-before=*{MARK}*"));
    run(valgrind.arg(this).arg("--play"))?;
    // It numbers its files from 1 on; each has what was run since the mark before.
    Ok([instructions(&counted.with_extension("2"))?, instructions(&counted.with_extension("4"))?])
}

/// One that this process may use.
fn processor() -> Result<String, String> {
    let status = fs::read_to_string("/proc/self/status").map_err(|error| format!("/proc/self/status: {error}"))?;
    let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap_or_default();
    Ok(allowed.trim().chars().take_while(char::is_ascii_digit).collect())
}

/// The instructions that one of callgrind's files has.
fn instructions(file: &Path) -> Result<u64, String> {
    let counted = fs::read_to_string(file)
        .map_err(|error| format!("callgrind has not stopped at {MARK}: {}: {error}", file.display()))?;
    let sum = counted.lines().find_map(|line| line.strip_prefix("summary: ").or(line.strip_prefix("totals: ")));
    sum.and_then(|sum| sum.trim().parse().ok()).ok_or_else(|| format!("{} has no sum", file.display()))
}

fn run(command: &mut Command) -> Result<Output, String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| match error.kind() {
        ErrorKind::NotFound => format!("{program} is not installed: nothing is measured without it"),
        _ => format!("{program}: {error}"),
    })?;
    if output.status.success() {
        return Ok(output);
    }
    Err(format!("{program}: {}\n{}{}", output.status, text(&output.stdout), text(&output.stderr)))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim().to_owned()
}
