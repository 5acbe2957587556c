//! The configuration of every test: the sandbox's own, with what the test changes.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use records_gateway::app::sandbox;
use records_gateway::config::Config;
use records_gateway::record::{Secret, sha256};
use records_gateway::sandbox::Sandbox;
use records_gateway::vendors::{Adapter, AdapterFactory, BASE_URL, SettingFormat, find_vendor};
use toml::{Table, Value};

use super::FIXTURES;

pub(crate) const JWT_ISSUER: &str = "https://issuer.example/";
pub(crate) const JWT_AUDIENCE: &str = "records-gateway";

/// A configuration file in the making. Every method sets keys and hands the configuration on.
#[derive(Clone, Debug)]
pub(crate) struct TestConfig(Table);

impl TestConfig {
    /// A gateway on a free port, open to everybody, in front of these vendors.
    pub(crate) fn new(vendors: &Sandbox, folder: &Path) -> Self {
        let bind = SocketAddr::from(([127, 0, 0, 1], 0));
        let text = sandbox::configuration(vendors, bind, &folder.join("store.db").display().to_string());
        Self(text.parse().expect("the sandbox's configuration"))
    }

    /// A key of `[server]`.
    pub(crate) fn server(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.table("server").insert(key.to_owned(), value.into());
        self
    }

    /// A key of `[store]`.
    pub(crate) fn store(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.table("store").insert(key.to_owned(), value.into());
        self
    }

    /// The store is the SQLite database in this file.
    pub(crate) fn sqlite(self, file: &Path) -> Self {
        self.store("url", format!("sqlite:{}", file.display()))
    }

    /// A key of one system.
    pub(crate) fn system(mut self, system: &str, key: &str, value: impl Into<Value>) -> Self {
        table_in(self.table("systems"), system).insert(key.to_owned(), value.into());
        self
    }

    /// The same key of every system.
    pub(crate) fn every_system(mut self, key: &str, value: impl Into<Value>) -> Self {
        let value = value.into();
        for (_, system) in self.table("systems").iter_mut() {
            system.as_table_mut().expect("a system").insert(key.to_owned(), value.clone());
        }
        self
    }

    /// A table of this text, in place of the configuration's own.
    pub(crate) fn text_of(mut self, name: &str, text: &str) -> Self {
        let mut tables: Table = text.parse().expect("TOML");
        self.0.insert(name.to_owned(), tables.remove(name).expect("the table"));
        self
    }

    /// A system is configured under another name.
    pub(crate) fn rename_system(mut self, from: &str, to: &str) -> Self {
        let system = self.table("systems").remove(from).expect("a system");
        self.table("systems").insert(to.to_owned(), system);
        self
    }

    /// Every system is at the vendor's fake in this sandbox.
    pub(crate) fn vendors(self, vendors: &Sandbox) -> Self {
        let at = |config: Self, fixture: &&super::VendorFixture| {
            let config = config.system(fixture.system, "base_url", fixture.vendor(vendors).base_url());
            let mut keys = fixture.registration().settings.iter();
            match keys.find(|setting| setting.format == SettingFormat::SignInUrl) {
                Some(setting) => config.system(fixture.system, setting.key, fixture.vendor(vendors).base_url()),
                None => config,
            }
        };
        FIXTURES.iter().fold(self, at)
    }

    /// Callers are known by API keys: name, key and what the caller may do.
    pub(crate) fn api_keys(mut self, callers: &[(&str, &str, &str)]) -> Self {
        let caller = |(name, key, allow): &(&str, &str, &str)| {
            let digest = const_hex::encode(sha256([key.as_bytes()]));
            let entry = [("name", Value::from(*name)), ("key_sha256", digest.into()), ("allow", vec![*allow].into())];
            Value::Table(entry.map(|(name, value)| (name.to_owned(), value)).into_iter().collect())
        };
        let callers: Vec<Value> = callers.iter().map(caller).collect();
        let access = [("mode", Value::from("keys")), ("callers", callers.into())];
        self.0.insert("access".to_owned(), table_of(access));
        self
    }

