//! A service as one value.

use std::borrow::Cow;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;

use futures::future::BoxFuture;
use jiff::Timestamp;
use remora_types::status::ServiceStatus;
use serde_json::Value;
use utoipa::openapi::OpenApi;

use crate::builtin::{self, Builtin};
use crate::error::{ApiError, Dialect};
use crate::frame::{Frame, Framed};
use crate::identity::Identity;
use crate::lifecycle::{Stop, TaskResult};
use crate::listener::Listener;
use crate::metrics::Metrics;
use crate::routes::Routes;

/// Largest request body where a service does not say otherwise, in bytes.
const BODY_LIMIT: usize = 1 << 20;

type StartTask = Box<dyn FnOnce(Stop) -> BoxFuture<'static, TaskResult> + Send>;
type Probe<T> = Arc<dyn Fn() -> T + Send + Sync>;

/// A server, ready to be run by a [`crate::Process`]: name, bound socket, routes, background tasks.
pub struct Service {
    name: &'static str,
    listener: Listener,
    routes: Routes,
    identity: Identity,
    metrics: Metrics,
    dialects: Vec<(Cow<'static, str>, Dialect)>,
    body_limit: usize,
    quiet: bool,
    per_core: bool,
    ready: Probe<Vec<String>>,
    details: Probe<Value>,
    builtins: Builtin,
    tasks: Vec<(&'static str, StartTask)>,
}

impl Service {
    /// A service that is always ready, answers local callers, and has no background tasks.
    #[must_use]
    pub fn new(name: &'static str, listener: Listener, routes: Routes) -> Self {
        Self {
            name,
            listener,
            routes,
            identity: Identity::local(),
            metrics: Metrics::new(),
            dialects: Vec::new(),
            body_limit: BODY_LIMIT,
            quiet: false,
            per_core: false,
            ready: Arc::new(Vec::new),
            details: Arc::new(|| Value::Object(serde_json::Map::new())),
            builtins: Builtin::All,
            tasks: Vec::new(),
        }
    }

    /// Establishes callers in another way.
    #[must_use]
    pub fn identity(mut self, identity: &Identity) -> Self {
        self.identity = identity.clone();
        self
    }

    /// Uses a registry that the service's own parts already write to.
    #[must_use]
    pub fn metrics(mut self, metrics: Metrics) -> Self {
        self.metrics = metrics;
        self
    }

    /// Tells failures under a path prefix in another dialect; the longest prefix wins.
    #[must_use]
    pub fn dialect(mut self, prefix: impl Into<Cow<'static, str>>, dialect: Dialect) -> Self {
        self.dialects.push((prefix.into(), dialect));
        self
    }

    /// Largest request body, in bytes.
    #[must_use]
    pub fn body_limit(mut self, bytes: usize) -> Self {
        self.body_limit = bytes;
        self
    }

    /// Makes the spans of requests a matter of debugging: for a service that answers tens of thousands of requests a
    /// second and logs nothing from its handlers, since even an unused span costs several microseconds. Failures are
    /// logged with method, route and request id in any case.
    #[must_use]
    pub fn quiet(mut self) -> Self {
        self.quiet = true;
        self
    }

    /// Answers each connection on one thread, of which there is one for each core: saves a sixth of the CPU time where
    /// requests are short and wait for an upstream. For handlers that never compute for long, since they hold up the
    /// other connections of their thread.
    #[must_use]
    pub fn per_core(mut self) -> Self {
        self.per_core = true;
        self
    }

    /// What is missing before the service can serve; empty when nothing is. Asked often: it must be quick.
    #[must_use]
    pub fn ready(mut self, reasons: impl Fn() -> Vec<String> + Send + Sync + 'static) -> Self {
        self.ready = Arc::new(reasons);
        self
    }

    /// What the service adds to `/status`. Never a secret.
    #[must_use]
    pub fn details(mut self, details: impl Fn() -> Value + Send + Sync + 'static) -> Self {
        self.details = Arc::new(details);
        self
    }

    /// Leaves `/health`, `/ready` and `/metrics` to the service's own routes: an engine answers them as vLLM does.
    #[must_use]
    pub fn own_probes(mut self) -> Self {
        self.builtins = Builtin::Documents;
        self
    }

    /// Adds background work that runs from the start until [`Stop::closing`]; if it fails, the process stops.
    #[must_use]
    pub fn task<F, W>(mut self, name: &'static str, start: F) -> Self
    where
        F: FnOnce(Stop) -> W + Send + 'static,
        W: Future<Output = TaskResult> + Send + 'static,
    {
        self.tasks.push((name, Box::new(|stop| Box::pin(start(stop)))));
        self
    }

    /// The service's name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The bound socket.
    #[must_use]
    pub fn listener(&self) -> &Listener {
        &self.listener
    }

    /// Puts the frame around the routes.
    pub(crate) fn assemble(mut self) -> Assembled {
        if let Some(record) = self.identity.record_use() {
            self = self.task("last use of keys", |stop| async move {
                record(stop).await;
                Ok(())
            });
        }
        let vital_signs = VitalSigns {
            name: self.name,
            listen: self.listener.listen().to_string(),
            started_at: Timestamp::now(),
            metrics: self.metrics.clone(),
            ready: self.ready,
            details: self.details,
        };
        let (router, api) = builtin::add(self.routes, self.builtins, &vital_signs, &self.identity);
        let frame = Frame {
            router: router.fallback(no_route).method_not_allowed_fallback(wrong_method),
            identity: self.identity.clone(),
            metrics: self.metrics,
            dialects: self.dialects,
            body_limit: self.body_limit,
            quiet: self.quiet,
            service: self.name,
        };
        Assembled {
            listener: self.listener,
            serve_socket: self.identity.serve_socket(),
            framed: frame.into(),
            per_core: self.per_core,
            api,
            vital_signs,
            tasks: self.tasks,
        }
    }

    /// The API document, with the built-in endpoints in it.
    #[must_use]
    pub fn api(self) -> OpenApi {
        self.assemble().api
    }
}

/// A service with its frame around it.
pub(crate) struct Assembled {
    pub(crate) listener: Listener,
    /// Where Tailscale Serve brings its requests.
    pub(crate) serve_socket: Option<PathBuf>,
    pub(crate) framed: Framed,
    pub(crate) per_core: bool,
    pub(crate) api: OpenApi,
    pub(crate) vital_signs: VitalSigns,
    pub(crate) tasks: Vec<(&'static str, StartTask)>,
}

/// What a service can say about itself at any time.
#[derive(Clone)]
pub(crate) struct VitalSigns {
    pub(crate) name: &'static str,
    listen: String,
    started_at: Timestamp,
    pub(crate) metrics: Metrics,
    ready: Probe<Vec<String>>,
    details: Probe<Value>,
}

impl VitalSigns {
    pub(crate) fn reasons(&self) -> Vec<String> {
        (self.ready)()
    }

    pub(crate) fn status(&self) -> ServiceStatus {
        let reasons = self.reasons();
        let uptime = Timestamp::now().as_second() - self.started_at.as_second();
        ServiceStatus {
            name: self.name.to_owned(),
            version: crate::VERSION.to_owned(),
            listen: self.listen.clone(),
            started_at: self.started_at,
            uptime_s: u64::try_from(uptime).unwrap_or_default(),
            requests_processed: self.metrics.processed.get(),
            requests_in_flight: u64::try_from(self.metrics.in_flight.get()).unwrap_or_default(),
            ready: reasons.is_empty(),
            reasons,
            details: (self.details)(),
        }
    }
}

async fn no_route(request: axum::extract::Request) -> ApiError {
    let message =
        format!("there is nothing at {} {}; GET /docs lists what there is", request.method(), request.uri().path());
    ApiError::not_found("no_such_route", message)
}

async fn wrong_method(request: axum::extract::Request) -> ApiError {
    let message =
        format!("{} does not answer {}; GET /docs lists what it does", request.uri().path(), request.method());
    ApiError::new(http::StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message)
}
