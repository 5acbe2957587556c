//! `ledger verify`.

use std::io::Write as _;
use std::path::Path;

use super::complain;
use crate::cli::Exit;
use crate::config::{self, StoreUrl};
use crate::store;

/// Computes the hash chain again and prints its head; 1 names the first broken entry.
pub(super) fn verify(path: &Path, head: Option<&str>) -> Exit {
    let config = match config::load(path) {
        Ok(config) => config,
        Err(faults) => {
            complain(&faults);
            return Exit::Refused;
        }
    };
    let url = match &config.store.url {
        StoreUrl::Sqlite(path) => format!("sqlite:{}", path.display()),
        StoreUrl::Postgres(url) => url.expose().to_owned(),
    };
    let verified = actix_web::rt::System::new().block_on(store::verify_ledger(&url, head));
    match verified {
        Ok(verified) => {
            if let Some(broken) = &verified.broken {
                complain(&format_args!("entry {} is broken: {}", broken.seq, broken.why));
            } else if verified.head_known == Some(false) {
                complain(&format_args!("no entry has the hash {}", head.unwrap_or_default()));
            }
            if verified.is_sound() && writeln!(std::io::stdout(), "{}", verified.head).is_ok() {
                Exit::Done
            } else {
                Exit::Failed
            }
        }
        Err(error) => {
            complain(&error);
            Exit::Failed
        }
    }
}
