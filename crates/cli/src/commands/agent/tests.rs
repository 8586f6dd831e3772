//! Pulling from a real server into real folders, and refusing what a hostile one sends.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::Timestamp;
use remora_agents_server::bundle::{digest, sha256};
use remora_agents_server::{Config, service};
use remora_api_client::Client;
use remora_service::{Identity, Listener, Process, Running, Stop};
use remora_types::agents::{Bundle, BundleFile};
use tempfile::TempDir;

use super::local::{KeptBecause, MANIFEST};
use super::pull::{PullStatus, Pulled, pull};
use super::unpack::{Unfit, check, unpack};
use crate::failure::{Exit, Failure};

/// A server's folder, and one to pull into.
struct Setup {
    folder: TempDir,
    client: Client,
    _running: Running,
}

impl Setup {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config =
            Config { listen: "127.0.0.1:0".parse().unwrap(), root: folder.path().join("theirs"), ..Config::default() };
        let (listener, stop) = (Listener::bind(&config.listen).await.unwrap(), Stop::new());
        let client = Client::new(&listener.url()).unwrap();
        let service = service(&config, listener, &Identity::local(), &stop).await.unwrap();
        let process = Process::new("test").add(service).stop(stop).without_control_socket();
        let setup = Self { folder, client, _running: process.start().await.unwrap() };
        setup.serve("bundle.yaml", "name: x\nversion: 1\nsystem_prompt: p\ntools: [run]\n").await;
        setup.serve("tools/run.json", "{}").await;
        setup.serve("tools/run", "#!/bin/sh\n").await;
        setup
    }

    /// Changes a file of the served bundle and waits until the server knows; without a text, removes it.
    async fn serve(&self, path: &str, text: impl Into<Option<&str>>) {
        let (file, text) = (self.folder.path().join("theirs/x").join(path), text.into());
        match text {
            Some(text) => write(&file, text),
            None => fs::remove_file(&file).unwrap(),
        }
        let wanted = text.map(|text| sha256(text.as_bytes()));
        remora_testing::wait_until(std::time::Duration::from_secs(10), async || {
            let Ok(detail) = self.client.bundle(&"x".parse().unwrap()).await else { return false };
            detail.bundle.files.iter().find(|f| f.path == path).map(|f| f.sha256) == wanted
        })
        .await;
    }

    async fn pull(&self) -> anyhow::Result<Pulled> {
        pull(&self.client, &"x".parse().unwrap(), &self.folder.path().join("mine")).await
    }

    fn mine(&self, path: &str) -> PathBuf {
        self.folder.path().join("mine/x").join(path)
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.mine(path)).unwrap()
    }
}

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn kept(pulled: &Pulled) -> Vec<(&str, KeptBecause, bool)> {
    pulled.kept.iter().map(|k| (k.path.as_str(), k.reason, k.hides_server_version)).collect()
}

#[tokio::test]
async fn a_pull_makes_the_folder_and_another_changes_nothing() {
    let setup = Setup::new().await;
    let first = setup.pull().await.unwrap();
    assert_eq!((first.status, first.files, first.kept.len()), (PullStatus::Created, 3, 0));
    assert_eq!(setup.read("tools/run"), "#!/bin/sh\n");
    let mode = |path: &str| fs::metadata(setup.mine(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("tools/run"), mode("bundle.yaml")), (0o755, 0o644));
    let manifest: serde_json::Value = serde_json::from_str(&setup.read(MANIFEST)).unwrap();
    assert_eq!(manifest["digest"], first.digest.to_string());
    assert_eq!(setup.pull().await.unwrap().status, PullStatus::Unchanged);
    fs::remove_file(setup.mine("tools/run")).unwrap();
    assert_eq!(setup.pull().await.unwrap().status, PullStatus::Updated, "what is gone comes back");
    assert!(setup.mine("tools/run").exists());
    let beside: Vec<_> = fs::read_dir(setup.folder.path().join("mine")).unwrap().collect();
    assert_eq!(beside.len(), 1, "nothing is left beside the bundle");
}

