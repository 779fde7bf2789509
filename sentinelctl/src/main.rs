//! The program `sentinelctl`: hands its arguments to the library and turns the outcome into an exit code. Nothing else.

use std::process::ExitCode;

fn main() -> ExitCode {
    sentinelctl::main()
}
