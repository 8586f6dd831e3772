//! `GET /bundles/{name}/archive.tar.gz`

use std::io::Read;

use flate2::read::GzDecoder;
use remora_agents_server::Limits;
use remora_agents_server::bundle::{digest, sha256};
use remora_testing::wait_until;
use remora_types::agents::BundleFile;
use reqwest::Method;

use crate::support::{LIMIT, Server, header};

pub(crate) struct Entry {
    pub(crate) path: String,
    pub(crate) mode: u32,
    pub(crate) bytes: Vec<u8>,
    owner_and_time: (u64, u64, u64),
}

pub(crate) fn unpack(archive: &[u8]) -> Vec<Entry> {
    let mut tar = tar::Archive::new(GzDecoder::new(archive));
    let entries = tar.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        let header = entry.header();
        Entry {
            path: String::from_utf8(entry.path_bytes().into_owned()).unwrap(),
            mode: header.mode().unwrap(),
            bytes,
            owner_and_time: (header.uid().unwrap(), header.gid().unwrap(), header.mtime().unwrap()),
        }
    });
    entries.collect()
}

fn files() -> Vec<(String, String)> {
    let deep = format!("x/{}/deep.txt", ["a-rather-long-folder-name"; 8].join("/"));
    let files = [
        ("x/bundle.yaml", "name: x"),
        ("x/tools/run*", "#!/bin/sh\n"),
        ("x/tools.md", "between"),
        ("x/.secret", "hidden"),
        (deep.as_str(), "deep"),
    ];
    files.iter().map(|(p, t)| ((*p).to_owned(), (*t).to_owned())).collect()
}

async fn server(files: &[(String, String)]) -> Server {
    let files: Vec<_> = files.iter().map(|(p, t)| (p.as_str(), t.as_str())).collect();
    Server::start(&files).await
}

#[tokio::test]
async fn an_archive_holds_the_files_and_nothing_of_this_machine() {
    let server = server(&files()).await;
    let bundle = server.client().bundle(&"x".parse().unwrap()).await.unwrap().bundle;
    let response = server.get("/bundles/x/archive.tar.gz").await;
    assert_eq!(header(&response, "etag"), format!("\"{}\"", bundle.digest));
    assert_eq!(header(&response, "content-type"), "application/gzip");
    let archive = response.bytes().await.unwrap();
    // RFC 1952: no flags, no time.
    assert_eq!(archive[3..8], [0; 5]);
    let entries = unpack(&archive);
    assert!(entries.iter().all(|e| e.owner_and_time == (0, 0, 0)));
    let modes: Vec<_> = entries.iter().map(|e| e.mode).collect();
    assert_eq!(modes, [0o644, 0o644, 0o644, 0o755]);
    let listed: Vec<_> = entries
        .iter()
        .map(|e| BundleFile {
            path: e.path.clone(),
            size_bytes: e.bytes.len() as u64,
            sha256: sha256(&e.bytes),
            executable: e.mode == 0o755,
        })
        .collect();
    assert_eq!(listed, bundle.files);
    assert_eq!(digest(&listed), bundle.digest);
}

#[tokio::test]
async fn the_same_files_give_the_same_bytes_elsewhere() {
    let mut reversed = files();
    reversed.reverse();
    let (one, other) = (server(&files()).await, server(&reversed).await);
    let path = "/bundles/x/archive.tar.gz";
    assert_eq!(one.get(path).await.bytes().await.unwrap(), other.get(path).await.bytes().await.unwrap());
}

#[tokio::test]
async fn conditions_and_changes() {
    let server = server(&files()).await;
    let path = "/bundles/x/archive.tar.gz";
    let head = server.ask(Method::HEAD, path, &[]).await;
    let tag = header(&head, "etag").to_owned();
    assert_eq!(header(&head, "content-length"), server.get(path).await.bytes().await.unwrap().len().to_string());
    assert_eq!(server.ask(Method::GET, path, &[("if-none-match", &tag)]).await.status(), 304);
    assert_eq!(server.ask(Method::GET, path, &[("if-match", &tag), ("range", "bytes=0-1")]).await.status(), 206);
    // The mode of a file without #! is not in the digest, but it is in the archive: the tag must differ.
    server.write("x/tools.md*", "between");
    wait_until(LIMIT, async || server.ask(Method::GET, path, &[("if-match", &tag)]).await.status() == 412).await;
    let bundle = server.client().bundle(&"x".parse().unwrap()).await.unwrap().bundle;
    assert_eq!(format!("\"{}\"", bundle.digest), tag);
    assert_eq!(unpack(&server.get(path).await.bytes().await.unwrap())[2].mode, 0o755);
}

#[tokio::test]
async fn what_is_too_large_is_refused_with_the_way_out() {
    let server = Server::configured(&[("x/bundle.yaml", "name: x"), ("x/y", "0123456789")], |config| {
        config.limits = Limits { archive_bytes: 16, ..Limits::default() };
    })
    .await;
    let response = server.get("/bundles/x/archive.tar.gz").await;
    assert_eq!(response.status(), 422);
    let body: serde_json::Value = response.json().await.unwrap();
    assert_eq!(body["error"]["code"], "archive_too_large");
    assert_eq!(server.get("/bundles/y/archive.tar.gz").await.status(), 404);
}
