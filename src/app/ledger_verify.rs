//! `ledger verify`.

use std::io::Write as _;
use std::path::Path;

use super::print_error;
use crate::cli::Exit;
use crate::config::{self, StoreUrl};
use crate::store;

/// Computes the hash chain again and prints its head; 1 names the first broken entry.
pub(super) fn verify_command(path: &Path, head: Option<&str>) -> Exit {
    let config = match config::load(path) {
        Ok(config) => config,
        Err(faults) => {
            print_error(&faults);
            return Exit::UsageError;
        }
    };
    let url = match &config.store.url {
        StoreUrl::Sqlite(path) => format!("sqlite:{}", path.display()),
        StoreUrl::Postgres(url) => url.expose().to_owned(),
    };
    let verified = actix_web::rt::System::new().block_on(store::verify_ledger(&url, head));
    match verified {
        Ok(verified) => {
            if let Some(broken) = &verified.first_error {
                print_error(&format_args!("entry {} is broken: {}", broken.seq, broken.reason));
            } else if verified.head_found == Some(false) {
                print_error(&format_args!("no entry has the hash {}", head.unwrap_or_default()));
            }
            if verified.is_sound() && writeln!(std::io::stdout(), "{}", verified.head).is_ok() {
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
