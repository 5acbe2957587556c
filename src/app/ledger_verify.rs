//! `ledger verify`.

use std::io::Write as _;
use std::path::Path;

use super::error::print_error;
use crate::cli::Exit;
use crate::config;
use crate::journal;

/// Computes the hash chain again and prints its head. If an entry is broken, prints the first one
/// and exits with 1.
pub(super) fn verify_command(path: &Path, head: Option<&str>) -> Exit {
    let config = match config::load(path) {
        Ok(config) => config,
        Err(errors) => {
            print_error(&errors);
            return Exit::UsageError;
        }
    };
    let result = actix_web::rt::System::new().block_on(journal::verify_ledger(&config.store.url, head));
    match result {
        Ok(report) => {
            if let Some(broken) = &report.first_error {
                print_error(&format_args!("entry {} is broken: {}", broken.seq, broken.reason));
            } else if report.head_found == Some(false) {
                print_error(&format_args!("no entry has the hash {}", head.unwrap_or_default()));
            }
            if report.is_sound() && writeln!(std::io::stdout(), "{}", report.head).is_ok() {
                Exit::Success
            } else {
                Exit::Failure
            }
        }
        Err(error) => {
            print_error(&error);
            Exit::Failure
        }
    }
}
