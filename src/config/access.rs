//! `[access]`: who may call, and what each caller may do.

use serde::Deserialize;

use super::caller::{CALLERS, CallerConfig, CallerLimits, read_callers};
use super::jwt::JwtConfig;
use super::spanned_value::SpannedValue;
use super::table_reader::TableReader;

const MODES: &str = "\"keys\", \"jwt\" or \"open\"";

/// `[access]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessConfig {
    /// Every caller may do everything.
    Open {
        /// Whether that is intended on an address that is not loopback, too.
        allow_open: bool,
        /// What all callers together may send.
        limits: CallerLimits,
    },
    /// Callers have keys.
    Keys(Vec<CallerConfig>),
    /// Callers have tokens of an issuer.
    Jwt(JwtConfig),
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Mode {
    Keys,
    Jwt,
    Open,
}

impl AccessConfig {
    /// `systems` are the names under `[systems]`, valid or not: naming a system that has an error
    /// is not an error.
    pub(super) fn read(table: TableReader<'_>, systems: &[&str]) -> Self {
        table.require(&[("mode", MODES)]);
        let mode: Option<Mode> = table.value("mode");
        let allow_open = table.value("allow_open").unwrap_or(false);
        let (callers, jwt) = (table.get("callers"), table.get("jwt"));
        let unused = match mode {
            Some(Mode::Open) => [callers.as_ref(), jwt.as_ref()],
            Some(Mode::Jwt) => [callers.as_ref(), None],
            Some(Mode::Keys) => [None, jwt.as_ref()],
            None => [None, None],
        };
        for value in unused.into_iter().flatten() {
            value.error("has no meaning in this mode", "another mode, or nothing here");
        }
        let limits = table.get("default_limits").map(|limits| CallerLimits::read(&limits)).unwrap_or_default();
        let access = match (mode, callers) {
            (Some(Mode::Open), _) => Self::Open { allow_open, limits },
            (Some(Mode::Jwt), _) => match read_jwt(&table, jwt.as_ref()) {
                Some(jwt) => Self::Jwt(JwtConfig { limits, ..jwt }),
                None => Self::Keys(Vec::new()),
            },
            (_, Some(callers)) => Self::Keys(read_callers(&callers, systems, limits)),
            (Some(Mode::Keys), None) => {
                table.require(&[("callers", CALLERS)]);
                Self::Keys(Vec::new())
            }
            (None, None) => Self::Keys(Vec::new()),
        };
        table.reject_unknown(|_| None);
        access
    }
}

fn read_jwt(table: &TableReader<'_>, jwt: Option<&SpannedValue<'_>>) -> Option<JwtConfig> {
    table.require(&[("jwt", JwtConfig::EXPECTED)]);
    JwtConfig::read(TableReader::of(jwt?, JwtConfig::EXPECTED)?)
}
