//! One request to an engine.

use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use http::response::Parts;
use http::{HeaderMap, Method, Request, StatusCode};
use hyper_util::client::legacy;
use remora_service::{BoxError, RequestId};
use thiserror::Error;

use super::answer::{Answer, Track};
use super::event_tail::{EventStyle, EventTail};
use super::headers;
use crate::body::Pieces;
use crate::directory::Ticket;
use crate::endpoint::Endpoint;
use crate::metrics::Outcome;

/// A request that was read and given to an engine.
pub(crate) struct Forwarded<'a> {
    /// Where to.
    pub(crate) endpoint: Endpoint,
    /// The client's headers.
    pub(crate) headers: &'a HeaderMap,
    /// The body, with the model's real name in it.
    pub(crate) body: Pieces,
    /// Its id.
    pub(crate) id: &'a RequestId,
}

/// How long an engine may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Patience {
    /// Until the first byte of its answer: prompts wait in its queue, and long ones are long in reading.
    pub(crate) first_byte: Duration,
    /// Between two pieces of its answer.
    pub(crate) silence: Duration,
}

/// An engine that gave no answer. Nothing has gone to the client yet.
#[derive(Debug, Error)]
pub(crate) enum UpstreamError {
    /// It cannot be connected to.
    #[error("engine {engine} cannot be reached")]
    Unreachable {
        /// Its id.
        engine: String,
        /// Why not.
        #[source]
        source: legacy::Error,
    },
    /// It broke off, or answered in something that is not HTTP.
    #[error("engine {engine} broke off before it answered")]
    BrokeOff {
        /// Its id.
        engine: String,
        /// How.
        #[source]
        source: BoxError,
    },
    /// It says itself that it cannot answer yet.
    #[error("engine {engine} is not ready: it answered 503")]
    NotReady {
        /// Its id.
        engine: String,
    },
    /// It took too long.
    #[error("engine {engine} did not begin to answer within {} s", after.as_secs_f64())]
    Slow {
        /// Its id.
        engine: String,
        /// The limit.
        after: Duration,
    },
    /// It refused the key that the gateway has for it; the client's own was never sent.
    #[error("engine {engine} refuses the key that the gateway has for it")]
    KeyRefused {
        /// Its id.
        engine: String,
    },
}

/// An answer of which the head is there, and nothing has gone to the client.
pub(crate) struct Opened {
    head: Parts,
    answer: Answer<Ticket>,
    patience: Patience,
}

impl Opened {
    /// Whether it is a stream whose head says nothing yet: engines send it before they have queued or read the prompt.
    pub(crate) fn is_open_stream(&self) -> bool {
        self.answer.events.is_some() && self.head.status == StatusCode::OK
    }

    /// The same once its first piece has come.
    pub(crate) async fn begun(mut self) -> Result<Self, UpstreamError> {
        let after = self.patience.first_byte;
        match tokio::time::timeout(after, self.answer.begun()).await {
            Ok(Ok(())) => Ok(self),
            Ok(Err(source)) => {
                let ticket = &mut self.answer.ticket;
                ticket.settle(Outcome::Broken);
                Err(UpstreamError::BrokeOff { engine: ticket.engine(), source: source.into() })
            }
            Err(_) => {
                let ticket = &mut self.answer.ticket;
                ticket.settle(Outcome::Timeout);
                Err(UpstreamError::Slow { engine: ticket.engine(), after })
            }
        }
    }
}

impl From<Opened> for Response {
    fn from(opened: Opened) -> Self {
        Self::from_parts(opened.head, Body::new(opened.answer))
    }
}

/// Sends a request on, and gives the answer as it comes.
pub(crate) async fn forward(
    request: Forwarded<'_>,
    mut ticket: Ticket,
    patience: Patience,
) -> Result<Opened, UpstreamError> {
    let upstream = ticket.upstream();
    let mut outgoing = Request::new(request.body);
    *outgoing.method_mut() = Method::POST;
    *outgoing.uri_mut() = upstream.uri(request.endpoint);
    *outgoing.headers_mut() =
        headers::for_engine(request.headers, upstream.host(), request.id.0.clone(), upstream.authorization());
    let response = match tokio::time::timeout(patience.first_byte, upstream.send(outgoing)).await {
        Ok(Ok(response)) => response,
        Ok(Err(source)) if source.is_connect() => {
            ticket.settle(Outcome::Unreachable);
            return Err(UpstreamError::Unreachable { engine: ticket.engine(), source });
        }
        Ok(Err(source)) => {
            ticket.settle(Outcome::Broken);
            return Err(UpstreamError::BrokeOff { engine: ticket.engine(), source: source.into() });
        }
        Err(_) => {
            ticket.settle(Outcome::Timeout);
            return Err(UpstreamError::Slow { engine: ticket.engine(), after: patience.first_byte });
        }
    };
    let (mut head, body) = response.into_parts();
    if head.status == StatusCode::UNAUTHORIZED {
        ticket.settle(Outcome::ServerError);
        return Err(UpstreamError::KeyRefused { engine: ticket.engine() });
    }
    if head.status == StatusCode::SERVICE_UNAVAILABLE {
        ticket.settle(Outcome::ServerError);
        return Err(UpstreamError::NotReady { engine: ticket.engine() });
    }
    ticket.answered(head.status);
    headers::drop_hop_headers(&mut head.headers);
    let events = open_events(&head.headers, request.endpoint.events());
    Ok(Opened { head, answer: Answer::new(body, ticket, events, patience.silence), patience })
}

/// The end of an event stream behind which more text can be put; `None` for every other answer.
pub(crate) fn open_events(headers: &HeaderMap, style: EventStyle) -> Option<EventTail> {
    let kind = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let is_events = kind.get(..17).is_some_and(|start| start.eq_ignore_ascii_case("text/event-stream"));
    let is_open = is_events && !headers.contains_key(CONTENT_LENGTH) && !headers.contains_key(CONTENT_ENCODING);
    is_open.then(|| EventTail::new(style))
}
