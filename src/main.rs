//! The program: reads its arguments and hands over to the library.

use std::process::ExitCode;

use records_gateway::app;

/// A request makes a few hundred small allocations on one thread and frees some of them on another; this allocator spends
/// half the instructions of the system's on that (`tests/bench`).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    app::main()
}
