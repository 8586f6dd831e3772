//! What is counted: per model and engine, with names that engines serve and never names that clients send.
//!
//! Handles are looked up when the directory changes, not per request.

use std::time::Duration;

use http::StatusCode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use remora_service::Metrics;
use remora_types::{EngineId, ModelId};

use crate::fallback::Reason;
use crate::limits::Class;
use crate::usage::Counters;

/// Upper bounds of the first-byte buckets, in seconds: from a cached embedding to a long prompt in a long queue.
const BUCKETS: [f64; 14] = [0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0];

/// How a request that was given to an engine ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum Outcome {
    /// Answered whole, with a status below 400.
    Ok,
    /// Answered with 4xx.
    ClientError,
    /// Answered with 5xx, or with a refusal of the gateway's own key.
    ServerError,
    /// The engine could not be connected to.
    Unreachable,
    /// The engine broke off.
    Broken,
    /// The engine was silent for too long.
    Timeout,
    /// The client went away.
    Cancelled,
}

impl Outcome {
    const ALL: [Self; 7] = [
        Self::Ok,
        Self::ClientError,
        Self::ServerError,
        Self::Unreachable,
        Self::Broken,
        Self::Timeout,
        Self::Cancelled,
    ];

    /// The outcome of an answer with this status, once it is whole.
    #[must_use]
    pub(crate) fn of(status: StatusCode) -> Self {
        match status.as_u16() {
            500.. => Self::ServerError,
            400..=499 => Self::ClientError,
            _ => Self::Ok,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    model: String,
    engine: String,
    outcome: Outcome,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfferLabels {
    model: String,
    engine: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AccountLabels {
    caller: String,
    model: String,
}

/// What kind of tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
enum TokenKind {
    Prompt,
    Cached,
    Completion,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TokenLabels {
    caller: String,
    model: String,
    kind: TokenKind,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EngineLabels {
    engine: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ClassLabels {
    class: Class,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RefusalLabels {
    code: String,
}

/// The gateway's own metrics.
#[derive(Debug, Clone)]
pub(crate) struct GatewayMetrics {
    requests: Family<OutcomeLabels, Counter>,
    first_byte: Family<OfferLabels, Histogram, fn() -> Histogram>,
    first_token: Family<OfferLabels, Histogram, fn() -> Histogram>,
    between_tokens: Family<OfferLabels, Histogram, fn() -> Histogram>,
    by_caller: Family<AccountLabels, Counter>,
    tokens: Family<TokenLabels, Counter>,
    in_flight: Family<EngineLabels, Gauge>,
    ready: Family<EngineLabels, Gauge>,
    refused: Family<RefusalLabels, Counter>,
    held: Gauge,
    limits: Family<EngineLabels, Gauge>,
    open: Family<EngineLabels, Gauge>,
    openings: Family<EngineLabels, Counter>,
    queued: Family<ClassLabels, Gauge>,
    queue_time: Family<ClassLabels, Histogram, fn() -> Histogram>,
    fallbacks: Family<FallbackLabels, Counter>,
    remotes: Family<RemoteLabels, Counter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RemoteLabels {
    remote: String,
    outcome: Outcome,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FallbackLabels {
    route: String,
    reason: Reason,
}

/// Counts how requests to one remote end.
#[derive(Debug, Clone)]
pub(crate) struct RemoteMeter {
    outcomes: Family<RemoteLabels, Counter>,
    remote: String,
}

/// The handles of one model on one engine.
#[derive(Debug)]
pub(crate) struct Meter {
    outcomes: [Counter; Outcome::ALL.len()],
    pub(crate) first_byte: Histogram,
    pub(crate) pace: Pace,
}

/// How fast streamed answers come, in seconds.
#[derive(Debug, Clone)]
pub(crate) struct Pace {
    /// Until the first piece.
    pub(crate) first: Histogram,
    /// Between two pieces.
    pub(crate) between: Histogram,
}

impl GatewayMetrics {
    /// Adds them to a service's registry.
    #[must_use]
    pub(crate) fn register(metrics: &Metrics) -> Self {
        let own = Self {
            requests: Family::default(),
            first_byte: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
            first_token: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
            between_tokens: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
            by_caller: Family::default(),
            tokens: Family::default(),
            in_flight: Family::default(),
            ready: Family::default(),
            refused: Family::default(),
            held: Gauge::default(),
            limits: Family::default(),
            open: Family::default(),
            openings: Family::default(),
            queued: Family::default(),
            queue_time: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
            fallbacks: Family::default(),
            remotes: Family::default(),
        };
        metrics.register(|registry| {
            registry.register(
                "remora_gateway_requests",
                "Requests given to an engine, by model, engine and how they ended",
                own.requests.clone(),
            );
            registry.register(
                "remora_gateway_first_byte_seconds",
                "Time from a request's arrival to its engine's first byte, by model and engine",
                own.first_byte.clone(),
            );
            registry.register(
                "remora_gateway_time_to_first_token_seconds",
                "Time from a request's arrival to the first piece of a streamed answer, by model and engine",
                own.first_token.clone(),
            );
            registry.register(
                "remora_gateway_inter_token_seconds",
                "Time between two pieces of a streamed answer, by model and engine",
                own.between_tokens.clone(),
            );
            registry.register(
                "remora_gateway_answers",
                "Answers that an engine began, by caller and model",
                own.by_caller.clone(),
            );
            registry.register(
                "remora_gateway_tokens",
                "Tokens, by caller, model and kind; cached ones are prompt tokens too",
                own.tokens.clone(),
            );
            registry.register(
                "remora_gateway_requests_in_flight",
                "Requests that an engine has not answered whole",
                own.in_flight.clone(),
            );
            registry.register("remora_gateway_engine_ready", "1 while an engine is ready", own.ready.clone());
            registry.register(
                "remora_gateway_refused",
                "Requests that no engine was asked to answer, by the error's code",
                own.refused.clone(),
            );
            registry.register(
                "remora_gateway_requests_held",
                "Requests that wait for an engine to be ready",
                own.held.clone(),
            );
            own.register_limits(registry);
            own.register_remotes(registry);
        });
        own
    }

    fn register_limits(&self, registry: &mut Registry) {
        registry.register(
            "remora_gateway_engine_limit",
            "Requests that an engine is given at a time, where there is a limit",
            self.limits.clone(),
        );
        registry.register(
            "remora_gateway_engine_circuit_open",
            "1 while an engine is left alone because it failed again and again",
            self.open.clone(),
        );
        registry.register("remora_gateway_engine_circuit_openings", "How often that began", self.openings.clone());
        registry.register(
            "remora_gateway_requests_queued",
            "Requests that wait for room at an engine, by class",
            self.queued.clone(),
        );
        registry.register(
            "remora_gateway_queue_seconds",
            "Time that requests waited for room before they got it, by class",
            self.queue_time.clone(),
        );
    }

    fn register_remotes(&self, registry: &mut Registry) {
        registry.register(
            "remora_gateway_fallbacks",
            "Requests that a rule of the fallback was about, by where they went and why",
            self.fallbacks.clone(),
        );
        registry.register(
            "remora_gateway_remote_requests",
            "Requests given to a remote, by remote and how they ended",
            self.remotes.clone(),
        );
    }

    /// Counts a request that went elsewhere, or stayed here, for this reason.
    pub(crate) fn fallback(&self, route: &str, reason: Reason) {
        self.fallbacks.get_or_create(&FallbackLabels { route: route.to_owned(), reason }).inc();
    }

    /// The handle of a remote.
    pub(crate) fn remote(&self, remote: &str) -> RemoteMeter {
        RemoteMeter { outcomes: self.remotes.clone(), remote: remote.to_owned() }
    }

    /// The handles of a model on an engine.
    pub(crate) fn meter(&self, model: &ModelId, engine: &EngineId) -> Meter {
        let labels = OfferLabels { model: model.to_string(), engine: engine.to_string() };
        let counter = |outcome| {
            let OfferLabels { model, engine } = labels.clone();
            self.requests.get_or_create(&OutcomeLabels { model, engine, outcome }).clone()
        };
        Meter {
            outcomes: Outcome::ALL.map(counter),
            first_byte: self.first_byte.get_or_create(&labels).clone(),
            pace: Pace {
                first: self.first_token.get_or_create(&labels).clone(),
                between: self.between_tokens.get_or_create(&labels).clone(),
            },
        }
    }

    /// The handles of a caller's account for a model. Callers are those that identity knows, so they are few.
    pub(crate) fn counters(&self, caller: &str, model: &ModelId) -> Counters {
        let (caller, model) = (caller.to_owned(), model.to_string());
        let tokens = |kind| {
            let labels = TokenLabels { caller: caller.clone(), model: model.clone(), kind };
            self.tokens.get_or_create(&labels).clone()
        };
        Counters {
            prompt: tokens(TokenKind::Prompt),
            cached: tokens(TokenKind::Cached),
            completion: tokens(TokenKind::Completion),
            requests: self.by_caller.get_or_create(&AccountLabels { caller, model }).clone(),
        }
    }

    /// How many requests an engine is answering; the same gauge for as long as the process lives.
    pub(crate) fn in_flight(&self, engine: &EngineId) -> Gauge {
        self.in_flight.get_or_create(&EngineLabels { engine: engine.to_string() }).clone()
    }

    /// Notes whether an engine is ready; `None` when it has left.
    pub(crate) fn set_ready(&self, engine: &EngineId, ready: Option<bool>) {
        let labels = EngineLabels { engine: engine.to_string() };
        if let Some(ready) = ready {
            self.ready.get_or_create(&labels).set(i64::from(ready));
            return;
        }
        self.ready.remove(&labels);
        self.limits.remove(&labels);
        self.open.remove(&labels);
    }

    /// Notes how many requests an engine is given at a time.
    pub(crate) fn set_limit(&self, engine: &EngineId, limit: Option<u32>) {
        let labels = EngineLabels { engine: engine.to_string() };
        match limit {
            Some(limit) => drop(self.limits.get_or_create(&labels).set(limit.into())),
            None => drop(self.limits.remove(&labels)),
        }
    }

    /// Whether an engine's breaker is open, and how often it opened.
    pub(crate) fn circuit(&self, engine: &EngineId) -> (Gauge, Counter) {
        let labels = EngineLabels { engine: engine.to_string() };
        (self.open.get_or_create(&labels).clone(), self.openings.get_or_create(&labels).clone())
    }

    /// How many requests wait for room, by class.
    pub(crate) fn queued(&self) -> [Gauge; Class::ALL.len()] {
        Class::ALL.map(|class| self.queued.get_or_create(&ClassLabels { class }).clone())
    }

    /// Notes how long a request waited for room.
    pub(crate) fn waited(&self, class: Class, time: Duration) {
        self.queue_time.get_or_create(&ClassLabels { class }).observe(time.as_secs_f64());
    }

    /// How many requests wait for an engine.
    pub(crate) fn held(&self) -> Gauge {
        self.held.clone()
    }

    /// Counts a request that was refused here. Codes are our own words, so there are few.
    pub(crate) fn refused(&self, code: &str) {
        self.refused.get_or_create(&RefusalLabels { code: code.to_owned() }).inc();
    }
}

impl RemoteMeter {
    pub(crate) fn count(&self, outcome: Outcome) {
        self.outcomes.get_or_create(&RemoteLabels { remote: self.remote.clone(), outcome }).inc();
    }
}

impl Meter {
    pub(crate) fn count(&self, outcome: Outcome) {
        self.outcomes[outcome as usize].inc();
    }
}
