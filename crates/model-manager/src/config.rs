//! Section `[model_manager]` of the settings.

use std::collections::{BTreeMap, HashSet};
use std::hash::Hash;
use std::time::Duration;

use remora_api_client::engine::Pace;
use remora_service::Listen;
use remora_types::EngineId;
use remora_types::engines::EngineAddress;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Longest grace for an engine to stop, in seconds: below the process's own limit for its background tasks (10 s), so
/// that an engine that hangs is killed in order.
const LONGEST_GRACE_S: u64 = 9;

/// Where slot 0's engine listens on a workstation; slot N is N ports higher.
const FIRST_PORT: u16 = 8104;

/// Section `[model_manager]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where to listen.
    pub listen: Listen,
    /// The engines, adopted and supervised.
    pub engines: Vec<EngineDefinition>,
    /// How long a supervised engine may be not ready before it is started again, in seconds: the time to load its
    /// model. An adopted one counts as failed after that.
    pub start_limit_s: u64,
    /// How long a supervised engine may take to stop before it is killed, in seconds; at most 9.
    pub stop_grace_s: u64,
    /// Time between two looks at an engine that starts, in milliseconds; grows with the wait, to one second.
    pub poll_starting_ms: u64,
    /// Time between two looks at an engine that is ready, in milliseconds.
    pub poll_ready_ms: u64,
}

/// One engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EngineDefinition {
    /// Its id in the registry, for example `slot-0`.
    pub id: EngineId,
    /// The slot it fills.
    #[serde(default)]
    pub slot: Option<u16>,
    /// Where it answers.
    pub address: EngineAddress,
    /// The program that is this engine, with its arguments, for a supervised engine. Without one the engine is adopted:
    /// it runs elsewhere and is only watched.
    #[serde(default)]
    pub command: Option<CommandLine>,
    /// Variables that the program gets besides model-manager's own environment.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// What the program gets as its standard input.
    #[serde(default)]
    pub stdin: Stdin,
}

/// A program and its arguments: a list of texts, the program first. No shell takes part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct CommandLine {
    /// A path, or a name that is looked for in `PATH`.
    pub program: String,
    /// As the program gets them.
    pub args: Vec<String>,
}

/// What a supervised program gets as its standard input.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stdin {
    /// Nothing.
    #[default]
    Null,
    /// A pipe that stays open, and silent, as long as model-manager lives. A program that stops at its end (`remora
    /// engine --lifeline`) is never left behind, not even by a `kill -9` of model-manager.
    Lifeline,
}

/// Settings that contradict each other.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidConfig {
    /// An id, slot or address that two engines share.
    #[error("[model_manager] engines: {what} is given twice; every engine needs its own")]
    Twice {
        /// Which one.
        what: String,
    },
    /// Settings of a program, and no program.
    #[error(
        "[model_manager] engines: {id} has no `command`, it runs elsewhere, so it takes no `stdin` or `environment`"
    )]
    NoCommand {
        /// The engine.
        id: EngineId,
    },
    /// A number outside its range.
    #[error("[model_manager] {key} must be from {least} to {most}")]
    Range {
        /// The setting.
        key: &'static str,
        /// Least value.
        least: u64,
        /// Greatest value.
        most: u64,
    },
}

/// A command line without a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a command needs a program as its first item")]
pub struct EmptyCommand;

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: Listen::Tcp(([127, 0, 0, 1], 8004).into()),
            engines: Vec::new(),
            start_limit_s: 600,
            stop_grace_s: 8,
            poll_starting_ms: 50,
            poll_ready_ms: 2000,
        }
    }
}

impl Config {
    /// Checks what the types cannot: no two engines in one place, numbers in their ranges.
    pub fn validate(&self) -> Result<(), InvalidConfig> {
        unique(self.engines.iter().map(|e| &e.id))?;
        unique(self.engines.iter().filter_map(|e| e.slot).map(|slot| format!("slot {slot}")))?;
        unique(self.engines.iter().map(|e| &e.address))?;
        for engine in &self.engines {
            let of_a_program = engine.stdin != Stdin::Null || !engine.environment.is_empty();
            if engine.command.is_none() && of_a_program {
                return Err(InvalidConfig::NoCommand { id: engine.id.clone() });
            }
        }
        within("start_limit_s", self.start_limit_s, 1, 86_400)?;
        within("stop_grace_s", self.stop_grace_s, 0, LONGEST_GRACE_S)?;
        within("poll_starting_ms", self.poll_starting_ms, 1, 60_000)?;
        within("poll_ready_ms", self.poll_ready_ms, 1, 60_000)
    }

    pub(crate) fn start_limit(&self) -> Duration {
        Duration::from_secs(self.start_limit_s)
    }

    pub(crate) fn stop_grace(&self) -> Duration {
        Duration::from_secs(self.stop_grace_s)
    }

    pub(crate) fn pace(&self) -> Pace {
        Pace {
            starting: Duration::from_millis(self.poll_starting_ms),
            ready: Duration::from_millis(self.poll_ready_ms),
        }
    }
}

impl EngineDefinition {
    /// An engine that runs elsewhere and is only watched.
    pub fn adopted(id: EngineId, address: EngineAddress) -> Self {
        Self { id, slot: None, address, command: None, environment: BTreeMap::new(), stdin: Stdin::Null }
    }

