//! Exports spans to a collector over OTLP/HTTP, configured by the environment variables of the
//! OpenTelemetry specification.
//!
//! `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` or `OTEL_EXPORTER_OTLP_ENDPOINT` switches the export on.
//! Without one of them the export is off; no collector on localhost is assumed.
//! `OTEL_SDK_DISABLED=true` and `OTEL_TRACES_EXPORTER=none` switch it off.
//!
//! These variables are read as well:
//! `OTEL_EXPORTER_OTLP_[TRACES_]{PROTOCOL,HEADERS,TIMEOUT,CERTIFICATE}`, `OTEL_SERVICE_NAME`,
//! `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_TRACES_SAMPLER[_ARG]`, `OTEL_BSP_*`. Exports are not
//! compressed.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix_web::http::Uri;
use async_trait::async_trait;
use opentelemetry::KeyValue;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{BatchSpanProcessor, SpanData, SpanProcessor as _};

use super::sampling::Sampler;
use super::tracer::Tracer;
use crate::transport::client::{PostResponse, post};
use crate::transport::lock::lock;
use crate::transport::tls;

/// Defaults of the specification.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
const DEFAULT_SAMPLER: &str = "parentbased_always_on";

/// An environment variable that cannot be used (exit code 2).
///
/// The message omits the value: an endpoint may hold a password, and headers do.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{variable} cannot be used: {why}")]
pub struct OtelEnvError {
    variable: String,
    why: String,
}

/// The export settings from the environment.
#[derive(Debug)]
struct OtlpConfig {
    endpoint: String,
    protocol: Protocol,
    timeout: Duration,
    certificate: Option<String>,
    sampler: Sampler,
    /// Whether the environment sets the service name.
    has_service_name: bool,
}

impl Tracer {
    /// Creates a tracer that exports to the configured collector; `None` if none is configured.
    ///
    /// # Errors
    /// A variable that cannot be used.
    pub fn from_environment() -> Result<Option<Arc<Self>>, OtelEnvError> {
        match OtlpConfig::read(&|name| std::env::var(name).ok())? {
            Some(config) => config.build().map(Some),
            None => Ok(None),
        }
    }
}

fn parse_protocol(variable: &str, value: &str) -> Result<Protocol, OtelEnvError> {
    match value {
        "http/protobuf" => Ok(Protocol::HttpBinary),
        "http/json" => Ok(Protocol::HttpJson),
        _ => Err(env_error(variable, "valid: http/protobuf (the default) or http/json; gRPC is not supported")),
    }
}

fn read_sampler(get: &dyn Fn(&str) -> Option<String>) -> Result<Sampler, OtelEnvError> {
    let (name, argument) = (get("OTEL_TRACES_SAMPLER"), get("OTEL_TRACES_SAMPLER_ARG"));
    let sampler = Sampler::from_env_name(name.as_deref().unwrap_or(DEFAULT_SAMPLER), argument.as_deref());
    sampler.ok_or_else(|| {
        let why = format!("valid: {}; a ratio in OTEL_TRACES_SAMPLER_ARG is a number from 0 to 1", Sampler::NAMES);
        env_error("OTEL_TRACES_SAMPLER", &why)
    })
}

