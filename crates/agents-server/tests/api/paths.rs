//! No way out of the folder, over real HTTP, however a path is written.

use std::os::unix::fs::symlink;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::support::Server;

const SECRET: &str = "must-never-be-sent";

/// A folder with everything that a way out could lead to.
async fn server() -> Server {
    let files = [("a/bundle.yaml", "name: a"), ("a/b/c.txt", "inside"), (".git/config", SECRET), ("a/.env", SECRET)];
    Server::configured(&files, |config| {
        let root = &config.root;
        std::fs::write(root.join("../secret"), SECRET).unwrap();
        std::fs::create_dir(root.join("../agents-secret")).unwrap();
        std::fs::write(root.join("../agents-secret/secret"), SECRET).unwrap();
        std::fs::create_dir_all(root.join("a")).unwrap();
        symlink("../secret", root.join("link")).unwrap();
        symlink("..", root.join("up")).unwrap();
        symlink("../../agents-secret", root.join("a/out")).unwrap();
        symlink("/", root.join("slash")).unwrap();
        symlink("/etc/passwd", root.join("passwd")).unwrap();
        symlink(".git", root.join("git")).unwrap();
    })
    .await
}

fn body(answer: &[u8]) -> &[u8] {
    let head = answer.windows(4).position(|w| w == b"\r\n\r\n").map_or(answer.len(), |at| at + 4);
    &answer[head..]
}

fn is_ok(answer: &[u8]) -> bool {
    answer.starts_with(b"HTTP/1.1 200")
}

#[tokio::test]
async fn known_ways_out_are_closed() {
    let server = server().await;
    let here = server.folder.path().display().to_string();
    let paths = [
        "/agents/../secret".to_owned(),
        "/agents/%2e%2e/secret".into(),
        "/agents/%2E%2E%2Fsecret".into(),
        "/agents/..%2fsecret".into(),
        "/agents/%252e%252e/secret".into(),
        "/agents/a/../../secret".into(),
        "/agents/a/%2e%2e/%2e%2e/secret".into(),
        "/agents/..\\secret".into(),
        "/agents/..%5csecret".into(),
        "/agents/%2fetc%2fpasswd".into(),
        "/agents//etc/passwd".into(),
        format!("/agents/{here}/secret"),
        format!("/agents{here}/secret"),
        "/agents/link".into(),
        "/agents/up/secret".into(),
        "/agents/a/out/secret".into(),
        "/agents/slash/etc/passwd".into(),
        "/agents/passwd".into(),
        "/agents/git/config".into(),
        "/agents/.git/config".into(),
        "/agents/%2egit/config".into(),
        "/agents/a/.env".into(),
        "/agents/a/%2eenv".into(),
        "/agents/a/./.env".into(),
        "/agents/a/b/c.txt%00".into(),
        "/agents/a/b/c.txt%00.yaml".into(),
        "/agents/%00".into(),
        "/agents/%c0%ae%c0%ae/secret".into(),
        "/agents/%ff%fe".into(),
        "/agents/a/b/%".into(),
        "/agents/-secret/secret".into(),
        "/agents/..;/secret".into(),
        "/../secret".into(),
        "/agents/../agents/a/b/c.txt".into(),
        "http://x/agents/../secret".into(),
        "/bundles/../archive.tar.gz".into(),
        "/bundles/%2e%2e/archive.tar.gz".into(),
        "/bundles/.git/archive.tar.gz".into(),
    ];
    for path in paths {
        let answer = server.raw(path.as_bytes()).await;
        assert!(!is_ok(&answer), "{path}: {}", String::from_utf8_lossy(&answer));
        assert!(!answer.is_empty(), "{path} must be answered");
        assert!(!String::from_utf8_lossy(body(&answer)).contains(SECRET), "{path}");
        assert!(!String::from_utf8_lossy(body(&answer)).contains("root:"), "{path}");
    }
    assert!(is_ok(&server.raw(b"/agents/a/b/c.txt").await));
    assert_eq!(body(&server.raw(b"/agents/%61/%62/c%2Etxt").await), b"inside");
    assert_eq!(body(&server.raw(b"/agents/a/b/c.txt?x=../../secret").await), b"inside");
}

/// Paths made of what ways out are made of.
fn paths() -> impl Strategy<Value = Vec<u8>> {
    const PARTS: [&str; 32] = [
        "..",
        "..",
        "..",
        ".",
        "/",
        "/",
        "/",
        "/",
        "//",
        "\\",
        "%2e",
        "%2E%2e",
        "%2f",
        "%5C",
        "%00",
        "%252e",
        "%c0%ae",
        "a",
        "a",
        "b",
        "c.txt",
        "secret",
        "agents-secret",
        ".git",
        "git",
        "config",
        ".env",
        "link",
        "up",
        "out",
        "slash",
        "passwd",
    ];
    let part = proptest::sample::select(&PARTS[..]);
    let random =
        proptest::collection::vec(any::<u8>().prop_filter("no end of line", |b| !b.is_ascii_whitespace()), 0..4);
    let piece = prop_oneof![9 => part.prop_map(|part| part.as_bytes().to_vec()), 1 => random];
    proptest::collection::vec(piece, 0..9).prop_map(|pieces| [&b"/agents/"[..], &pieces.concat()].concat())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_path_gives_bytes_from_outside() {
    let server = server().await;
    let inside = [&b"name: a"[..], b"inside"];
    tokio::task::block_in_place(|| {
        let mut runner = TestRunner::new(Config { cases: 1500, failure_persistence: None, ..Config::default() });
        let outcome = runner.run(&paths(), |path| {
            let answer = tokio::runtime::Handle::current().block_on(server.raw(&path));
            let shown = String::from_utf8_lossy(&path).into_owned();
            prop_assert!(!is_ok(&answer) || inside.contains(&body(&answer)), "{}", shown);
            let secret = SECRET.as_bytes();
            prop_assert!(!answer.windows(secret.len()).any(|w| w == secret), "{}", shown);
            Ok(())
        });
        outcome.unwrap();
    });
    assert!(is_ok(&server.raw(b"/agents/a/b/c.txt").await), "the server is well");
}
