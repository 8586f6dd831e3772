//! The front door: `OpenAI`'s API over every engine, port 8000.
//!
//! A request is read only as far as its `model`; the engine that serves it gets the same bytes, and its answer goes
//! back byte for byte as it comes. What engines there are is learnt beside the requests (`directory`), so no request
//! waits for another or for the registry. Only the paths in `endpoint` are forwarded.
//!
//! A client that goes away cancels its request at the engine at once: nobody reads those tokens, and the engine's slot
//! is wanted by others. (Finishing a turn for its record's sake is for whoever keeps sessions.)

mod api;
mod body;
mod config;
mod crisis;
mod directory;
mod endpoint;
mod fallback;
mod hold;
mod limits;
mod metrics;
mod models;
mod routing;
mod secret;
mod state;
mod upstream;
mod usage;

use remora_service::identity::KeyStoreError;
use remora_service::{Identity, Listener, Metrics, Service, ServiceName};
use thiserror::Error;

pub use config::{Config, EngineConfig, InvalidConfig};
pub use crisis::{CrisisConfig, InvalidCrisis};
pub use directory::InvalidNaming;
pub use fallback::{FallbackConfig, InvalidFallback, Reason, RemoteConfig, RemoteKind, RuleConfig};
pub use limits::{Class, LimitsConfig, PriorityRule};
pub use models::{Images, ModelConfig, Thoughts};
pub use secret::InvalidSecret;
pub use usage::UsageError;

use directory::{Directory, follow};
use metrics::GatewayMetrics;
use state::{GatewayState, Parts};
use usage::Usage;

/// Anthropic's own name for its key, as its SDKs read it.
const ANTHROPIC_API_KEY: &str = "ANTHROPIC_API_KEY";

/// A gateway that cannot start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The settings are wrong.
    #[error(transparent)]
    Config(#[from] InvalidConfig),
    /// The keys cannot be opened.
    #[error(transparent)]
    Keys(#[from] KeyStoreError),
    /// The usage file cannot be opened.
    #[error(transparent)]
    Usage(#[from] UsageError),
}

/// The gateway as a service, to be run by a [`remora_service::Process`].
pub async fn service(config: &Config, listener: Listener, identity: &Identity) -> Result<Service, StartError> {
    config.validate()?;
    let registry = Metrics::new();
    let metrics = GatewayMetrics::register(&registry);
    let directory = Directory::new(
        config.source(Some(identity.signer(ServiceName::ModelManager)))?,
        config.naming()?,
        metrics.clone(),
        config.connect_timeout(),
        config.limits.clone(),
    );
    let fallback = config.fallback(std::env::var(ANTHROPIC_API_KEY).ok().map(Into::into))?;
    fallback.announce();
    let usage = Usage::open(config.usage_file.as_deref(), config.usage_days, metrics.clone()).await?;
    let state = GatewayState::from(Parts {
        crisis: config.crisis(!fallback.is_off())?,
        fallback,
        hold: config.hold(metrics.held()),
        directory,
        metrics,
        patience: config.patience(),
        priorities: config.priorities(),
        models: config.models(),
        longest_wait: config.limits.wait(),
        body_limit: config.body_limit_bytes,
        keys: identity.key_store().await.transpose()?,
        audit: identity.audit(),
        usage: usage.clone(),
    });
    let (for_ready, for_status, for_task) = (state.clone(), state.clone(), state.clone());
    let mut service = Service::new("gateway", listener, api::routes().with_state(state))
        .identity(identity)
        .metrics(registry)
        .quiet()
        .per_core()
        .body_limit(config.body_limit_bytes)
        .ready(move || for_ready.directory.reasons())
        .details(move || for_status.directory.report())
        .task("engine directory", |stop| async move {
            follow(&for_task.directory, &stop).await;
            Ok(())
        })
        .task("usage", |stop| async move {
            usage.keep(stop).await;
            Ok(())
        });
    for prefix in api::IMITATED {
        service = service.dialect(prefix, api::openai);
    }
    Ok(service.dialect("/v1/messages", api::anthropic))
}
