//! Tool calls under way.
//!
//! The chat API may send several calls at once, piece by piece, told apart by a number; Anthropic's blocks come one
//! after the other. The first call is written as it comes. What comes meanwhile waits until its arguments are complete.

use std::collections::VecDeque;

use bytes::BytesMut;
use serde::de::IgnoredAny;

use super::emitter::Emitter;
use crate::anthropic::answer::call_id;
use crate::anthropic::note::{Note, short};
use crate::anthropic::upstream::Call;

/// Most calls in one answer; `OpenAI` allows 128 tools.
const MOST_CALLS: usize = 512;

/// Most bytes of arguments and of what waits behind them.
const MOST_BYTES: usize = 16 << 20;

/// More calls, or longer ones, than can be held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooMany;

/// Every call of an answer, and what waits behind one.
#[derive(Debug, Default)]
pub(super) struct Calls {
    /// The calls in the order in which they came.
    known: Vec<Known>,
    /// The call that is being written.
    open: Option<Writing>,
    waiting: VecDeque<Waiting>,
    /// What is held in `open` and `waiting`.
    bytes: usize,
    /// How many calls were begun in the output.
    written: usize,
}

#[derive(Debug)]
struct Known {
    /// The engine's number for it.
    index: Option<u64>,
    /// The engine's id, empty until it is known.
    id: String,
    name: String,
}

#[derive(Debug)]
struct Writing {
    call: usize,
    arguments: String,
    progress: Progress,
}

#[derive(Debug)]
enum Waiting {
    Thinking(String),
    Text(String),
    Call { call: usize, arguments: String },
}

impl Calls {
    /// Whether thinking or text must wait.
    pub(super) fn must_wait(&self) -> bool {
        !self.waiting.is_empty() || self.open.as_ref().is_some_and(|open| !open.progress.is_complete())
    }

    /// Whether a call was written.
    pub(super) fn any(&self) -> bool {
        self.written > 0
    }

    /// Has thinking wait.
    pub(super) fn hold_thinking(&mut self, piece: &str) -> Result<(), TooMany> {
        match self.waiting.back_mut() {
            Some(Waiting::Thinking(thinking)) => thinking.push_str(piece),
            _ => self.waiting.push_back(Waiting::Thinking(piece.to_owned())),
        }
        self.grow(piece.len())
    }

    /// Has text wait. Blanks between calls are no text.
    pub(super) fn hold_text(&mut self, piece: &str) -> Result<(), TooMany> {
        match self.waiting.back_mut() {
            Some(Waiting::Text(text)) => text.push_str(piece),
            _ if piece.trim().is_empty() => return Ok(()),
            _ => self.waiting.push_back(Waiting::Text(piece.to_owned())),
        }
        self.grow(piece.len())
    }

    /// Takes a piece of a call, and writes what can be written.
    pub(super) fn piece(
        &mut self,
        piece: &Call<'_>,
        message: &str,
        emitter: &mut Emitter,
        notes: &mut Vec<Note>,
        out: &mut BytesMut,
    ) -> Result<(), TooMany> {
        let call = self.known(piece)?;
        let arguments = piece.arguments();
        if let Some(open) = self.open.as_mut().filter(|open| open.call == call) {
            if !arguments.is_empty() {
                emitter.arguments(&arguments, out);
                open.take(&arguments);
            }
        } else if let Some(held) = self.waiting.iter_mut().find_map(|waiting| waiting.arguments_of(call)) {
            held.push_str(&arguments);
        } else if !arguments.trim().is_empty() {
            let note = Note::ArgumentsTooLate { tool: short(&self.known[call].name) };
            if notes.last() != Some(&note) {
                notes.push(note);
            }
        }
        self.grow(arguments.len())?;
        self.advance(message, emitter, notes, out);
        Ok(())
    }

    /// Writes everything that waits: no further piece is to come.
    pub(super) fn settle(&mut self, message: &str, emitter: &mut Emitter, notes: &mut Vec<Note>, out: &mut BytesMut) {
        loop {
            self.advance(message, emitter, notes, out);
            self.let_go(notes);
            match self.waiting.front() {
                // It would have been written, had it a name.
                Some(Waiting::Call { call, .. }) if self.known[*call].name.is_empty() => {
                    notes.push(Note::CallWithoutName);
                    self.waiting.pop_front();
                }
                Some(_) => {}
                None => break,
            }
        }
        self.bytes = 0;
        emitter.close(out);
    }

    /// Ends the call that is being written: it is complete, or nothing can follow.
    pub(super) fn let_go(&mut self, notes: &mut Vec<Note>) {
        let Some(open) = self.open.take() else { return };
        self.bytes = self.bytes.saturating_sub(open.arguments.len());
        if !open.is_object() {
            notes.push(Note::ArgumentsNotJson { tool: short(&self.known[open.call].name) });
        }
    }

