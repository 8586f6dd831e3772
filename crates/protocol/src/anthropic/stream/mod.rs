//! A streamed answer: the engine's events in, Anthropic's events out.
//!
//! [`Decoder`] finds events in bytes, [`Calls`] puts tool calls in a row, [`Emitter`] keeps the order legal.

mod calls;
mod decoder;
mod emitter;

use std::ops::ControlFlow;

use bytes::BytesMut;

use self::calls::{Calls, TooMany};
use self::decoder::{Decoder, TooLong};
use self::emitter::Emitter;
use super::answer::{Asked, End};
use super::error::Failure;
use super::message::MessageUsage;
use super::note::Note;
use super::upstream::{Choice, Saying, Upstream, or_empty};

/// Translates one stream. Whatever comes in, what goes out is legal: `message_start` first, blocks one after the other
/// and numbered without gaps, deltas within their blocks, and `message_stop` or `error` at the end.
///
/// ```
/// use bytes::BytesMut;
/// use remora_protocol::anthropic::{Asked, MessageStream};
///
/// let asked = Asked { id: "msg_1".into(), model: "m".into(), ..Asked::default() };
/// let (mut stream, mut out) = (MessageStream::new(asked), BytesMut::new());
/// stream.feed(b"data: {\"choices\":[{\"delta\":{\"content\":\"hi\"},\"finish_reason\":\"stop\"}]}\n\n", &mut out);
/// stream.feed(b"data: [DONE]\n\n", &mut out);
/// assert!(stream.is_over());
/// ```
#[derive(Debug)]
pub struct MessageStream {
    decoder: Decoder,
    translator: Translator,
}

impl MessageStream {
    /// A stream of which nothing was written yet.
    #[must_use]
    pub fn new(asked: Asked) -> Self {
        let usage = MessageUsage::new(asked.input_tokens.unwrap_or(0), 0, 0);
        Self {
            decoder: Decoder::default(),
            translator: Translator {
                asked,
                emitter: Emitter::new(),
                calls: Calls::default(),
                blanks: String::new(),
                end: None,
                refused: false,
                usage,
                notes: Vec::new(),
            },
        }
    }

    /// Writes `message_start`, if it is not written. Without this it goes out with the first event of the engine, and
    /// tells the length of the prompt if that event does; early, it tells [`Asked::input_tokens`].
    pub fn start(&mut self, out: &mut BytesMut) {
        self.translator.start(out);
    }

    /// Writes a `ping`, behind `message_start`. It never falls inside another event. Nothing after the end.
    pub fn ping(&mut self, out: &mut BytesMut) {
        self.translator.start(out);
        self.translator.emitter.ping(out);
    }

    /// Takes bytes of the engine's event stream, cut anywhere, and writes what follows from them.
    pub fn feed(&mut self, bytes: &[u8], out: &mut BytesMut) {
        if self.is_over() {
            return;
        }
        let Self { decoder, translator } = self;
        if let Err(TooLong) = decoder.feed(bytes, |data| translator.event(data, out)) {
            self.translator.fail(&Failure::too_large(), out);
        }
    }

    /// The engine's stream has ended. An answer that was complete ends well, any other with an `error` event.
    pub fn finish(&mut self, out: &mut BytesMut) {
        if self.is_over() {
            return;
        }
        let Self { decoder, translator } = self;
        decoder.finish(|data| translator.last_event(data, out));
        if translator.end.is_some() {
            translator.end(out);
        } else {
            translator.fail(&Failure::cut_off(), out);
        }
    }

    /// Ends the stream with an `error` event: the engine was lost, or the gateway must stop.
    pub fn fail(&mut self, failure: &Failure, out: &mut BytesMut) {
        self.translator.fail(failure, out);
    }

    /// Whether anything was written. Until then a failure can still be answered with a status.
    #[must_use]
    pub fn is_started(&self) -> bool {
        !self.translator.emitter.is_fresh()
    }

    /// Whether the last event was written. What the engine still sends is of no use.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.translator.emitter.is_over()
    }

    /// How many tokens it took, as far as the engine has told.
    #[must_use]
    pub fn usage(&self) -> MessageUsage {
        self.translator.usage
    }

    /// What could not be carried over so far.
    #[must_use]
    pub fn notes(&self) -> &[Note] {
        &self.translator.notes
    }
}

#[derive(Debug)]
struct Translator {
    asked: Asked,
    emitter: Emitter,
    calls: Calls,
    /// Blanks that a text may begin with: whether there is a text is not known yet.
    blanks: String,
    /// Why the engine stopped, once it has.
    end: Option<End>,
    refused: bool,
    usage: MessageUsage,
    notes: Vec<Note>,
}

impl Translator {
    fn start(&mut self, out: &mut BytesMut) {
        self.emitter.start(&self.asked, &MessageUsage { output_tokens: 0, ..self.usage }, out);
    }

