//! JSON as a model writes it, character by character, passed on so that it can be made valid at any moment.
//!
//! Text goes on as soon as it is sure to be part of valid JSON: the characters of a string at once, numbers and words
//! when they are complete, keys and commas with the value that follows. So whatever was passed on needs only its open
//! string and brackets closed. Slips that models make and that have one meaning are put right: line breaks inside
//! strings, backslashes before letters that JSON does not know, commas before a closing bracket, Python's `True`.

use std::fmt::Write;

use super::work;

/// Deeper values than this are refused; parsers have a limit too, and few have a higher one.
const MAX_DEPTH: usize = 100;

/// What a character did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// The value goes on.
    More,
    /// It is complete with this character.
    Done,
    /// It was complete before this character, which belongs to what follows.
    Before,
    /// This is not JSON.
    Broken,
}

/// Reads one value.
#[derive(Debug, Clone, Default)]
pub(super) struct Json {
    /// Brackets that will close, outermost first.
    open: Vec<char>,
    at: At,
    /// White space, commas and keys that go on with the next value.
    pending: String,
    text: Text,
    /// A number or word that may go on.
    word: String,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum At {
    #[default]
    Value,
    Text,
    Word,
    AfterValue,
    Key,
    InKey,
    Colon,
}

impl Json {
    /// Takes a character; what is sure is added to `out`.
    pub(super) fn feed(&mut self, character: char, out: &mut String) -> Step {
        work::step();
        // As JSON has it: a form feed, which ASCII counts too, would make what is passed on invalid.
        let blank = matches!(character, ' ' | '\t' | '\n' | '\r');
        match self.at {
            At::Value | At::Key | At::Colon | At::AfterValue if blank => {
                self.pending.push(character);
                Step::More
            }
            At::Value => self.value(character, out),
            At::Text if self.text.feed(character, out) => self.complete(),
            At::Text => Step::More,
            At::Word if is_word(character) => {
                self.word.push(character);
                Step::More
            }
            At::Word => self.end_of_word(character, out),
            At::AfterValue if character == ',' => {
                self.pending.push(',');
                self.at = if self.open.last() == Some(&'}') { At::Key } else { At::Value };
                Step::More
            }
            At::Key if character == '"' => {
                self.pending.push('"');
                self.at = At::InKey;
                Step::More
            }
            At::Key | At::AfterValue => self.close(character, out),
            At::InKey => {
                if self.text.feed(character, &mut self.pending) {
                    self.at = At::Colon;
                }
                Step::More
            }
            At::Colon if character == ':' => {
                self.pending.push(':');
                self.at = At::Value;
                Step::More
            }
            At::Colon => Step::Broken,
        }
    }

    /// Closes what is open: what was passed on and this are valid JSON, if the value is an object or a list.
    pub(super) fn cut(&mut self, out: &mut String) {
        if self.at == At::Text {
            out.push('"');
        }
        out.extend(self.open.drain(..).rev());
    }

    fn value(&mut self, character: char, out: &mut String) -> Step {
        match character {
            '{' | '[' if self.open.len() >= MAX_DEPTH => Step::Broken,
            '{' => self.open(character, '}', At::Key, out),
            '[' => self.open(character, ']', At::Value, out),
            ']' => self.close(character, out),
            '"' => {
                out.push_str(&std::mem::take(&mut self.pending));
                out.push('"');
                self.at = At::Text;
                Step::More
            }
            _ if is_word(character) => {
                self.word.push(character);
                self.at = At::Word;
                Step::More
            }
            _ => Step::Broken,
        }
    }

    fn open(&mut self, bracket: char, closing: char, inside: At, out: &mut String) -> Step {
        out.push_str(&std::mem::take(&mut self.pending));
        out.push(bracket);
        self.open.push(closing);
        self.at = inside;
        Step::More
    }

    fn close(&mut self, bracket: char, out: &mut String) -> Step {
        // A list may end where a value is due, after a comma; an object may not, after a colon.
        if self.open.last() != Some(&bracket) {
            return Step::Broken;
        }
        self.pending.clear();
        self.open.pop();
        out.push(bracket);
        self.complete()
    }

    fn complete(&mut self) -> Step {
        self.at = At::AfterValue;
        if self.open.is_empty() { Step::Done } else { Step::More }
    }

    fn end_of_word(&mut self, next: char, out: &mut String) -> Step {
        let Some(word) = literal(&std::mem::take(&mut self.word)) else { return Step::Broken };
        out.push_str(&std::mem::take(&mut self.pending));
        out.push_str(&word);
        match self.complete() {
            Step::More => self.feed(next, out),
            _ => Step::Before,
        }
    }
}

fn is_word(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '-' | '+' | '.')
}

/// A number or a word as JSON writes it.
pub(super) fn literal(word: &str) -> Option<String> {
    match word {
        "true" | "True" => Some("true".into()),
        "false" | "False" => Some("false".into()),
        "null" | "None" => Some("null".into()),
        number => serde_json::from_str::<serde_json::Number>(number).ok().map(|_| number.to_owned()),
    }
}

