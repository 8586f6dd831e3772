//! The base that every Remora server stands on.
//!
//! A [`Service`] is one value: a name, [`Routes`] that each state who may call them, background tasks, and a bound
//! [`Listener`]. A [`Process`] runs one or many of them with one control socket and one shutdown, so the same service
//! ships as its own container and inside `remora up`.
//!
//! ```no_run
//! use remora_service::{Access, Listener, Process, Role, Routes, Service, Services};
//! # #[utoipa::path(get, path = "/hello", responses((status = 200, body = String)))]
//! # async fn hello() -> &'static str { "hello" }
//! # async fn demo() -> Result<(), Box<dyn std::error::Error>> {
//! let listener = Listener::bind(&"127.0.0.1:8001".parse()?).await?;
//! let routes = Routes::new("Says hello.").route(Access::role(Role::Use, Services::NONE), utoipa_axum::routes!(hello));
//! let service = Service::new("greeter", listener, routes);
//! Process::new("greeter").add(service).run().await?;
//! # Ok(()) }
//! ```
//!
//! What each service gets from here: `/health`, `/ready`, `/status`, `/metrics`, `/openapi.json` and `/docs`; the
//! caller's identity and the check of its role before any handler; one error body for every failure, unknown routes,
//! wrong methods, malformed JSON and panics included; request ids; a stop that lets answers finish.
//!
//! Rejected: `axum::serve`, since it cannot bound the time a client takes to send its headers, nor cut connections
//! that outlive the grace period.

mod access;
mod audit;
mod browser;
mod builtin;
pub mod config;
mod control;
mod docs_page;
pub mod durable;
mod error;
mod extract;
mod frame;
mod guard;
pub mod identity;
mod lifecycle;
mod linger;
mod listener;
mod metrics;
mod process;
mod routes;
mod server;
mod service;
pub mod sse;
pub mod telemetry;
mod traces;
mod workers;

pub use access::{Access, Caller, Roles, Services};
pub use audit::Audit;
pub use control::{ControlError, ControlSocket, SOCKET_FOLDERS};
pub use error::{ApiError, Dialect, remora_body};
pub use extract::{ApiJson, ApiPath, ApiQuery};
pub use frame::RequestId;
pub use identity::{Allowance, Identity};
pub use lifecycle::{BoxError, Lifecycle, Stop, TaskResult};
pub use linger::discard;
pub use listener::{BindError, InvalidListen, Listen, Listener, Peer};
pub use metrics::Metrics;
pub use process::{Process, RunError, Running};
pub use remora_types::identity::{Role, ServiceName};
pub use routes::{Routes, StatedRoute, every_route};
pub use service::Service;
pub use traces::{CallSpan, RequestSpan};

/// Version of Remora, the same for every service.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
