use proptest::prelude::*;
use serde_json::{Value, json};

use super::format::ThinkTags;
use super::*;

const FORMATS: [ToolFormat; 4] =
    [ToolFormat::Hermes, ToolFormat::Llama3Json, ToolFormat::Mistral, ToolFormat::FunctionGemma];

fn tools(format: ToolFormat) -> Reading {
    Reading { tools: Some(format), ..Reading::default() }
}

/// All events of a text that comes in these pieces, neighbours of a kind as one.
fn events(reading: Reading, pieces: &[&str]) -> Vec<Event> {
    let mut scanner = OutputScanner::new(reading);
    let mut all = Events::default();
    let parts: Vec<Event> = pieces.iter().flat_map(|piece| scanner.push(piece)).collect();
    for event in parts.into_iter().chain(scanner.finish()) {
        match event {
            Event::Text(text) => all.text(&text),
            Event::Thinking(text) => all.thinking(&text),
            Event::CallBegin { index, name } => all.begin(index, name),
            Event::Arguments { index, text } => all.arguments(index, &text),
            Event::CallEnd { index, broken } => all.end(index, broken),
        }
    }
    all.into_vec()
}

/// The same as text: `name arguments`, `name arguments !raw` for a broken call, other text in quotes.
fn told(reading: Reading, text: &str) -> String {
    let mut lines = Vec::new();
    for event in events(reading, &[text]) {
        match event {
            Event::Text(text) => lines.push(format!("{text:?}")),
            Event::Thinking(text) => lines.push(format!("thinking {text:?}")),
            Event::CallBegin { index, name } => lines.push(format!("{index} {name} ")),
            Event::Arguments { text, .. } => lines.last_mut().unwrap().push_str(&text),
            Event::CallEnd { broken: None, .. } => {}
            Event::CallEnd { broken: Some(raw), .. } => {
                lines.last_mut().unwrap().extend([" !".to_owned(), format!("{raw:?}")]);
            }
        }
    }
    lines.join("\n")
}

/// Arguments of every call, which have to be JSON.
fn arguments(events: &[Event]) -> Vec<Value> {
    let mut texts: Vec<String> = Vec::new();
    for event in events {
        match event {
            Event::CallBegin { index, .. } => {
                assert_eq!(*index as usize, texts.len(), "calls are numbered in order");
                texts.push(String::new());
            }
            Event::Arguments { index, text } => texts[*index as usize].push_str(text),
            _ => {}
        }
    }
    texts.iter().map(|text| serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))).collect()
}