impl OtlpConfig {
    /// Reads the variables. An empty one counts as unset.
    fn read(environment: &dyn Fn(&str) -> Option<String>) -> Result<Option<Self>, OtelEnvError> {
        let get = |name: &str| environment(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
        // The variable that is specific to traces takes precedence.
        let variable_for_traces = |suffix: &str| {
            let names = [format!("OTEL_EXPORTER_OTLP_TRACES_{suffix}"), format!("OTEL_EXPORTER_OTLP_{suffix}")];
            names.into_iter().find_map(|name| get(&name).map(|value| (name, value)))
        };
        if get("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            return Ok(None);
        }
        match get("OTEL_TRACES_EXPORTER").as_deref() {
            None | Some("otlp") => {}
            Some("none") => return Ok(None),
            Some(_) => return Err(env_error("OTEL_TRACES_EXPORTER", "valid: otlp or none")),
        }
        let Some((variable, endpoint)) = variable_for_traces("ENDPOINT") else { return Ok(None) };
        check_endpoint(&variable, &endpoint)?;
        let is_traces_endpoint = variable.contains("_TRACES_");
        let endpoint =
            if is_traces_endpoint { endpoint } else { format!("{}/v1/traces", endpoint.trim_end_matches('/')) };
        let protocol = variable_for_traces("PROTOCOL").map(|(variable, value)| parse_protocol(&variable, &value));
        let protocol = protocol.transpose()?.unwrap_or(Protocol::HttpBinary);
        let timeout = match variable_for_traces("TIMEOUT") {
            None => DEFAULT_TIMEOUT,
            Some((variable, value)) => value
                .parse()
                .map(Duration::from_millis)
                .map_err(|_| env_error(&variable, "it is not a number of milliseconds"))?,
        };
        if let Some((variable, value)) = variable_for_traces("HEADERS")
            && !value.split(',').all(|pair| pair.trim().is_empty() || pair.contains('='))
        {
            return Err(env_error(&variable, "valid: NAME=VALUE, separated by commas"));
        }
        let sampler = read_sampler(&get)?;
        let has_service_name = get("OTEL_SERVICE_NAME").is_some()
            || get("OTEL_RESOURCE_ATTRIBUTES").is_some_and(|all| all.contains("service.name="));
        let certificate = variable_for_traces("CERTIFICATE").map(|(_, path)| path);
        Ok(Some(Self { endpoint, protocol, timeout, certificate, sampler, has_service_name }))
    }

    fn build(self) -> Result<Arc<Tracer>, OtelEnvError> {
        let build_error = |why: &dyn std::fmt::Display| env_error("OTEL_EXPORTER_OTLP_*", &why.to_string());
        let tls = if self.endpoint.starts_with("https:") {
            let certificate = self.certificate.as_deref().map(Path::new);
            Some(tls::client_config(certificate).map_err(|error| build_error(&error))?)
        } else {
            None
        };
        let failure = Arc::new(Mutex::new(None));
        let http_client = AwcHttpClient { tls, timeout: self.timeout, failure: Arc::clone(&failure) };
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(http_client)
            .with_endpoint(self.endpoint)
            .with_protocol(self.protocol)
            .with_timeout(self.timeout)
            .build()
            .map_err(|error| build_error(&error))?;
        let exporter = LoggingExporter { exporter, failure, failing: AtomicBool::new(false) };
        let mut processor = BatchSpanProcessor::builder(exporter).build();
        let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
        let resource = Resource::builder().with_attribute(version);
        let resource = if self.has_service_name { resource } else { resource.with_service_name("records-gateway") };
        processor.set_resource(&resource.build());
        Ok(Tracer::new(processor, self.sampler))
    }
}

fn env_error(variable: &str, why: &str) -> OtelEnvError {
    OtelEnvError { variable: variable.to_owned(), why: why.to_owned() }
}

fn check_endpoint(variable: &str, endpoint: &str) -> Result<(), OtelEnvError> {
    let uri: Option<Uri> = endpoint.parse().ok();
    let has_host = uri.as_ref().and_then(Uri::host).is_some_and(|host| !host.is_empty());
    let is_http = uri.as_ref().and_then(Uri::scheme_str).is_some_and(|scheme| scheme == "http" || scheme == "https");
    let has_user_info = uri.as_ref().and_then(Uri::authority).is_some_and(|authority| authority.as_str().contains('@'));
    if !(has_host && is_http) {
        return Err(env_error(variable, "it is not a URL such as http://127.0.0.1:4318"));
    }
    if has_user_info {
        return Err(env_error(variable, "it holds user information; send it in OTEL_EXPORTER_OTLP_HEADERS"));
    }
    Ok(())
}

/// The exporter's HTTP client. The batch processor calls it on its own thread and blocks meanwhile.
#[derive(Debug)]
struct AwcHttpClient {
    tls: Option<Arc<rustls::ClientConfig>>,
    timeout: Duration,
    /// Why the last export failed.
    failure: Arc<Mutex<Option<String>>>,
}

#[async_trait]
impl HttpClient for AwcHttpClient {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (head, body) = request.into_parts();
        let headers = head.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
        match post(&head.uri.to_string(), self.tls.as_ref(), headers, body, self.timeout) {
            Ok(PostResponse { status, retry_after, body }) => {
                let failure = (status >= 300).then(|| format!("the collector responds with {status}"));
                *lock(&self.failure) = failure;
                let mut response = Response::builder().status(status);
                if let Some(retry_after) = retry_after {
                    response = response.header("retry-after", retry_after);
                }
                Ok(response.body(body)?)
            }
            Err(why) => {
                *lock(&self.failure) = Some(why.clone());
                Err(why.into())
            }
        }
    }
}

