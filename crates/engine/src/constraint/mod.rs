//! What an answer must look like, held token by token: JSON, a JSON schema, a regular expression, choices, a grammar.
//!
//! llguidance says before each token which may come next. Its mask takes a fraction of a millisecond whatever the
//! vocabulary, where llama.cpp's own grammars take tens, and it refuses what it cannot hold where llama.cpp weakens it
//! silently. It is driven by hand rather than through llama.cpp's sampler, which drops the constraint after an error.

mod calls;
mod gemma;
mod request;

use std::fmt;
use std::sync::Arc;

use llguidance::api::TopLevelGrammar;
use llguidance::toktrie::{ApproximateTokEnv, SimpleVob, TokEnv, TokRxInfo, TokTrie};
use llguidance::{Matcher, ParserFactory};
use serde_json::{Value, json};

use crate::llama::{Token, Vocabulary};
use crate::output::ToolFormat;

pub(crate) use calls::{Before, Function};
pub(crate) use request::{InvalidConstraint, constraint_of};

/// What an answer must look like.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Constraint {
    /// Valid under this JSON schema.
    Schema(Value),
    /// A match of this regular expression, from its first character to its last.
    Regex(String),
    /// One of these texts.
    Choice(Vec<String>),
    /// A sentence of this grammar, in Lark's notation.
    Lark(String),
    /// Calls of functions, in a model's own format; a grammar.
    Calls(String),
}

impl Constraint {
    /// Calls of these functions: at least one, and with `one` no more. `control` knows the model's control tokens.
    /// Beside it the format that they are in, which is not the model's own where that cannot be held.
    pub(crate) fn calls(
        format: ToolFormat,
        functions: &[Function],
        one: bool,
        before: Before,
        control: impl Fn(&str) -> Option<Token>,
    ) -> (ToolFormat, Self) {
        let own = calls::grammar(format, functions, one, before, &control).map(|grammar| (format, grammar));
        let (format, grammar) = own.unwrap_or_else(|| {
            let held = calls::grammar(ToolFormat::Hermes, functions, one, before, &control);
            (ToolFormat::Hermes, held.expect("any schema can stand in JSON"))
        });
        (format, Self::Calls(grammar))
    }

    /// Any JSON object.
    pub(crate) fn any_object() -> Self {
        Self::Schema(json!({"type": "object"}))
    }

    fn grammar(&self) -> TopLevelGrammar {
        match self {
            Self::Schema(schema) => TopLevelGrammar::from_json_schema(compact(schema)),
            Self::Regex(pattern) => TopLevelGrammar::from_regex(pattern),
            Self::Choice(texts) => {
                // Lark's strings are JSON's.
                let texts: Vec<_> = texts.iter().map(|text| Value::from(text.as_str()).to_string()).collect();
                TopLevelGrammar::from_lark(format!("start: {}", texts.join(" | ")))
            }
            Self::Lark(grammar) | Self::Calls(grammar) => TopLevelGrammar::from_lark(grammar.clone()),
        }
    }
}

/// Written as Python writes JSON, as nearly all training data is; with white space free, a small model fills its answer
/// with line breaks.
fn compact(schema: &Value) -> Value {
    let mut schema = match schema {
        Value::Bool(true) => json!({}),
        other => other.clone(),
    };
    if let Some(fields) = schema.as_object_mut() {
        let form = json!({"whitespace_flexible": false, "item_separator": ", ", "key_separator": ": "});
        fields.entry("x-guidance").or_insert(form);
    }
    schema
}

/// Makes guides for one model; made once, when it is loaded.
pub(crate) struct Grammars {
    factory: ParserFactory,
    eos: Token,
}

impl Grammars {
    /// None for a vocabulary without a token that ends an answer: no constrained answer could end.
    pub(crate) fn new(vocabulary: &Vocabulary) -> Option<Self> {
        let eos = *vocabulary.ends().first()?;
        let count = Token::try_from(vocabulary.len()).ok()?;
        let words: Vec<Vec<u8>> = (0..count)
            .map(|token| match vocabulary.bytes(token) {
                // Structure is never text, whatever it looks like.
                bytes if vocabulary.is_control(token) => [&[TokTrie::SPECIAL_TOKEN_MARKER], bytes].concat(),
                bytes => bytes.to_vec(),
            })
            .collect();
        let trie = TokTrie::from(&TokRxInfo::new(count, eos), &words);
        let environment: TokEnv = Arc::new(ApproximateTokEnv::new(trie));
        let mut factory = ParserFactory::new_simple(&environment).ok()?;
        factory.quiet();
        Some(Self { factory, eos })
    }

