//! From a configured system to one that works.

use std::sync::Arc;

use crate::config::{OnLossyWrite, System as Configured};
use crate::gateway::{self, Policy, System};
use crate::metrics::Metrics;
use crate::record::Secret;
use crate::transport::{Stack, StackSettings};

use super::StartError;

/// The gateway's name in `Via` (RFC 9110 §7.6.3).
const VIA: &str = "records-gateway";

/// A system with the configuration it was built from.
pub(super) type Built = (Configured, Arc<System>);

/// Builds every configured system, in the order of the configuration. One that is among `running`, unchanged, goes on as it is,
/// with its connections, its token and its circuit.
pub(super) fn build(
    configured: &[Configured],
    running: &[Built],
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
    let built = (vendor.entry.build)(&vendor.settings);
    let adapter = built.map_err(|wrong| StartError::System(name.to_string(), wrong.to_string()))?;
    metrics.can_lose(index, adapter.profile().losses.iter().map(|loss| loss.name));
    let stack = Stack::new(&name, Arc::clone(&adapter) as _, &settings(configured), metrics)
        .map_err(|error| StartError::System(name.to_string(), error.to_string()))?;
    let installation = installation(configured).into();
    Ok(System { name, index, installation, adapter, stack: Arc::new(stack), policy: policy(configured) })
}

/// Where the data are. A key that was renewed does not change that; another tenant does.
fn installation(configured: &Configured) -> String {
    let vendor = &configured.vendor;
    let whose = vendor.those(|setting| setting.tells_whose).map(Secret::expose);
    gateway::installation([vendor.entry.vendor, &configured.base_url].into_iter().chain(whose))
}

fn settings(configured: &Configured) -> StackSettings {
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
        secrets: configured.vendor.those(|setting| setting.is_secret).cloned().collect(),
    }
}

fn policy(configured: &Configured) -> Policy {
    Policy {
        collection: configured.collection.clone(),
        require_if_match: configured.require_if_match,
        warn_on_loss: configured.on_lossy_write == OnLossyWrite::Warn,
        timeout: configured.limits.timeout,
        completion_timeout: configured.limits.completion_timeout,
        completion_poll: configured.limits.completion_poll,
    }
}
