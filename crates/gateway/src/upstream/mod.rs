//! The way to an engine and back: connections, one request, its answer.
//!
//! hyper-util's pooled client, awaited by the handler itself: a client that goes away drops the handler, that drops the
//! request or the answer's body, and that closes the engine's connection. A task between handler and engine would
//! break that chain, so there is none. Rejected: reqwest (1.4 times the CPU per request) and a pool of our own (6 to
//! 15 % less CPU, and every stale-connection race to find again).

mod answer;
mod connect;
mod event_tail;
mod forward;
mod headers;

pub(crate) use answer::{Answer, Track};
pub(crate) use connect::Upstream;
pub(crate) use event_tail::{EventStyle, EventTail};
pub(crate) use forward::{Forwarded, Opened, Patience, UpstreamError, forward, open_events};
pub(crate) use headers::drop_hop_headers;
