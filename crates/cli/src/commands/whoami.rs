//! `remora whoami`: who a server takes the caller for.

use remora_types::identity::{Who, WhoAmI};

use crate::output;
use crate::servers::Servers;

pub(crate) async fn run(server: &str, servers: &Servers, json: bool) -> anyhow::Result<()> {
    let answer = servers.client(server)?.whoami().await?;
    if json {
        return output::json(&answer);
    }
    show(&answer);
    Ok(())
}

fn show(answer: &WhoAmI) {
    let caller = &answer.caller;
    let roles: Vec<_> = caller.roles.iter().map(|role| role.as_str()).collect();
    let mut facts = vec![("who", described(&caller.who)), ("roles", or_none(&roles))];
    if let Some(models) = &caller.models {
        let models: Vec<_> = models.iter().map(AsRef::as_ref).collect();
        facts.push(("models", or_none(&models)));
    }
    facts.extend(caller.because.iter().map(|reason| ("because", reason.clone())));
    facts.extend(answer.via.map(|service| ("via", service.to_string())));
    facts.extend([("asked", answer.service.clone()), ("from", answer.peer.clone())]);
    for (key, value) in facts {
        output::line(&format!("{key:<8} {value}"));
    }
}

/// In a few words more than [`Who`] itself.
fn described(who: &Who) -> String {
    match who {
        Who::Local => "the person at that machine".into(),
        Who::User { login, node } => format!("{login} on {node}"),
        Who::Node { node, tags } => format!("the machine {node} ({})", tags.join(", ")),
        Who::Key { id, name } => format!("the holder of the key {name} ({id})"),
        Who::Service { name } => format!("the service {name}"),
    }
}

fn or_none(words: &[&str]) -> String {
    if words.is_empty() { "none".into() } else { words.join(", ") }
}
