//! `GET /agents` and `GET /bundles/{name}`

use remora_agents_server::bundle::{digest, sha256};
use remora_testing::wait_until;
use remora_types::agents::{BundleFile, ToolSource};
use reqwest::Method;

use crate::support::{LIMIT, Server, header};

const LINT: &str =
    "name: lint\nversion: 1.2.0\ndescription: Lints.\nmodel: m\nadapter: a\nsystem_prompt: p\ntools: [read, run]\n";

fn lint() -> [(&'static str, &'static str); 6] {
    [
        ("lint/bundle.yaml", LINT),
        ("lint/tools/run*", "#!/bin/sh\n"),
        ("lint/tools/run.json", "{\"type\": \"object\"}"),
        ("lint/.hidden", "no"),
        ("shared/readme.txt", "no bundle"),
        ("loose.txt", "no bundle"),
    ]
}

#[tokio::test]
async fn the_listing_tells_all_about_every_bundle() {
    let server = Server::start(&[lint().as_slice(), &[("broken/bundle.yaml", "name: [")]].concat()).await;
    let list = server.client().agents().await.unwrap();
    let [broken, bundle] = &list.bundles[..] else { panic!("{list:?}") };
    assert_eq!(bundle.name.as_str(), "lint");
    assert_eq!(bundle.version.as_deref(), Some("1.2.0"));
    assert_eq!(bundle.description.as_deref(), Some("Lints."));
    assert_eq!((bundle.model.as_deref(), bundle.adapter.as_deref()), (Some("m"), Some("a")));
    assert_eq!(bundle.tools[0].source, ToolSource::BuiltIn);
    assert!(bundle.faults.is_empty() && bundle.warnings.is_empty(), "{bundle:?}");
    let file = |path: &str, text: &str, executable| BundleFile {
        path: path.into(),
        size_bytes: text.len() as u64,
        sha256: sha256(text.as_bytes()),
        executable,
    };
    let files = [
        file("bundle.yaml", LINT, false),
        file("tools/run", "#!/bin/sh\n", true),
        file("tools/run.json", "{\"type\": \"object\"}", false),
    ];
    assert_eq!(bundle.files, files);
    assert_eq!(bundle.digest, digest(&files));
    assert_eq!(bundle.size_bytes, files.iter().map(|f| f.size_bytes).sum::<u64>());

    // One bad bundle harms nobody, and its files can still be had.
    assert_eq!((broken.name.as_str(), broken.faults[0].code.as_ref()), ("broken", "bad_yaml"));
    assert_eq!(server.get("/agents/broken/bundle.yaml").await.status(), 200);
}

#[tokio::test]
async fn the_listing_has_an_etag_that_changes_with_it() {
    let server = Server::start(&lint()).await;
    let first = server.get("/agents").await;
    let tag = header(&first, "etag").to_owned();
    assert_eq!(tag, format!("\"{}\"", sha256(&first.bytes().await.unwrap())));
    assert_eq!(server.ask(Method::GET, "/agents", &[("if-none-match", &tag)]).await.status(), 304);
    assert_eq!(server.ask(Method::HEAD, "/agents", &[]).await.headers()["etag"], tag);
    server.write("lint/tools/run", "#!/bin/sh\nexit 1\n");
    wait_until(LIMIT, async || server.ask(Method::GET, "/agents", &[("if-none-match", &tag)]).await.status() == 200)
        .await;
}

#[tokio::test]
async fn one_bundle_has_its_whole_manifest() {
    let server = Server::start(&lint()).await;
    let detail = server.client().bundle(&"lint".parse().unwrap()).await.unwrap();
    assert_eq!(detail.bundle, server.client().agents().await.unwrap().bundles[0]);
    let manifest = detail.manifest.unwrap();
    assert_eq!(manifest.system_prompt.as_deref(), Some("p"));
    assert_eq!(manifest.max_turns, 20);
    let response = server.get("/bundles/lint").await;
    let tag = header(&response, "etag").to_owned();
    assert_eq!(server.ask(Method::GET, "/bundles/lint", &[("if-none-match", &tag)]).await.status(), 304);
    let missing = server.get("/bundles/shared").await;
    assert_eq!(missing.status(), 404);
    assert_eq!(server.get("/bundles/..%2Fetc").await.status(), 400);
}

#[tokio::test]
async fn a_folder_that_cannot_be_a_bundle_is_told_about() {
    let server = Server::start(&[("my agent/bundle.yaml", "name: x"), ("a/b/bundle.yaml", "name: nested")]).await;
    std::os::unix::fs::symlink("/etc", server.path("out")).unwrap();
    let list = remora_testing::wait_for(LIMIT, async || {
        let list = server.client().agents().await.unwrap();
        (list.warnings.len() == 2).then_some(list)
    })
    .await;
    assert!(list.bundles.is_empty());
    let codes: Vec<_> = list.warnings.iter().map(|w| w.code.as_ref()).collect();
    assert_eq!(codes, ["link_outside", "bad_name"]);
    assert!(!list.warnings[0].message.contains("/etc"), "where a link leads is nobody's business");
}

#[tokio::test]
async fn a_missing_folder_is_not_ready_and_served_when_it_appears() {
    let server = Server::configured(&lint(), |config| config.watch = remora_agents_server::WatchMode::Poll).await;
    std::fs::rename(server.path(""), server.folder.path().join("away")).unwrap();
    wait_until(LIMIT, async || server.get("/ready").await.status() == 503).await;
    let readiness = server.client().ready().await.unwrap();
    assert!(readiness.reasons[0].contains("there is no folder"), "{readiness:?}");
    assert_eq!(server.client().agents().await.unwrap().bundles, []);
    std::fs::rename(server.folder.path().join("away"), server.path("")).unwrap();
    wait_until(LIMIT, async || server.get("/ready").await.status() == 200).await;
    assert_eq!(server.get("/agents/lint/bundle.yaml").await.status(), 200);
    assert_eq!(server.client().status().await.unwrap().details["bundles"], 1);
}
