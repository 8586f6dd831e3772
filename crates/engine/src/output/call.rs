//! One call, in the formats that write it as JSON.

use super::format::ToolFormat;
use super::gemma::Gemma;
use super::json::{Json, Step as JsonStep};
use super::work;

/// Longest name of a function.
pub(super) const MAX_NAME: usize = 256;

/// What a character made known of a call.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The function; arguments follow.
    pub(super) name: Option<String>,
    /// Further text of the arguments.
    pub(super) arguments: String,
}

/// What a character did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// The call goes on.
    More,
    /// It is complete with this character.
    Done,
    /// This is no call, or not one any more.
    Broken,
    /// The tag that ends it came with this character, and too early.
    Closed,
}

/// A call that is being read.
#[derive(Debug)]
pub(super) enum Call {
    /// Nothing of it is there yet.
    Opening(ToolFormat),
    /// `{"name": …, "arguments": …}`.
    Envelope(Envelope),
    /// `NAME[ARGS]{…}`.
    Named(Named),
    /// `call:NAME{…}`.
    Gemma(Gemma),
}

impl Call {
    /// A call after its opening tag.
    pub(super) fn tagged(format: ToolFormat) -> Self {
        match format {
            ToolFormat::FunctionGemma => Self::Gemma(Gemma::default()),
            ToolFormat::Hermes | ToolFormat::Llama3Json | ToolFormat::Mistral => Self::Opening(format),
        }
    }

    /// A call that began with its bracket. Other JSON begins so too: it has to look like a call from its first key on.
    pub(super) fn bare() -> Self {
        Self::Envelope(Envelope { strict: true, ..Envelope::default() })
    }

    /// Takes a character.
    pub(super) fn feed(&mut self, character: char, found: &mut Found) -> Step {
        work::step();
        match self {
            Self::Opening(_) if character.is_whitespace() => Step::More,
            Self::Opening(_) if character == '{' => {
                *self = Self::Envelope(Envelope::default());
                Step::More
            }
            // A list of calls: the ones after the first are found without a tag.
            Self::Opening(ToolFormat::Mistral) if character == '[' => Step::More,
            Self::Opening(ToolFormat::Mistral) if is_name(character) => {
                *self = Self::Named(Named { head: character.into(), arguments: None });
                Step::More
            }
            Self::Opening(_) => Step::Broken,
            Self::Envelope(envelope) => envelope.feed(character, found),
            Self::Named(named) => named.feed(character, found),
            Self::Gemma(gemma) => gemma.feed(character, found),
        }
    }

    /// Ends a call whose name was told: closes its arguments, and says whether they were complete.
    pub(super) fn cut(&mut self, out: &mut String) -> bool {
        match self {
            Self::Opening(_) => false,
            Self::Envelope(envelope) => envelope.cut(out),
            Self::Named(named) => {
                if let Some(arguments) = &mut named.arguments {
                    arguments.cut(out);
                }
                false
            }
            Self::Gemma(gemma) => {
                gemma.cut(out);
                false
            }
        }
    }
}

/// An object with a name and arguments, in either order.
#[derive(Debug, Default)]
pub(super) struct Envelope {
    /// Only keys that a call has.
    strict: bool,
    name: Option<String>,
    /// Arguments that came before the name, or are no object.
    held: Option<String>,
    /// The name is told: arguments go on as they come.
    told: bool,
    at: At,
}

#[derive(Debug, Default)]
enum At {
    #[default]
    Key,
    InKey(Json, String),
    Colon(Member),
    BeforeValue(Member),
    InValue(Member, Json, String),
    /// Arguments that are passed on as they come.
    InArguments(Json),
    AfterValue,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Member {
    Name,
    Arguments,
    Other,
}

impl Envelope {
    fn feed(&mut self, character: char, found: &mut Found) -> Step {
        work::step();
        let blank = character.is_ascii_whitespace();
        match &mut self.at {
            At::Key | At::Colon(_) | At::BeforeValue(_) | At::AfterValue if blank => return Step::More,
            At::Key | At::AfterValue if character == '}' => return self.end(found),
            At::Key if character == '"' => {
                let (mut json, mut text) = (Json::default(), String::new());
                json.feed(character, &mut text);
                self.at = At::InKey(json, text);
            }
            At::InKey(json, text) => match json.feed(character, text) {
                JsonStep::More => {}
                _ => match self.member() {
                    Some(member) => self.at = At::Colon(member),
                    None => return Step::Broken,
                },
            },
            At::Colon(member) if character == ':' => self.at = At::BeforeValue(*member),
            At::BeforeValue(Member::Arguments) if character == '{' && self.name.is_some() && !self.told => {
                self.tell(found);
                let mut json = Json::default();
                json.feed(character, &mut found.arguments);
                self.at = At::InArguments(json);
            }
            At::BeforeValue(member) => {
                self.at = At::InValue(*member, Json::default(), String::new());
                return self.feed(character, found);
            }
            At::InArguments(json) => match json.feed(character, &mut found.arguments) {
                JsonStep::More => {}
                JsonStep::Done => self.at = At::AfterValue,
                JsonStep::Before | JsonStep::Broken => return Step::Broken,
            },
            At::InValue(_, json, text) => match json.feed(character, text) {
                JsonStep::More => {}
                JsonStep::Broken => return Step::Broken,
                end => {
                    if !self.keep() {
                        return Step::Broken;
                    }
                    if end == JsonStep::Before {
                        return self.feed(character, found);
                    }
                }
            },
            At::AfterValue if character == ',' => self.at = At::Key,
            At::Key | At::Colon(_) | At::AfterValue => return Step::Broken,
        }
        Step::More
    }

