//! The hub's binary: everything is in the library.

use std::process::ExitCode;

/// Half the memory for an idle session of what the system's needs, a twentieth less CPU (docs/performance.md), and it gives back
/// what a storm took.
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    hubbub::cli::run()
}
