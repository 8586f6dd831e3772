//! FunctionGemma's calls: `call:NAME{city:<escape>Paris<escape>,days:3,units:[<escape>C<escape>]}`.
//!
//! Only strings stand between `<escape>`s, and everything between them is a string, `12` and `true` too. What is bare
//! is a number, `true`, `false`, `null`, a list or an object; other bare text is taken for a string that lost its
//! marks.

use super::call::{Found, MAX_NAME, Step, is_whole_name};
use super::json::{literal, push_escaped};
use super::tags::Tags;
use super::work;

/// What begins every call.
const PREFIX: &str = "call:";
/// As deep as in [`super::json`].
const MAX_DEPTH: usize = 100;
const TAGS: &[&str] = &["<escape>", "<end_function_call>"];
const ESCAPE: usize = 0;

/// A call that is being read.
#[derive(Debug)]
pub(super) struct Gemma {
    at: At,
    /// Open brackets, outermost first.
    open: Vec<Bracket>,
    /// A key, as JSON, which goes on with its value.
    key: String,
    /// The prefix, the name, a key or a bare value so far.
    word: String,
    tags: Tags,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Prefix,
    Name,
    Key,
    Value,
    Text,
    Bare,
    AfterValue,
}

#[derive(Debug)]
struct Bracket {
    closing: char,
    empty: bool,
}

impl Default for Gemma {
    fn default() -> Self {
        Self { at: At::Prefix, open: Vec::new(), key: String::new(), word: String::new(), tags: Tags::new(TAGS) }
    }
}

impl Gemma {
    /// Takes a character.
    pub(super) fn feed(&mut self, character: char, found: &mut Found) -> Step {
        if self.tags.passes(character) {
            return self.plain(character, found);
        }
        let mut text = String::new();
        let tag = self.tags.feed(character, &mut text);
        for character in text.chars() {
            let step = self.plain(character, found);
            if step != Step::More {
                return step;
            }
        }
        match tag {
            None => Step::More,
            Some(ESCAPE) => self.escape(&mut found.arguments),
            Some(_) => Step::Closed,
        }
    }

    /// Closes what is open.
    pub(super) fn cut(&mut self, out: &mut String) {
        if self.at == At::Text {
            out.push('"');
        }
        out.extend(self.open.drain(..).rev().map(|bracket| bracket.closing));
    }

    fn plain(&mut self, character: char, found: &mut Found) -> Step {
        work::step();
        let out = &mut found.arguments;
        match self.at {
            At::Prefix if self.word.is_empty() && character.is_whitespace() => Step::More,
            At::Prefix => {
                self.word.push(character);
                if self.word == PREFIX {
                    self.word.clear();
                    self.at = At::Name;
                }
                if PREFIX.starts_with(&self.word) { Step::More } else { Step::Broken }
            }
            At::Name if character == '{' => {
                let name = std::mem::take(&mut self.word);
                if !is_whole_name(name.trim()) {
                    return Step::Broken;
                }
                found.name = Some(name.trim().to_owned());
                self.open('{', out)
            }
            At::Name => {
                self.word.push(character);
                if self.word.len() <= MAX_NAME { Step::More } else { Step::Broken }
            }
            At::Key => self.key(character, out),
            At::Value | At::AfterValue if character.is_whitespace() => Step::More,
            At::Value => match character {
                '{' | '[' => self.open(character, out),
                ']' => self.close(character, out),
                _ => {
                    self.at = At::Bare;
                    self.plain(character, found)
                }
            },
            At::Text => {
                push_escaped(character, out);
                Step::More
            }
            At::Bare if matches!(character, ',' | '}' | ']') => {
                self.item(out);
                out.push_str(&bare(&std::mem::take(&mut self.word)));
                self.at = At::AfterValue;
                self.plain(character, found)
            }
            At::Bare => {
                self.word.push(character);
                Step::More
            }
            At::AfterValue if character == ',' => {
                self.at = if self.closing() == Some('}') { At::Key } else { At::Value };
                Step::More
            }
            At::AfterValue => self.close(character, out),
        }
    }

    /// The mark around strings; around a key it means nothing.
    fn escape(&mut self, out: &mut String) -> Step {
        match self.at {
            At::Key => Step::More,
            At::Value => {
                self.item(out);
                out.push('"');
                self.at = At::Text;
                Step::More
            }
            At::Text => {
                out.push('"');
                self.at = At::AfterValue;
                Step::More
            }
            At::Prefix | At::Name | At::Bare | At::AfterValue => Step::Broken,
        }
    }

    fn key(&mut self, character: char, out: &mut String) -> Step {
        match character {
            ':' => {
                let mut key = String::from('"');
                self.word.trim().chars().for_each(|character| push_escaped(character, &mut key));
                key.push_str("\": ");
                self.key = key;
                self.word.clear();
                self.at = At::Value;
                Step::More
            }
            '}' if self.word.trim().is_empty() => {
                self.word.clear();
                self.close(character, out)
            }
            ',' | '{' | '}' | '[' | ']' => Step::Broken,
            _ => {
                self.word.push(character);
                Step::More
            }
        }
    }

    /// Separates a value from the one before it, and writes its key.
    fn item(&mut self, out: &mut String) {
        if let Some(bracket) = self.open.last_mut() {
            if !bracket.empty {
                out.push_str(", ");
            }
            bracket.empty = false;
        }
        out.push_str(&std::mem::take(&mut self.key));
    }

    fn open(&mut self, bracket: char, out: &mut String) -> Step {
        if self.open.len() >= MAX_DEPTH {
            return Step::Broken;
        }
        self.item(out);
        out.push(bracket);
        let (closing, at) = if bracket == '{' { ('}', At::Key) } else { (']', At::Value) };
        self.open.push(Bracket { closing, empty: true });
        self.at = at;
        Step::More
    }

    fn close(&mut self, bracket: char, out: &mut String) -> Step {
        if self.closing() != Some(bracket) {
            return Step::Broken;
        }
        self.open.pop();
        out.push(bracket);
        self.at = At::AfterValue;
        if self.open.is_empty() { Step::Done } else { Step::More }
    }

    fn closing(&self) -> Option<char> {
        self.open.last().map(|bracket| bracket.closing)
    }
}

/// A bare value as JSON.
fn bare(word: &str) -> String {
    match word.trim() {
        "" => "null".into(),
        word => literal(word).unwrap_or_else(|| {
            let mut text = String::from('"');
            word.chars().for_each(|character| push_escaped(character, &mut text));
            text.push('"');
            text
        }),
    }
}
