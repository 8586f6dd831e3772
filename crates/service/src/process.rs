//! One process: its services, its control socket, its signals, its stop.

use std::sync::Arc;
use std::time::Duration;

use remora_types::status::ProcessStatus;
use thiserror::Error;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::task::TaskTracker;

use crate::control::{self, ControlError, ControlSocket, OwnedPath, Report};
use crate::identity::Through;
use crate::lifecycle::{Lifecycle, Stop};
use crate::listener::{BindError, Listen, Listener};
use crate::server::serve;
use crate::service::Service;
use crate::workers::Workers;

/// How long answers may take to finish once a stop is asked for.
const GRACE: Duration = Duration::from_secs(10);

/// How long background tasks may take to end once every answer is out.
const TASK_GRACE: Duration = Duration::from_secs(10);

/// Services that live and stop together.
pub struct Process {
    name: String,
    services: Vec<Service>,
    control: Control,
    grace: Duration,
    stop: Stop,
}

enum Control {
    Default,
    Bound(ControlSocket),
    None,
}

/// Why a process ended badly.
#[derive(Debug, Error)]
pub enum RunError {
    /// The control socket could not be made.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// Signals could not be listened for.
    #[error("cannot listen for signals")]
    Signals(#[source] std::io::Error),
    /// The socket for Tailscale Serve could not be made.
    #[error("cannot listen for Tailscale Serve")]
    Serve(#[from] BindError),
    /// The threads for connections could not be started.
    #[error("cannot start a thread for each core")]
    Threads(#[source] std::io::Error),
    /// A background task died.
    #[error("stopped because a background task died: {0}")]
    TaskDied(String),
}

impl Process {
    /// A process without services yet; the name is its control socket's.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), services: Vec::new(), control: Control::Default, grace: GRACE, stop: Stop::new() }
    }

    /// Adds a service. The first one's port names the control socket.
    #[must_use]
    #[expect(clippy::should_implement_trait, reason = "a builder's `add`, not arithmetic")]
    pub fn add(mut self, service: Service) -> Self {
        self.services.push(service);
        self
    }

    /// Uses a control socket that is bound already.
    #[must_use]
    pub fn control_socket(mut self, socket: ControlSocket) -> Self {
        self.control = Control::Bound(socket);
        self
    }

    /// Runs without a control socket (several test processes on one machine, an engine that its supervisor holds).
    #[must_use]
    pub fn without_control_socket(mut self) -> Self {
        self.control = Control::None;
        self
    }

    /// How long answers may take to finish once a stop is asked for; 10 s if not said.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Watches a stop that others hold too, instead of its own.
    #[must_use]
    pub fn stop(mut self, stop: Stop) -> Self {
        self.stop = stop;
        self
    }

    /// Starts everything; returns at once.
    pub async fn start(self) -> Result<Running, RunError> {
        let socket = match self.control {
            Control::Bound(socket) => Some(socket),
            Control::None => None,
            Control::Default => {
                let port = self.services.first().map_or(0, |s| s.listener().listen().port());
                Some(ControlSocket::bind(&self.name, port).await?)
            }
        };
        let lifecycle = Lifecycle::new(self.stop.clone());
        let servers = TaskTracker::new();
        let mut vital_signs = Vec::new();
        let mut workers = None;
        for service in self.services {
            let name = service.name();
            let assembled = service.assemble();
            tracing::info!(service = name, listen = %assembled.listener.listen(), "listening");
            vital_signs.push(assembled.vital_signs);
            let threads = match (assembled.per_core, &workers) {
                (false, _) => None,
                (true, Some(started)) => Some(Workers::clone(started)),
                (true, None) => Some(workers.insert(Workers::start().map_err(RunError::Threads)?).clone()),
            };
            if let Some(path) = assembled.serve_socket {
                let listener = Listener::bind(&Listen::Unix(path)).await?;
                servers.spawn(serve(listener, Through::Serve, assembled.framed.clone(), self.stop.clone(), None));
            }
            servers.spawn(serve(assembled.listener, Through::Direct, assembled.framed, self.stop.clone(), threads));
            for (task, start) in assembled.tasks {
                lifecycle.spawn(task, start(self.stop.clone()));
            }
        }
        let name = self.name;
        let report: Report = Arc::new(move || ProcessStatus {
            name: name.clone(),
            version: crate::VERSION.to_owned(),
            pid: std::process::id(),
            services: vital_signs.iter().map(crate::service::VitalSigns::status).collect(),
        });
        let control_path = socket.map(|socket| {
            let (listener, path) = socket.into_parts();
            let router = control::router(report, self.stop.clone());
            servers.spawn(serve(Listener::from_unix(listener), Through::Direct, router, self.stop.clone(), None));
            path
        });
        servers.close();
        Ok(Running { lifecycle, servers, grace: self.grace, _workers: workers, _control_path: control_path })
    }

    /// Runs until a signal, `/shutdown` or a dead task stops it. A second signal cuts.
    pub async fn run(self) -> Result<(), RunError> {
        let mut interrupt = signal(SignalKind::interrupt()).map_err(RunError::Signals)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(RunError::Signals)?;
        let running = self.start().await?;
        let stop = running.stop().clone();
        let signals = async {
            for last in [false, true] {
                let name = tokio::select! {
                    _ = interrupt.recv() => "SIGINT",
                    _ = terminate.recv() => "SIGTERM",
                };
                if last {
                    tracing::warn!("second {name}: cutting what is left");
                    stop.abandon();
                } else {
                    tracing::info!("{name}: stopping");
                    stop.request();
                }
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            outcome = running.wait() => outcome,
            () = signals => unreachable!("the signal loop never ends"),
        }
    }
}

/// A started process.
#[derive(Debug)]
pub struct Running {
    lifecycle: Lifecycle,
    servers: TaskTracker,
    grace: Duration,
    // What handlers left running on them goes on until everything has ended.
    _workers: Option<Workers>,
    _control_path: Option<OwnedPath>,
}

impl Running {
    /// The stop that everything in the process watches.
    #[must_use]
    pub fn stop(&self) -> &Stop {
        self.lifecycle.stop()
    }

    /// Waits for a stop to be asked for, then sees it through: answers, then tasks.
    pub async fn wait(self) -> Result<(), RunError> {
        let stop = self.lifecycle.stop();
        stop.draining().await;
        if tokio::time::timeout(self.grace, self.servers.wait()).await.is_err() {
            tracing::warn!(grace_s = self.grace.as_secs(), "cutting the connections that are still open");
            stop.cut_connections();
            self.servers.wait().await;
        }
        stop.close();
        if tokio::time::timeout(TASK_GRACE, self.lifecycle.finished()).await.is_err() {
            tracing::warn!("abandoning background tasks that did not end");
            stop.abandon();
            self.lifecycle.finished().await;
        }
        self.lifecycle.failure().map_or(Ok(()), |why| Err(RunError::TaskDied(why.to_owned())))
    }
}