    /// A guide for one answer, or why there cannot be one.
    pub(crate) fn guide(&self, constraint: &Constraint) -> Result<Guide, InvalidConstraint> {
        let mut matcher = Matcher::new(self.factory.create_parser(constraint.grammar()));
        // Some are found to be too large only when they are used.
        let used = matcher.get_error().is_none().then(|| matcher.compute_mask_or_eos());
        match (matcher.get_error(), used) {
            (Some(error), _) => Err(InvalidConstraint::new(constraint, &error)),
            (None, Some(Err(error))) => Err(InvalidConstraint::new(constraint, &error.to_string())),
            (None, _) => Ok(Guide { constraint: constraint.clone(), matcher, eos: self.eos }),
        }
    }
}

impl fmt::Debug for Grammars {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grammars").finish_non_exhaustive()
    }
}

/// A constraint on its way through one answer.
#[derive(Clone)]
pub(crate) struct Guide {
    constraint: Constraint,
    matcher: Matcher,
    eos: Token,
}

/// The tokens that may come next.
#[derive(Debug)]
pub(crate) struct Allowed {
    tokens: SimpleVob,
    /// Whether the answer may end here.
    end: bool,
}

impl Guide {
    /// What may come next; none where the constraint cannot be followed any further, which is a fault.
    pub(crate) fn allowed(&mut self) -> Option<Allowed> {
        match self.matcher.compute_mask_or_eos() {
            Ok(tokens) => Some(Allowed { end: tokens.is_allowed(self.eos), tokens }),
            Err(error) => {
                tracing::error!(%error, "a constraint broke down");
                None
            }
        }
    }

    /// Takes note of the token that was chosen, one that does not end the answer.
    pub(crate) fn accept(&mut self, token: Token) {
        if let Err(error) = self.matcher.consume_token(token) {
            tracing::error!(%error, token, "a token does not follow its constraint");
        }
    }
}

impl Allowed {
    /// Leaves only the allowed tokens their scores; `ends` are the tokens that end an answer.
    pub(crate) fn apply(&self, scores: &mut [f32], ends: &[Token]) {
        let kept: Vec<_> = ends.iter().filter(|_| self.end).map(|&end| (end, scores[end as usize])).collect();
        self.tokens.iter_unset_entries(|token| {
            if let Some(score) = scores.get_mut(token) {
                *score = f32::NEG_INFINITY;
            }
        });
        for (end, score) in kept {
            scores[end as usize] = score;
        }
    }

    /// Whether nothing but an end may come.
    pub(crate) fn is_end_only(&self, ends: &[Token]) -> bool {
        let others = self.tokens.num_set() - ends.iter().filter(|&&end| self.tokens.is_allowed(end)).count();
        others == 0
    }
}

impl fmt::Debug for Guide {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Guide").field(&self.constraint).finish()
    }
}

