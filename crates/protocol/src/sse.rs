//! Framing of `OpenAI`-style event streams: `data: {json}` blocks, ended by `data: [DONE]`.

use bytes::{BufMut, Bytes, BytesMut};
use serde::Serialize;

/// The content type of an event stream.
pub const CONTENT_TYPE: &str = "text/event-stream; charset=utf-8";

/// The block that ends every stream, failed ones included.
pub const DONE: &[u8] = b"data: [DONE]\n\n";

/// One event. JSON holds no raw line break, so one `data:` line always suffices; some clients read no more than one.
pub fn data<T: Serialize>(event: &T) -> serde_json::Result<Bytes> {
    let mut block = BytesMut::with_capacity(512).writer();
    block.get_mut().put_slice(b"data: ");
    serde_json::to_writer(&mut block, event)?;
    block.get_mut().put_slice(b"\n\n");
    Ok(block.into_inner().freeze())
}

/// One event with a name.
pub fn event<T: Serialize>(name: &str, event: &T) -> serde_json::Result<Bytes> {
    let data = data(event)?;
    let mut block = BytesMut::with_capacity(data.len() + name.len() + 8);
    block.put_slice(b"event: ");
    block.put_slice(name.as_bytes());
    block.put_u8(b'\n');
    block.put_slice(&data);
    Ok(block.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_breaks_in_text_stay_on_one_line() {
        let block = data(&serde_json::json!({"content": "a\r\nb\n\nc"})).unwrap();
        assert_eq!(&block[..], b"data: {\"content\":\"a\\r\\nb\\n\\nc\"}\n\n");
    }
}
