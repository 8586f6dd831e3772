//! Notices that somebody may be in danger, so that they get a good answer: from a stronger model where the request may
//! leave this machine, else a set one that says where help is.
//!
//! Only the last message of the user is looked at, so that a conversation about a novel is not interrupted for ever, and
//! only a list of expressions is looked for: no model judges people here. The list is meant for what people write about
//! themselves or an emergency at hand; that it says nothing about idioms and computers is tested.

mod config;
mod patterns;

use std::borrow::Cow;

use regex::{RegexSet, RegexSetBuilder};
use serde::Deserialize;
use serde_json::value::RawValue;

pub use config::{CrisisConfig, InvalidCrisis};

/// How much of a message's beginning and of its end is looked at, in bytes: what matters is not in the middle of a long
/// document, and the search must stay quick.
const LOOKED_AT: usize = 8 << 10;

/// Largest compiled list, in bytes.
const COMPILED: usize = 8 << 20;

/// What is looked for, and what is answered.
#[derive(Debug)]
pub(crate) struct Crisis {
    expressions: RegexSet,
    message: String,
}

impl Crisis {
    fn new(patterns: &[String], message: String) -> Result<Self, regex::Error> {
        let expressions = RegexSetBuilder::new(patterns).case_insensitive(true).size_limit(COMPILED).build()?;
        Ok(Self { expressions, message })
    }

    /// What to say where the request must not leave.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// Whether the last message of the user speaks of it. `conversation` is the JSON of `messages` or `input`.
    pub(crate) fn is_in(&self, conversation: &[u8]) -> bool {
        last_words(conversation).is_some_and(|words| self.speaks_of_it(&words))
    }

    fn speaks_of_it(&self, words: &str) -> bool {
        if words.len() <= 2 * LOOKED_AT {
            return self.expressions.is_match(&folded(words));
        }
        let head = &words[..words.floor_char_boundary(LOOKED_AT)];
        let tail = &words[words.ceil_char_boundary(words.len() - LOOKED_AT)..];
        self.expressions.is_match(&folded(head)) || self.expressions.is_match(&folded(tail))
    }
}

/// The text with its accents taken off and its apostrophes made plain, so that the list need not know how people type.
fn folded(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        return Cow::Borrowed(text);
    }
    let fold = |letter: char| match letter {
        '’' | '‘' | '´' | '`' => '\'',
        'á' | 'à' | 'â' | 'ä' | 'ã' | 'å' | 'Á' | 'À' | 'Â' | 'Ä' | 'Ã' | 'Å' => 'a',
        'é' | 'è' | 'ê' | 'ë' | 'É' | 'È' | 'Ê' | 'Ë' => 'e',
        'í' | 'ì' | 'î' | 'ï' | 'Í' | 'Ì' | 'Î' | 'Ï' => 'i',
        'ó' | 'ò' | 'ô' | 'ö' | 'õ' | 'Ó' | 'Ò' | 'Ô' | 'Ö' | 'Õ' => 'o',
        'ú' | 'ù' | 'û' | 'ü' | 'Ú' | 'Ù' | 'Û' | 'Ü' => 'u',
        'ñ' | 'Ñ' => 'n',
        'ç' | 'Ç' => 'c',
        other => other,
    };
    Cow::Owned(text.chars().map(fold).collect())
}

/// The text of the last message that a user wrote.
fn last_words(conversation: &[u8]) -> Option<Cow<'_, str>> {
    if conversation.starts_with(b"\"") {
        return serde_json::from_slice::<Text<'_>>(conversation).ok().map(|Text(text)| text);
    }
    let turns: Vec<Turn<'_>> = serde_json::from_slice(conversation).ok()?;
    let last = turns.iter().rfind(|turn| turn.role.as_deref() == Some("user"))?;
    let content = last.content?.get();
    if content.starts_with('"') {
        return serde_json::from_str::<Text<'_>>(content).ok().map(|Text(text)| text);
    }
    let parts: Vec<Part<'_>> = serde_json::from_str(content).ok()?;
    let texts: Vec<_> = parts.into_iter().filter_map(|part| part.text).collect();
    Some(texts.join("\n").into())
}

#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

