//! Writes Anthropic's events, in an order that is legal whatever is asked for.
//!
//! The order is this module's alone: a stream is opened in one place, a block is opened in one place and closed in one
//! place, and every piece of text is written through the block that it belongs to. Whoever calls cannot get a delta
//! without its block, two open blocks, a gap in the numbers, or anything behind the end.

use std::io::Write;

use bytes::{BufMut, BytesMut};
use serde::Serialize;

use crate::anthropic::answer::{Asked, Ending};
use crate::anthropic::error::Failure;
use crate::anthropic::message::{LOCAL_SIGNATURE, MessageUsage};

/// Where a stream stands.
#[derive(Debug)]
enum Stage {
    /// Nothing was written.
    Fresh,
    /// Behind `message_start`.
    Running {
        /// The number of the open block, or of the next one.
        index: u32,
        /// The open block.
        open: Open,
    },
    /// Behind `message_stop` or `error`.
    Over,
}

/// The open block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Open {
    Nothing,
    Thinking,
    Text,
    Tool,
}

/// Writes one stream.
#[derive(Debug)]
pub(super) struct Emitter {
    stage: Stage,
}

impl Emitter {
    pub(super) fn new() -> Self {
        Self { stage: Stage::Fresh }
    }

    pub(super) fn is_fresh(&self) -> bool {
        matches!(self.stage, Stage::Fresh)
    }

    pub(super) fn is_over(&self) -> bool {
        matches!(self.stage, Stage::Over)
    }

    /// Whether a text block is open.
    pub(super) fn in_text(&self) -> bool {
        matches!(self.stage, Stage::Running { open: Open::Text, .. })
    }

    /// `message_start`, once.
    pub(super) fn start(&mut self, asked: &Asked, usage: &MessageUsage, out: &mut BytesMut) {
        if !self.is_fresh() {
            return;
        }
        out.put_slice(b"event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":");
        json(&asked.id, out);
        out.put_slice(b",\"type\":\"message\",\"role\":\"assistant\",\"model\":");
        json(&asked.model, out);
        out.put_slice(b",\"content\":[],\"stop_reason\":null,\"stop_sequence\":null,\"usage\":");
        json(usage, out);
        out.put_slice(b"}}\n\n");
        self.stage = Stage::Running { index: 0, open: Open::Nothing };
    }

    /// `ping`: something that keeps connections open. Nothing before the start and behind the end.
    pub(super) fn ping(&mut self, out: &mut BytesMut) {
        if matches!(self.stage, Stage::Running { .. }) {
            out.put_slice(b"event: ping\ndata: {\"type\":\"ping\"}\n\n");
        }
    }

    /// Some thinking.
    pub(super) fn thinking(&mut self, piece: &str, out: &mut BytesMut) {
        const BLOCK: &[u8] = b"{\"type\":\"thinking\",\"thinking\":\"\",\"signature\":\"\"}";
        if let Some(index) = self.within(Open::Thinking, out, |out| out.put_slice(BLOCK)) {
            delta(index, b"{\"type\":\"thinking_delta\",\"thinking\":", piece, out);
        }
    }

    /// Some text.
    pub(super) fn text(&mut self, piece: &str, out: &mut BytesMut) {
        const BLOCK: &[u8] = b"{\"type\":\"text\",\"text\":\"\"}";
        if let Some(index) = self.within(Open::Text, out, |out| out.put_slice(BLOCK)) {
            delta(index, b"{\"type\":\"text_delta\",\"text\":", piece, out);
        }
    }

    /// The beginning of a call.
    pub(super) fn call(&mut self, id: &str, name: &str, out: &mut BytesMut) {
        self.close(out);
        self.within(Open::Tool, out, |out| {
            out.put_slice(b"{\"type\":\"tool_use\",\"id\":");
            json(id, out);
            out.put_slice(b",\"name\":");
            json(name, out);
            out.put_slice(b",\"input\":{}}");
        });
        self.arguments("", out);
    }

    /// Some of the open call's arguments; nothing where no call is open.
    pub(super) fn arguments(&mut self, piece: &str, out: &mut BytesMut) {
        if let Stage::Running { index, open: Open::Tool } = self.stage {
            delta(index, b"{\"type\":\"input_json_delta\",\"partial_json\":", piece, out);
        }
    }

    /// Closes what is open. The one place where a block ends.
    pub(super) fn close(&mut self, out: &mut BytesMut) {
        let Stage::Running { index, open } = &mut self.stage else { return };
        match std::mem::replace(open, Open::Nothing) {
            Open::Nothing => return,
            Open::Thinking => delta(*index, b"{\"type\":\"signature_delta\",\"signature\":", LOCAL_SIGNATURE, out),
            Open::Text | Open::Tool => {}
        }
        out.put_slice(b"event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":");
        number(*index, out);
        out.put_slice(b"}\n\n");
        *index += 1;
    }

    /// `message_delta` and `message_stop`.
    pub(super) fn end(&mut self, ending: &Ending, usage: &MessageUsage, out: &mut BytesMut) {
        self.close(out);
        if !matches!(self.stage, Stage::Running { .. }) {
            return;
        }
        out.put_slice(b"event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":");
        json(ending.reason.as_str(), out);
        out.put_slice(b",\"stop_sequence\":");
        json(&ending.sequence, out);
        out.put_slice(b"},\"usage\":");
        json(usage, out);
        out.put_slice(b"}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n");
        self.stage = Stage::Over;
    }

    /// `error`, behind which nothing comes. What is open stays open, as with Anthropic: closing a call would tell the
    /// client that it is whole.
    pub(super) fn fail(&mut self, failure: &Failure, out: &mut BytesMut) {
        if self.is_over() {
            return;
        }
        out.put_slice(b"event: error\ndata: ");
        json(&failure.body(None), out);
        out.put_slice(b"\n\n");
        self.stage = Stage::Over;
    }

    /// The number of the open block of this kind, which is opened if it is not. The one place where a block begins.
    fn within(&mut self, kind: Open, out: &mut BytesMut, block: impl FnOnce(&mut BytesMut)) -> Option<u32> {
        if !matches!(self.stage, Stage::Running { open, .. } if open == kind) {
            self.close(out);
        }
        let Stage::Running { index, open } = &mut self.stage else { return None };
        if *open == Open::Nothing {
            out.put_slice(b"event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":");
            number(*index, out);
            out.put_slice(b",\"content_block\":");
            block(out);
            out.put_slice(b"}\n\n");
            *open = kind;
        }
        Some(*index)
    }
}

/// A delta, whose last field is a string.
fn delta(index: u32, head: &[u8], piece: &str, out: &mut BytesMut) {
    out.put_slice(b"event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":");
    number(index, out);
    out.put_slice(b",\"delta\":");
    out.put_slice(head);
    json(piece, out);
    out.put_slice(b"}}\n\n");
}

fn json<T: Serialize + ?Sized>(value: &T, out: &mut BytesMut) {
    serde_json::to_writer(out.writer(), value).expect("strings and numbers can be written to memory");
}

fn number(number: u32, out: &mut BytesMut) {
    write!(out.writer(), "{number}").expect("memory takes everything");
}
