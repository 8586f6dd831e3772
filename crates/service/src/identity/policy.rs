//! From who somebody is on the tailnet to what they may do.
//!
//! Three sources add up: what everybody has, the rules of the settings, and the grants of the tailnet's own policy file.
//! Each role comes with its reason, which `GET /whoami` shows.

use std::collections::BTreeMap;

use remora_types::identity::{Role, Who};
use serde_json::Value;
use thiserror::Error;

use super::config::{Everyone, IdentityConfig};
use super::local_api::{OwnNode, WhoIs};
use crate::access::{Caller, Roles};

/// A policy that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidPolicy {
    /// A group that is not defined.
    #[error("identity: {pattern:?} names a group that [identity.groups] does not have")]
    UnknownGroup {
        /// As it was written.
        pattern: String,
    },
    /// Neither a login, a group nor a tag.
    #[error("identity: {pattern:?} is no login (ann@example.com, *@example.com), group:NAME or tag:NAME")]
    InvalidPattern {
        /// As it was written.
        pattern: String,
    },
}

/// What the settings say about who may do what.
#[derive(Debug)]
pub(crate) struct Policy {
    capability: String,
    everyone: Roles,
    rules: Vec<Rule>,
}

#[derive(Debug)]
struct Rule {
    who: Pattern,
    role: Role,
    /// As it stands in the settings.
    source: String,
}

/// Somebody, as the settings write it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Pattern {
    Login(String),
    /// Everybody of a domain: the part from the `@` on.
    Domain(String),
    Group(Vec<Pattern>),
    Tag(String),
}

impl Policy {
    pub(crate) fn new(config: &IdentityConfig) -> Result<Self, InvalidPolicy> {
        let everyone = match config.everyone {
            Everyone::Nothing => Roles::NONE,
            Everyone::Use => Roles::up_to(Role::Use),
        };
        let admins = config.admins.iter().map(|who| (who, Role::Admin, "admins"));
        let ruled = config.rules.iter().flat_map(|rule| rule.who.iter().map(|who| (who, rule.role, "a rule")));
        let rules = admins.chain(ruled).map(|(who, role, place)| {
            Ok(Rule { who: Pattern::parse(who, &config.groups)?, role, source: format!("{place} for {who}") })
        });
        Ok(Self { capability: config.capability.clone(), everyone, rules: rules.collect::<Result<_, _>>()? })
    }

    /// The caller that a peer is, seen from this node.
    pub(crate) fn caller(&self, peer: &WhoIs, own: &OwnNode) -> Caller {
        let node = peer.node.name.trim_end_matches('.').to_owned();
        let mut found = Found::default();
        // A tagged node belongs to no person; its user profile is a placeholder. So tags come first, and alone.
        let tags = peer.node.tags.clone().unwrap_or_default();
        let who = if tags.is_empty() {
            Who::User { login: peer.user_profile.login_name.clone(), node }
        } else {
            Who::Node { node, tags }
        };
        if peer.node.sharer == 0 {
            found.add(self.everyone, || "everyone on the tailnet may use".to_owned());
        }
        if let Who::User { login, .. } = &who
            && own.tags.as_ref().is_none_or(Vec::is_empty)
            && own.user_id != 0
            && own.user_id == peer.user_profile.id
            && peer.node.sharer == 0
        {
            found.add(Roles::up_to(Role::Admin), || format!("{login} owns this node"));
        }
        for rule in self.rules.iter().filter(|rule| rule.who.matches(&who)) {
            found.add(Roles::up_to(rule.role), || format!("{} in [identity] gives {}", rule.source, rule.role));
        }
        let grants = peer.cap_map.as_ref().and_then(|map| map.get(&self.capability)?.as_ref());
        for role in grants.into_iter().flatten().flat_map(granted) {
            found.add(Roles::up_to(role), || format!("a grant of {} gives {role}", self.capability));
        }
        if found.because.is_empty() {
            found.because.push(if peer.node.sharer == 0 {
                "no rule in [identity] and no grant names this caller".to_owned()
            } else {
                "a node shared into the tailnet has no role until a rule or a grant names its user".to_owned()
            });
        }
        Caller::new(who, found.roles, found.because)
    }
}

#[derive(Default)]
struct Found {
    roles: Roles,
    because: Vec<String>,
}

impl Found {
    fn add(&mut self, roles: Roles, because: impl FnOnce() -> String) {
        if roles != Roles::NONE {
            self.roles = self.roles.and(roles);
            self.because.push(because());
        }
    }
}

/// The roles in one value of a grant: `{"role": "admin"}` or `{"roles": ["use"]}`. Words that are no roles are passed
/// over: a policy may be ahead of this version.
fn granted(value: &Value) -> Vec<Role> {
    let single = value.get("role").into_iter();
    let several = value.get("roles").and_then(Value::as_array).into_iter().flatten();
    single.chain(several).filter_map(|word| word.as_str()?.parse().ok()).collect()
}

impl Pattern {
    fn parse(text: &str, groups: &BTreeMap<String, Vec<String>>) -> Result<Self, InvalidPolicy> {
        if let Some(name) = text.strip_prefix("group:") {
            let members = groups.get(name);
            let members = members.ok_or_else(|| InvalidPolicy::UnknownGroup { pattern: text.to_owned() })?;
            return Ok(Self::Group(members.iter().map(|login| Self::login(login)).collect::<Result<_, _>>()?));
        }
        match text.strip_prefix("tag:") {
            Some("") => Err(InvalidPolicy::InvalidPattern { pattern: text.to_owned() }),
            Some(_) => Ok(Self::Tag(text.to_owned())),
            None => Self::login(text),
        }
    }

