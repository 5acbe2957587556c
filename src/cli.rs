//! The command line.
//!
//! [`parse`] turns the arguments into a [`Cli`]. Commands that need no running gateway are
//! functions here; they write to the given writers and return an [`Exit`].

mod client_args;
mod exit;
mod hash_key;

use std::ffi::OsString;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use clap::{CommandFactory as _, Parser, Subcommand};
use clap_complete::Shell;

pub use self::client_args::{ClientCommand, Connection, Preconditions, RecordAddress, WriteOptions};
pub use self::exit::Exit;
pub use self::hash_key::hash_key;
use crate::config::{self, Config};
use crate::record::parse_time;
use crate::telemetry::LogFormat;

/// The version, and the revision that it was built from.
static VERSION: LazyLock<String> = LazyLock::new(|| {
    let revision = option_env!("GIT_REVISION").unwrap_or("unknown");
    format!("{} (revision {revision})", env!("CARGO_PKG_VERSION"))
});

/// One way to read and change a record, whatever system holds it.
#[derive(Debug, Parser)]
#[command(name = "records-gateway", version = VERSION.as_str())]
pub struct Cli {
    /// The format of the log on standard error
    #[arg(long, global = true, value_enum, default_value_t, value_name = "FORMAT")]
    pub log_format: LogFormat,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the gateway
    Serve {
        /// The configuration file (TOML)
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// Listen on this address instead of `server.bind`
        #[arg(long, value_name = "IP:PORT")]
        bind: Option<SocketAddr>,
    },
    /// Run the gateway in front of the embedded fake vendors with sample records
    Sandbox {
        /// Listen on this address
        #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:8080")]
        bind: SocketAddr,
    },
    /// Validate a configuration and print everything that is wrong with it
    Check {
        /// The configuration file (TOML)
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// Also compare the models with the vendors' schemas
        #[arg(long)]
        live: bool,
    },
    /// Print the OpenAPI document
    Openapi {
        /// The configuration file (TOML) whose models the document describes
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Read a caller's key from standard input and print its key_sha256
    HashKey,
    /// Commands for models
    #[command(subcommand)]
    Model(ModelCommand),
    /// Commands for the ledger
    #[command(subcommand)]
    Ledger(LedgerCommand),
    /// Commands of the client.
    #[command(flatten)]
    Client(ClientCommand),
    /// Print a script that completes commands in a shell
    Completions {
        /// The shell
        #[arg(value_name = "SHELL", value_enum)]
        shell: Shell,
    },
}

/// The commands for models.
#[derive(Debug, Subcommand)]
pub enum ModelCommand {
    /// Print a commented model of a collection, made from the vendor's schema
    Draft {
        /// The configuration file (TOML)
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// The configured system
        #[arg(long, value_name = "NAME")]
        system: String,
        /// The collection; the configured one if it is left out
        #[arg(long, value_name = "NAME")]
        collection: Option<String>,
    },
}

/// The commands for the ledger.
#[derive(Debug, Subcommand)]
pub enum LedgerCommand {
    /// Compute the hash chain again and print its head
    Verify {
        /// The configuration file (TOML)
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// The hash of an entry that must exist: a head printed before
        #[arg(long, value_name = "HASH", value_parser = parse_hash)]
        head: Option<String>,
    },
    /// Write the entries before a time to a new file, as JSON lines with the head
    Export {
        /// The configuration file (TOML)
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// Only entries before this time
        #[arg(long, value_name = "RFC3339", value_parser = parse_until)]
        until: jiff::Timestamp,
        /// The file to write, which must not exist
        #[arg(long, value_name = "FILE")]
        to: PathBuf,
    },
    /// Remove the entries before a time that an export holds
    Cut {
        /// The configuration file (TOML)
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// Only entries before this time
        #[arg(long, value_name = "RFC3339", value_parser = parse_until)]
        until: jiff::Timestamp,
        /// The export, which is compared with the ledger first
        #[arg(long, value_name = "FILE")]
        exported: PathBuf,
    },
}

/// Parses the end of a period: a time with a zone.
fn parse_until(text: &str) -> Result<jiff::Timestamp, &'static str> {
    parse_time(text).ok_or("it must be a time with a zone, such as 2026-01-31T00:00:00Z")
}

/// Parses 64 hexadecimal digits; returns them in lower case.
fn parse_hash(text: &str) -> Result<String, String> {
    let mut bytes = [0; 32];
    const_hex::decode_to_slice(text, &mut bytes).map_err(|_| "expected 64 hexadecimal digits".to_owned())?;
    Ok(const_hex::encode(bytes))
}