    /// The data of one event.
    fn event(&mut self, data: &[u8], out: &mut BytesMut) -> ControlFlow<()> {
        match data.trim_ascii() {
            b"" => {}
            b"[DONE]" => self.done(out),
            data => match serde_json::from_slice(data) {
                Ok(chunk) => self.chunk(chunk, data, out),
                Err(_) => self.fail(&Failure::unreadable(), out),
            },
        }
        if self.emitter.is_over() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    /// The data of an event whose end did not come: it may be a part.
    fn last_event(&mut self, data: &[u8], out: &mut BytesMut) -> ControlFlow<()> {
        let whole = data.trim_ascii() == b"[DONE]" || serde_json::from_slice::<Upstream<'_>>(data).is_ok();
        if whole { self.event(data, out) } else { ControlFlow::Break(()) }
    }

    fn chunk(&mut self, mut chunk: Upstream<'_>, data: &[u8], out: &mut BytesMut) {
        if chunk.is_error() {
            return self.fail(&Failure::of_event(data, self.asked.input_tokens), out);
        }
        if let Some(usage) = &chunk.usage {
            self.usage = usage.after(self.usage);
        }
        self.start(out);
        let Some(mut choice) = chunk.choice() else { return };
        // A whole message in place of a piece is what some engines end with, or answer altogether.
        if let Some(said) = choice.delta.take().or_else(|| choice.message.take())
            && self.say(&said, out) == Err(TooMany)
        {
            return self.fail(&Failure::too_large(), out);
        }
        if !or_empty(choice.finish_reason.as_ref()).is_empty() {
            self.stop(&choice, out);
        }
    }

    fn say(&mut self, said: &Saying<'_>, out: &mut BytesMut) -> Result<(), TooMany> {
        if self.asked.thinking && !said.thinking().is_empty() {
            self.thinking(said.thinking(), out)?;
        }
        self.text(or_empty(said.content.as_ref()), out)?;
        let refusal = or_empty(said.refusal.as_ref());
        self.refused |= !refusal.is_empty();
        self.text(refusal, out)?;
        for call in said.tool_calls.iter().flatten() {
            self.blanks.clear();
            self.calls.piece(call, &self.asked.id, &mut self.emitter, &mut self.notes, out)?;
        }
        Ok(())
    }

    fn thinking(&mut self, piece: &str, out: &mut BytesMut) -> Result<(), TooMany> {
        if self.calls.must_wait() {
            return self.calls.hold_thinking(piece);
        }
        self.blanks.clear();
        self.calls.let_go(&mut self.notes);
        self.emitter.thinking(piece, out);
        Ok(())
    }

    fn text(&mut self, piece: &str, out: &mut BytesMut) -> Result<(), TooMany> {
        if piece.is_empty() {
            return Ok(());
        }
        if self.calls.must_wait() {
            return self.calls.hold_text(piece);
        }
        if !self.emitter.in_text() {
            // Anthropic refuses blank text when it is sent back, so a text begins only with the first real letter.
            if piece.trim().is_empty() {
                return self.hold_blanks(piece);
            }
            self.calls.let_go(&mut self.notes);
            if !self.blanks.is_empty() {
                let blanks = std::mem::take(&mut self.blanks);
                self.emitter.text(&blanks, out);
            }
        }
        self.emitter.text(piece, out);
        Ok(())
    }

    fn hold_blanks(&mut self, piece: &str) -> Result<(), TooMany> {
        const MOST_BLANKS: usize = 1 << 20;
        self.blanks.push_str(piece);
        if self.blanks.len() > MOST_BLANKS { Err(TooMany) } else { Ok(()) }
    }

    /// The engine has said why it stopped; only its usage may follow.
    fn stop(&mut self, choice: &Choice<'_>, out: &mut BytesMut) {
        let end = End::of(choice, &self.asked.stop_sequences);
        if end == End::GivenUp {
            return self.fail(&Failure::given_up(), out);
        }
        self.end = Some(end);
        self.calls.settle(&self.asked.id, &mut self.emitter, &mut self.notes, out);
    }

    fn done(&mut self, out: &mut BytesMut) {
        if self.emitter.is_fresh() {
            // Not one chunk: there is no answer to end.
            return self.fail(&Failure::cut_off(), out);
        }
        self.end(out);
    }

    fn end(&mut self, out: &mut BytesMut) {
        self.calls.settle(&self.asked.id, &mut self.emitter, &mut self.notes, out);
        let end = self.end.take().unwrap_or(End::Unknown);
        match end.ending(self.calls.any(), self.refused, &mut self.notes) {
            Ok(ending) => self.emitter.end(&ending, &self.usage, out),
            Err(failure) => self.emitter.fail(&failure, out),
        }
    }

    fn fail(&mut self, failure: &Failure, out: &mut BytesMut) {
        self.emitter.fail(failure, out);
    }
}
