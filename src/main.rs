//! The program: reads its arguments and hands over to the library.

use std::process::ExitCode;

use records_gateway::app;

fn main() -> ExitCode {
    app::main()
}
