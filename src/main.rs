//! The `hpasim` command: parse arguments, call the library, turn its answer into an exit code.

fn main() {}
