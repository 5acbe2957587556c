//! The program: it calls the library.

use std::process::ExitCode;

use records_gateway::app;

/// A request makes a few hundred small allocations on one thread and frees some of them on another.
/// This allocator needs half the instructions of the system's allocator for that (`tests/bench`).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    app::main()
}
