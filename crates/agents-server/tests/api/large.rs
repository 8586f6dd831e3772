//! Files that are read from disk for every request.

use std::fs;
use std::os::unix::fs::FileExt;

use remora_agents_server::bundle::sha256;
use remora_agents_server::{Config, Limits};
use reqwest::Method;

use crate::support::{Server, header};

/// Files beyond 1 KiB stay on disk.
fn small_memory(config: &mut Config) {
    config.limits = Limits { held_file_bytes: 1024, ..Limits::default() };
}

/// A bit more than three blocks.
fn large(seed: u8) -> Vec<u8> {
    (0..800_000_u32).map(|i| i.wrapping_mul(2_654_435_761).to_be_bytes()[1] ^ seed).collect()
}

#[tokio::test]
async fn a_large_file_is_served_like_a_small_one() {
    let server = Server::configured(&[("x/bundle.yaml", "name: x")], small_memory).await;
    let bytes = large(1);
    fs::write(server.path("x/large.bin"), &bytes).unwrap();
    let bundle = remora_testing::wait_for(crate::support::LIMIT, async || {
        let bundle = server.client().bundle(&"x".parse().unwrap()).await.unwrap().bundle;
        (bundle.files.len() == 2).then_some(bundle)
    })
    .await;
    assert_eq!(bundle.files[1].sha256, sha256(&bytes));

    let whole = server.get("/agents/x/large.bin").await;
    assert_eq!(header(&whole, "etag"), format!("\"{}\"", sha256(&bytes)));
    assert_eq!(header(&whole, "content-length"), bytes.len().to_string());
    assert!(whole.bytes().await.unwrap() == bytes);
    for (range, expected) in
        [("bytes=262143-262144", 262_143..262_145), ("bytes=-1", 799_999..800_000), ("bytes=10-700000", 10..700_001)]
    {
        let part = server.ask(Method::GET, "/agents/x/large.bin", &[("range", range)]).await;
        assert_eq!(part.status(), 206);
        assert!(part.bytes().await.unwrap() == bytes[expected], "{range}");
    }
    let head = server.ask(Method::HEAD, "/agents/x/large.bin", &[]).await;
    assert_eq!(header(&head, "content-length"), bytes.len().to_string());
    let archive = server.get("/bundles/x/archive.tar.gz").await.bytes().await.unwrap();
    assert!(crate::archives::unpack(&archive)[1].bytes == bytes);
}

#[tokio::test]
async fn a_file_rewritten_after_the_scan_is_scanned_again_before_it_is_sent() {
    let server = Server::configured(&[("f", &"a".repeat(5000))], |config| {
        small_memory(config);
        config.watch = remora_agents_server::WatchMode::Auto;
    })
    .await;
    for round in 0..20_u8 {
        let text = vec![b'b' + round; 5000];
        fs::write(server.path("f"), &text).unwrap();
        let response = server.get("/agents/f").await;
        let tag = header(&response, "etag").to_owned();
        let body = response.bytes().await.unwrap();
        assert_eq!(tag, format!("\"{}\"", sha256(&body)), "round {round}");
    }
}

#[tokio::test]
async fn a_file_rewritten_while_it_is_sent_is_cut_off_not_mixed() {
    let server = Server::configured(&[], small_memory).await;
    // Too long for the buffers in between: the server is still reading when the end changes.
    let bytes = vec![7_u8; 64 << 20];
    fs::write(server.path("big"), &bytes).unwrap();
    remora_testing::wait_until(crate::support::LIMIT, async || {
        server.get("/agents").await.status() == 200
            && server
                .ask(Method::HEAD, "/agents/big", &[])
                .await
                .headers()
                .get("content-length")
                .is_some_and(|l| l == "67108864")
    })
    .await;
    let tag = format!("\"{}\"", sha256(&bytes));
    remora_testing::wait_until(crate::support::LIMIT, async || {
        header(&server.ask(Method::HEAD, "/agents/big", &[]).await, "etag") == tag
    })
    .await;

    let mut response = server.get("/agents/big").await;
    assert_eq!(header(&response, "etag"), tag);
    let first = response.chunk().await.unwrap().unwrap();
    fs::File::options().write(true).open(server.path("big")).unwrap().write_all_at(b"changed", 60 << 20).unwrap();
    let mut received = first.len();
    let ended = loop {
        match response.chunk().await {
            Ok(Some(chunk)) => received += chunk.len(),
            other => break other,
        }
    };
    assert!(ended.is_err(), "the transfer broke off");
    assert!(received <= 60 << 20, "nothing of the changed block was sent: {received}");
}
