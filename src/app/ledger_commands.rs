//! The `ledger` commands.

use std::io::Write as _;
use std::path::Path;

use jiff::Timestamp;

use super::error::print_error;
use crate::cli::Exit;
use crate::config::{self, Config};
use crate::journal::{self, LedgerFileError};

/// `ledger verify`: computes the hash chain again and prints its head. If an entry is broken,
/// prints the first one and exits with 1.
pub(super) fn verify_command(path: &Path, head: Option<&str>) -> Exit {
    with_config(path, |config| {
        let verified = actix_web::rt::System::new().block_on(journal::verify_ledger(&config.store.url, head));
        match verified {
            Ok(report) => {
                if let Some(broken) = &report.first_error {
                    print_error(&format_args!("entry {} is broken: {}", broken.seq, broken.reason));
                } else if report.head_found == Some(false) {
                    print_error(&format_args!("no entry has the hash {}", head.unwrap_or_default()));
                }
                if report.is_sound() { print_line(&report.head) } else { Exit::Failure }
            }
            Err(error) => failure(&error),
        }
    })
}

/// `ledger export`: writes the entries before a time to a new file and prints its head.
pub(super) fn export_command(path: &Path, until: Timestamp, to: &Path) -> Exit {
    with_config(path, |config| {
        let exported = actix_web::rt::System::new().block_on(journal::export_ledger(&config.store.url, until, to));
        match exported {
            Ok(head) => print_line(&format!("{} {}", head.seq, head.hash)),
            Err(LedgerFileError::File(error)) => failure(&format_args!("{}: {error}", to.display())),
            Err(error) => failure(&error),
        }
    })
}

/// `ledger cut`: removes the entries before a time that the file holds, and prints the last of
/// them. A file of SQLite has one owner, so the gateway must not run; with PostgreSQL it may.
pub(super) fn cut_command(path: &Path, until: Timestamp, exported: &Path) -> Exit {
    with_config(path, |config| {
        let cut = actix_web::rt::System::new().block_on(journal::cut_ledger(config.store, until, exported));
        match cut {
            Ok(Some((seq, hash))) => print_line(&format!("{seq} {hash}")),
            Ok(None) => {
                print_error(&"nothing was removed: the export holds no entry before that time that is not needed");
                Exit::Success
            }
            Err(LedgerFileError::File(error)) => failure(&format_args!("{}: {error}", exported.display())),
            Err(error) => failure(&error),
        }
    })
}

fn with_config(path: &Path, run: impl FnOnce(Config) -> Exit) -> Exit {
    match config::load(path) {
        Ok(config) => run(config),
        Err(errors) => {
            print_error(&errors);
            Exit::UsageError
        }
    }
}

fn print_line(line: &str) -> Exit {
    writeln!(std::io::stdout(), "{line}").map_or(Exit::Failure, |()| Exit::Success)
}

fn failure(error: &dyn std::fmt::Display) -> Exit {
    print_error(error);
    Exit::Failure
}
