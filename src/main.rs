//! The hub's binary: everything is in the library, but for the allocator. The system's keeps what many threads gave back in
//! arenas of their own and asks the kernel again and again; this one holds less for an idle connection.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    hubbub::cli::run()
}
