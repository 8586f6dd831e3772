//! Requests that are answered elsewhere than by a local engine, as far as the settings allow (`crate::fallback`), and
//! messages of people in danger (`crate::crisis`).

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName};
use http::{HeaderMap, HeaderValue, StatusCode};
use remora_protocol::anthropic;
use serde_json::{Value, json};

use super::error::Failure;
use super::question::Question;
use crate::body::{Envelope, Pieces};
use crate::endpoint::Endpoint;
use crate::fallback::{Destination, Outgoing, Reason, RemoteKind, without_local_thinking};
use crate::upstream::EventStyle;

/// Who answered, and why if not the model's own engine: `local`, `claude; reason=not_ready`.
const ROUTE: HeaderName = HeaderName::from_static("x-remora-route");

/// A request with this header never leaves, whatever its value.
const LOCAL_ONLY: &str = "x-remora-local-only";

/// Largest refusal of an engine that is read to see why, in bytes.
const REFUSAL_LIMIT: usize = 64 << 10;

/// The body of a request to Anthropic's own API, which goes to Anthropic as it came.
#[derive(Debug, Clone)]
pub(super) struct Original {
    /// Path and query.
    pub(super) target: &'static str,
    pub(super) body: Bytes,
}

/// Marks an answer of Anthropic's API, which needs no translation.
#[derive(Debug, Clone, Copy)]
struct AsItIs;

impl Question {
    /// What is decided before any engine is asked: `None` is to ask one.
    pub(super) async fn decided(&self, body: &Bytes, envelope: &Envelope<'_>) -> Option<Response> {
        if self.endpoint == Endpoint::ChatCompletions
            && let Some(crisis) = &self.state.crisis
            && envelope.conversation(body).is_some_and(|conversation| crisis.is_in(conversation))
        {
            let answer = self.leave(Reason::Crisis, body, envelope).await;
            return Some(answer.unwrap_or_else(|| self.set_answer(crisis.message(), envelope)));
        }
        let is_foreign = || {
            let table = self.state.directory.table();
            envelope.name().is_some_and(|name| table.is_foreign(name))
        };
        if self.state.fallback.is_off() || !is_foreign() {
            return None;
        }
        self.leave(Reason::ModelMap, body, envelope).await
    }

    /// Whether a failure that may pass is not waited for.
    pub(super) async fn instead_of_waiting(
        &self,
        body: &Bytes,
        envelope: &Envelope<'_>,
        failure: &Failure,
    ) -> Option<Response> {
        let leaves = || self.with_names(envelope, |names| self.state.fallback.leaves_before_hold(names));
        if failure.reason() != Some(Reason::NotReady) || self.state.fallback.is_off() || !leaves() {
            return None;
        }
        self.leave(Reason::NotReady, body, envelope).await
    }

    /// What comes of an engine's answer, or of there being none.
    pub(super) async fn settled(
        &self,
        body: &Bytes,
        envelope: &Envelope<'_>,
        tried: Result<Response, Failure>,
    ) -> Result<Response, Failure> {
        let tried = tried.map(|response| routed(response, "local", None));
        if self.state.fallback.is_off() {
            return tried;
        }
        match tried {
            Ok(response) if response.status() == StatusCode::BAD_REQUEST => {
                Ok(self.unless_too_long(body, envelope, response).await)
            }
            Ok(response) => Ok(response),
            Err(failure) => {
                let Some(reason) = failure.reason() else { return Err(failure) };
                self.leave(reason, body, envelope).await.ok_or(failure)
            }
        }
    }

    /// An engine's refusal, unless it is one of a conversation that is too long and somebody else takes longer ones.
    async fn unless_too_long(&self, body: &Bytes, envelope: &Envelope<'_>, refusal: Response) -> Response {
        let (head, refused) = refusal.into_parts();
        let Ok(refused) = axum::body::to_bytes(refused, REFUSAL_LIMIT).await else {
            return Response::from_parts(head, Body::empty());
        };
        let failure = anthropic::Failure::of_engine(head.status.as_u16(), &refused, None);
        if failure.is_overflow()
            && let Some(answer) = self.leave(Reason::ContextTooLong, body, envelope).await
        {
            return answer;
        }
        Response::from_parts(head, refused.into())
    }

