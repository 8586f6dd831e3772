//! Other names for models.

use std::collections::BTreeMap;

use remora_types::ModelId;
use thiserror::Error;

/// What a client writes that does not care which model answers; the same as leaving `model` out.
pub(super) const DEFAULT: &str = "default";

/// Longest chain of aliases. More is a mistake, and a loop certainly is.
const LONGEST_CHAIN: usize = 8;

/// Aliases and the default, with every chain followed to its end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Naming {
    aliases: BTreeMap<ModelId, ModelId>,
    default: Option<ModelId>,
}

/// Names that cannot be followed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidNaming {
    /// A loop, or as good as one.
    #[error("aliases: {0} leads on through more than {LONGEST_CHAIN} other aliases, or back to itself")]
    Endless(ModelId),
    /// The word has its own setting.
    #[error("\"{DEFAULT}\" stands for default_model; set that instead of an alias or a model of this name")]
    Reserved,
}

impl Naming {
    /// Follows each alias to its end.
    pub(crate) fn new(aliases: &BTreeMap<ModelId, ModelId>, default: Option<&ModelId>) -> Result<Self, InvalidNaming> {
        let names = aliases.keys().chain(aliases.values()).chain(default);
        if names.into_iter().any(|name| name.as_str() == DEFAULT) {
            return Err(InvalidNaming::Reserved);
        }
        let end_of = |name: &ModelId| {
            let mut end = name;
            for _ in 0..=LONGEST_CHAIN {
                let Some(next) = aliases.get(end) else { return Ok(end.clone()) };
                end = next;
            }
            Err(InvalidNaming::Endless(name.clone()))
        };
        let followed = aliases.keys().map(|alias| Ok((alias.clone(), end_of(alias)?)));
        Ok(Self { aliases: followed.collect::<Result<_, _>>()?, default: default.map(end_of).transpose()? })
    }

    /// What an alias stands for in the end.
    pub(super) fn target(&self, alias: &str) -> Option<&ModelId> {
        self.aliases.get(alias)
    }

    /// What `default` stands for, where the settings say it.
    pub(super) fn default(&self) -> Option<&ModelId> {
        self.default.as_ref()
    }

    /// Every alias with its end, by name.
    pub(crate) fn aliases(&self) -> &BTreeMap<ModelId, ModelId> {
        &self.aliases
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn naming(aliases: &[(&str, &str)], default: Option<&str>) -> Result<Naming, InvalidNaming> {
        let aliases = aliases.iter().map(|(a, b)| (a.parse().unwrap(), b.parse().unwrap())).collect();
        Naming::new(&aliases, default.map(|name| name.parse().unwrap()).as_ref())
    }

    #[test]
    fn chains_are_followed_to_their_end() {
        let naming = naming(&[("a", "b"), ("b", "agent/assistant")], Some("a")).unwrap();
        assert_eq!(naming.target("a").unwrap().as_str(), "agent/assistant");
        assert_eq!(naming.default().unwrap().as_str(), "agent/assistant");
        assert_eq!(naming.target("c"), None);
    }

    #[test]
    fn loops_and_the_reserved_word_are_refused() {
        assert!(matches!(naming(&[("a", "b"), ("b", "a")], None), Err(InvalidNaming::Endless(_))));
        assert!(matches!(naming(&[("a", "a")], None), Err(InvalidNaming::Endless(_))));
        assert_eq!(naming(&[("default", "b")], None), Err(InvalidNaming::Reserved));
        assert_eq!(naming(&[], Some("default")), Err(InvalidNaming::Reserved));
    }
}
