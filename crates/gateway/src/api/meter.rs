//! Follows an answer to its end, for the accounts: when its pieces came, and how many tokens it had.
//!
//! Engines tell the tokens at the end of an answer, or nearly there, so its last bytes are kept, and read once.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http_body::{Body as HttpBody, Frame, SizeHint};
use memchr::memmem;
use remora_service::{Allowance, CallSpan};
use serde::Deserialize;

use crate::metrics::Pace;
use crate::usage::{Account, Ending, Tokens};

/// How much of an answer's end is kept.
const TAIL: usize = 4 << 10;

/// Bytes to a token, where an engine does not say how many there were.
const BYTES_PER_TOKEN: u64 = 4;

/// Where an answer is counted.
pub(super) struct Meters {
    pub(super) account: Arc<Account>,
    /// Of the caller's key, where it has so many tokens a minute.
    pub(super) allowance: Option<Arc<Allowance>>,
    /// How fast the answers of a model here come; none for a remote's.
    pub(super) pace: Option<Pace>,
    pub(super) started: Instant,
    pub(super) request_bytes: usize,
    /// Where traces are sent.
    pub(super) call: Option<CallSpan>,
}

impl Meters {
    /// An answer that is counted when it ends, also when its client goes away in mid-stream.
    pub(super) fn follow(self, answer: Response) -> Response {
        let is_error = answer.status().as_u16() >= 400;
        let kind = answer.headers().get(CONTENT_TYPE).map(http::HeaderValue::as_bytes).unwrap_or_default();
        let is_stream = kind.starts_with(b"text/event-stream");
        answer.map(|body| {
            let ending = if is_error { Ending::Error } else { Ending::CutShort };
            let tail = Vec::new();
            let mut metered = Metered { body, meters: self, is_stream, ending, last: None, tail, bytes: 0, events: 0 };
            metered.note_end();
            Body::new(metered)
        })
    }
}

struct Metered {
    body: Body,
    meters: Meters,
    is_stream: bool,
    ending: Ending,
    /// When the last piece of a stream came.
    last: Option<Instant>,
    tail: Vec<u8>,
    bytes: u64,
    events: u64,
}

impl Metered {
    fn saw(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        let last = &bytes[bytes.len().saturating_sub(TAIL)..];
        let surplus = (self.tail.len() + last.len()).saturating_sub(TAIL);
        self.tail.drain(..surplus.min(self.tail.len()));
        self.tail.extend_from_slice(last);
        if self.is_stream {
            self.events += memmem::find_iter(bytes, b"\n\n").count() as u64;
            let now = Instant::now();
            let last = self.last.replace(now);
            if let Some(pace) = &self.meters.pace {
                match last {
                    None => pace.first.observe((now - self.meters.started).as_secs_f64()),
                    Some(last) => pace.between.observe((now - last).as_secs_f64()),
                }
            }
            if let (None, Some(call)) = (last, &mut self.meters.call) {
                call.event("first token");
            }
        }
    }

    fn note_end(&mut self) {
        if self.body.is_end_stream() && self.ending == Ending::CutShort {
            self.ending = Ending::Whole;
        }
    }

    fn tokens(&self) -> Tokens {
        if let Some(told) = told(&self.tail) {
            return told;
        }
        if self.ending == Ending::Error {
            return Tokens::default();
        }
        let completion = if self.is_stream { self.events } else { self.bytes / BYTES_PER_TOKEN };
        let prompt = self.meters.request_bytes as u64 / BYTES_PER_TOKEN;
        Tokens { prompt, cached: 0, completion, estimated: true }
    }
}

impl Drop for Metered {
    fn drop(&mut self) {
        let tokens = self.tokens();
        if let Some(allowance) = &self.meters.allowance {
            allowance.spend_tokens(tokens.prompt + tokens.completion);
        }
        self.meters.account.add(tokens, self.ending, self.meters.started.elapsed());
        if let Some(call) = &mut self.meters.call {
            let number = |tokens: u64| i64::try_from(tokens).unwrap_or(i64::MAX);
            call.set("gen_ai.usage.input_tokens", number(tokens.prompt));
            call.set("gen_ai.usage.output_tokens", number(tokens.completion));
            if self.ending != Ending::Whole {
                call.fail(format!("{:?}", self.ending));
            }
        }
    }
}

impl HttpBody for Metered {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(bytes) = frame.data_ref() {
                    self.saw(bytes);
                }
                // The server drops a body whose end is known without polling it once more.
                self.note_end();
            }
            Poll::Ready(None) if self.ending == Ending::CutShort => self.ending = Ending::Whole,
            _ => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// `usage` in the words of `OpenAI`'s chat, or of its Responses API and Anthropic's.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Told {
    #[serde(alias = "input_tokens")]
    prompt_tokens: Option<u64>,
    #[serde(alias = "output_tokens")]
    completion_tokens: Option<u64>,
    #[serde(alias = "input_tokens_details")]
    prompt_tokens_details: Option<Details>,
    cache_read_input_tokens: Option<u64>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Details {
    cached_tokens: Option<u64>,
}

/// The last `usage` in a text, if it holds any.
fn told(tail: &[u8]) -> Option<Tokens> {
    const USAGE: &[u8] = b"\"usage\"";
    let value = tail[memmem::rfind(tail, USAGE)? + USAGE.len()..].trim_ascii_start().strip_prefix(b":")?;
    let told = serde_json::Deserializer::from_slice(value).into_iter::<Told>().next()?.ok()?;
    if told.prompt_tokens.is_none() && told.completion_tokens.is_none() {
        return None;
    }
    let cached = told.prompt_tokens_details.and_then(|details| details.cached_tokens);
    Some(Tokens {
        // Anthropic counts what was cached apart.
        prompt: told.prompt_tokens.unwrap_or(0) + told.cache_read_input_tokens.unwrap_or(0),
        cached: cached.or(told.cache_read_input_tokens).unwrap_or(0),
        completion: told.completion_tokens.unwrap_or(0),
        estimated: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_usage_counts_whatever_the_dialect() {
        let tokens = |prompt, cached, completion| Tokens { prompt, cached, completion, estimated: false };
        for (text, expected) in [
            (
                r#"{"usage":{"prompt_tokens":7}} {"usage": {"prompt_tokens":40,"completion_tokens":2,"x":[1]}} tail"#,
                Some(tokens(40, 0, 2)),
            ),
            (
                r#""usage":{"prompt_tokens":9,"prompt_tokens_details":{"cached_tokens":8},"completion_tokens":1}}"#,
                Some(tokens(9, 8, 1)),
            ),
            (
                r#""usage":{"prompt_tokens":9,"prompt_tokens_details":null,"completion_tokens":1}}"#,
                Some(tokens(9, 0, 1)),
            ),
            (r#""usage" : {"input_tokens":5,"cache_read_input_tokens":3,"output_tokens":4}}"#, Some(tokens(8, 3, 4))),
            (
                r#""usage":{"input_tokens":5,"input_tokens_details":{"cached_tokens":2},"output_tokens":4}}"#,
                Some(tokens(5, 2, 4)),
            ),
            (r#""usage":null"#, None),
            (r#""usage":{"prompt_tokens":"#, None),
            ("", None),
        ] {
            assert_eq!(told(text.as_bytes()), expected, "{text}");
        }
    }
}
