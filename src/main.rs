//! The `hpasim` command: hands the arguments to the library and turns its answer into an exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    hpasim::cli::main(std::env::args_os())
}
