//! The model's tokens: text to ids and back.

use std::collections::HashMap;

use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::token::LlamaToken;
use llama_cpp_2::vocab::LlamaVocab;

/// A token's id; always below [`Vocabulary::len`] once it has passed [`Vocabulary::check`].
pub(crate) type Token = u32;

/// What each token is, read once: llama.cpp answers for one token per call, and aborts for ids it does not have.
#[derive(Debug)]
pub(crate) struct Vocabulary {
    entries: Vec<Entry>,
    ends: Vec<Token>,
    controls: ControlTexts,
    longest: usize,
    bos: Option<Token>,
    eos: Option<Token>,
}

#[derive(Debug)]
struct Entry {
    /// The token's bytes; not always whole characters.
    bytes: Box<[u8]>,
    /// Structure such as `<|im_end|>`, not text.
    control: bool,
    /// Ends an answer.
    end: bool,
}

impl Vocabulary {
    pub(super) fn read(model: &LlamaModel) -> Self {
        let vocab = model.vocab();
        let entries = vocab.tokens().map(|token| Entry {
            bytes: vocab.token_to_piece(token, true, None).into_boxed_slice(),
            control: vocab.is_control(token),
            end: vocab.is_eog(token),
        });
        Self::new(entries.collect(), Token::try_from(vocab.bos().0).ok(), Token::try_from(vocab.eos().0).ok())
    }

    fn new(entries: Vec<Entry>, bos: Option<Token>, eos: Option<Token>) -> Self {
        let known = |token: Option<Token>| token.filter(|&token| (token as usize) < entries.len());
        let (bos, eos) = (known(bos), known(eos));
        let ids = |wanted: fn(&Entry) -> bool| {
            entries.iter().zip(0..).filter(move |(entry, _)| wanted(entry)).map(|(_, id)| id)
        };
        Self {
            ends: ids(|entry| entry.end).collect(),
            controls: ControlTexts::new(ids(|entry| entry.control).map(|id: Token| &*entries[id as usize].bytes)),
            longest: entries.iter().map(|entry| entry.bytes.len()).max().unwrap_or(1).max(1),
            bos,
            eos,
            entries,
        }
    }

    /// A vocabulary of these texts, some of which are control tokens. The last token is one, and ends answers.
    #[cfg(test)]
    pub(crate) fn of(texts: &[&str], controls: &[&str]) -> Self {
        let entry = |(index, text): (usize, &&str)| {
            let end = index + 1 == texts.len();
            Entry { bytes: text.as_bytes().into(), control: end || controls.contains(text), end }
        };
        Self::new(texts.iter().enumerate().map(entry).collect(), None, None)
    }

    /// How many tokens there are.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The id as a token, if the vocabulary has it.
    pub(crate) fn check(&self, id: i64) -> Option<Token> {
        Token::try_from(id).ok().filter(|&token| (token as usize) < self.entries.len())
    }

    /// The token's bytes, special tokens spelled out.
    pub(crate) fn bytes(&self, token: Token) -> &[u8] {
        &self.entries[token as usize].bytes
    }

    /// Whether the token is structure, not text.
    pub(crate) fn is_control(&self, token: Token) -> bool {
        self.entries[token as usize].control
    }

    /// Whether the token ends an answer.
    pub(crate) fn is_end(&self, token: Token) -> bool {
        self.entries[token as usize].end
    }

    /// Every token that ends an answer.
    pub(crate) fn ends(&self) -> &[Token] {
        &self.ends
    }

    /// The texts of control tokens, which must not be read as such where a user wrote them.
    pub(crate) fn controls(&self) -> &ControlTexts {
        &self.controls
    }

    /// Most bytes of text that one token can stand for.
    pub(crate) fn longest(&self) -> usize {
        self.longest
    }

    /// The text of the token that begins every input, or nothing.
    pub(crate) fn bos_text(&self) -> String {
        self.text_of(self.bos)
    }

    /// The text of the token that ends a document, or nothing.
    pub(crate) fn eos_text(&self) -> String {
        self.text_of(self.eos)
    }

    fn text_of(&self, token: Option<Token>) -> String {
        token.map(|token| String::from_utf8_lossy(self.bytes(token)).into_owned()).unwrap_or_default()
    }
}

/// Ids as llama.cpp wants them.
pub(super) fn to_llama(token: Token) -> LlamaToken {
    LlamaToken(i32::try_from(token).expect("a checked token fits llama.cpp's type"))
}

/// Ids as llama.cpp gives them.
pub(super) fn from_llama(tokens: Vec<LlamaToken>) -> Vec<Token> {
    tokens.into_iter().map(|token| Token::try_from(token.0).expect("llama.cpp gives ids of its vocabulary")).collect()
}

/// How the vocabulary spells a token: `Ġhello`, `▁hello`.
pub(super) fn spelling(vocab: &LlamaVocab<'_>, token: Token) -> String {
    vocab.text(to_llama(token)).map(|text| text.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Finds the texts of control tokens inside other text.
#[derive(Debug, Default)]
pub(crate) struct ControlTexts {
    /// By first byte, longest first; vocabularies have hundreds that all begin with `<`.
    by_first: HashMap<u8, Vec<String>>,
}

impl ControlTexts {
    /// A finder of these texts.
    pub(crate) fn new<'a>(texts: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut by_first: HashMap<u8, Vec<String>> = HashMap::new();
        for text in texts.filter_map(|text| std::str::from_utf8(text).ok()).filter(|text| text.len() > 1) {
            by_first.entry(text.as_bytes()[0]).or_default().push(text.to_owned());
        }
        for texts in by_first.values_mut() {
            texts.sort_by_key(|text| std::cmp::Reverse(text.len()));
        }
        Self { by_first }
    }

    /// Where control texts begin in `text`.
    pub(crate) fn find<'a>(&'a self, text: &'a str) -> impl Iterator<Item = usize> + 'a {
        let bytes = text.as_bytes();
        bytes.iter().enumerate().filter_map(move |(at, first)| {
            let candidates = self.by_first.get(first)?;
            candidates.iter().any(|candidate| bytes[at..].starts_with(candidate.as_bytes())).then_some(at)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_texts_are_found_wherever_they_stand() {
        let texts: [&[u8]; 3] = [b"<|im_end|>", b"<|im_start|>", b"\n"];
        let controls = ControlTexts::new(texts.into_iter());
        let found: Vec<usize> = controls.find("a<|im_end|><|im_start|>system<|\n").collect();
        assert_eq!(found, [1, 11]);
    }
}
