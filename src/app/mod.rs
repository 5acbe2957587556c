//! The program: assembled, run, reloaded, drained.

mod application;
mod auth;
mod background;
mod check_live;
mod connection;
mod error;
mod file_watcher;
mod ledger_commands;
mod listener;
mod live_schemas;
mod model_draft;
mod rehearsal;
mod reload;
pub mod sandbox;
mod store_metrics;
mod systems;
mod tls;
mod token_store;

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use crate::cli::{self, Cli, Command, Exit, LedgerCommand, ModelCommand};
use crate::config::Config;
use crate::transport::trace::Tracer;
use crate::{client, config, http, journal, telemetry};
use error::print_error;

pub use application::Application;
pub use error::StartError;

/// Runs the program, from its arguments to its exit code.
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
        Command::Serve { config, bind } => with_tracing(|tracer| application::serve_command(&config, bind, tracer)),
        Command::Sandbox { bind } => with_tracing(|tracer| sandbox::sandbox_command(bind, tracer)),
        Command::Check { config, live } => match cli::check(&config, store_error, &mut out, &mut err) {
            Exit::Success if live => check_live::check_live(&config),
            exit => exit,
        },
        Command::Model(ModelCommand::Draft { config, system, collection }) => {
            model_draft::draft_command(&config, &system, collection.as_deref())
        }
        Command::Openapi { config } => openapi_command(config.as_deref(), &mut out),
        Command::Client(command) => client::run(&command, &mut std::io::stdin(), &mut out, &mut err),
        Command::Completions { shell } => cli::completions(shell, &mut out),
        Command::HashKey => cli::hash_key(&mut std::io::stdin(), &mut out, &mut err),
        Command::Ledger(LedgerCommand::Verify { config, head }) => {
            ledger_commands::verify_command(&config, head.as_deref())
        }
        Command::Ledger(LedgerCommand::Export { config, until, to }) => {
            ledger_commands::export_command(&config, until, &to)
        }
        Command::Ledger(LedgerCommand::Cut { config, until, exported }) => {
            ledger_commands::cut_command(&config, until, &exported)
        }
    }
}

/// Why `serve` could not open the store.
fn store_error(config: &Config) -> Option<String> {
    let check = || actix_web::rt::System::new().block_on(journal::check_store(&config.store.url));
    config.store_path_error().or_else(|| check().err().map(|error| error.to_string()))
}

/// Prints the OpenAPI document, with the models of a configuration.
fn openapi_command(path: Option<&Path>, out: &mut dyn Write) -> Exit {
    let text = match path.map(config::load) {
        None => http::openapi_json(),
        Some(Ok(config)) => http::openapi_json_with(&config.models, &|name| config.vendor_of(name)),
        Some(Err(errors)) => {
            print_error(&errors);
            return Exit::UsageError;
        }
    };
    match write!(out, "{text}") {
        Ok(()) => Exit::Success,
        Err(_) => Exit::Failure,
    }
}

/// Runs a serving command, with tracing if the environment configures it.
fn with_tracing(serve: impl FnOnce(Option<Arc<Tracer>>) -> Exit) -> Exit {
    match Tracer::from_environment() {
        Ok(tracer) => serve(tracer),
        Err(error) => {
            print_error(&error);
            Exit::UsageError
        }
    }
}