impl PartialEq for Guide {
    fn eq(&self, other: &Self) -> bool {
        self.constraint == other.constraint
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every ASCII character, a few longer tokens, and an end.
    fn grammars() -> (Grammars, Vocabulary) {
        let mut texts: Vec<String> = (0u8..128).map(|byte| char::from(byte).to_string()).collect();
        texts.extend(["true", "name", "\": "].map(str::to_owned));
        texts.extend(CONTROLS.map(str::to_owned));
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let vocabulary = Vocabulary::of(&texts, &CONTROLS);
        (Grammars::new(&vocabulary).unwrap(), vocabulary)
    }

    /// Control tokens; the last one ends answers.
    const CONTROLS: [&str; 9] = [
        "<escape>",
        "<start_function_call>",
        "<end_function_call>",
        "[TOOL_CALLS]",
        "[ARGS]",
        "<think>",
        "</think>",
        "<tool_call>",
        "<|end|>",
    ];

    /// The control token that a tag is.
    pub(super) fn control(tag: &str) -> Option<Token> {
        let place = CONTROLS.iter().position(|control| *control == tag)?;
        Some(u32::try_from(128 + 3 + place).unwrap())
    }

    /// Whether a text, character by character, is allowed, and whether it may end there.
    pub(super) fn takes(constraint: &Constraint, text: &str) -> (bool, bool) {
        takes_tokens(constraint, &text.bytes().map(Token::from).collect::<Vec<_>>())
    }

    /// The same of a text whose control tokens are such.
    pub(super) fn takes_controls(constraint: &Constraint, mut text: &str) -> (bool, bool) {
        let mut tokens = Vec::new();
        while !text.is_empty() {
            let tag = CONTROLS.iter().find(|tag| text.starts_with(*tag));
            tokens.push(tag.and_then(|tag| control(tag)).unwrap_or_else(|| text.as_bytes()[0].into()));
            text = &text[tag.map_or(1, |tag| tag.len())..];
        }
        takes_tokens(constraint, &tokens)
    }

    fn takes_tokens(constraint: &Constraint, tokens: &[Token]) -> (bool, bool) {
        let (grammars, vocabulary) = grammars();
        let mut guide = grammars.guide(constraint).unwrap();
        for &token in tokens {
            let mut scores = vec![0.0; vocabulary.len()];
            guide.allowed().unwrap().apply(&mut scores, vocabulary.ends());
            if scores[token as usize] != 0.0 {
                return (false, false);
            }
            guide.accept(token);
        }
        (true, guide.allowed().unwrap().end)
    }

    #[test]
    fn each_kind_holds_its_texts_and_no_others() {
        let schema = json!({"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"],
                            "additionalProperties": false});
        let schema = Constraint::Schema(schema);
        assert_eq!(takes(&schema, r#"{"a": 12}"#), (true, true));
        assert_eq!(takes(&schema, r#"{"a": "x"#), (false, false));
        assert_eq!(takes(&schema, r#"{"b"#), (false, false));
        assert_eq!(takes(&Constraint::any_object(), r#"{"x": [1, true]}"#), (true, true));
        assert_eq!(takes(&Constraint::any_object(), "["), (false, false));
        let regex = Constraint::Regex("[a-c]+[0-9]".into());
        assert_eq!(takes(&regex, "abc"), (true, false));
        assert_eq!(takes(&regex, "abc7"), (true, true));
        assert_eq!(takes(&regex, "abd"), (false, false));
        let choice = Constraint::Choice(vec!["yes".into(), "no \"quoted\"".into()]);
        assert_eq!(takes(&choice, "yes"), (true, true));
        assert_eq!(takes(&choice, "no \"quoted\""), (true, true));
        assert_eq!(takes(&choice, "maybe"), (false, false));
        let lark = Constraint::Lark("start: \"a\" start \"b\" | \"c\"".into());
        assert_eq!(takes(&lark, "aacbb"), (true, true));
        assert_eq!(takes(&lark, "aacb"), (true, false));
    }

    #[test]
    fn a_complete_answer_can_only_end() {
        let (grammars, vocabulary) = grammars();
        let mut guide = grammars.guide(&Constraint::Choice(vec!["x".into()])).unwrap();
        assert!(!guide.allowed().unwrap().is_end_only(vocabulary.ends()));
        guide.accept(u32::from(b'x'));
        assert!(guide.allowed().unwrap().is_end_only(vocabulary.ends()));
    }

    #[test]
    fn what_cannot_be_held_is_refused_with_its_fault() {
        let (grammars, _) = grammars();
        for (constraint, fault) in [
            (Constraint::Schema(json!({"type": "objekt"})), "objekt"),
            (Constraint::Schema(json!({"$ref": "#/nowhere"})), "nowhere"),
            (Constraint::Regex("(".into()), "regex"),
            (Constraint::Lark("start: missing".into()), "missing"),
        ] {
            let error = grammars.guide(&constraint).unwrap_err();
            assert!(error.message.contains(fault), "{fault}: {}", error.message);
        }
    }
}
