//! What a chunk costs. `cargo nextest run --release -p remora-protocol --run-ignored only --no-capture cost`.

use std::time::Instant;

use bytes::BytesMut;
use remora_protocol::anthropic::MessageStream;

use crate::streams::asked;

#[test]
#[ignore = "a measurement"]
fn a_text_delta() {
    const CHUNK: &str = "data: {\"id\":\"chatcmpl-0123456789abcdef0123456789abcdef\",\"object\":\"chat.completion.chunk\",\
                         \"created\":1754000000,\"model\":\"Qwen/Qwen3-8B\",\"choices\":[{\"index\":0,\"delta\":\
                         {\"content\":\" word\\n\"},\"logprobs\":null,\"finish_reason\":null,\"token_ids\":null}]}\n\n";
    const ROUNDS: u32 = 500_000;
    for (name, size) in [("whole chunks", CHUNK.len()), ("cut in two", CHUNK.len() / 2 + 1)] {
        let (mut stream, mut out) = (MessageStream::new(asked()), BytesMut::with_capacity(1 << 16));
        let begin = Instant::now();
        for _ in 0..ROUNDS {
            for piece in CHUNK.as_bytes().chunks(size) {
                stream.feed(piece, &mut out);
            }
            out.clear();
        }
        println!("{name}: {} ns per chunk", begin.elapsed().as_nanos() / u128::from(ROUNDS));
        assert!(!stream.is_over());
    }
}
