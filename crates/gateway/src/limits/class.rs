//! Whose request goes first.

use http::HeaderMap;
use prometheus_client::encoding::EncodeLabelValue;
use remora_service::Caller;
use remora_types::ModelId;
use remora_types::identity::Who;
use serde::Deserialize;

/// What Claude Code says a request is for (with `CLAUDE_CODE_GATEWAY_HINT_HEADERS=1`).
const REQUEST_CLASS: &str = "x-claude-code-request-class";

/// How soon somebody needs the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, EncodeLabelValue)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// A person waits for it; whatever says nothing else.
    Interactive,
    /// A program works for a person, who waits for its end.
    Batch,
    /// Nobody waits.
    Background,
}

/// One of `[[gateway.priorities]]`: the class of the requests that all given fields match.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PriorityRule {
    /// A login, a machine, `local`, or `service agent-runner`.
    #[serde(default)]
    pub caller: Option<String>,
    /// A key's name or id.
    #[serde(default)]
    pub key: Option<String>,
    /// The model, as it is asked for or by its own name.
    #[serde(default)]
    pub model: Option<ModelId>,
    /// The class.
    pub class: Class,
}

/// The rules, in their order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Priorities(Vec<PriorityRule>);

impl Class {
    pub(crate) const ALL: [Self; 3] = [Self::Interactive, Self::Batch, Self::Background];

    /// 0 for the highest.
    pub(super) fn rank(self) -> u32 {
        self as u32
    }

    /// What a client says itself.
    fn hinted(headers: &HeaderMap) -> Option<Self> {
        Some(match headers.get(REQUEST_CLASS)?.to_str().ok()? {
            "main" | "compaction" => Self::Interactive,
            "subagent" | "workflow" => Self::Batch,
            "auxiliary" => Self::Background,
            _ => return None,
        })
    }
}

impl Priorities {
    pub(crate) fn new(rules: Vec<PriorityRule>) -> Self {
        Self(rules)
    }

    /// A request's class: the first rule's that matches, else what the client says.
    pub(crate) fn class(
        &self,
        headers: &HeaderMap,
        caller: Option<&Caller>,
        asked: Option<&str>,
        model: &ModelId,
    ) -> Class {
        let who = caller.map(Caller::who);
        let ruled = self.0.iter().find(|rule| {
            rule.caller.as_ref().is_none_or(|wanted| who.is_some_and(|who| who.to_string() == *wanted))
                && rule.key.as_ref().is_none_or(|wanted| who.is_some_and(|who| is_key(who, wanted)))
                && rule.model.as_ref().is_none_or(|wanted| wanted == model || asked == Some(wanted.as_str()))
        });
        ruled.map(|rule| rule.class).or_else(|| Class::hinted(headers)).unwrap_or(Class::Interactive)
    }
}

fn is_key(who: &Who, wanted: &str) -> bool {
    matches!(who, Who::Key { id, name } if id == wanted || name == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(rules: &[PriorityRule], hint: Option<&'static str>, asked: &str) -> Class {
        let headers = hint.map(|hint| (http::HeaderName::from_static(REQUEST_CLASS), hint.parse().unwrap()));
        let headers = headers.into_iter().collect();
        let (caller, model) = (Caller::local(), "own/name".parse().unwrap());
        Priorities::new(rules.to_vec()).class(&headers, Some(&caller), Some(asked), &model)
    }

    #[test]
    fn claude_code_says_what_a_request_is_for() {
        assert_eq!(class(&[], None, "m"), Class::Interactive);
        assert_eq!(class(&[], Some("main"), "m"), Class::Interactive);
        assert_eq!(class(&[], Some("subagent"), "m"), Class::Batch);
        assert_eq!(class(&[], Some("auxiliary"), "m"), Class::Background);
        assert_eq!(class(&[], Some("something new"), "m"), Class::Interactive);
    }

    #[test]
    fn rules_come_before_hints_and_match_with_all_they_name() {
        let rule = |caller: Option<&str>, key: Option<&str>, model: Option<&str>| PriorityRule {
            caller: caller.map(str::to_owned),
            key: key.map(str::to_owned),
            model: model.map(|model| model.parse().unwrap()),
            class: Class::Background,
        };
        let hint = Some("main");
        for rule in [rule(None, None, None), rule(Some("local"), None, Some("m")), rule(None, None, Some("own/name"))] {
            assert_eq!(class(&[rule], hint, "m"), Class::Background);
        }
        for rule in
            [rule(Some("ann@example.com"), None, None), rule(None, Some("local"), None), rule(None, None, Some("x"))]
        {
            assert_eq!(class(&[rule], hint, "m"), Class::Interactive);
        }
    }
}