#[derive(Deserialize)]
struct Turn<'a> {
    #[serde(borrow, default)]
    role: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    content: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Part<'a> {
    #[serde(borrow, default)]
    text: Option<Cow<'a, str>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crisis() -> Crisis {
        CrisisConfig::default().resolve(true).unwrap().unwrap()
    }

    #[test]
    fn people_in_danger_are_heard() {
        let crisis = crisis();
        for words in [
            "I want to kill myself",
            "i just wanna die.",
            "I’m going to end my life tonight",
            "I have been thinking about suicide a lot",
            "i am suicidal",
            "how many pills do I need to take to kill myself?",
            "I cut myself again last night",
            "I keep hurting myself and can't stop",
            "everyone would be better off without me, i dont want to live anymore",
            "He has a gun and he is going to kill me",
            "my wife took an overdose, she is unconscious",
            "my friend is not breathing",
            "I've decided to take my own life",
            "I am going to commit suicide",
            "my husband is threatening to kill me",
            "Ich will mich umbringen",
            "ich möchte nicht mehr leben",
            "Ich habe Selbstmordgedanken",
            "ich ritze mich wieder",
            "ich will einfach nur sterben",
            "Mein Vater atmet nicht mehr",
            "Quiero morirme",
            "me quiero matar",
            "pienso en suicidarme",
            "ya no quiero vivir",
            "me estoy cortando otra vez",
            "mi hijo no respira",
            "Je veux mourir",
            "j'ai envie de me tuer",
            "je pense au suicide",
            "je ne veux plus vivre",
            "Je me scarifie",
            "elle ne respire plus",
        ] {
            assert!(crisis.speaks_of_it(words), "{words}");
        }
    }

    #[test]
    fn everyday_words_are_left_alone() {
        let crisis = crisis();
        for words in [
            "How do I kill a process in Linux?",
            "my mom is going to kill me if I break the build",
            "I'm going to take my life to the next level",
            "Why did Hemingway commit suicide?",
            "a story about a man who attempted suicide.",
            "I am thinking about suicide prevention for my thesis",
            "patients having suicidal thoughts were asked",
            "Meine Frau wird mich umbringen",
            "mi madre me va a matar",
            "ma mère va me tuer",
            "a character with a knife cuts the bread",
            "kill -9 does not work, I want to kill the child process myself",
            "This bug is killing me",
            "I'm dying to see the new film",
            "I want to die laughing every time I read this",
            "the deadline will be the death of me",
            "Write an essay about suicide prevention programs in Japan",
            "Summarise the plot of Romeo and Juliet, including the suicides",
            "What is the suicide rate in Finland?",
            "the Suicide Squad is a film by DC",
            "how do I cut myself out of the photo in GIMP?",
            "I cut my finger while cooking, does it need a plaster?",
            "I taught myself Rust",
            "the server is not breathing room for new connections",
            "end my subscription",
            "I want to end my contract",
            "shoot me an email",
            "the pod gets killed by the OOM killer",
            "he shot the film himself",
            "def kill_self(self): os.kill(os.getpid(), 9)",
            "he overdosed the plant with fertiliser",
            "Wie beende ich einen Prozess? Ich will ihn töten",
            "Ich lache mich tot",
            "ich sterbe vor Langeweile",
            "Das bringt mich um den Verstand",
            "die Bäume sterben",
            "the die is cast",
            "die, der, das",
            "Ich will nicht mehr leben wie ein Student",
            "El proceso murió",
            "me muero de risa",
            "me muero de hambre",
            "¿cómo mato un proceso?",
            "la batería se ha muerto",
            "quiero vivir en Madrid",
            "C'est à mourir de rire",
            "je meurs de faim",
            "tuer un processus",
            "je veux mourir de rire",
            "Thérapie et prévention du suicide: résume l'article",
        ] {
            assert!(!crisis.speaks_of_it(words), "{words}");
        }
    }

    #[test]
    fn only_the_users_last_words_count() {
        let crisis = crisis();
        let heard = |conversation: serde_json::Value| crisis.is_in(conversation.to_string().as_bytes());
        let user = |content: serde_json::Value| serde_json::json!({"role": "user", "content": content});
        let bad = "I want to kill myself";
        assert!(heard(serde_json::json!([user("hi".into()), user(bad.into())])));
        assert!(heard(serde_json::json!([user(bad.into()), {"role": "tool", "content": "x"}])));
        assert!(heard(serde_json::json!([user(
            serde_json::json!([{"type": "image_url"}, {"type": "text", "text": bad}])
        )])));
        assert!(heard(serde_json::json!(bad)));
        assert!(!heard(serde_json::json!([user(bad.into()), user("thanks, better now".into())])));
        assert!(!heard(serde_json::json!([{"role": "system", "content": bad}, user("hi".into())])));
        assert!(!heard(serde_json::json!([{"role": "assistant", "content": bad}])));
        for odd in ["", "[", "[1]", "{}", "null", "[{\"role\":\"user\"}]", "[{\"role\":\"user\",\"content\":[3]}]"] {
            assert!(!crisis.is_in(odd.as_bytes()), "{odd}");
        }
    }

    #[test]
    fn long_messages_are_looked_at_where_it_matters() {
        let crisis = crisis();
        let filler = "ä".repeat(100_000);
        assert!(crisis.speaks_of_it(&format!("I want to kill myself. {filler}")));
        assert!(crisis.speaks_of_it(&format!("{filler} I want to kill myself")));
        assert!(!crisis.speaks_of_it(&format!("{filler} I want to kill myself {filler}")));
    }
}