/// Parses the command line, which starts with the program's name. Writes help and version to `out`
/// and errors to `err`.
///
/// # Errors
/// The exit: [`Exit::Success`] after help and version, [`Exit::UsageError`] after an error.
pub fn parse(
    arguments: impl IntoIterator<Item = impl Into<OsString> + Clone>,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Result<Cli, Exit> {
    Cli::try_parse_from(arguments).map_err(|error| {
        let (to, exit): (&mut dyn Write, Exit) =
            if error.use_stderr() { (&mut *err, Exit::UsageError) } else { (&mut *out, Exit::Success) };
        match write!(to, "{error}").and_then(|()| to.flush()) {
            Ok(()) => exit,
            Err(_) => Exit::Failure,
        }
    })
}

/// `check`: writes errors to `err`, one a line as `FILE:LINE:COLUMN: key.path: what is wrong;
/// valid: what would be`. Without errors it also reports why the store cannot be opened.
pub fn check(
    path: &Path,
    store_error: impl FnOnce(&Config) -> Option<String>,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Exit {
    let (exit, written) = match config::load(path) {
        Ok(config) => {
            if let Some(error) = store_error(&config) {
                let valid = "a file that can be opened or created, or a PostgreSQL database that can be reached, \
                             empty or of this version";
                (Exit::UsageError, writeln!(err, "{}: store.url: {error}; valid: {valid}", path.display()))
            } else {
                let systems = config.systems.len();
                (Exit::Success, writeln!(out, "{}: ok ({systems} system{})", path.display(), plural_suffix(systems)))
            }
        }
        Err(errors) => {
            let count = errors.errors.len();
            (Exit::UsageError, writeln!(err, "{errors}\n{}: {count} error{}", path.display(), plural_suffix(count)))
        }
    };
    written.map_or(Exit::Failure, |()| exit)
}

fn plural_suffix(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}

/// `completions`: prints the script for a shell.
pub fn completions(shell: Shell, out: &mut dyn Write) -> Exit {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "records-gateway", &mut script);
    out.write_all(&script).map_or(Exit::Failure, |()| Exit::Success)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_args(arguments: &[&str]) -> (Result<Cli, Exit>, String, String) {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let cli = parse(std::iter::once("records-gateway").chain(arguments.iter().copied()), &mut out, &mut err);
        (cli, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
    }

    fn run_hash_key(input: &[u8]) -> (Exit, String, String) {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let exit = hash_key(&mut &*input, &mut out, &mut err);
        (exit, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
    }

    #[test]
    fn every_documented_command_is_parsed() {
        let command = |arguments: &[&str]| parse_args(arguments).0.unwrap().command;
        assert!(matches!(command(&["serve", "--config", "a.toml"]), Command::Serve { bind: None, .. }));
        assert!(matches!(
            command(&["serve", "--config", "a.toml", "--bind", "0.0.0.0:0"]),
            Command::Serve { bind: Some(_), .. }
        ));
        let Command::Sandbox { bind } = command(&["sandbox"]) else { panic!("another command") };
        assert_eq!(bind.to_string(), "127.0.0.1:8080");
        assert!(matches!(command(&["check", "--config", "a.toml"]), Command::Check { .. }));
        assert!(matches!(command(&["openapi"]), Command::Openapi { config: None }));
        assert!(matches!(command(&["hash-key"]), Command::HashKey));
        let Command::Ledger(LedgerCommand::Verify { head, .. }) =
            command(&["ledger", "verify", "--config", "a.toml", "--head", &"AB".repeat(32)])
        else {
            panic!("another command")
        };
        assert_eq!(head, Some("ab".repeat(32)));
    }

    #[test]
    fn export_and_cut_need_a_time_and_a_file() {
        let until = ["--until", "2026-11-01T00:00:00Z"];
        for (command, file) in [("export", "--to"), ("cut", "--exported")] {
            let given = ["ledger", command, "--config", "a.toml", until[0], until[1], file, "a.jsonl"];
            assert!(parse_args(&given).0.is_ok(), "{command}");
            assert_eq!(parse_args(&given[..6]).0.err(), Some(Exit::UsageError), "{command}");
            let wrong = ["ledger", command, "--config", "a.toml", until[0], "yesterday", file, "a.jsonl"];
            assert_eq!(parse_args(&wrong).0.err(), Some(Exit::UsageError), "{command}");
        }
    }

    #[test]
    fn the_log_format_may_stand_before_and_after_the_command() {
        assert_eq!(parse_args(&["openapi"]).0.unwrap().log_format, LogFormat::Text);
        assert_eq!(parse_args(&["--log-format", "json", "openapi"]).0.unwrap().log_format, LogFormat::Json);
        assert_eq!(parse_args(&["openapi", "--log-format", "json"]).0.unwrap().log_format, LogFormat::Json);
    }

    #[test]
    fn invalid_arguments_exit_with_2_and_help_with_0() {
        for wrong in [
            &[][..],
            &["serve"],
            &["frobnicate"],
            &["sandbox", "--bind", "nowhere"],
            &["openapi", "--log-format", "xml"],
            &["ledger", "verify", "--config", "a.toml", "--head", "abc"],
        ] {
            let (cli, out, err) = parse_args(wrong);
            assert_eq!(cli.err(), Some(Exit::UsageError), "{wrong:?}");
            assert!(out.is_empty() && !err.is_empty(), "{wrong:?}");
        }
        let (cli, out, err) = parse_args(&["--help"]);
        assert_eq!(cli.err(), Some(Exit::Success));
        assert!(out.contains("hash-key") && err.is_empty());
    }

    #[test]
    fn a_key_is_hashed_without_its_one_newline() {
        let expected = "2c70e12b7a0646f92279f427c7b38e7334d8e5389cff167a1dc30e73f826b683\n";
        for input in [&b"key"[..], b"key\n", b"key\r\n"] {
            assert_eq!(run_hash_key(input), (Exit::Success, expected.to_owned(), String::new()));
        }
    }

    #[test]
    fn a_key_that_cannot_be_sent_is_rejected() {
        for input in [&b""[..], b"\n", b"two words", b"key\n\n", b"\xff", &[b'k'; 4097], &[b'k'; 9000]] {
            let (exit, out, err) = run_hash_key(input);
            assert_eq!((exit, out.as_str()), (Exit::UsageError, ""));
            assert!(!err.is_empty());
        }
    }

    #[test]
    fn a_missing_file_is_a_configuration_error() {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        assert_eq!(check(Path::new("/nowhere/at/all.toml"), |_| None, &mut out, &mut err), Exit::UsageError);
        let err = String::from_utf8(err).unwrap();
        assert!(err.starts_with("/nowhere/at/all.toml: cannot be read: "), "{err}");
        assert!(err.ends_with("/nowhere/at/all.toml: 1 error\n"), "{err}");
        assert!(out.is_empty());
    }

    #[test]
    fn check_prints_ok_to_stdout_and_errors_to_stderr() {
        let path = std::env::temp_dir().join(format!("records-gateway-{}.toml", uuid::Uuid::now_v7()));
        let good = "access.mode = 'open'\n[systems.a]\nvendor = 'matrix42'\nbase_url = 'https://a'\napi_token = 't'\n";
        let checked = |text: &str| {
            let (mut out, mut err) = (Vec::new(), Vec::new());
            std::fs::write(&path, text).unwrap();
            let exit = check(&path, Config::store_path_error, &mut out, &mut err);
            std::fs::remove_file(&path).unwrap();
            (exit, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
        };
        let name = path.display();
        assert_eq!(checked(good), (Exit::Success, format!("{name}: ok (1 system)\n"), String::new()));
        let (exit, out, err) = checked(&format!("{good}[store]\nurl = 'sqlite:/nowhere/at/all.db'\n"));
        assert_eq!((exit, out), (Exit::UsageError, String::new()));
        assert!(
            err.starts_with(&format!("{name}: store.url: /nowhere/at is not a folder that exists; valid: ")),
            "{err}"
        );
        let (exit, out, err) = checked(&format!("{good}retries = 99\ntimout = '1s'\n"));
        assert_eq!((exit, out), (Exit::UsageError, String::new()));
        let lines: Vec<_> = err.lines().collect();
        assert_eq!(lines.len(), 3, "{err}");
        let first = format!("{name}:6:11: systems.a.retries: is out of range; valid: a whole number from 0 to 10");
        assert_eq!(lines[0], first);
        assert!(
            lines[1].starts_with(&format!("{name}:7:1: systems.a.timout: is not a key of this table; did you mean"))
        );
        assert_eq!(lines[2], format!("{name}: 2 errors"));
    }
}
