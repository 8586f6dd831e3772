//! The scanners of models' answers: cut anywhere, an answer says the same, and arguments of calls are JSON.
//!
//! They are private to the engine, which brings all of llama.cpp; so their source is compiled in.
#![no_main]
#![allow(dead_code, unused_imports, unreachable_pub, reason = "not all of the module is used here")]

use libfuzzer_sys::fuzz_target;

#[path = "../../crates/engine/src/output/mod.rs"]
mod output;

use output::{Event, OutputScanner, Reading, ThinkTags, ToolFormat};

const FORMATS: [Option<ToolFormat>; 5] = [
    None,
    Some(ToolFormat::Hermes),
    Some(ToolFormat::Llama3Json),
    Some(ToolFormat::Mistral),
    Some(ToolFormat::FunctionGemma),
];

#[derive(Debug, Default, PartialEq)]
struct Told {
    text: String,
    thinking: String,
    calls: Vec<(String, String, bool)>,
    calls_tools: bool,
}

fn read<'a>(reading: Reading, pieces: impl Iterator<Item = &'a str>) -> Told {
    let (mut scanner, mut told) = (OutputScanner::new(reading), Told::default());
    let mut take = |events: Vec<Event>| {
        for event in events {
            match event {
                Event::Text(text) => told.text += &text,
                Event::Thinking(text) => told.thinking += &text,
                Event::CallBegin { index, name } => {
                    assert_eq!(index as usize, told.calls.len());
                    told.calls.push((name, String::new(), false));
                }
                Event::Arguments { index, text } => told.calls[index as usize].1 += &text,
                Event::CallEnd { index, broken } => told.calls[index as usize].2 = broken.is_some(),
            }
        }
    };
    pieces.for_each(|piece| take(scanner.push(piece)));
    take(scanner.finish());
    told.calls_tools = scanner.calls_tools();
    told
}

fuzz_target!(|bytes: &[u8]| {
    let [mode, cut, text @ ..] = bytes else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    let reading = Reading {
        tools: FORMATS[usize::from(mode & 7) % FORMATS.len()],
        one_call: false,
        thinking: ThinkTags::of_template("</think>").filter(|_| mode & 8 != 0),
        thinking_opened: mode & 16 != 0,
        hide_thinking: mode & 32 != 0,
    };
    let whole = read(reading, std::iter::once(text));
    for (_, arguments, _) in &whole.calls {
        serde_json::from_str::<serde_json::Value>(arguments).expect("arguments are JSON");
    }
    let length = usize::from(cut % 7) + 1;
    let ends: Vec<usize> = text.char_indices().map(|(place, _)| place).step_by(length).chain([text.len()]).collect();
    let pieces = ends.windows(2).map(|ends| &text[ends[0]..ends[1]]);
    assert_eq!(read(reading, pieces), whole);
});