/// Adds a character of a string.
pub(super) fn push_escaped(character: char, out: &mut String) {
    match character {
        '"' => out.push_str("\\\""),
        '\\' => out.push_str("\\\\"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        '\0'..='\u{1f}' => write!(out, "\\u{:04x}", u32::from(character)).expect("a String takes everything"),
        _ => out.push(character),
    }
}

/// What stands between quotes. Escapes go on when they are complete, surrogates in pairs.
#[derive(Debug, Clone, Default)]
struct Text {
    /// An escape that is not complete.
    escape: String,
    /// The first half of a pair, as an escape.
    high: String,
}

impl Text {
    /// Takes a character; whether the string ends with it.
    fn feed(&mut self, character: char, out: &mut String) -> bool {
        work::step();
        match (self.escape.len(), character) {
            (0, '\\') | (1, 'u') => self.escape.push(character),
            (0, '"') => {
                self.settle(out);
                out.push('"');
                return true;
            }
            (0, _) => {
                self.settle(out);
                push_escaped(character, out);
            }
            (1, '"' | '\\' | '/' | 'b' | 'f' | 'n' | 'r' | 't') => {
                self.settle(out);
                self.escape.clear();
                out.extend(['\\', character]);
            }
            (2.., _) if character.is_ascii_hexdigit() => {
                self.escape.push(character);
                if let Ok(unit @ 0..=0xFFFF) = u32::from_str_radix(&self.escape[2..], 16)
                    && self.escape.len() == 6
                {
                    self.unit(unit, out);
                }
            }
            _ => {
                // JSON knows no such escape: the backslash is meant.
                self.settle(out);
                out.push('\\');
                out.push_str(&std::mem::take(&mut self.escape));
                return self.feed(character, out);
            }
        }
        false
    }

    fn unit(&mut self, unit: u32, out: &mut String) {
        let escape = std::mem::take(&mut self.escape);
        match unit {
            0xDC00..=0xDFFF if !self.high.is_empty() => {
                out.push_str(&std::mem::take(&mut self.high));
                out.push_str(&escape);
            }
            0xDC00..=0xDFFF => out.push_str("\\ufffd"),
            0xD800..=0xDBFF => {
                self.settle(out);
                self.high = escape;
            }
            _ => {
                self.settle(out);
                out.push_str(&escape);
            }
        }
    }

    /// Half a pair whose other half did not come is no character.
    fn settle(&mut self, out: &mut String) {
        if !self.high.is_empty() {
            self.high.clear();
            out.push_str("\\ufffd");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is passed on, and how it ended; cut where it is not complete.
    fn run(text: &str) -> (String, Step) {
        let (mut json, mut out) = (Json::default(), String::new());
        for character in text.chars() {
            match json.feed(character, &mut out) {
                Step::More => {}
                end => return (out, end),
            }
        }
        json.cut(&mut out);
        (out, Step::More)
    }

    #[test]
    fn valid_json_goes_on_as_it_is() {
        for text in [
            r#"{"a": 1, "b": [true, null, -1.5e+3, "x\n\"y\" \u00e9 \ud83d\ude00 é"], "c": {}, "d": []}"#,
            r#"[[], {}, "", 0]"#,
        ] {
            assert_eq!(run(text), (text.to_owned(), Step::Done));
        }
        assert_eq!(run("12 "), ("12".into(), Step::Before));
    }

    #[test]
    fn slips_are_put_right() {
        for (written, read) in [
            ("{\"a\": \"x\ny\"}", r#"{"a": "x\ny"}"#),
            (r#"{"re": "\d+\w"}"#, r#"{"re": "\\d+\\w"}"#),
            (r#"{"a": "\u12"}"#, r#"{"a": "\\u12"}"#),
            (r#"{"a": "\ud83dx\ude00"}"#, r#"{"a": "\ufffdx\ufffd"}"#),
            (r#"{"a": "\ud83d\ud83d\ude00"}"#, r#"{"a": "\ufffd\ud83d\ude00"}"#),
            (r#"{"a": True, "b": None,}"#, r#"{"a": true, "b": null}"#),
            (r"[1, 2, ]", r"[1, 2]"),
        ] {
            assert_eq!(run(written), (read.to_owned(), Step::Done), "{written}");
        }
    }

    #[test]
    fn what_breaks_off_is_closed_after_its_last_value() {
        for (written, read) in [
            (r#"{"a": "x", "b"#, r#"{"a": "x"}"#),
            (r#"{"a": "x", "b": 12"#, r#"{"a": "x"}"#),
            (r#"{"a": [1, {"b": "x\"#, r#"{"a": [1, {"b": "x"}]}"#),
            (r#"{"a": "\ud83d\ude"#, r#"{"a": ""}"#),
            (r"{", r"{}"),
        ] {
            assert_eq!(run(written), (read.to_owned(), Step::More), "{written}");
        }
    }

    #[test]
    fn other_text_is_broken() {
        for text in ["{a", "{'a'", "nonsense ", "{\"a\" 1", "{\"a\": }", "[1 2", "[1}", "{\"a\": 01,", "x}", "é"] {
            assert_eq!(run(text).1, Step::Broken, "{text}");
        }
        assert_eq!(run(&"[".repeat(200)).1, Step::Broken);
    }
}
