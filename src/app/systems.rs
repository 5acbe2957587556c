//! Builds the configured systems.

use std::sync::Arc;

use crate::catalog::Catalog;
use crate::config::SystemConfig;
use crate::journal::Journal;
use crate::metrics::Metrics;
use crate::record::Secret;
use crate::system::{System, tenant_fingerprint};
use crate::transport::TransportStack;
use crate::vendors::Settings;

use super::error::StartError;
use super::token_store::token_store;

/// A system with the configuration it was built from.
pub(super) type BuiltSystem = (SystemConfig, Arc<System>);

/// Builds every configured system, in the order of the configuration. An unchanged system among
/// `running` is kept, with its connections, its token and its circuit.
pub(super) fn build(
    configured: &[SystemConfig],
    running: &[BuiltSystem],
    journal: &Journal,
    metrics: &Arc<Metrics>,
) -> Result<Vec<Arc<System>>, StartError> {
    let build = |config: &SystemConfig| {
        // The content of the file of a private CA may have changed although its path has not.
        let reusable = running.iter().find(|(built, _)| built == config && config.stack.ca_certificate.is_none());
        match reusable {
            Some((_, system)) => Ok(Arc::clone(system)),
            None => build_one(config, journal, metrics).map(Arc::new),
        }
    };
    configured.iter().map(build).collect()
}

fn build_one(configured: &SystemConfig, journal: &Journal, metrics: &Arc<Metrics>) -> Result<System, StartError> {
    let name = configured.name.clone();
    let index = metrics
        .add(&name)
        .ok_or_else(|| StartError::System(name.to_string(), "there are too many systems".to_owned()))?;
    let vendor = &configured.vendor;
    let build = |settings: &Settings| {
        let built = (vendor.factory.build)(settings);
        built.map_err(|wrong| StartError::System(name.to_string(), wrong.to_string()))
    };
    let adapter = build(&vendor.settings)?;
    metrics.register_losses(index, adapter.capabilities().losses.iter().map(|loss| loss.name));
    let tokens = token_store(journal, &name);
    let second = vendor.second_settings.as_ref().map(build).transpose()?;
    let (first, second) = (Arc::clone(&adapter) as _, second.map(|adapter| adapter as _));
    let stack = TransportStack::with_second_secret(&name, first, second, &configured.stack, tokens, metrics)
        .map_err(|error| StartError::System(name.to_string(), error.to_string()))?;
    let transport = Arc::new(stack);
    let path = format!("/systems/{name}");
    let catalog = Catalog::new(&path, Arc::clone(&adapter), Arc::clone(&transport), configured.policy.schema_ttl);
    let tenant_fingerprint = system_tenant_fingerprint(configured).into();
    let key_expires = (vendor.factory.key_expires)(&vendor.settings);
    let policy = configured.policy.clone();
    Ok(System { name, index, tenant_fingerprint, adapter, transport, catalog, key_expires, policy })
}

/// Identifies whose data the system holds. A renewed key does not change it; another tenant does.
fn system_tenant_fingerprint(configured: &SystemConfig) -> String {
    let vendor = &configured.vendor;
    let whose = vendor.values_where(|setting| setting.identifies_tenant).map(Secret::expose);
    tenant_fingerprint([vendor.factory.vendor, &configured.stack.base_url].into_iter().chain(whose))
}
