//! Edits show soon, events tell of them, and tags always belong to their bytes.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures::StreamExt;
use remora_agents_server::WatchMode;
use remora_agents_server::bundle::sha256;
use remora_testing::wait_until;
use remora_types::AgentName;

use crate::support::{LIMIT, Server, header};

const X: [(&str, &str); 1] = [("x/bundle.yaml", "name: x")];

async fn text(server: &Server, path: &str) -> String {
    server.get(path).await.text().await.unwrap()
}

#[tokio::test]
async fn an_edit_shows_within_a_second_by_events() {
    let server = Server::start(&X).await;
    for round in 0..5 {
        let yaml = format!("name: x\nversion: {round}");
        let edited = Instant::now();
        server.write("x/bundle.yaml", &yaml);
        wait_until(LIMIT, async || text(&server, "/agents/x/bundle.yaml").await == yaml).await;
        assert!(edited.elapsed() < Duration::from_secs(1), "{:?}", edited.elapsed());
    }
    // Files made in folders that were not there a moment ago, renames as editors do them, removals.
    server.write("y/deep/er/bundle.yaml", "name: y");
    wait_until(LIMIT, async || server.get("/agents/y/deep/er/bundle.yaml").await.status() == 200).await;
    server.write("x/new", "renamed");
    fs::rename(server.path("x/new"), server.path("x/bundle.yaml")).unwrap();
    wait_until(LIMIT, async || text(&server, "/agents/x/bundle.yaml").await == "renamed").await;
    fs::remove_dir_all(server.path("x")).unwrap();
    wait_until(LIMIT, async || server.get("/agents/x/bundle.yaml").await.status() == 404).await;
}

#[tokio::test]
async fn an_edit_shows_by_looking_where_there_are_no_events() {
    let server = Server::configured(&X, |config| config.watch = WatchMode::Poll).await;
    server.write("x/bundle.yaml", "name: y");
    wait_until(LIMIT, async || text(&server, "/agents/x/bundle.yaml").await == "name: y").await;
}

#[tokio::test]
async fn a_folder_made_anew_is_watched_anew() {
    // A quick look notices that the folder is another one; the second edit then comes by its events alone.
    let server = Server::configured(&X, |config| config.poll_interval_ms = 300).await;
    fs::remove_dir_all(server.path("")).unwrap();
    wait_until(LIMIT, async || server.get("/ready").await.status() == 503).await;
    server.write("x/bundle.yaml", "name: again");
    wait_until(LIMIT, async || text(&server, "/agents/x/bundle.yaml").await == "name: again").await;
    server.write("x/bundle.yaml", "name: twice");
    wait_until(LIMIT, async || text(&server, "/agents/x/bundle.yaml").await == "name: twice").await;
}

#[tokio::test]
async fn events_tell_the_state_then_every_change_and_end_with_the_server() {
    let server = Server::start(&X).await;
    let name = |name: &str| name.parse::<AgentName>().unwrap();
    let mut events = Box::pin(server.client().agents_events().await.unwrap());
    let first = events.next().await.unwrap().unwrap();
    assert_eq!((first.revision, first.changed, first.removed), (1, vec![], vec![]));
    assert_eq!(first.bundles.keys().collect::<Vec<_>>(), [&name("x")]);
    assert_eq!(first.etag, header(&server.get("/agents").await, "etag"));

    server.write("y/bundle.yaml", "name: y");
    // The folder may be seen before its file is.
    let change = loop {
        let event = events.next().await.unwrap().unwrap();
        if event.bundles.len() == 2 {
            break event;
        }
    };
    assert_eq!(change.changed, [name("y")]);
    fs::remove_dir_all(server.path("x")).unwrap();
    let removed = loop {
        let event = events.next().await.unwrap().unwrap();
        if !event.bundles.contains_key(&name("x")) {
            break event;
        }
    };
    assert_eq!(removed.removed, [name("x")]);
    assert!(removed.revision > change.revision);

    let raw = server.http.get(format!("{}/events", server.url)).send().await.unwrap();
    assert_eq!(header(&raw, "content-type"), "text/event-stream");
    tokio::time::timeout(LIMIT, server.stop()).await.unwrap();
    assert!(events.next().await.is_none(), "the stream ends in order");
    assert!(raw.text().await.unwrap().starts_with("event: state\nid: "));
}

#[tokio::test]
async fn a_tag_always_belongs_to_its_bytes() {
    let server = Server::configured(&[("f", "0"), ("g", "0")], |config| config.limits.held_file_bytes = 3000).await;
    let enough = Arc::new(AtomicBool::new(false));
    let writer = {
        let (f, g, enough) = (server.path("f"), server.path("g"), enough.clone());
        std::thread::spawn(move || {
            let mut round = 0_usize;
            while !enough.load(Ordering::Relaxed) {
                round += 1;
                // Of one length, so that only times tell them apart; the second is now held, now on disk.
                fs::write(&f, format!("{round:0>2000}")).unwrap();
                fs::write(&g, "x".repeat(2000 + round * 7 % 2000)).unwrap();
            }
            format!("{round:0>2000}")
        })
    };
    let (mut tags, end) = (BTreeSet::new(), Instant::now() + LIMIT);
    while tags.len() < 20 {
        assert!(Instant::now() < end, "only {} versions were seen", tags.len());
        for path in ["/agents/f", "/agents/g"] {
            let response = server.get(path).await;
            // A file that is rewritten in place is empty for a moment; one on disk may never be the same twice in a
            // row.
            if response.status() == 503 {
                continue;
            }
            assert_eq!(response.status(), 200);
            let tag = header(&response, "etag").to_owned();
            // A transfer may break off where the file changed under it; a whole one must fit its tag.
            if let Ok(body) = response.bytes().await {
                assert_eq!(tag, format!("\"{}\"", sha256(&body)));
                tags.insert(tag);
            }
        }
    }
    enough.store(true, Ordering::Relaxed);
    let last = writer.join().unwrap();
    wait_until(LIMIT, async || text(&server, "/agents/f").await == last).await;
}
