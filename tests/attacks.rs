//! What hostile clients can do to a hub, with its memory and its processor's time read from /proc. These measure, so they
//! are a program of their own, which runs its tests one after the other while nothing else runs.
#![expect(
    clippy::expect_used,
    clippy::needless_pass_by_value,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a test stops at the first thing that is not as it should be, and says what it measured"
)]

#[path = "attacks/decoders.rs"]
mod decoders;
#[path = "support/flood.rs"]
mod flood;
#[path = "attacks/floods.rs"]
mod floods;
#[path = "attacks/scene.rs"]
mod scene;
#[expect(dead_code, unused_imports, reason = "it is the hub's other tests' too")]
mod support;

/// Counts what this program allocates, for the decoders' tests.
#[global_allocator]
static MEMORY: peak_alloc::PeakAlloc = peak_alloc::PeakAlloc;

/// One test at a time.
static TURN: std::sync::Mutex<()> = std::sync::Mutex::new(());

fn alone() -> std::sync::MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
