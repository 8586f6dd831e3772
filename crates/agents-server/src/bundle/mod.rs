//! Reading bundles: five shapes of `bundle.yaml`, one model.
//!
//! Pure: a bundle is a table of paths and bytes. The server fills it from its snapshot and `remora agent validate` from
//! a folder on disk, so that both say the same about the same files.
//!
//! One reader knows the keys of every shape instead of five readers one shape each: real files mix them (the current
//! shape with a `version`, say), and a key is unknown only if no shape has it.

mod digest;
mod fields;
mod findings;
mod manifest;
mod path;
mod shape;
mod skill;
#[cfg(test)]
mod tests;
mod tools;
mod yaml;

use std::collections::BTreeMap;

use remora_types::agents::{Finding, Manifest};

pub use digest::{digest, sha256};
pub use path::{Outside, inside};
pub use skill::{SkillHead, read_skill};

/// The file that makes a directory a bundle.
pub const BUNDLE_FILE: &str = "bundle.yaml";

/// The file that makes a directory a skill.
pub const SKILL_FILE: &str = "SKILL.md";

/// The files of one bundle, by path relative to its folder.
pub type Contents<'a> = BTreeMap<&'a str, Content<'a>>;

/// One file, as a reader of bundles sees it.
#[derive(Debug, Clone, Copy)]
pub struct Content<'a> {
    /// Its bytes; `None` where it is too large to be held in memory.
    pub bytes: Option<&'a [u8]>,
    /// Whether it can be run.
    pub executable: bool,
}

/// What there is to say about a bundle.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Reading {
    /// `None` where `bundle.yaml` is no YAML mapping.
    pub manifest: Option<Manifest>,
    /// What works but was hardly meant.
    pub warnings: Vec<Finding>,
    /// Why it cannot be used as it stands.
    pub faults: Vec<Finding>,
}

/// Reads the bundle in a folder of this name. Never fails: what is wrong is in the result.
#[must_use]
pub fn read(folder: &str, contents: &Contents<'_>) -> Reading {
    let mut findings = findings::Findings::default();
    let manifest = match contents.get(BUNDLE_FILE) {
        None => {
            findings.fault("no_bundle_file", format!("there is no {BUNDLE_FILE}")).at(BUNDLE_FILE);
            None
        }
        Some(Content { bytes: None, .. }) => {
            findings.fault("bundle_file_too_large", format!("{BUNDLE_FILE} is too large to be read")).at(BUNDLE_FILE);
            None
        }
        Some(Content { bytes: Some(bytes), .. }) => match yaml::mapping(bytes) {
            Ok(document) => Some(manifest::read(folder, document, contents, &mut findings)),
            Err(error) => {
                findings.fault("bad_yaml", error.message).at(BUNDLE_FILE).line(error.line);
                None
            }
        },
    };
    Reading { manifest, warnings: findings.warnings, faults: findings.faults }
}