#[tokio::test]
async fn what_is_the_users_own_stays_and_the_rest_follows_the_server() {
    let setup = Setup::new().await;
    setup.pull().await.unwrap();
    write(&setup.mine("tools/own.pym"), "mine");
    write(&setup.mine(".notes"), "mine too");
    write(&setup.mine("tools/run"), "#!/bin/sh\n# changed by me\n");
    symlink("nowhere", setup.mine("link")).unwrap();

    setup.serve("bundle.yaml", "name: x\nversion: 2\n").await;
    setup.serve("tools/run", "#!/bin/sh\n# theirs\n").await;
    setup.serve("tools/own.pym", "theirs").await;
    setup.serve("tools/run.json", None).await;
    setup.serve("new.txt", "new").await;
    let pulled = setup.pull().await.unwrap();
    assert_eq!((pulled.status, pulled.version.as_deref()), (PullStatus::Updated, Some("2")));
    let expected = [
        (".notes", KeptBecause::Added, false),
        ("link", KeptBecause::Added, false),
        ("tools/own.pym", KeptBecause::Added, true),
        ("tools/run", KeptBecause::Changed, true),
    ];
    assert_eq!(kept(&pulled), expected);
    assert_eq!(setup.read("tools/run"), "#!/bin/sh\n# changed by me\n");
    assert_eq!((setup.read("tools/own.pym"), setup.read("new.txt")), ("mine".into(), "new".into()));
    assert_eq!(fs::read_link(setup.mine("link")).unwrap(), Path::new("nowhere"));
    assert!(!setup.mine("tools/run.json").exists(), "what the server dropped and nobody changed goes");

    // Still so on the next pull, and the way back is to delete one's own.
    assert_eq!(setup.pull().await.unwrap().status, PullStatus::Unchanged);
    fs::remove_file(setup.mine("tools/run")).unwrap();
    setup.pull().await.unwrap();
    assert_eq!(setup.read("tools/run"), "#!/bin/sh\n# theirs\n");
}

#[tokio::test]
async fn a_folder_made_by_hand_is_all_the_users_own() {
    let setup = Setup::new().await;
    write(&setup.mine("bundle.yaml"), "name: x\n# by hand\n");
    write(&setup.mine("tools/run.json"), "{}");
    let pulled = setup.pull().await.unwrap();
    assert_eq!(kept(&pulled), [("bundle.yaml", KeptBecause::Added, true)]);
    assert_eq!(setup.read("bundle.yaml"), "name: x\n# by hand\n");
}

#[tokio::test]
async fn what_cannot_be_done_leaves_everything_as_it_was() {
    let setup = Setup::new().await;
    let exit = |error: anyhow::Error| error.downcast_ref::<Failure>().map(|f| f.exit);
    let missing = pull(&setup.client, &"nothing".parse().unwrap(), &setup.folder.path().join("mine")).await;
    assert!(missing.unwrap_err().to_string().contains("no bundle nothing"));
    fs::create_dir_all(setup.folder.path().join("mine")).unwrap();
    symlink(setup.folder.path().join("theirs/x"), setup.mine("").parent().unwrap().join("x")).unwrap();
    let linked = setup.pull().await.unwrap_err();
    let failure = linked.chain().find_map(|cause| cause.downcast_ref::<Failure>());
    assert!(failure.is_some_and(|f| f.message.contains("is a link")), "{linked:?}");
    fs::remove_file(setup.folder.path().join("mine/x")).unwrap();

    // A file of one's own stands where the server now has a folder.
    setup.pull().await.unwrap();
    write(&setup.mine("data"), "my file");
    setup.serve("data/more.txt", "their folder").await;
    let clash = setup.pull().await.unwrap_err();
    assert_eq!(exit(clash), None);
    assert_eq!(setup.read("data"), "my file");
    assert_eq!(fs::read_dir(setup.folder.path().join("mine")).unwrap().count(), 1);
}

/// A bundle that lists these files.
fn bundle(files: &[(&str, &[u8])]) -> Bundle {
    let files: Vec<BundleFile> = files
        .iter()
        .map(|(path, bytes)| BundleFile {
            path: (*path).to_owned(),
            size_bytes: bytes.len() as u64,
            sha256: sha256(bytes),
            executable: false,
        })
        .collect();
    Bundle {
        name: "x".parse().unwrap(),
        version: None,
        description: None,
        model: None,
        adapter: None,
        tools: Vec::new(),
        size_bytes: files.iter().map(|f| f.size_bytes).sum(),
        digest: digest(&files),
        files,
        changed_at: Timestamp::UNIX_EPOCH,
        warnings: Vec::new(),
        faults: Vec::new(),
    }
}

