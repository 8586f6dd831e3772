//! Answers as event streams.

use std::collections::VecDeque;
use std::convert::Infallible;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::stream;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use remora_protocol::sse;
use serde::Serialize;

use super::error::stream_error;
use crate::scheduler::{Delta, GenerateError, Generation};

/// Events that are ready to be sent.
#[derive(Debug, Default)]
pub(super) struct Events(VecDeque<Bytes>);

impl Events {
    /// Adds one.
    pub(super) fn push<T: Serialize>(&mut self, event: &T) {
        self.0.push_back(sse::data(event).expect("wire types are plain data"));
    }

    /// Adds one with a name.
    pub(super) fn push_named<T: Serialize>(&mut self, name: &str, event: &T) {
        self.0.push_back(sse::event(name, event).expect("wire types are plain data"));
    }
}

/// How one kind of answers is told in events.
pub(super) trait Chunks: Send + 'static {
    /// What ends every stream, whether it went well or not.
    const LAST: &'static [u8] = sse::DONE;

    /// Tells what comes before the first step.
    fn begin(&mut self, _: &mut Events) {}
    /// Tells a step of an answer.
    fn step(&mut self, answer: usize, delta: Delta, events: &mut Events);
    /// Tells what comes after the last step of all answers.
    fn end(&mut self, events: &mut Events);
    /// Tells that the answers broke off.
    fn fail(&mut self, error: &GenerateError, events: &mut Events) {
        events.push(&stream_error(error));
    }
}

/// The answers as a response, which begins at once: what follows may take as long as the queue is.
///
/// Dropping the response drops the generation, which frees its slots.
pub(super) fn respond(generation: Generation, mut chunks: impl Chunks) -> Response {
    let mut events = Events::default();
    chunks.begin(&mut events);
    let state = Telling { generation: Some(generation), chunks, events };
    let body = stream::unfold(state, |mut state| async move {
        let event = state.next().await?;
        Some((Ok::<_, Infallible>(event), state))
    });
    let headers = [(CONTENT_TYPE, sse::CONTENT_TYPE), (CACHE_CONTROL, "no-cache")];
    (headers, Body::from_stream(body)).into_response()
}

struct Telling<C> {
    /// None once the answers are complete.
    generation: Option<Generation>,
    chunks: C,
    events: Events,
}

impl<C: Chunks> Telling<C> {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(event) = self.events.0.pop_front() {
                return Some(event);
            }
            let generation = self.generation.as_mut()?;
            match generation.next().await {
                Some(Ok((answer, delta))) => self.chunks.step(answer, delta, &mut self.events),
                Some(Err(error)) => self.fail(&error),
                None => {
                    self.chunks.end(&mut self.events);
                    self.finish();
                }
            }
        }
    }

    fn fail(&mut self, error: &GenerateError) {
        self.chunks.fail(error, &mut self.events);
        self.finish();
    }

    fn finish(&mut self) {
        if !C::LAST.is_empty() {
            self.events.0.push_back(Bytes::from_static(C::LAST));
        }
        self.generation = None;
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use tokio::sync::mpsc;

    use super::*;
    use crate::scheduler::GeneratedToken;

    struct Texts;

    impl Chunks for Texts {
        fn step(&mut self, _: usize, delta: Delta, events: &mut Events) {
            events.push(&delta.text);
        }

        fn end(&mut self, events: &mut Events) {
            events.push(&"the end");
        }
    }

    async fn told(steps: Vec<Result<Delta, GenerateError>>) -> String {
        let (deltas, received) = mpsc::unbounded_channel();
        for step in steps {
            deltas.send((0, step)).unwrap();
        }
        drop(deltas);
        let body = respond(Generation::new(received, 1), Texts).into_body().collect().await.unwrap();
        String::from_utf8(body.to_bytes().to_vec()).unwrap()
    }

    fn step(text: &str) -> Delta {
        Delta { text: text.to_owned(), token: GeneratedToken { id: 0, logprobs: None }, finish: None }
    }

    #[tokio::test]
    async fn an_answer_that_breaks_off_ends_with_an_error_and_done() {
        insta::assert_snapshot!(told(vec![Ok(step("a")), Err(GenerateError::Failed)]).await, @r#"
        data: "a"

        data: {"error":{"message":"the engine failed while it computed this answer","type":"InternalServerError","param":null,"code":500}}

        data: [DONE]
        "#);
        insta::assert_snapshot!(told(vec![Ok(step("a"))]).await, @r#"
        data: "a"

        data: {"error":{"message":"the engine stopped before this answer was complete","type":"InternalServerError","param":null,"code":500}}

        data: [DONE]
        "#);
    }
}
