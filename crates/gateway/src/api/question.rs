//! A request on its way to an engine: tried at once, and again as long as waiting may help.

use std::borrow::Cow;
use std::sync::{Arc, LazyLock};

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::HeaderMap;
use remora_service::{Allowance, ApiError, CallSpan, Caller, RequestId, RequestSpan};
use remora_types::ModelId;
use tokio::time::Instant;

use super::away::Original;
use super::error::Failure;
use super::meter::Meters;
use crate::body::{Envelope, Pieces, collect};
use crate::directory::{DrawError, Offer, Ticket};
use crate::endpoint::Endpoint;
use crate::limits::Waited;
use crate::metrics::Pace;
use crate::routing::beginning;
use crate::state::GatewayState;
use crate::upstream::{Forwarded, Opened, forward};

/// A request whose body is read apart.
pub(super) struct Question {
    pub(super) state: GatewayState,
    pub(super) endpoint: Endpoint,
    pub(super) id: RequestId,
    /// The client's, of which engines and remotes see a few.
    pub(super) headers: HeaderMap,
    pub(super) caller: Option<Caller>,
    /// Where traces are sent.
    span: Option<RequestSpan>,
    /// What the client sent, where the body is a translation of it.
    pub(super) original: Option<Original>,
    /// Whether the body is a translation: then none of the client's headers are an engine's business.
    translated: bool,
    arrived: Instant,
}

/// What the first try brought.
pub(super) enum First {
    Answer(Response),
    /// Nothing of it yet: no engine could take it, which may pass, or its stream has not begun.
    Wait(Box<Waiting>),
}

/// A request that has no answer yet.
pub(super) struct Waiting {
    question: Question,
    body: Bytes,
    envelope: Envelope<'static>,
    tried: Result<Sent, Failure>,
}

/// A request that an engine has taken, and what its answer is counted with.
struct Sent {
    opened: Opened,
    meters: Option<Meters>,
}

/// What a first try ends with, short of a failure for good.
enum Tried {
    Answer(Response),
    Sent(Box<Sent>),
}

impl Question {
    /// A request that has just come.
    pub(super) fn new(
        state: GatewayState,
        endpoint: Endpoint,
        id: RequestId,
        headers: HeaderMap,
        extensions: &http::Extensions,
    ) -> Self {
        let (caller, span) = (extensions.get().cloned(), extensions.get().cloned());
        Self { state, endpoint, id, headers, caller, span, original: None, translated: false, arrived: Instant::now() }
    }

    /// One of Anthropic's API in another's words; `original` is what the client sent, where it may be passed on so.
    pub(super) fn translated(
        state: GatewayState,
        endpoint: Endpoint,
        id: RequestId,
        original: Option<Original>,
        head: http::request::Parts,
    ) -> Self {
        // Nobody else asks for it.
        let original = original.filter(|_| !state.fallback.is_off());
        Self { original, translated: true, ..Self::new(state, endpoint, id, head.headers, &head.extensions) }
    }

    /// A question about the length of the same conversation.
    pub(super) fn about_length(&self) -> Self {
        Self {
            state: self.state.clone(),
            endpoint: Endpoint::Tokenize,
            id: self.id.clone(),
            headers: HeaderMap::new(),
            caller: self.caller.clone(),
            span: None,
            original: None,
            translated: true,
            arrived: self.arrived,
        }
    }

    /// The whole body.
    pub(super) async fn collected(&self, body: Body) -> Result<Bytes, ApiError> {
        let body = collect(&self.headers, body, self.state.body_limit).await;
        body.map_err(|error| self.failed(error.into()))
    }

    /// Asks, and waits where that may help.
    pub(super) async fn ask(self, body: Bytes) -> Result<Response, ApiError> {
        match self.first_try(body).await? {
            First::Answer(response) => Ok(response),
            First::Wait(waiting) => waiting.answer().await,
        }
    }

    /// Asks once.
    pub(super) async fn first_try(self, body: Bytes) -> Result<First, ApiError> {
        let (tried, envelope) = match self.tried(&body).await {
            Ok((Tried::Answer(response), _)) => return Ok(First::Answer(response)),
            Ok((Tried::Sent(sent), envelope)) => (Ok(*sent), envelope.into_owned()),
            Err((failure, Some(envelope))) if failure.may_pass() => (Err(failure), envelope.into_owned()),
            Err((failure, _)) => return Err(self.failed(failure)),
        };
        Ok(First::Wait(Box::new(Waiting { question: self, body, envelope, tried })))
    }

