//! The immutable table that requests are answered from.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use jiff::Timestamp;
use remora_types::agents::{
    Bundle, BundleDetail, BundleFile, BundleList, Digest, Finding, Skill, SkillIndex, SkillKind,
};
use remora_types::{AgentName, InvalidName};

use super::archive::{Archives, Packing};
use super::resource::{Body, Resource};
use super::store::{Stored, StoredFile};
use super::table::{Row, Table};
use crate::bundle::{self, BUNDLE_FILE, SKILL_FILE, digest, sha256};

/// The folder at one moment, ready to be served.
#[derive(Debug)]
pub struct Snapshot {
    /// Grows by one with every change.
    pub revision: u64,
    /// Whether the folder exists.
    pub exists: bool,
    files: HashMap<String, Arc<Served>>,
    list: Resource,
    bundles: BTreeMap<AgentName, BundleEntry>,
    skills: Resource,
    skill_archives: BTreeMap<String, Arc<Packing>>,
}

#[derive(Debug)]
struct Served {
    from: Arc<StoredFile>,
    resource: Resource,
}

/// A bundle with what is made of it.
#[derive(Debug)]
pub struct BundleEntry {
    /// As in the listing.
    pub bundle: Bundle,
    /// `GET /bundles/{name}`
    pub detail: Resource,
    /// What its archive is made of.
    pub packing: Arc<Packing>,
}

impl Snapshot {
    /// A table's files and all that is made of them; unchanged files are taken over from the previous one.
    pub(super) fn of(table: &Table, previous: Option<&Self>, archives: &Archives) -> Self {
        let serve = |(path, row): (&String, &Row)| {
            let known = previous.and_then(|p| p.files.get(path)).filter(|s| Arc::ptr_eq(&s.from, &row.file));
            let served = known.cloned().unwrap_or_else(|| Arc::new(Served::new(path, row.file.clone())));
            (path.clone(), served)
        };
        let files = table.files.iter().map(serve).collect();

        let mut warnings = table.skipped.clone();
        let mut bundles = BTreeMap::new();
        for folder in folders_with(table, BUNDLE_FILE).filter(|folder| !folder.contains('/')) {
            match folder.parse::<AgentName>() {
                Ok(name) => drop(bundles.insert(name.clone(), BundleEntry::of(name, table))),
                Err(invalid) => warnings.push(bad_name(folder, &invalid)),
            }
        }
        let (index, skill_archives) = skills(table, archives, &mut warnings);
        let list = BundleList { bundles: bundles.values().map(|entry| entry.bundle.clone()).collect(), warnings };
        Self {
            revision: previous.map_or(1, |p| p.revision + 1),
            exists: table.root.is_some(),
            files,
            list: Resource::json(&list),
            bundles,
            skills: Resource::json(&index),
            skill_archives,
        }
    }

    /// A file by its path relative to the folder. Nothing that is not in the table can be had, however it is spelt.
    pub fn file(&self, path: &str) -> Option<&Resource> {
        self.files.get(path).map(|served| &served.resource)
    }

    /// `GET /agents`
    pub fn list(&self) -> &Resource {
        &self.list
    }

    /// One bundle.
    pub fn bundle(&self, name: &AgentName) -> Option<&BundleEntry> {
        self.bundles.get(name)
    }

    /// Every bundle's digest.
    pub fn digests(&self) -> BTreeMap<AgentName, Digest> {
        self.bundles.iter().map(|(name, entry)| (name.clone(), entry.bundle.digest)).collect()
    }

    /// How many files are served, how many bundles there are, and how many of those have faults.
    pub fn counts(&self) -> (usize, usize, usize) {
        let faulty = self.bundles.values().filter(|entry| !entry.bundle.faults.is_empty()).count();
        (self.files.len(), self.bundles.len(), faulty)
    }

    /// `GET /.well-known/agent-skills/index.json`
    pub fn skills(&self) -> &Resource {
        &self.skills
    }

    /// What a skill's archive is made of; `None` where no skill of this name is offered as one.
    pub fn skill(&self, name: &str) -> Option<&Arc<Packing>> {
        self.skill_archives.get(name)
    }
}

impl Served {
    fn new(path: &str, from: Arc<StoredFile>) -> Self {
        let body = match &from.content {
            Stored::Held(bytes) => Body::Held(bytes.clone()),
            Stored::OnDisk(on_disk) => Body::OnDisk(on_disk.clone()),
        };
        let resource = Resource::file(path, &from.sha256, from.modified(), body);
        Self { from, resource }
    }
}