/// An archive whose paths and kinds nothing checks.
fn archive(entries: &[(&str, tar::EntryType, &[u8])]) -> Vec<u8> {
    let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for (path, kind, bytes) in entries {
        let mut header = tar::Header::new_gnu();
        header.as_gnu_mut().unwrap().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_entry_type(*kind);
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        if kind.is_symlink() || kind.is_hard_link() {
            header.set_link_name("/etc/passwd").unwrap();
        }
        header.set_cksum();
        tar.append(&header, *bytes).unwrap();
    }
    tar.into_inner().unwrap().finish().unwrap()
}

#[test]
fn an_archive_is_taken_only_if_it_is_exactly_what_was_announced() {
    use tar::EntryType as Kind;
    let announced = bundle(&[("a", b"A"), ("b/c", b"C")]);
    let (a, c) = (("a", Kind::Regular, &b"A"[..]), ("b/c", Kind::Regular, &b"C"[..]));
    assert_eq!(unpack(&archive(&[a, c]), &announced).unwrap().len(), 2);

    let refused = |entries: &[(&str, Kind, &[u8])]| unpack(&archive(entries), &announced).unwrap_err();
    assert!(matches!(refused(&[a]), Unfit::Missing(path) if path == "b/c"));
    assert!(matches!(refused(&[a, a, c]), Unfit::Unannounced(_)));
    assert!(matches!(refused(&[a, c, ("../x", Kind::Regular, b"")]), Unfit::Unannounced(_)));
    assert!(matches!(refused(&[a, c, ("/etc/x", Kind::Regular, b"")]), Unfit::Unannounced(_)));
    assert!(matches!(refused(&[a, ("b/c", Kind::Symlink, b"")]), Unfit::NotAFile(_)));
    assert!(matches!(refused(&[a, ("b/c", Kind::Link, b"")]), Unfit::NotAFile(_)));
    assert!(matches!(refused(&[a, ("b", Kind::Directory, b""), c]), Unfit::NotAFile(_)));
    assert!(matches!(refused(&[a, ("b/c", Kind::Regular, b"D")]), Unfit::WrongContent(_)));
    assert!(matches!(refused(&[a, ("b/c", Kind::Regular, b"CC")]), Unfit::WrongContent(_)));
    assert!(unpack(b"not an archive", &announced).is_err());
    // A bomb is cut off soon after the announced size.
    let bomb = archive(&[a, ("b/c", Kind::Regular, &vec![0; 50 << 20])]);
    assert!(bomb.len() < 1 << 20 && unpack(&bomb, &announced).is_err());
}

#[test]
fn a_bundle_must_fit_together() {
    let check = |bundle: &Bundle| check(bundle, &"x".parse().unwrap());
    assert!(check(&bundle(&[("a", b"A")])).is_ok());
    let other = Bundle { name: "y".parse().unwrap(), ..bundle(&[]) };
    assert!(matches!(check(&other), Err(Unfit::WrongName(_))));
    for bad in ["../a", "/a", "a//b", "./a", ".hidden", "a/.b", "a\\b", ""] {
        assert!(matches!(check(&bundle(&[(bad, b"")])), Err(Unfit::BadPath(_))), "{bad}");
    }
    let mut wrong = bundle(&[("a", b"A")]);
    wrong.files[0].sha256 = sha256(b"B");
    assert!(matches!(check(&wrong), Err(Unfit::WrongDigest)));
    wrong.files[0].size_bytes = u64::MAX;
    assert!(matches!(check(&wrong), Err(Unfit::TooLarge)));
}

#[test]
fn validating_tells_good_from_bad() {
    let folder = tempfile::tempdir().unwrap();
    write(&folder.path().join("good/bundle.yaml"), "name: good\n");
    assert!(super::validate::run(&folder.path().join("good"), false).is_ok());
    assert!(super::validate::run(folder.path(), true).is_ok());
    write(&folder.path().join("bad/bundle.yaml"), "name: [\n");
    let exit = |dir: &Path| {
        let error = super::validate::run(dir, false).unwrap_err();
        error.downcast_ref::<Failure>().map(|f| f.exit)
    };
    assert_eq!(exit(folder.path()), Some(Exit::Verification));
    assert_eq!(exit(&folder.path().join("nothing")), Some(Exit::NotFound));
    fs::create_dir(folder.path().join("empty")).unwrap();
    assert_eq!(exit(&folder.path().join("empty")), Some(Exit::NotFound));
}