    /// Every caller's digest is the key itself: a mistake of an operator.
    pub(crate) fn key_in_place_of_digest(mut self, key: &str) -> Self {
        for caller in self.table("access")["callers"].as_array_mut().expect("callers") {
            caller["key_sha256"] = key.into();
        }
        self
    }

    /// Callers present tokens of the test issuer, whose keys are at `jwks` (a path or a URL).
    pub(crate) fn jwt(mut self, jwks: &str) -> Self {
        let jwt = [("issuer", JWT_ISSUER), ("audience", JWT_AUDIENCE), ("jwks", jwks)];
        let jwt = table_of(jwt.map(|(name, value)| (name, Value::from(value))));
        self.0.insert("access".to_owned(), table_of([("mode", Value::from("jwt")), ("jwt", jwt)]));
        self
    }

    /// A key of one of those callers.
    pub(crate) fn caller(mut self, name: &str, key: &str, value: impl Into<Value>) -> Self {
        let callers = self.table("access")["callers"].as_array_mut().expect("callers");
        let caller = callers.iter_mut().find(|caller| caller["name"].as_str() == Some(name)).expect("a caller");
        caller.as_table_mut().expect("a table").insert(key.to_owned(), value.into());
        self
    }

    /// A key of `[metrics]`.
    pub(crate) fn metrics(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.table("metrics").insert(key.to_owned(), value.into());
        self
    }

    /// A key of `[access]`.
    pub(crate) fn access(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.table("access").insert(key.to_owned(), value.into());
        self
    }

    /// The vendor of each system.
    pub(crate) fn vendor_names(&self) -> Vec<String> {
        self.systems().map(|(_, system)| system["vendor"].as_str().expect("a vendor").to_owned()).collect()
    }

    /// The value of every key that the vendors' registry declares secret.
    pub(crate) fn vendor_secrets(&self) -> Vec<String> {
        self.systems().flat_map(|(_, system)| secrets_of(system)).collect()
    }

    /// The secrets of one system.
    pub(crate) fn secrets(&self, system: &str) -> Vec<String> {
        secrets_of(&self.0["systems"][system])
    }

    /// The adapter of one system.
    pub(crate) fn adapter(&self, system: &str) -> Arc<dyn Adapter> {
        let system = &self.0["systems"][system];
        let vendor = registration(system);
        let value = |key: &str| system.get(key).map(|value| value.as_str().expect("a text"));
        let settings = vendor
            .settings
            .iter()
            .filter_map(|setting| Some((setting.key, Secret::new(value(setting.key).or(setting.default)?))));
        let base_url = Secret::new(value(BASE_URL).expect("an address"));
        (vendor.build)(&settings.chain([(BASE_URL, base_url)]).collect()).expect("an adapter")
    }

    /// What the program would read from this file.
    pub(crate) fn parse(&self) -> Config {
        Config::parse(&self.text(), "test").unwrap_or_else(|errors| panic!("{errors}"))
    }

    /// The file's text.
    pub(crate) fn text(&self) -> String {
        self.0.to_string()
    }

    fn systems(&self) -> impl Iterator<Item = (&String, &Value)> {
        self.0["systems"].as_table().expect("systems").iter()
    }

    fn table(&mut self, name: &str) -> &mut Table {
        table_in(&mut self.0, name)
    }
}

fn table_in<'t>(parent: &'t mut Table, name: &str) -> &'t mut Table {
    let table = parent.entry(name).or_insert_with(|| Value::Table(Table::new()));
    table.as_table_mut().expect("a table")
}

fn table_of<const N: usize>(entries: [(&str, Value); N]) -> Value {
    Value::Table(entries.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

fn secrets_of(system: &Value) -> Vec<String> {
    let secrets = registration(system).settings.iter().filter(|setting| setting.is_secret);
    secrets.map(|setting| system[setting.key].as_str().expect("a secret").to_owned()).collect()
}

fn registration(system: &Value) -> &'static AdapterFactory {
    find_vendor(system["vendor"].as_str().expect("a vendor")).expect("a registered vendor")
}