    async fn tried<'a>(&self, body: &'a Bytes) -> Result<(Tried, Envelope<'a>), (Failure, Option<Envelope<'a>>)> {
        if let Some(allowance) = self.allowance() {
            allowance.has_tokens().map_err(|wait| (Failure::OutOfTokens(wait), None))?;
        }
        let envelope = Envelope::of(body).map_err(|error| (error.into(), None))?;
        if let Some(response) = self.decided(body, &envelope).await {
            return Ok((Tried::Answer(response), envelope));
        }
        let tried = self.answer(body, &envelope).await;
        if let Err(failure) = &tried
            && failure.may_pass()
            && let Some(response) = self.instead_of_waiting(body, &envelope, failure).await
        {
            return Ok((Tried::Answer(response), envelope));
        }
        let tried = match tried {
            Ok(sent) if sent.opened.is_open_stream() => return Ok((Tried::Sent(Box::new(sent)), envelope)),
            Err(failure) if failure.may_pass() => return Err((failure, Some(envelope))),
            tried => tried.map(Sent::followed),
        };
        let settled = self.settled(body, &envelope, tried).await.map_err(|failure| (failure, None))?;
        Ok((Tried::Answer(settled), envelope))
    }

    /// One try at whichever engine has room.
    async fn answer(&self, body: &Bytes, envelope: &Envelope<'_>) -> Result<Sent, Failure> {
        let ticket = self.draw(body, envelope)?;
        self.send(ticket, body, envelope).await
    }

    fn draw(&self, body: &Bytes, envelope: &Envelope<'_>) -> Result<Ticket, Failure> {
        let begins = |model: &ModelId| {
            let conversation = envelope.conversation(body).filter(|_| self.endpoint.has_beginning())?;
            Some(beginning(model.as_str(), conversation))
        };
        let drawn = self.state.directory.table().draw(envelope.name(), self.endpoint.capability(), begins, &self.id);
        let model = match &drawn {
            Ok(ticket) => ticket.model(),
            Err(DrawError::Busy(offers)) => offers[0].model(),
            Err(DrawError::Lookup(_)) => return Ok(drawn?),
        };
        if let Some(caller) = &self.caller {
            permit(caller, envelope.name(), model)?;
        }
        if self.endpoint == Endpoint::ChatCompletions
            && let Some(what) = self.state.models.unfit(model, body)
        {
            return Err(Failure::Unfit { model: model.clone(), what });
        }
        Ok(drawn?)
    }

    async fn send(&self, ticket: Ticket, body: &Bytes, envelope: &Envelope<'_>) -> Result<Sent, Failure> {
        // Engines know their models by their own names only.
        let real = ticket.model().as_str();
        let named = envelope.name() == Some(real);
        let body = if named { Pieces::whole(body.clone()) } else { envelope.replaced(body, real) };
        let meters = self.meters(ticket.model(), &ticket.engine(), Some(ticket.pace()), body.len());
        let headers = match meters.as_ref().and_then(|meters| meters.call.as_ref()) {
            Some(call) => Cow::Owned(with_trace(self.passed_headers(), call)),
            None => Cow::Borrowed(self.passed_headers()),
        };
        let request = Forwarded { endpoint: self.endpoint, headers: &headers, body, id: &self.id };
        let opened = forward(request, ticket, self.state.patience).await?;
        Ok(Sent { opened, meters })
    }

    /// What of the client's headers may be looked through for what to pass on.
    pub(super) fn passed_headers(&self) -> &HeaderMap {
        static NONE: LazyLock<HeaderMap> = LazyLock::new(HeaderMap::new);
        if self.translated { &NONE } else { &self.headers }
    }

    /// What an answer is counted with; none where nothing is generated. `by` is the engine or remote that answers.
    pub(super) fn meters(&self, model: &ModelId, by: &str, pace: Option<Pace>, request_bytes: usize) -> Option<Meters> {
        if !self.endpoint.is_counted() {
            return None;
        }
        let who = self.caller.as_ref()?.who();
        let account = self.state.usage.account(who, model);
        let call = self.span.as_ref().map(|span| {
            span.set("enduser.id", who.to_string());
            self.call(span, model, by)
        });
        let (allowance, started) = (self.allowance().cloned(), self.arrived.into_std());
        Some(Meters { account, allowance, pace, started, request_bytes, call })
    }

    /// The span of a call to an engine or remote, with what OpenTelemetry calls these things.
    fn call(&self, span: &RequestSpan, model: &ModelId, by: &str) -> CallSpan {
        let operation = self.endpoint.operation();
        let mut call = span.call(format!("{operation} {model}"));
        call.set("gen_ai.operation.name", operation);
        call.set("gen_ai.request.model", model.to_string());
        call.set("remora.engine", by.to_owned());
        call
    }

    /// Waits in line for one of these engines, then tries it.
    async fn in_line(&self, offers: Vec<Arc<Offer>>, body: &Bytes, envelope: &Envelope<'_>) -> Result<Sent, Failure> {
        let model = offers[0].model().clone();
        let class = self.state.priorities.class(&self.headers, self.caller.as_ref(), envelope.name(), &model);
        let gates = offers.iter().map(|offer| offer.gate().clone()).collect();
        let mut changes = self.state.directory.changes();
        let change = async {
            // The sender lives as long as the directory.
            let _ = changes.changed().await;
        };
        let until = self.arrived + self.state.longest_wait;
        match self.state.directory.queue().wait(gates, class, self.arrived, until, change).await {
            Waited::Admitted(place) => {
                self.state.metrics.waited(class, self.arrived.elapsed());
                let offer = offers.into_iter().find(|offer| place.is_at(offer.gate()));
                let offer = offer.expect("a place is at one of the gates that were waited for");
                self.send(Ticket::new(offer, place, &self.id), body, envelope).await
            }
            Waited::Changed => self.answer(body, envelope).await,
            Waited::TimedOut => Err(Failure::WaitedTooLong { model, waited: self.arrived.elapsed() }),
            Waited::Full => Err(Failure::QueueFull { model }),
        }
    }

    /// Waits for the beginning of an answer, and asks again whenever that may help, as long as requests may wait.
    async fn persist(
        &self,
        body: &Bytes,
        envelope: &Envelope<'_>,
        mut tried: Result<Sent, Failure>,
    ) -> Result<Response, Failure> {
        let mut held = None;
        loop {
            let failure = match tried {
                Ok(sent) => match sent.begun().await {
                    Ok(response) => return Ok(response),
                    Err(failure) => failure,
                },
                Err(failure) => failure,
            };
            tried = match failure {
                Failure::Busy(offers) => {
                    held = None;
                    self.in_line(offers, body, envelope).await
                }
                failure if !failure.may_pass() => return Err(failure),
                failure => {
                    let place = match held.take().or_else(|| self.state.hold.enter()) {
                        Some(place) => held.insert(place),
                        None => return Err(failure),
                    };
                    let mut changes = self.state.directory.changes();
                    let change = async {
                        let _ = changes.changed().await;
                    };
                    if !place.wait(change).await {
                        return Err(failure);
                    }
                    self.answer(body, envelope).await
                }
            };
        }
    }

    /// The allowance of the caller's key, where it counts tokens.
    fn allowance(&self) -> Option<&Arc<Allowance>> {
        self.caller.as_ref()?.allowance().filter(|allowance| allowance.counts_tokens())
    }

    /// The failure as the client gets it, counted.
    fn failed(&self, failure: Failure) -> ApiError {
        let refusal = failure.is_refusal();
        let error = ApiError::from(failure);
        if refusal {
            self.state.metrics.refused(error.code());
        }
        error
    }
}

