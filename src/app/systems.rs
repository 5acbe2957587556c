//! From a configured system to one that works.

use std::sync::Arc;

use crate::config::{OnLossyWrite, SystemConfig as Configured};
use crate::gateway::{self, System, SystemPolicy};
use crate::metrics::Metrics;
use crate::record::Secret;
use crate::transport::{StackSettings, TransportStack};

use super::StartError;

/// The gateway's name in `Via` (RFC 9110 §7.6.3).
const VIA: &str = "records-gateway";

/// A system with the configuration it was built from.
pub(super) type BuiltSystem = (Configured, Arc<System>);

/// Builds every configured system, in the order of the configuration. One that is among `running`, unchanged, goes on as it is,
/// with its connections, its token and its circuit.
pub(super) fn build(
    configured: &[Configured],
    running: &[BuiltSystem],
    metrics: &Arc<Metrics>,
) -> Result<Vec<Arc<System>>, StartError> {
    let build = |wanted: &Configured| {
        // What is in the file of a private CA may have changed though its path has not.
        let goes_on = running.iter().find(|(built, _)| built == wanted && wanted.ca_certificate.is_none());
        match goes_on {
            Some((_, system)) => Ok(Arc::clone(system)),
            None => build_one(wanted, metrics).map(Arc::new),
        }
    };
    configured.iter().map(build).collect()
}

fn build_one(configured: &Configured, metrics: &Arc<Metrics>) -> Result<System, StartError> {
    let name = configured.name.clone();
    let index =
        metrics.add(&name).ok_or_else(|| StartError::System(name.to_string(), "there are too many".to_owned()))?;
    let vendor = &configured.vendor;
    let built = (vendor.factory.build)(&vendor.settings);
    let adapter = built.map_err(|wrong| StartError::System(name.to_string(), wrong.to_string()))?;
    metrics.register_losses(index, adapter.capabilities().losses.iter().map(|loss| loss.name));
    let stack = TransportStack::new(&name, Arc::clone(&adapter) as _, &stack_settings(configured), metrics)
        .map_err(|error| StartError::System(name.to_string(), error.to_string()))?;
    let installation = system_tenant_fingerprint(configured).into();
    Ok(System {
        name,
        index,
        tenant_fingerprint: installation,
        adapter,
        transport: Arc::new(stack),
        policy: system_policy(configured),
    })
}

/// Where the data are. A key that was renewed does not change that; another tenant does.
fn system_tenant_fingerprint(configured: &Configured) -> String {
    let vendor = &configured.vendor;
    let whose = vendor.values_where(|setting| setting.identifies_tenant).map(Secret::expose);
    gateway::tenant_fingerprint([vendor.factory.vendor, &configured.base_url].into_iter().chain(whose))
}

fn stack_settings(configured: &Configured) -> StackSettings {
    let limits = &configured.limits;
    StackSettings {
        base_url: configured.base_url.clone(),
        timeout: limits.timeout,
        connect_timeout: limits.connect_timeout,
        keep_alive: StackSettings::KEEP_ALIVE,
        max_in_flight: limits.max_in_flight,
        max_queue: limits.max_queue,
        rate_limit: limits.rate_limit.unwrap_or(0),
        retries: limits.retries,
        retry_backoff: limits.retry_backoff,
        circuit_failures: limits.circuit_failures,
        circuit_open_for: limits.circuit_open_for,
        token_refresh_ahead: limits.token_refresh_ahead,
        max_vendor_body: limits.max_vendor_body,
        ca_certificate: configured.ca_certificate.clone(),
        via: VIA.to_owned(),
        secrets: configured.vendor.values_where(|setting| setting.is_secret).cloned().collect(),
    }
}

fn system_policy(configured: &Configured) -> SystemPolicy {
    SystemPolicy {
        collection: configured.collection.clone(),
        require_if_match: configured.require_if_match,
        warn_on_loss: configured.on_lossy_write == OnLossyWrite::Warn,
        timeout: configured.limits.timeout,
        completion_timeout: configured.limits.completion_timeout,
        completion_poll: configured.limits.completion_poll,
    }
}