    /// An engine that is started here and listens on its slot's port of this machine
    /// ([`EngineDefinition::slot_port`]), under the id `slot-N`.
    pub fn in_slot(slot: u16, command: CommandLine, stdin: Stdin) -> Self {
        Self {
            id: format!("slot-{slot}").parse().expect("letters, a dash and digits"),
            slot: Some(slot),
            address: EngineAddress::loopback(Self::slot_port(slot)),
            command: Some(command),
            environment: BTreeMap::new(),
            stdin,
        }
    }

    /// The port of a slot's engine on a workstation: 8104 for slot 0, and so on.
    pub fn slot_port(slot: u16) -> u16 {
        FIRST_PORT.saturating_add(slot)
    }
}

impl CommandLine {
    /// A program and its arguments.
    pub fn new<A: Into<String>>(program: impl Into<String>, args: impl IntoIterator<Item = A>) -> Self {
        Self { program: program.into(), args: args.into_iter().map(Into::into).collect() }
    }
}

impl TryFrom<Vec<String>> for CommandLine {
    type Error = EmptyCommand;

    fn try_from(mut words: Vec<String>) -> Result<Self, EmptyCommand> {
        if words.first().is_none_or(String::is_empty) {
            return Err(EmptyCommand);
        }
        let program = words.remove(0);
        Ok(Self { program, args: words })
    }
}

impl From<CommandLine> for Vec<String> {
    fn from(command: CommandLine) -> Self {
        std::iter::once(command.program).chain(command.args).collect()
    }
}

fn unique<T: Eq + Hash + ToString>(items: impl Iterator<Item = T>) -> Result<(), InvalidConfig> {
    let mut seen = HashSet::new();
    for item in items {
        let what = item.to_string();
        if !seen.insert(item) {
            return Err(InvalidConfig::Twice { what });
        }
    }
    Ok(())
}

fn within(key: &'static str, value: u64, least: u64, most: u64) -> Result<(), InvalidConfig> {
    if (least..=most).contains(&value) { Ok(()) } else { Err(InvalidConfig::Range { key, least, most }) }
}

#[cfg(test)]
mod tests {
    use remora_service::config::Settings;

    use super::*;

    fn load(toml: &str) -> Result<Config, String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("remora.toml");
        std::fs::write(&file, toml).unwrap();
        let settings = Settings::from_parts(Some(&file), None, []).unwrap();
        let config: Config = settings.section("model_manager").map_err(|e| e.to_string())?;
        config.validate().map_err(|e| e.to_string())?;
        Ok(config)
    }

    #[test]
    fn engines_are_adopted_or_supervised() {
        let config = load(
            r#"
            [model_manager]
            listen = "127.0.0.1:9004"
            [[model_manager.engines]]
            id = "slot-0"
            slot = 0
            address = "unix:/run/engines/slot-0.sock"
            [[model_manager.engines]]
            id = "local"
            address = "http://127.0.0.1:8105/v1"
            command = ["remora", "engine", "--port", "8105"]
            stdin = "lifeline"
            environment = { VLLM_CPU_KVCACHE_SPACE = "1", http_proxy = "" }
            "#,
        )
        .unwrap();
        assert_eq!(config.listen.port(), 9004);
        let [adopted, supervised] = &config.engines[..] else { panic!("two engines") };
        assert_eq!((adopted.slot, adopted.command.as_ref()), (Some(0), None));
        assert_eq!(supervised.address, EngineAddress::loopback(8105));
        assert_eq!(supervised.command, Some(CommandLine::new("remora", ["engine", "--port", "8105"])));
        assert_eq!(supervised.stdin, Stdin::Lifeline);
        assert_eq!(supervised.environment.keys().collect::<Vec<_>>(), ["VLLM_CPU_KVCACHE_SPACE", "http_proxy"]);
    }

    #[test]
    fn contradictions_are_errors_that_name_them() {
        let engine = |id: &str, rest: &str| format!("[[model_manager.engines]]\nid = \"{id}\"\n{rest}\n");
        let at = |port: u16| format!("address = \"http://127.0.0.1:{port}\"");
        let error = |toml: String| load(&toml).unwrap_err();
        assert!(error(engine("a", &at(1)) + &engine("a", &at(2))).contains("a is given twice"));
        assert!(error(engine("a", &at(1)) + &engine("b", &at(1))).contains("http://127.0.0.1:1 is given twice"));
        let slot = |port| format!("{}\nslot = 3", at(port));
        assert!(error(engine("a", &slot(1)) + &engine("b", &slot(2))).contains("slot 3 is given twice"));
        assert!(error(engine("a", &format!("{}\nstdin = \"lifeline\"", at(1)))).contains("no `command`"));
        assert!(error(engine("a", &format!("{}\ncommand = []", at(1)))).contains("program"));
        assert!(error(engine("a", &format!("{}\nport = 1", at(1)))).contains("port"));
        assert!(error("[model_manager]\nstop_grace_s = 60".into()).contains("stop_grace_s must be from 0 to 9"));
        assert!(error("[model_manager]\npoll_ready_ms = 0".into()).contains("poll_ready_ms"));
    }
}