    /// The answer of the first remote that takes a request for this reason, if any may and does.
    async fn leave(&self, reason: Reason, body: &Bytes, envelope: &Envelope<'_>) -> Option<Response> {
        if self.state.fallback.is_off() || self.headers.contains_key(LOCAL_ONLY) {
            return None;
        }
        let destinations = self.with_names(envelope, |names| {
            let allowed = self
                .caller
                .as_ref()
                .is_none_or(|caller| names.iter().any(|name| name.parse().is_ok_and(|name| caller.may_ask(&name))));
            if allowed { self.state.fallback.destinations(reason, names) } else { Vec::new() }
        });
        for Destination { remote, model } in destinations {
            let Some(outgoing) = self.outgoing(reason, remote.kind(), &model, body, envelope) else { continue };
            let (id, name, why) = (self.id.as_str(), remote.name(), reason.as_str());
            tracing::info!(remote = name, reason = why, model, id, "a request goes to a remote");
            let as_it_is = outgoing.events == EventStyle::Messages;
            match remote.send(outgoing, self.state.metrics.remote(name), self.state.patience).await {
                Ok(mut response) => {
                    self.state.metrics.fallback(name, reason);
                    if as_it_is {
                        response.extensions_mut().insert(AsItIs);
                    }
                    let response = routed(response, name, Some(reason));
                    // Under the remote's name: what clients call its models would be labels that they invent.
                    let meters = name.parse().ok().and_then(|model| self.meters(&model, name, None, body.len()));
                    return Some(match meters {
                        Some(meters) => meters.follow(response),
                        None => response,
                    });
                }
                Err(error) => {
                    let error: &dyn std::error::Error = &error;
                    tracing::warn!(remote = name, reason = why, id, error, "the remote gave no answer");
                }
            }
        }
        None
    }

    /// The request in the words of a remote; `None` where it has none for it.
    fn outgoing(
        &self,
        reason: Reason,
        kind: RemoteKind,
        model: &str,
        body: &Bytes,
        envelope: &Envelope<'_>,
    ) -> Option<Outgoing<'_>> {
        match (&self.original, kind) {
            (Some(Original { target, body }), RemoteKind::Anthropic) => {
                // What another model's tokenizer says about a local model is of no use.
                if self.endpoint == Endpoint::Tokenize && reason != Reason::ModelMap {
                    return None;
                }
                let body = without_local_thinking(body);
                let body = Envelope::of(&body).ok()?.replaced(&body, model);
                Some(Outgoing { target, headers: &self.headers, body, events: EventStyle::Messages })
            }
            _ if self.endpoint == Endpoint::ChatCompletions => Some(Outgoing {
                target: Endpoint::ChatCompletions.path(),
                headers: self.passed_headers(),
                body: if envelope.name() == Some(model) {
                    Pieces::whole(body.clone())
                } else {
                    envelope.replaced(body, model)
                },
                events: EventStyle::Chat,
            }),
            _ => None,
        }
    }

    /// What a request's model is called: as it was asked for, and by its own name where that is another.
    fn with_names<T>(&self, envelope: &Envelope<'_>, with: impl FnOnce(&[&str]) -> T) -> T {
        let asked = envelope.name().filter(|name| !name.is_empty()).unwrap_or("default");
        let table = self.state.directory.table();
        match table.own_name(asked) {
            Some(own) => with(&[asked, own.as_str()]),
            None => with(&[asked]),
        }
    }

    /// The set answer to somebody in danger, in the shape of an engine's.
    fn set_answer(&self, message: &str, envelope: &Envelope<'_>) -> Response {
        let route = "local";
        tracing::info!(reason = Reason::Crisis.as_str(), id = self.id.as_str(), "a message gets the set answer");
        self.state.metrics.fallback(route, Reason::Crisis);
        let model = envelope.name().unwrap_or("default");
        let id = format!("chatcmpl-{}", self.id.as_str());
        let created = jiff::Timestamp::now().as_second();
        let usage = json!({ "prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0 });
        let response = if envelope.streams() {
            let chunk = |delta: Value, finish: Option<&str>| {
                let choice = json!({ "index": 0, "delta": delta, "finish_reason": finish });
                let chunk = json!({ "id": id, "object": "chat.completion.chunk", "created": created, "model": model,
                    "choices": [choice] });
                format!("data: {chunk}\n\n")
            };
            let said = chunk(json!({ "role": "assistant", "content": message }), None);
            let events = said + &chunk(json!({}), Some("stop")) + "data: [DONE]\n\n";
            ([(CONTENT_TYPE, "text/event-stream; charset=utf-8")], events).into_response()
        } else {
            let said = json!({ "role": "assistant", "content": message });
            let choice = json!({ "index": 0, "message": said, "finish_reason": "stop" });
            axum::Json(json!({ "id": id, "object": "chat.completion", "created": created, "model": model,
                "choices": [choice], "usage": usage }))
            .into_response()
        };
        routed(response, route, Some(Reason::Crisis))
    }
}

/// Whether an answer is one of Anthropic's API already.
pub(super) fn is_as_it_is(response: &Response) -> bool {
    response.extensions().get::<AsItIs>().is_some()
}

/// The header that says who answered.
pub(super) fn route_of(response: &Response) -> HeaderMap {
    response.headers().get(ROUTE).map(|route| (ROUTE, route.clone())).into_iter().collect()
}

/// Says who answered, and why.
fn routed(mut response: Response, route: &str, reason: Option<Reason>) -> Response {
    let value = match reason {
        None => HeaderValue::from_static("local"),
        Some(reason) => HeaderValue::try_from(format!("{route}; reason={}", reason.as_str()))
            .expect("the names of remotes are fit for headers"),
    };
    response.headers_mut().insert(ROUTE, value);
    response
}