    /// Writes what waits, up to the first call that is not complete.
    fn advance(&mut self, message: &str, emitter: &mut Emitter, notes: &mut Vec<Note>, out: &mut BytesMut) {
        while self.open.as_ref().is_none_or(|open| open.progress.is_complete()) {
            match self.waiting.front() {
                Some(Waiting::Call { call, .. }) if self.known[*call].name.is_empty() => return,
                Some(_) => {}
                None => return,
            }
            self.let_go(notes);
            match self.waiting.pop_front() {
                Some(Waiting::Thinking(thinking)) => {
                    self.bytes = self.bytes.saturating_sub(thinking.len());
                    emitter.thinking(&thinking, out);
                }
                Some(Waiting::Text(text)) => {
                    self.bytes = self.bytes.saturating_sub(text.len());
                    emitter.text(&text, out);
                }
                Some(Waiting::Call { call, arguments }) => self.begin(call, &arguments, message, emitter, out),
                None => {}
            }
        }
    }

    fn begin(&mut self, call: usize, arguments: &str, message: &str, emitter: &mut Emitter, out: &mut BytesMut) {
        let (before, rest) = self.known.split_at(call);
        let known = &rest[0];
        let id = call_id(&known.id, message, call, |id| before.iter().any(|other| other.id == id));
        emitter.call(&id, &known.name, out);
        if !arguments.is_empty() {
            emitter.arguments(arguments, out);
        }
        let mut writing = Writing { call, arguments: String::new(), progress: Progress::default() };
        writing.take(arguments);
        self.open = Some(writing);
        self.written += 1;
    }

    /// Which call a piece belongs to; a new one waits from here on.
    fn known(&mut self, piece: &Call<'_>) -> Result<usize, TooMany> {
        let (id, name) = (piece.id(), piece.name());
        let found = match piece.index {
            Some(index) => self.known.iter().rposition(|known| known.index == Some(index)),
            None if !id.is_empty() => self.known.iter().rposition(|known| known.id == id),
            // Engines without numbers send whole calls; what has no name goes on with the last.
            None if !name.is_empty() => None,
            None => self.known.len().checked_sub(1),
        };
        // Some engines give every call the number 0.
        let found = found.filter(|&call| {
            let known = &self.known[call];
            name.is_empty() || id.is_empty() || known.id.is_empty() || known.id == id
        });
        if let Some(call) = found {
            let known = &mut self.known[call];
            for (kept, new) in [(&mut known.id, id), (&mut known.name, name)] {
                if kept.is_empty() {
                    kept.push_str(new);
                }
            }
            return Ok(call);
        }
        if self.known.len() >= MOST_CALLS {
            return Err(TooMany);
        }
        let call = self.known.len();
        self.known.push(Known { index: piece.index, id: id.to_owned(), name: name.to_owned() });
        self.waiting.push_back(Waiting::Call { call, arguments: String::new() });
        self.grow(id.len() + name.len())?;
        Ok(call)
    }

    fn grow(&mut self, bytes: usize) -> Result<(), TooMany> {
        self.bytes += bytes;
        if self.bytes > MOST_BYTES { Err(TooMany) } else { Ok(()) }
    }
}

impl Waiting {
    fn arguments_of(&mut self, wanted: usize) -> Option<&mut String> {
        match self {
            Self::Call { call, arguments } if *call == wanted => Some(arguments),
            _ => None,
        }
    }
}

impl Writing {
    fn take(&mut self, piece: &str) {
        self.arguments.push_str(piece);
        self.progress.take(piece);
    }

    /// Whether the arguments are what they have to be; none at all are an empty object.
    fn is_object(&self) -> bool {
        let arguments = self.arguments.trim();
        arguments.is_empty() || arguments.starts_with('{') && serde_json::from_str::<IgnoredAny>(arguments).is_ok()
    }
}

/// How far a JSON object has come, as far as brackets tell.
#[derive(Debug, Default)]
struct Progress {
    depth: u32,
    in_string: bool,
    escaped: bool,
    begun: bool,
}

impl Progress {
    fn is_complete(&self) -> bool {
        self.begun && self.depth == 0 && !self.in_string
    }

    fn take(&mut self, piece: &str) {
        for byte in piece.bytes() {
            if self.in_string {
                match byte {
                    _ if self.escaped => self.escaped = false,
                    b'\\' => self.escaped = true,
                    b'"' => self.in_string = false,
                    _ => {}
                }
                continue;
            }
            match byte {
                b'"' => self.in_string = true,
                b'{' | b'[' => {
                    self.begun = true;
                    self.depth = self.depth.saturating_add(1);
                }
                b'}' | b']' => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_tell_when_an_object_is_complete() {
        let complete = |text: &str| {
            let mut progress = Progress::default();
            text.split_inclusive(|_| true).for_each(|piece| progress.take(piece));
            progress.is_complete()
        };
        for whole in ["{}", r#" {"a": {"b": ["]}"]}}"#, r#"{"a": "\"}\\"}"#, "{} "] {
            assert!(complete(whole), "{whole}");
        }
        for part in ["", "{", r#"{"a": "}"#, r#"{"a": "\"}"#, "null", "12", "{\"a\": [}"] {
            assert!(!complete(part), "{part}");
        }
    }
}