    /// What the key that was just read stands for; none where a call has no such key.
    fn member(&self) -> Option<Member> {
        let At::InKey(_, text) = &self.at else { return None };
        match text.as_str() {
            "\"name\"" => Some(Member::Name),
            "\"arguments\"" | "\"parameters\"" => Some(Member::Arguments),
            "\"type\"" | "\"id\"" => Some(Member::Other),
            _ => (!self.strict).then_some(Member::Other),
        }
    }

    /// Keeps the value that was just read, if it is of use.
    fn keep(&mut self) -> bool {
        let At::InValue(member, _, text) = std::mem::replace(&mut self.at, At::AfterValue) else { return false };
        match member {
            Member::Name if self.name.is_none() => {
                self.name = serde_json::from_str(&text).ok().filter(|name: &String| is_whole_name(name));
                self.name.is_some()
            }
            Member::Arguments if !self.told => {
                self.held = Some(text);
                true
            }
            _ => true,
        }
    }

    fn tell(&mut self, found: &mut Found) {
        self.told = true;
        found.name.clone_from(&self.name);
    }

    fn end(&mut self, found: &mut Found) -> Step {
        if !self.told {
            if self.name.is_none() || (self.strict && self.held.is_none()) {
                return Step::Broken;
            }
            self.tell(found);
            found.arguments.push_str(&as_object(self.held.take()));
        }
        Step::Done
    }

    fn cut(&mut self, out: &mut String) -> bool {
        match &mut self.at {
            At::InArguments(json) => {
                json.cut(out);
                false
            }
            // Only the envelope's own end is missing.
            _ => true,
        }
    }
}

/// Arguments are an object; some models write one as a text, or leave it out.
fn as_object(held: Option<String>) -> String {
    let text = held.filter(|text| text != "null").unwrap_or_else(|| "{}".into());
    let inner: Option<String> = serde_json::from_str(&text).ok();
    match inner {
        Some(inner) if inner.trim().is_empty() => "{}".into(),
        Some(inner) if serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&inner).is_ok() => inner,
        _ => text,
    }
}

/// Mistral's newer format: `NAME[ARGS]{…}`, with `[CALL_ID]ID` between them or nothing at all.
#[derive(Debug)]
pub(super) struct Named {
    head: String,
    arguments: Option<Json>,
}

impl Named {
    fn feed(&mut self, character: char, found: &mut Found) -> Step {
        if let Some(json) = &mut self.arguments {
            return match json.feed(character, &mut found.arguments) {
                JsonStep::More => Step::More,
                JsonStep::Done => Step::Done,
                JsonStep::Before | JsonStep::Broken => Step::Broken,
            };
        }
        if character != '{' {
            self.head.push(character);
            let goes_on = is_name(character) || matches!(character, '[' | ']' | ' ');
            return if goes_on && self.head.len() <= 2 * MAX_NAME { Step::More } else { Step::Broken };
        }
        let (name, rest) = self.head.split_at(self.head.find(['[', ' ']).unwrap_or(self.head.len()));
        let rest = rest.trim();
        if !is_whole_name(name) || !(rest.is_empty() || rest.ends_with("[ARGS]")) {
            return Step::Broken;
        }
        found.name = Some(name.to_owned());
        let mut json = Json::default();
        json.feed(character, &mut found.arguments);
        self.arguments = Some(json);
        Step::More
    }
}

fn is_name(character: char) -> bool {
    character.is_alphanumeric() || matches!(character, '_' | '-' | '.' | ':' | '/')
}

/// Whether it can be the name of a function.
pub(crate) fn is_whole_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= MAX_NAME && !name.contains(char::is_whitespace)
}