/// Wraps the exporter and logs when exports begin to fail and when they work again.
#[derive(Debug)]
struct LoggingExporter {
    exporter: SpanExporter,
    failure: Arc<Mutex<Option<String>>>,
    failing: AtomicBool,
}

impl opentelemetry_sdk::trace::SpanExporter for LoggingExporter {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        let exported = self.exporter.export(batch).await;
        if self.failing.swap(exported.is_err(), Ordering::Relaxed) == exported.is_err() {
            return Ok(());
        }
        match exported {
            Ok(()) => tracing::info!("traces are exported again"),
            Err(error) => {
                let cause = lock(&self.failure).clone();
                tracing::warn!(%error, cause, spans, "traces cannot be exported; they are dropped until they can");
            }
        }
        Ok(())
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Option<OtlpConfig>, String> {
        let find =
            |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        OtlpConfig::read(&find).map_err(|error| error.to_string())
    }

    const ON: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318");

    #[test]
    fn export_is_off_without_an_endpoint_or_when_disabled() {
        for off in [
            &[][..],
            &[("OTEL_EXPORTER_OTLP_ENDPOINT", " ")],
            &[ON, ("OTEL_SDK_DISABLED", "TRUE")],
            &[ON, ("OTEL_TRACES_EXPORTER", "none")],
            &[("OTEL_SERVICE_NAME", "x")],
        ] {
            assert!(read(off).expect("nothing error").is_none(), "{off:?}");
        }
    }

    #[test]
    fn traces_variables_take_precedence_and_their_endpoint_is_used_as_is() {
        let config = read(&[ON, ("OTEL_EXPORTER_OTLP_TIMEOUT", "300")]).expect("well").expect("on");
        assert_eq!(config.endpoint, "http://127.0.0.1:4318/v1/traces");
        assert_eq!(
            (config.protocol, config.timeout, config.has_service_name),
            (Protocol::HttpBinary, Duration::from_millis(300), false)
        );
        let more = [
            ON,
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://collector.example/own"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json"),
            ("OTEL_RESOURCE_ATTRIBUTES", "service.name=mine"),
        ];
        let config = read(&more).expect("well").expect("on");
        assert_eq!(config.endpoint, "https://collector.example/own");
        assert_eq!((config.protocol, config.has_service_name), (Protocol::HttpJson, true));
    }

    #[test]
    fn an_invalid_variable_is_named_without_its_value() {
        for (name, value) in [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "ftp://collector"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://me:secret@collector"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "no-value"),
            ("OTEL_TRACES_SAMPLER", "sometimes"),
            ("OTEL_TRACES_EXPORTER", "zipkin"),
        ] {
            let others = [ON].into_iter().filter(|(on, _)| *on != name);
            let all: Vec<_> = others.chain([(name, value)]).collect();
            let error = read(&all).expect_err(value);
            assert!(error.starts_with(&format!("{name} cannot be used: ")) && !error.contains(value), "{error}");
        }
    }
}