#[test]
fn hermes_calls_are_read() {
    let hermes = tools(ToolFormat::Hermes);
    let call = |inner: &str| told(hermes, &format!("<tool_call>\n{inner}\n</tool_call>"));
    assert_eq!(
        call(r#"{"name": "read", "arguments": {"path": "a</tool_call>é"}}"#),
        r#"0 read {"path": "a</tool_call>é"}"#
    );
    assert_eq!(call(r#"{"arguments": {"n": [1, {"x": null}]}, "name": "f"}"#), r#"0 f {"n": [1, {"x": null}]}"#);
    assert_eq!(call(r#"{"id": 7, "name": "f", "arguments": {}}"#), "0 f {}");
    assert_eq!(call(r#"{"name": "f"}"#), "0 f {}");
    assert_eq!(call(r#"{"name": "f", "arguments": null}"#), "0 f {}");
    assert_eq!(call(r#"{"name": "f", "arguments": "{\"a\": 1}"}"#), r#"0 f {"a": 1}"#);
    assert_eq!(call("{\"name\": \"f\", \"arguments\": {\"a\": \"1\n2\"}}"), r#"0 f {"a": "1\n2"}"#);
    // One bracket too many, and one too few.
    assert_eq!(call(r#"{"name": "f", "arguments": {"a": 1}}}"#), r#"0 f {"a": 1}"#);
    assert_eq!(call(r#"{"name": "f", "arguments": {"a": 1}"#), r#"0 f {"a": 1}"#);
}

#[test]
fn text_beside_hermes_calls_is_kept() {
    let text = "Let me see. <tool_call>\n{\"name\": \"a\", \"arguments\": {}}\n</tool_call>\n<tool_call>\
                {\"name\": \"b\", \"arguments\": {\"x\": 1}}</tool_call>\n Done.";
    insta::assert_snapshot!(told(tools(ToolFormat::Hermes), text), @r#"
    "Let me see. "
    0 a {}
    1 b {"x": 1}
    "\n Done."
    "#);
    let only_first = Reading { one_call: true, ..tools(ToolFormat::Hermes) };
    insta::assert_snapshot!(told(only_first, text), @r#"
    "Let me see. "
    0 a {}
    "\n Done."
    "#);
}

#[test]
fn what_is_no_hermes_call_is_text() {
    let hermes = tools(ToolFormat::Hermes);
    for text in [
        "Calls stand in <tool_call> tags.",
        "<tool_call>{\"nome\": \"f\"}</tool_call>",
        "<tool_call>{\"name\": 5, \"arguments\": {}}",
        "<tool_call>{\"name\": \"f\"",
        "<tool_call>{\"name\": \"f\", \"arguments\": ",
        "a < b <tool",
        "  \n",
        "</tool_call>",
    ] {
        assert_eq!(told(hermes, text), format!("{text:?}"));
    }
    let after = "<tool_call> oops <tool_call>{\"name\": \"f\"}</tool_call>";
    assert_eq!(told(hermes, after), "\"<tool_call> oops \"\n0 f {}");
}

/// Found by fuzzing: ASCII has more white space than JSON.
#[test]
fn arguments_hold_no_white_space_but_json_s() {
    let text = "<tool_call>{\"name\": \"f\", \"arguments\": {\"x\": \u{c}0}}</tool_call>";
    assert_eq!(arguments(&events(tools(ToolFormat::Hermes), &[text])), [json!({})]);
}

#[test]
fn a_call_that_breaks_off_is_closed_and_told_to_be_broken() {
    let hermes = tools(ToolFormat::Hermes);
    let text = r#"<tool_call>{"name": "write", "arguments": {"path": "a", "text": "half of"#;
    assert_eq!(told(hermes, text), format!(r#"0 write {{"path": "a", "text": "half of"}} !{text:?}"#));
    let text = r#"<tool_call>{"name": "f", "arguments": {'a': 1}}</tool_call>"#;
    let next = r#"<tool_call>{"name": "g"}</tool_call>"#;
    assert_eq!(told(hermes, &format!("{text}\n{next}")), format!("0 f {{}} !{text:?}\n1 g {{}}"));
    let mut scanner = OutputScanner::new(hermes);
    scanner.push(&format!("{next}{text}"));
    assert!(!scanner.calls_tools());
    let mut scanner = OutputScanner::new(hermes);
    scanner.push(next);
    assert!(scanner.calls_tools());
}

#[test]
fn llama_calls_are_read() {
    let llama = tools(ToolFormat::Llama3Json);
    let call = r#"{"name": "f", "parameters": {"a": "x;y"}}"#;
    let read = r#"f {"a": "x;y"}"#;
    assert_eq!(told(llama, call), format!("0 {read}"));
    assert_eq!(told(llama, &format!("<|python_tag|>{call}")), format!("0 {read}"));
    assert_eq!(told(llama, &format!("\n{call}; {call}\n{call}")), format!("0 {read}\n1 {read}\n2 {read}"));
    let typed = r#"{"type": "function", "name": "f", "parameters": {}}"#;
    assert_eq!(told(llama, typed), "0 f {}");
    assert_eq!(told(llama, &format!("Here: <|python_tag|>{call}")), format!("\"Here: \"\n0 {read}"));
}

#[test]
fn other_json_is_text_with_llama() {
    let llama = tools(ToolFormat::Llama3Json);
    for text in [
        r#"{"answer": {"name": "x", "parameters": {}}}"#,
        r#"{"name": "Ada", "age": 36}"#,
        r#"{"name": "Ada"}"#,
        r#"It is {"name": "f", "parameters": {}}"#,
        "{}",
        "{not json",
    ] {
        assert_eq!(told(llama, text), format!("{text:?}"));
    }
    assert_eq!(told(llama, "<|python_tag|>print(1)"), "\"print(1)\"");
}

#[test]
fn mistral_calls_are_read_in_both_formats() {
    let mistral = tools(ToolFormat::Mistral);
    let list = r#"[TOOL_CALLS] [{"name": "f", "arguments": {"a": "]"}}, {"arguments": {}, "name": "g"}]"#;
    assert_eq!(told(mistral, list), "0 f {\"a\": \"]\"}\n1 g {}");
    let named = r#"Hm.[TOOL_CALLS]f[ARGS]{"a": "[TOOL_CALLS]"}[TOOL_CALLS]my-g[CALL_ID]abc123def[ARGS]{}"#;
    assert_eq!(told(mistral, named), "\"Hm.\"\n0 f {\"a\": \"[TOOL_CALLS]\"}\n1 my-g {}");
    assert_eq!(told(mistral, r#"[TOOL_CALLS]f{"a": 1}"#), r#"0 f {"a": 1}"#);
    for text in ["[TOOL_CALLS] are tags.", "[TOOL_CALLS]", "[TOOL", "[1] {\"name\": \"f\", \"arguments\": {}}"] {
        assert_eq!(told(mistral, text), format!("{text:?}"));
    }
    let half = r#"[TOOL_CALLS]f[ARGS]{"a": [1, "#;
    assert_eq!(told(mistral, half), format!("0 f {{\"a\": [1]}} !{half:?}"));
}

/// The table of cases that vLLM's own parser gets wrong.
#[test]
fn function_gemma_s_values_keep_their_types() {
    let call = |inner: &str| {
        told(tools(ToolFormat::FunctionGemma), &format!("<start_function_call>call:{inner}<end_function_call>"))
    };
    for (written, read) in [
        ("f{a:<escape>x<escape>}", r#"0 f {"a": "x"}"#),
        ("f{count:3,on:true,name:<escape>x<escape>}", r#"0 f {"count": 3, "on": true, "name": "x"}"#),
        ("f{items:[<escape>a<escape>,<escape>b<escape>]}", r#"0 f {"items": ["a", "b"]}"#),
        ("f{o:{k:<escape>v<escape>,n:1}}", r#"0 f {"o": {"k": "v", "n": 1}}"#),
        (
            "f{v:<escape>12<escape>,b:<escape>true<escape>,z:<escape>01234<escape>}",
            r#"0 f {"v": "12", "b": "true", "z": "01234"}"#,
        ),
        ("my-tool{}", "0 my-tool {}"),
        ("ns.tool{a:1}", r#"0 ns.tool {"a": 1}"#),
        ("f{a:<escape>x<escape>,b:<escape>y<escape>}", r#"0 f {"a": "x", "b": "y"}"#),
        ("f{}", "0 f {}"),
        (
            "f{n:-1.5e3,i:0,z:null,f:False,w:[],e:{}}",
            r#"0 f {"n": -1.5e3, "i": 0, "z": null, "f": false, "w": [], "e": {}}"#,
        ),
        ("f{a:[[1,2],[{k:[true]}]]}", r#"0 f {"a": [[1, 2], [{"k": [true]}]]}"#),
        ("f{a:<escape>x, y}: \"q\" \\ <b>\nz<escape>}", r#"0 f {"a": "x, y}: \"q\" \\ <b>\nz"}"#),
        ("f{a:bare words,b:01,<escape>c<escape>: 2 }", r#"0 f {"a": "bare words", "b": "01", "c": 2}"#),
        ("f{a:1}}", r#"0 f {"a": 1}"#),
    ] {
        assert_eq!(call(written), read, "{written}");
    }
}

#[test]
fn function_gemma_makes_several_calls_and_leaves_the_answer_to_the_tool() {
    let gemma = tools(ToolFormat::FunctionGemma);
    let call = "<start_function_call>call:f{a:1}<end_function_call>";
    assert_eq!(told(gemma, &format!("{call}{call}")), "0 f {\"a\": 1}\n1 f {\"a\": 1}");
    assert_eq!(told(gemma, &format!("{call}<start_function_response>response:f{{}}")), "0 f {\"a\": 1}");
    assert_eq!(told(gemma, &format!("So:\n{call}\nDone")), "\"So:\\n\"\n0 f {\"a\": 1}\n\"\\nDone\"");
    let half = "<start_function_call>call:f{a:1,b:<escape>x";
    assert_eq!(told(gemma, half), format!(r#"0 f {{"a": 1, "b": "x"}} !{half:?}"#));
    let unclosed = format!("{half}<end_function_call>");
    assert_eq!(
        told(gemma, &format!("{unclosed}{call}")),
        format!(r#"0 f {{"a": 1, "b": "x"}} !{unclosed:?}{}"#, "\n1 f {\"a\": 1}")
    );
    for text in
        ["<start_function_call>f{}", "call:f{}", "<start_function_call>call:f", "<start_function_call>call:a b{"]
    {
        assert_eq!(told(gemma, text), format!("{text:?}"));
    }
}

#[test]
fn thinking_comes_before_everything_else() {
    let think = Reading { thinking: Some(ThinkTags::THINK), ..tools(ToolFormat::Hermes) };
    let call = "<tool_call>{\"name\": \"f\"}</tool_call>";
    assert_eq!(told(think, "<think>\nHm</thin\n</think>\n\nYes"), "thinking \"\\nHm</thin\\n\"\n\"\\n\\nYes\"");
    assert_eq!(
        told(think, &format!("\n<think>a{call}</think>\n\n{call}")),
        format!("thinking {:?}\n0 f {{}}", format!("a{call}"))
    );
    assert_eq!(told(think, "<think>cut o"), "thinking \"cut o\"");
    assert_eq!(told(think, "No <think>x</think>"), "\"No <think>x</think>\"");
    assert_eq!(told(think, " <thi"), "\" <thi\"");
    let opened = Reading { thinking_opened: true, ..think };
    assert_eq!(told(opened, "Hm</think>Yes"), "thinking \"Hm\"\n\"Yes\"");
    assert_eq!(told(opened, "\n<think>Hm</think>Yes"), "thinking \"Hm\"\n\"Yes\"");
    assert_eq!(told(opened, " cut o"), "thinking \" cut o\"");
    let hidden = Reading { hide_thinking: true, ..opened };
    assert_eq!(told(hidden, "Hm</think>Yes"), "\"Yes\"");
}

#[test]
fn plain_answers_are_passed_on_as_they_are() {
    let text = "  <tool_call>{\"name\": \"f\"}</tool_call> <think> ";
    assert_eq!(told(Reading::default(), text), format!("{text:?}"));
}

#[test]
fn text_goes_out_at_once_and_arguments_as_they_are_written() {
    let mut scanner = OutputScanner::new(tools(ToolFormat::Hermes));
    let text = |text: &str| vec![Event::Text(text.into())];
    let arguments = |text: &str| vec![Event::Arguments { index: 0, text: text.into() }];
    assert_eq!(scanner.push("a < b"), text("a < b"));
    assert_eq!(scanner.push(" <tool"), text(" "));
    assert_eq!(scanner.push("box"), text("<toolbox"));
    assert_eq!(scanner.push("<tool_call>{\"name\": \"f\", "), []);
    let begun = scanner.push("\"arguments\": {");
    let begin = Event::CallBegin { index: 0, name: "f".into() };
    assert_eq!(begun, [vec![begin], arguments("{")].concat());
    assert_eq!(scanner.push("\"text\": \"one"), arguments("\"text\": \"one"));
    assert_eq!(scanner.push(" two"), arguments(" two"));
    assert_eq!(scanner.push("\"}}"), [arguments("\"}"), vec![Event::CallEnd { index: 0, broken: None }]].concat());
}

/// Everything that means something in some format, and some that means nothing.
const FRAGMENTS: &[&str] = &[
    "<think>",
    "</think>",
    "<tool_call>",
    "</tool_call>",
    "<|python_tag|>",
    "[TOOL_CALLS]",
    "[ARGS]",
    "[CALL_ID]",
    "<start_function_call>",
    "<end_function_call>",
    "<start_function_response>",
    "<escape>",
    "call:f{",
    "f",
    "ns.g",
    "{\"name\": \"f\", \"arguments\": {",
    "{\"name\": \"g\", \"parameters\": {\"a\": 1}}",
    "\"arguments\": {}",
    "\"a\": ",
    "\"x\"",
    "\"é\\n\\u00e9\\ud83d\\ude00\"",
    "\\ud83d",
    "\\",
    "\"",
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    ";",
    " ",
    "\n",
    "12",
    "-1.5e3",
    "01",
    "true",
    "None",
    "a:1",
    "k:<escape>v<escape>",
    "<",
    "words ",
    "😀",
    "\u{1}",
];

fn text() -> impl Strategy<Value = String> {
    let fragment = proptest::sample::select(FRAGMENTS).prop_map(str::to_owned);
    let junk = "[<{}\\[\\]\":,a-c\\\\ é]{0,6}".prop_map(|text: String| text);
    proptest::collection::vec(prop_oneof![6 => fragment, 1 => junk], 0..30).prop_map(|parts| parts.concat())
}

fn reading() -> impl Strategy<Value = Reading> {
    (proptest::option::of(proptest::sample::select(&FORMATS[..])), any::<[bool; 3]>()).prop_map(
        |(tools, [think, thinking_opened, one_call])| Reading {
            forced: None,
            tools,
            one_call,
            thinking: think.then_some(ThinkTags::THINK),
            thinking_opened,
            hide_thinking: false,
        },
    )
}

/// JSON values of every kind.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        "[a-z\"\\\\<>{}\\[\\],:/ é😀\n\t]{0,12}".prop_map(Value::from),
        proptest::sample::select(FRAGMENTS).prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 20, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map("[a-z_]{1,6}", inner, 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

fn object() -> impl Strategy<Value = Value> {
    proptest::collection::btree_map("[a-z_]{1,6}", value(), 0..4)
        .prop_map(|fields| Value::Object(fields.into_iter().collect()))
}

/// The value without the marks that `FunctionGemma`'s format cannot hold inside a text.
fn unmarked(value: Value) -> Value {
    match value {
        Value::String(text) => text.replace("<escape>", "").replace("<end_function_call>", "").into(),
        Value::Array(items) => items.into_iter().map(unmarked).collect(),
        Value::Object(fields) => fields.into_iter().map(|(key, value)| (key, unmarked(value))).collect(),
        other => other,
    }
}

/// A value as `FunctionGemma` writes it.
fn gemma(value: &Value) -> String {
    match value {
        Value::String(text) => format!("<escape>{text}<escape>"),
        Value::Array(items) => format!("[{}]", items.iter().map(gemma).collect::<Vec<_>>().join(",")),
        Value::Object(fields) => {
            let fields: Vec<String> = fields.iter().map(|(key, value)| format!("{key}:{}", gemma(value))).collect();
            format!("{{{}}}", fields.join(","))
        }
        other => other.to_string(),
    }
}

fn written(format: ToolFormat, calls: &[Value]) -> String {
    let each =
        |write: &dyn Fn(&Value) -> String, between: &str| calls.iter().map(write).collect::<Vec<_>>().join(between);
    match format {
        ToolFormat::Hermes => each(
            &|arguments| format!("<tool_call>\n{}\n</tool_call>", json!({"name": "f", "arguments": arguments})),
            "\n",
        ),
        ToolFormat::Llama3Json => each(&|arguments| json!({"name": "f", "parameters": arguments}).to_string(), "; "),
        ToolFormat::Mistral => {
            format!(
                "[TOOL_CALLS][{}]",
                each(&|arguments| json!({"name": "f", "arguments": arguments}).to_string(), ", ")
            )
        }
        ToolFormat::FunctionGemma => {
            each(&|arguments| format!("<start_function_call>call:f{}<end_function_call>", gemma(arguments)), "")
        }
    }
}

proptest! {
    #[test]
    fn cutting_the_text_elsewhere_changes_nothing(
        text in text(), reading in reading(), cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..8),
    ) {
        let whole = events(reading, &[&text]);
        // At every point, character by character, and somewhere.
        for (at, _) in text.char_indices() {
            prop_assert_eq!(&events(reading, &[&text[..at], &text[at..]]), &whole);
        }
        let single: Vec<&str> = text.split_inclusive(|_: char| true).collect();
        prop_assert_eq!(&events(reading, &single), &whole);
        let bounds: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| *cut.get(&bounds)).chain([0, text.len()]).collect();
        cuts.sort_unstable();
        let pieces: Vec<&str> = cuts.windows(2).map(|cut| &text[cut[0]..cut[1]]).collect();
        prop_assert_eq!(&events(reading, &pieces), &whole);
    }

    #[test]
    fn arguments_are_json_wherever_the_answer_ends(text in text(), reading in reading()) {
        for (at, _) in text.char_indices() {
            arguments(&events(reading, &[&text[..at]]));
        }
        arguments(&events(reading, &[&text]));
    }

    #[test]
    fn text_of_any_kind_does_no_harm(text: String, reading in reading()) {
        arguments(&events(reading, &[&text]));
    }

    #[test]
    fn written_calls_are_read_back(
        calls in proptest::collection::vec(object(), 1..4), format in proptest::sample::select(&FORMATS[..]),
    ) {
        let holds_marks = format != ToolFormat::FunctionGemma;
        let calls: Vec<Value> = calls.into_iter().map(|call| if holds_marks { call } else { unmarked(call) }).collect();
        let text = written(format, &calls);
        let events = events(tools(format), &[&text]);
        prop_assert_eq!(arguments(&events), calls, "{}", text);
        let complete = events.iter().all(|event| !matches!(event, Event::Text(_) | Event::CallEnd { broken: Some(_), .. }));
        prop_assert!(complete, "{:?}", events);
    }
}

#[test]
fn work_grows_with_the_length_only() {
    let endings = ["", "\"}}</tool_call>"];
    let patterns = [
        "words and ",
        "<",
        "<tool_call>",
        "<tool_call>{",
        "[TOOL_CALLS]",
        "[TOOL_CALLS][",
        "{\"name\": ",
        "\\",
        "\\ud83d",
        " ",
        "\n<thi",
        "<|python_tag|>{",
        "<start_function_call>call:f{a:",
        "<escape>",
        "12",
        "[",
        "</think",
        "f",
    ];
    let openings = [
        "",
        "<think>",
        "<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": \"",
        "[TOOL_CALLS]f[ARGS]{\"a\": [",
        "{\"name\": \"f\", \"parameters\": {",
        "<start_function_call>call:f{a:<escape>",
        "<tool_call>{\"arguments\": {\"a\": \"",
    ];
    for tools in FORMATS {
        for opening in openings {
            for pattern in patterns {
                for ending in endings {
                    let reading =
                        Reading { tools: Some(tools), thinking: Some(ThinkTags::THINK), ..Reading::default() };
                    let text = format!("{opening}{}{ending}", pattern.repeat(2000 / pattern.len()));
                    work::take();
                    let pieces: Vec<&str> = text.split_inclusive(|_: char| true).collect();
                    events(reading, &pieces);
                    let steps = work::take();
                    assert!(steps <= 12 * text.len(), "{steps} steps for {} bytes: {opening}{pattern}", text.len());
                }
            }
        }
    }
}
