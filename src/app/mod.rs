//! The program: put together, run, drained.

mod application;
mod auth;
mod background;
mod file_watcher;
mod ledger_verify;
mod listener;
mod plugs;
mod reload;
pub mod sandbox;
mod systems;
mod tls;

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;

use crate::cli::{self, Cli, Command, Exit, LedgerCommand};
use crate::transport::trace::Tracer;
use crate::{http, telemetry};

pub use application::{Application, StartError};

/// The whole program, from its arguments to its exit code.
#[must_use]
pub fn main() -> ExitCode {
    let (mut out, mut err) = (std::io::stdout(), std::io::stderr());
    match cli::parse(std::env::args_os(), &mut out, &mut err) {
        Ok(cli) => run(cli).into(),
        Err(exit) => exit.into(),
    }
}

fn run(cli: Cli) -> Exit {
    let (mut out, mut err) = (std::io::stdout(), std::io::stderr());
    if let Command::Serve { .. } | Command::Sandbox { .. } | Command::Ledger(_) = cli.command
        && let Err(error) = telemetry::start(cli.log_format)
    {
        let _ = writeln!(err, "{error}");
        return Exit::UsageError;
    }
    match cli.command {
        Command::Serve { config, bind } => with_tracing(|spans| application::serve_command(&config, bind, spans)),
        Command::Sandbox { bind } => with_tracing(|spans| sandbox::sandbox_command(bind, spans)),
        Command::Check { config } => cli::check(&config, &mut out, &mut err),
        Command::Openapi => match write!(out, "{}", http::openapi_json()) {
            Ok(()) => Exit::Success,
            Err(_) => Exit::Failure,
        },
        Command::HashKey => cli::hash_key(&mut std::io::stdin(), &mut out, &mut err),
        Command::Ledger(LedgerCommand::Verify { config, head }) => {
            ledger_verify::verify_command(&config, head.as_deref())
        }
    }
}

/// Runs what serves, with spans if the environment asks for them.
fn with_tracing(serve: impl FnOnce(Option<Arc<Tracer>>) -> Exit) -> Exit {
    match Tracer::from_environment() {
        Ok(spans) => serve(spans),
        Err(wrong) => {
            print_error(&wrong);
            Exit::UsageError
        }
    }
}

/// A fault of the start, told to the operator on standard error.
fn print_error(what: &dyn std::fmt::Display) {
    let _ = writeln!(std::io::stderr(), "{what}");
}