impl Sent {
    /// The answer, counted.
    fn followed(self) -> Response {
        let response = self.opened.into();
        match self.meters {
            Some(meters) => meters.follow(response),
            None => response,
        }
    }

    /// The same once it has begun.
    async fn begun(self) -> Result<Response, Failure> {
        let Self { opened, meters } = self;
        let opened = if opened.is_open_stream() { opened.begun().await? } else { opened };
        Ok(Self { opened, meters }.followed())
    }
}

impl Waiting {
    /// Whether the client wants a stream, which can be kept alive meanwhile.
    pub(super) fn streams(&self) -> bool {
        self.envelope.streams()
    }

    /// The answer, once there is one.
    pub(super) async fn answer(self: Box<Self>) -> Result<Response, ApiError> {
        let Self { question, body, envelope, tried } = *self;
        let tried = question.persist(&body, &envelope, tried).await;
        question.settled(&body, &envelope, tried).await.map_err(|failure| question.failed(failure))
    }
}

/// The headers with the call's own trace context.
fn with_trace(headers: &HeaderMap, call: &CallSpan) -> HeaderMap {
    let mut headers = headers.clone();
    headers.insert("traceparent", call.traceparent());
    headers
}

/// Refuses a model that the caller's key does not name, neither as it was asked for nor by its own name.
fn permit(caller: &Caller, asked: Option<&str>, model: &ModelId) -> Result<(), Failure> {
    let by_alias = || asked.and_then(|name| name.parse().ok()).is_some_and(|name| caller.may_ask(&name));
    if caller.may_ask(model) || by_alias() {
        return Ok(());
    }
    Err(Failure::ModelNotAllowed { caller: caller.who().to_string(), model: model.clone() })
}
