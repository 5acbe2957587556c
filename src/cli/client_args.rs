//! The arguments of the client's commands.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// The commands that send requests to a running gateway.
#[derive(Debug, Subcommand)]
pub enum ClientCommand {
    /// Read a record from a gateway
    Get {
        /// The record.
        #[command(flatten)]
        record: RecordAddress,
        /// The gateway.
        #[command(flatten)]
        connection: Connection,
    },
    /// Read a page of records from a gateway
    List {
        /// The system's name
        #[arg(value_name = "SYSTEM")]
        system: String,
        /// The collection, where none is configured
        #[arg(long, value_name = "COLLECTION")]
        collection: Option<String>,
        /// At most this many records
        #[arg(long, value_name = "NUMBER")]
        limit: Option<u32>,
        /// `next` of the page before
        #[arg(long, value_name = "CURSOR")]
        cursor: Option<String>,
        /// The gateway.
        #[command(flatten)]
        connection: Connection,
    },
    /// Change a record: by -f, or by a merge patch or JSON Patch on standard input
    Patch {
        /// The record.
        #[command(flatten)]
        record: RecordAddress,
        /// A field's new value: JSON, else text; a name that begins with / is a JSON Pointer
        #[arg(short = 'f', long = "field", value_name = "FIELD=VALUE")]
        fields: Vec<String>,
        /// How it is written.
        #[command(flatten)]
        write: WriteOptions,
        /// The gateway.
        #[command(flatten)]
        connection: Connection,
    },
    /// Delete a record
    Delete {
        /// The record.
        #[command(flatten)]
        record: RecordAddress,
        /// How it is written.
        #[command(flatten)]
        write: WriteOptions,
        /// The gateway.
        #[command(flatten)]
        connection: Connection,
    },
    /// Show what a change would do, and change nothing
    Preview {
        /// The system's name
        #[arg(value_name = "SYSTEM")]
        system: String,
        /// The record's id; without it, standard input is a new record
        #[arg(value_name = "ID")]
        id: Option<String>,
        /// Show what deleting the record would do
        #[arg(long, requires = "id", conflicts_with = "fields")]
        delete: bool,
        /// A field's new value, as for `patch`
        #[arg(short = 'f', long = "field", value_name = "FIELD=VALUE")]
        fields: Vec<String>,
        /// The state that the change is for.
        #[command(flatten)]
        preconditions: Preconditions,
        /// The gateway.
        #[command(flatten)]
        connection: Connection,
    },
}

/// A record.
#[derive(Debug, Args)]
pub struct RecordAddress {
    /// The system's name
    #[arg(value_name = "SYSTEM")]
    pub system: String,
    /// The record's id
    #[arg(value_name = "ID")]
    pub id: String,
}

/// The gateway that a command talks to.
#[derive(Debug, Args)]
pub struct Connection {
    /// The gateway's address
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    pub url: String,
    /// The file with the caller's key or token; without it no credentials are sent
    #[arg(long, value_name = "FILE")]
    pub key_file: Option<PathBuf>,
    /// The PEM file of the gateway's private CA
    #[arg(long, value_name = "FILE")]
    pub ca_certificate: Option<PathBuf>,
}

/// The state of the record that a write is for.
#[derive(Debug, Args)]
pub struct Preconditions {
    /// Write only if the record has this ETag; * for any state
    #[arg(long, value_name = "TAG", conflicts_with = "if_match_current")]
    pub if_match: Option<String>,
    /// Read the record first, and write only if it has not changed since
    #[arg(long)]
    pub if_match_current: bool,
}

/// How a record is written.
#[derive(Debug, Args)]
pub struct WriteOptions {
    /// The state that the write is for.
    #[command(flatten)]
    pub preconditions: Preconditions,
    /// The losses to accept, as a `lossy-write` problem names them
    #[arg(long, value_name = "NAMES")]
    pub accept_loss: Option<String>,
    /// Identifies the write, so that it can be repeated safely
    #[arg(long, value_name = "KEY")]
    pub idempotency_key: Option<String>,
}
