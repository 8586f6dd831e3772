//! Where in an event stream it stopped, and how to end it there.

use bytes::Bytes;
use remora_protocol::sse;
use serde_json::json;

/// How an event stream says that it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EventStyle {
    /// `OpenAI`'s chat and completions.
    Chat,
    /// `OpenAI`'s Responses API.
    Responses,
    /// Anthropic's Messages.
    Messages,
}

/// Follows an event stream's last bytes, so that an error event can be put behind whatever came last.
#[derive(Debug)]
pub(crate) struct EventTail {
    style: EventStyle,
    last: [u8; 4],
}

impl EventTail {
    /// The beginning of a stream counts as a boundary.
    pub(crate) fn new(style: EventStyle) -> Self {
        Self { style, last: *b"\n\n\n\n" }
    }

    /// Notes what went out.
    pub(super) fn saw(&mut self, bytes: &[u8]) {
        let new = &bytes[bytes.len().saturating_sub(4)..];
        self.last.rotate_left(new.len());
        self.last[4 - new.len()..].copy_from_slice(new);
    }

    /// Whether the last event was whole: the stream stands behind an empty line.
    fn at_boundary(&self) -> bool {
        self.last.ends_with(b"\n\n") || self.last == *b"\r\n\r\n" || self.last.ends_with(b"\r\r")
    }

    /// The error event that ends the stream. A half event before it is ended first, so that it cannot swallow the error.
    ///
    /// No `[DONE]` follows: official SDKs raise on the error, and a reader that overlooks it must not be told that the
    /// answer is complete.
    pub(crate) fn farewell(&self, code: &str, message: &str) -> Bytes {
        let error = json!({ "message": message, "type": "server_error", "param": null, "code": code });
        // The Responses API types its events; `error` beside it is what the SDKs raise on in every stream.
        let event = match self.style {
            EventStyle::Responses => {
                json!({ "type": "error", "code": code, "message": message, "param": null, "error": error })
            }
            EventStyle::Messages => json!({ "type": "error", "error": { "type": "api_error", "message": message } }),
            EventStyle::Chat => json!({ "error": error }),
        };
        let block = sse::data(&event).expect("a JSON value can be written");
        let before: &[u8] = match (self.at_boundary(), self.style) {
            (true, EventStyle::Chat) => b"",
            (false, EventStyle::Chat) => b"\n\n",
            (true, _) => b"event: error\n",
            (false, _) => b"\n\nevent: error\n",
        };
        [before, &block].concat().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(pieces: &[&str]) -> String {
        let mut tail = EventTail::new(EventStyle::Chat);
        for piece in pieces {
            tail.saw(piece.as_bytes());
        }
        String::from_utf8(tail.farewell("c", "m").to_vec()).unwrap()
    }

    #[test]
    fn the_error_starts_at_an_event_boundary() {
        const EVENT: &str =
            "data: {\"error\":{\"message\":\"m\",\"type\":\"server_error\",\"param\":null,\"code\":\"c\"}}\n\n";
        for whole in [&[][..], &["data: 1\n\n"], &["data: 1\n", "", "\n"], &["data: 1\r\n\r", "\n"], &["data: 1\r\r"]] {
            assert_eq!(after(whole), EVENT, "{whole:?}");
        }
        for half in [&["data: 1"][..], &["data: 1\n"], &["data: 1\n\n", "d"], &["data: 1\r\n"], &["\n\nx\n"]] {
            assert_eq!(after(half), format!("\n\n{EVENT}"), "{half:?}");
        }
    }

    #[test]
    fn the_responses_api_gets_its_own_event() {
        let text = String::from_utf8(EventTail::new(EventStyle::Responses).farewell("c", "m").to_vec()).unwrap();
        let data = text.strip_prefix("event: error\ndata: ").unwrap().trim_end();
        let event: serde_json::Value = serde_json::from_str(data).unwrap();
        assert_eq!((&event["type"], &event["error"]["code"]), (&json!("error"), &json!("c")));
    }
}
