//! Settings: defaults, then `remora.toml`, then `.env`, then `REMORA_<SERVICE>__<KEY>`.
//!
//! One file serves every service: each reads its own section. A key that nobody knows is an error, in the file and in
//! the environment, since a misspelt limit that is silently ignored is worse than a server that does not start.
//! Variables without `__` (`REMORA_STATE_DIR`) are not settings of a section and pass by; only `REMORA_ADMINS` is a
//! shorter name of `REMORA_IDENTITY__ADMINS`.

use std::path::{Path, PathBuf};

use config::{Config, Environment, File, FileFormat, Map};
use serde::de::DeserializeOwned;
use thiserror::Error;

/// Every section there is; the first key of every setting.
pub const SECTIONS: [&str; 5] = ["log", "identity", "gateway", "agents_server", "model_manager"];

/// What stands before a section in an environment variable.
const PREFIX: &str = "REMORA_";

/// Settings that cannot be used.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// A file could not be read or parsed.
    #[error("cannot read the settings in {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A section that no service has.
    #[error("unknown section [{section}]; there are: {}", SECTIONS.join(", "))]
    UnknownSection {
        /// As it was written.
        section: String,
    },
    /// A key that the section does not have, or a value of the wrong kind.
    #[error("section [{section}]: {message}")]
    Invalid {
        /// The section.
        section: &'static str,
        /// What is wrong, with the key.
        message: String,
    },
}

/// The merged settings of all services, not yet typed.
#[derive(Debug, Clone)]
pub struct Settings {
    merged: Config,
}

impl Settings {
    /// Reads `file`, or `remora.toml` in the working directory where there is one, then `.env` there, then the
    /// environment. A `file` that was asked for must exist.
    pub fn load(file: Option<&Path>) -> Result<Self, ConfigError> {
        let found = Path::new("remora.toml");
        let file = file.or_else(|| found.exists().then_some(found));
        let dotenv = Path::new(".env");
        Self::from_parts(file, dotenv.exists().then_some(dotenv), std::env::vars_os())
    }

    /// The same with every source named, for tests.
    pub fn from_parts(
        file: Option<&Path>,
        dotenv: Option<&Path>,
        env: impl IntoIterator<Item = (std::ffi::OsString, std::ffi::OsString)>,
    ) -> Result<Self, ConfigError> {
        let mut builder = Config::builder();
        if let Some(path) = file {
            let text = std::fs::read_to_string(path).map_err(|e| unreadable(path, e))?;
            // Parsed on its own first, so that a syntax error names the file.
            let parsed = Config::builder().add_source(File::from_str(&text, FileFormat::Toml)).build();
            builder = builder.add_source(parsed.map_err(|e| unreadable(path, e))?);
        }
        let mut variables = Map::new();
        if let Some(path) = dotenv {
            for pair in dotenvy::from_path_iter(path).map_err(|e| unreadable(path, e))? {
                let (name, value) = pair.map_err(|e| unreadable(path, e))?;
                variables.insert(name, value);
            }
        }
        let unicode = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        variables.extend(env.into_iter().filter_map(unicode));
        if let Some(admins) = variables.remove("REMORA_ADMINS") {
            variables.entry("REMORA_IDENTITY__ADMINS".into()).or_insert(admins);
        }
        variables.retain(|name, _| name.strip_prefix(PREFIX).is_some_and(|rest| rest.contains("__")));
        // No `try_parsing`: it turns the text `0012` into the number 12. Numbers still parse, since serde asks for them.
        let environment = Environment::with_prefix("REMORA")
            .prefix_separator("_")
            .separator("__")
            .ignore_empty(true)
            .source(Some(variables));
        let merged = builder
            .add_source(environment)
            .build()
            .map_err(|error| ConfigError::UnknownSection { section: error.to_string() })?;
        let settings = Self { merged };
        settings.check_sections()?;
        Ok(settings)
    }

    fn check_sections(&self) -> Result<(), ConfigError> {
        let tables: Map<String, config::Value> = self.merged.clone().try_deserialize().unwrap_or_default();
        match tables.into_keys().find(|key| !SECTIONS.contains(&key.as_str())) {
            Some(section) => Err(ConfigError::UnknownSection { section }),
            None => Ok(()),
        }
    }

    /// One section, typed; its defaults where nothing is set. `T` should deny unknown fields and default the rest.
    pub fn section<T: DeserializeOwned + Default>(&self, section: &'static str) -> Result<T, ConfigError> {
        let value = match self.merged.get::<config::Value>(section) {
            Ok(value) => value,
            Err(config::ConfigError::NotFound(_)) => return Ok(T::default()),
            Err(error) => return Err(ConfigError::Invalid { section, message: error.to_string() }),
        };
        serde_path_to_error::deserialize(value)
            .map_err(|error| ConfigError::Invalid { section, message: error.to_string() })
    }
}

fn unreadable(path: &Path, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> ConfigError {
    ConfigError::Unreadable { path: path.to_owned(), source: source.into() }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Gateway {
        listen: String,
        limit: u32,
        hold: Hold,
    }

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Hold {
        seconds: u64,
    }

    fn load(toml: &str, dotenv: &str, env: &[(&str, &str)]) -> Result<Gateway, ConfigError> {
        let folder = tempfile::tempdir().unwrap();
        let (file, dot) = (folder.path().join("remora.toml"), folder.path().join(".env"));
        std::fs::write(&file, toml).unwrap();
        std::fs::write(&dot, dotenv).unwrap();
        let env = env.iter().map(|(k, v)| ((*k).into(), (*v).into()));
        Settings::from_parts(Some(&file), Some(&dot), env)?.section("gateway")
    }

    #[test]
    fn later_sources_win() {
        let toml = "[gateway]\nlisten = 'a'\nlimit = 1\nhold.seconds = 1\n";
        let gateway = load(
            toml,
            "REMORA_GATEWAY__LIMIT=2\nREMORA_GATEWAY__LISTEN=b",
            &[
                ("REMORA_GATEWAY__LISTEN", "0012"),
                ("REMORA_GATEWAY__HOLD__SECONDS", "7"),
                ("REMORA_STATE_DIR", "/var/lib/remora"),
                ("REMORA_GATEWAY_URL", "http://x"),
            ],
        );
        assert_eq!(gateway.unwrap(), Gateway { listen: "0012".into(), limit: 2, hold: Hold { seconds: 7 } });
    }

    #[test]
    fn nothing_set_means_defaults_and_empty_variables_count_as_unset() {
        assert_eq!(load("", "", &[("REMORA_GATEWAY__LIMIT", "")]).unwrap(), Gateway::default());
    }

    #[test]
    fn unknown_keys_sections_and_wrong_kinds_are_errors_that_name_them() {
        let message = |toml: &str, env: &[(&str, &str)]| load(toml, "", env).unwrap_err().to_string();
        assert!(message("[gateway]\nlimt = 1", &[]).contains("limt"));
        assert!(message("[gatway]\nlimit = 1", &[]).contains("[gatway]"));
        assert!(message("", &[("REMORA_GATEWAY__LIMT", "1")]).contains("limt"));
        assert!(message("", &[("REMORA_GATWAY__LIMIT", "1")]).contains("gatway"));
        assert!(message("[gateway]\nlimit = 'many'", &[]).contains("limit"));
        assert!(message("[gateway", &[]).contains("remora.toml"));
    }
}
