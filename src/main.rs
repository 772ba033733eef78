//! The hub's binary: everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    hubbub::cli::run()
}