impl BundleEntry {
    fn of(name: AgentName, table: &Table) -> Self {
        let prefix = format!("{name}/");
        let reading = bundle::read(name.as_str(), &table.contents(&prefix));
        let packing = Packing::of(table, &prefix);
        let files = packing.listed();
        let mut warnings = reading.warnings;
        for skipped in &table.skipped {
            if let Some(path) = skipped.path.as_deref().and_then(|path| path.strip_prefix(&prefix)) {
                warnings.push(Finding { path: Some(path.to_owned()), ..skipped.clone() });
            }
        }
        let manifest = reading.manifest;
        let said = |field: fn(&remora_types::agents::Manifest) -> &Option<String>| {
            manifest.as_ref().and_then(|manifest| field(manifest).clone())
        };
        let bundle = Bundle {
            version: said(|m| &m.version),
            description: said(|m| &m.description),
            model: said(|m| &m.model),
            adapter: said(|m| &m.adapter),
            tools: manifest.as_ref().map(|m| m.tools.clone()).unwrap_or_default(),
            size_bytes: files.iter().map(|f| f.size_bytes).sum(),
            digest: digest(&files),
            files,
            changed_at: packing.changed_at,
            warnings,
            faults: reading.faults,
            name,
        };
        let detail = BundleDetail { bundle, manifest };
        Self { detail: Resource::json(&detail), bundle: detail.bundle, packing: packing.into() }
    }
}

impl Packing {
    /// Everything below a folder of the table.
    fn of(table: &Table, prefix: &str) -> Self {
        let files: Vec<_> =
            table.below(prefix).map(|(path, row)| (path[prefix.len()..].to_owned(), row.file.clone())).collect();
        let changed_at = files.iter().map(|(_, file)| file.modified()).max().unwrap_or(Timestamp::UNIX_EPOCH);
        let mut packing = Self { tag: String::new(), files, changed_at };
        packing.tag = packing.tag_of_content();
        packing
    }

    fn listed(&self) -> Vec<BundleFile> {
        let listed = |(path, file): &(String, Arc<StoredFile>)| BundleFile {
            path: path.clone(),
            size_bytes: file.size(),
            sha256: file.sha256,
            executable: file.executable(),
        };
        self.files.iter().map(listed).collect()
    }

    /// The digest. Where files can be run only because their permissions say so, and not by their content, which the
    /// digest covers, the archive differs by them and so must its tag.
    fn tag_of_content(&self) -> String {
        let digest = digest(&self.listed());
        let odd: Vec<&str> =
            self.files.iter().filter(|(_, f)| f.oddly_executable()).map(|(path, _)| path.as_str()).collect();
        if odd.is_empty() {
            return digest.to_string();
        }
        let modes = sha256(odd.join("\0").as_bytes()).to_string();
        format!("{digest}-x{}", &modes[..16])
    }
}

/// Why a folder with a `bundle.yaml` is no bundle.
pub(super) fn bad_name(folder: &str, invalid: &InvalidName) -> Finding {
    let message = format!("the folder {folder:?} is no bundle: {invalid}");
    Finding { code: "bad_name".into(), message, path: Some(folder.to_owned()), line: None }
}

/// The folders, at any depth, that hold a file of this name.
fn folders_with<'t>(table: &'t Table, file: &'t str) -> impl Iterator<Item = &'t str> {
    table.files.keys().filter_map(move |path| path.strip_suffix(file)?.strip_suffix('/'))
}

/// The index of skills, and the archives of those with more than one file.
fn skills(
    table: &Table,
    archives: &Archives,
    warnings: &mut Vec<Finding>,
) -> (SkillIndex, BTreeMap<String, Arc<Packing>>) {
    let (mut skills, mut packed, mut names) = (Vec::new(), BTreeMap::new(), BTreeSet::new());
    for folder in folders_with(table, SKILL_FILE) {
        let path = format!("{folder}/{SKILL_FILE}");
        let file = &table.files[&path].file;
        let head = file.held().ok_or_else(|| "it is too large".to_owned()).and_then(|bytes| bundle::read_skill(bytes));
        let skill = head.and_then(|head| {
            if !names.insert(head.name.clone()) {
                return Err(format!("another skill is called {:?} too", head.name));
            }
            let packing = Packing::of(table, &format!("{folder}/"));
            let (kind, url, sha256) = if packing.files.len() == 1 {
                (SkillKind::SkillMd, format!("/agents/{}", encoded(&path)), file.sha256)
            } else {
                let archive = archives.get(&packing).map_err(|e| e.to_string())?;
                let Body::Held(bytes) = archive.body() else { return Err("its archive is not in memory".into()) };
                let digest = sha256(bytes);
                packed.insert(head.name.clone(), Arc::new(packing));
                (SkillKind::Archive, format!("/.well-known/agent-skills/{}.tar.gz", head.name), digest)
            };
            Ok(Skill { name: head.name, kind, description: head.description, url, digest: Digest(sha256) })
        });
        match skill {
            Ok(skill) => skills.push(skill),
            Err(why) => {
                let message = format!("{path} is not offered as a skill: {why}");
                warnings.push(Finding { code: "bad_skill".into(), message, path: Some(path), line: None });
            }
        }
    }
    skills.sort_by(|a, b| a.name.cmp(&b.name));
    (SkillIndex { schema: SkillIndex::SCHEMA.into(), skills }, packed)
}

/// A path for a URL.
fn encoded(path: &str) -> String {
    use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
    const PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');
    utf8_percent_encode(path, PATH).to_string()
}