    fn login(text: &str) -> Result<Self, InvalidPolicy> {
        let invalid = || InvalidPolicy::InvalidPattern { pattern: text.to_owned() };
        let (user, domain) = text.split_once('@').ok_or_else(invalid)?;
        if user.is_empty() || domain.is_empty() || domain.contains(['*', '@']) {
            return Err(invalid());
        }
        match user {
            "*" => Ok(Self::Domain(format!("@{domain}"))),
            _ if user.contains('*') => Err(invalid()),
            _ => Ok(Self::Login(text.to_owned())),
        }
    }

    fn matches(&self, who: &Who) -> bool {
        match (self, who) {
            (Self::Login(wanted), Who::User { login, .. }) => login.eq_ignore_ascii_case(wanted),
            (Self::Domain(domain), Who::User { login, .. }) => {
                login.find('@').is_some_and(|at| at > 0 && login[at..].eq_ignore_ascii_case(domain))
            }
            (Self::Group(members), Who::User { .. }) => members.iter().any(|member| member.matches(who)),
            (Self::Tag(wanted), Who::Node { tags, .. }) => tags.contains(wanted),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn caller(config: &str, whois: Value) -> Caller {
        let config: IdentityConfig = toml(config);
        let own = OwnNode { user_id: 1, tags: None };
        Policy::new(&config).unwrap().caller(&serde_json::from_value(whois).unwrap(), &own)
    }

    fn toml(text: &str) -> IdentityConfig {
        let parsed = config::Config::builder().add_source(config::File::from_str(text, config::FileFormat::Toml));
        parsed.build().unwrap().try_deserialize().unwrap()
    }

    fn user(id: u64, login: &str) -> Value {
        json!({"Node": {"Name": "laptop.tail.ts.net."}, "UserProfile": {"ID": id, "LoginName": login}})
    }

    fn node(tags: &[&str]) -> Value {
        // What tailscaled says about a tagged node: a synthetic user, and the id of whoever made it.
        json!({"Node": {"Name": "ci.tail.ts.net.", "User": 1, "Tags": tags},
               "UserProfile": {"ID": 1, "LoginName": "tagged-devices"}})
    }

    fn roles(caller: &Caller) -> Vec<Role> {
        caller.info().roles.clone()
    }

    #[test]
    fn by_default_everyone_may_use_and_the_owner_may_do_all() {
        assert_eq!(roles(&caller("", user(2, "bob@example.com"))), [Role::Use]);
        let owner = caller("", user(1, "ann@example.com"));
        assert_eq!(roles(&owner), Role::ALL);
        assert!(owner.info().because[1].contains("owns this node"));
    }

    #[test]
    fn a_tagged_node_is_never_its_maker() {
        let node = caller("admins = ['tagged-devices@x', '*@example.com']", node(&["tag:ci"]));
        assert_eq!(roles(&node), [Role::Use]);
        assert_eq!(node.who().to_string(), "ci.tail.ts.net");
    }

    #[test]
    fn a_tagged_server_has_no_owner() {
        let policy = Policy::new(&IdentityConfig::default()).unwrap();
        let own = OwnNode { user_id: 1, tags: Some(vec!["tag:remora".into()]) };
        let peer = serde_json::from_value(user(1, "ann@example.com")).unwrap();
        assert_eq!(roles(&policy.caller(&peer, &own)), [Role::Use]);
    }

    #[test]
    fn rules_name_logins_domains_groups_and_tags() {
        let config = "everyone = 'nothing'\nadmins = 'ann@example.com, tag:ops'\n[groups]\nkin = ['bob@b.org']\n\
                      [[rules]]\nwho = ['group:kin', '*@Work.com', 'tag:ci']\nrole = 'operate'";
        let of = |whois| roles(&caller(config, whois));
        assert_eq!(of(user(2, "Ann@Example.com")), Role::ALL);
        assert_eq!(of(user(2, "bob@b.org")), [Role::Use, Role::Operate]);
        assert_eq!(of(user(2, "eve@work.com")), [Role::Use, Role::Operate]);
        assert_eq!(of(user(2, "eve@network.com")), []);
        assert_eq!(of(user(2, "eve@evil.com@work.com")), []);
        assert_eq!(of(node(&["tag:other", "tag:ci"])), [Role::Use, Role::Operate]);
        assert_eq!(of(node(&["tag:ops"])), Role::ALL);
    }

    #[test]
    fn shared_in_nodes_are_named_or_have_nothing() {
        let mut whois = user(1, "friend@elsewhere.com");
        whois["Node"]["Sharer"] = 77.into();
        let stranger = caller("", whois.clone());
        assert_eq!(roles(&stranger), []);
        assert!(stranger.info().because[0].contains("shared"));
        let named = "[[rules]]\nwho = ['friend@elsewhere.com']\nrole = 'use'";
        assert_eq!(roles(&caller(named, whois)), [Role::Use]);
    }

    #[test]
    fn grants_add_up_and_unknown_words_are_passed_over() {
        let mut whois = user(2, "bob@b.org");
        whois["CapMap"] = json!({"remora.dev/cap/remora": [{"role": "use"}, {"roles": ["operate", "emperor"]}, 7],
                                 "other.dev/cap": [{"role": "admin"}], "none": null});
        assert_eq!(roles(&caller("everyone = 'nothing'", whois)), [Role::Use, Role::Operate]);
    }

    #[test]
    fn bad_patterns_are_named() {
        for bad in ["ann", "*", "@x.com", "a*@x.com", "*@*", "tag:", "group:nobody"] {
            let config = IdentityConfig { admins: vec![bad.into()], ..IdentityConfig::default() };
            assert!(Policy::new(&config).unwrap_err().to_string().contains(bad), "{bad}");
        }
    }
}
