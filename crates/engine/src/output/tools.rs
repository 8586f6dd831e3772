//! Calls in an answer.

use super::call::{Call, Found, Step};
use super::events::Events;
use super::format::ToolFormat;
use super::tags::Tags;

/// Places in [`ToolFormat::tags`].
const OPENING: usize = 0;
const CLOSING: usize = 1;

/// Splits an answer into text and calls.
///
/// White space around calls belongs to neither, so white space at the beginning of the answer and after a call waits
/// for what follows it. What looks like a call and turns out to be none before its name and arguments have begun is
/// text.
#[derive(Debug)]
pub(super) struct ToolScanner {
    format: ToolFormat,
    tags: Tags,
    mode: Mode,
    /// How many calls have been told.
    calls: u32,
    /// Nothing but white space came since the beginning or the last call.
    fresh: bool,
    /// That white space.
    space: String,
    /// The text of the call that is being read.
    raw: String,
    /// That call was told.
    told: bool,
    found: Found,
}

#[derive(Debug)]
enum Mode {
    Text,
    Call(Box<Call>),
    /// The rest of a broken call.
    Skip,
    /// The model's turn is over, whatever it still writes.
    Over,
}

impl ToolScanner {
    pub(super) fn new(format: ToolFormat) -> Self {
        Self {
            format,
            tags: Tags::new(format.tags()),
            mode: Mode::Text,
            calls: 0,
            fresh: true,
            space: String::new(),
            raw: String::new(),
            told: false,
            found: Found::default(),
        }
    }

    /// Takes a character.
    pub(super) fn feed(&mut self, character: char, events: &mut Events) {
        match &mut self.mode {
            Mode::Text if self.tags.passes(character) => self.plain(character, events),
            Mode::Text => {
                let mut text = String::new();
                let tag = self.tags.feed(character, &mut text);
                text.chars().for_each(|character| self.plain(character, events));
                match tag {
                    Some(OPENING) => self.open(Call::tagged(self.format), self.opening()),
                    // A closing tag after a call was expected; elsewhere it is text.
                    Some(CLOSING) if self.follows_call() => {}
                    Some(CLOSING) => self.format.tags()[CLOSING].chars().for_each(|c| self.write(c, events)),
                    Some(_) => self.mode = Mode::Over,
                    None => {}
                }
            }
            Mode::Call(call) => {
                self.raw.push(character);
                let step = call.feed(character, &mut self.found);
                self.tell(events);
                match step {
                    Step::More => {}
                    Step::Done => self.end(false, events),
                    Step::Closed => self.break_off(None, events),
                    Step::Broken => self.break_off(Some(character), events),
                }
            }
            Mode::Skip => {
                self.raw.push(character);
                if let Some(tag) = self.tags.feed(character, &mut String::new()) {
                    if tag != CLOSING {
                        self.raw.truncate(self.raw.len() - self.format.tags()[tag].len());
                    }
                    self.end(true, events);
                    match tag {
                        OPENING => self.open(Call::tagged(self.format), self.opening()),
                        CLOSING => {}
                        _ => self.mode = Mode::Over,
                    }
                }
            }
            Mode::Over => {}
        }
    }

    /// What was held back, when nothing more comes.
    pub(super) fn finish(&mut self, events: &mut Events) {
        match &mut self.mode {
            Mode::Call(_) => self.break_off(None, events),
            Mode::Skip => {
                self.tags.finish();
                self.end(true, events);
            }
            Mode::Text | Mode::Over => {}
        }
        if matches!(self.mode, Mode::Text) {
            self.tags.finish().chars().for_each(|character| self.write(character, events));
            if self.calls == 0 {
                events.text(&std::mem::take(&mut self.space));
            }
        }
    }

    /// A character that belongs to no tag.
    fn plain(&mut self, character: char, events: &mut Events) {
        if self.fresh {
            if character.is_whitespace() {
                self.space.push(character);
                return;
            }
            if character == '{' && self.calls_are_bare() {
                self.open(Call::bare(), "{");
                return;
            }
            if self.calls > 0 && self.is_stray(character) {
                return;
            }
        }
        self.write(character, events);
    }

    /// Whether a call may begin here without a tag.
    fn calls_are_bare(&self) -> bool {
        match self.format {
            ToolFormat::Llama3Json => true,
            // The second and later ones of a list.
            ToolFormat::Mistral => self.calls > 0,
            ToolFormat::Hermes | ToolFormat::FunctionGemma => false,
        }
    }

    /// What separates calls, and a bracket too many, which small models like to write.
    fn is_stray(&self, character: char) -> bool {
        match self.format {
            ToolFormat::Hermes | ToolFormat::FunctionGemma => character == '}',
            ToolFormat::Llama3Json => matches!(character, '}' | ';'),
            ToolFormat::Mistral => matches!(character, '}' | ']' | ','),
        }
    }

    fn follows_call(&self) -> bool {
        self.fresh && self.calls > 0
    }

    fn write(&mut self, character: char, events: &mut Events) {
        if self.fresh {
            self.fresh = false;
            events.text(&std::mem::take(&mut self.space));
        }
        events.text(character.encode_utf8(&mut [0; 4]));
    }

    /// The opening tag as text. `<|python_tag|>` is a mark that nobody sees.
    fn opening(&self) -> &'static str {
        if self.format == ToolFormat::Llama3Json { "" } else { self.format.tags()[OPENING] }
    }

    fn open(&mut self, call: Call, raw: &str) {
        self.raw.clear();
        self.raw.push_str(raw);
        self.told = false;
        self.mode = Mode::Call(Box::new(call));
    }

    /// Tells what the last character made known.
    fn tell(&mut self, events: &mut Events) {
        if let Some(name) = self.found.name.take() {
            self.told = true;
            self.space.clear();
            events.begin(self.calls, name);
        }
        events.arguments(self.calls, &self.found.arguments);
        self.found.arguments.clear();
    }

    /// Ends a call that does not go on as one; the last character may belong to what follows it.
    fn break_off(&mut self, last: Option<char>, events: &mut Events) {
        let Mode::Call(call) = &mut self.mode else { return };
        if !self.told {
            self.mode = Mode::Text;
            let mut raw = std::mem::take(&mut self.raw);
            if last.is_some() {
                raw.pop();
            }
            raw.chars().for_each(|character| self.write(character, events));
        } else if call.cut(&mut self.found.arguments) {
            self.end(false, events);
        } else {
            self.tell(events);
            if last.is_none() {
                self.end(true, events);
                return;
            }
            self.mode = Mode::Skip;
        }
        // What broke it may begin a tag.
        if let Some(last) = last {
            if matches!(self.mode, Mode::Skip) {
                self.raw.pop();
            }
            self.feed(last, events);
        }
    }

    fn end(&mut self, broken: bool, events: &mut Events) {
        let raw = std::mem::take(&mut self.raw);
        events.end(self.calls, broken.then_some(raw));
        self.calls += 1;
        self.fresh = true;
        self.mode = Mode::Text;
    }
}
