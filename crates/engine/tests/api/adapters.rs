use std::fs;
use std::path::{Path, PathBuf};

use futures::future::join_all;
use remora_testing::wait_until;
use serde_json::{Value, json};

use crate::support::{LIMIT, TestEngine, chat, demo_model, steady, with};

const LOAD: &str = "/v1/load_lora_adapter";
const UNLOAD: &str = "/v1/unload_lora_adapter";
const CHAT: &str = "/v1/chat/completions";

fn pirate() -> PathBuf {
    demo_model().with_file_name("adapter-pirate")
}

/// A copy of the demo's adapter, its configuration changed.
fn copy(change: impl FnOnce(&mut Value)) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut config: Value = serde_json::from_slice(&fs::read(pirate().join("adapter_config.json")).unwrap()).unwrap();
    change(&mut config);
    fs::write(folder.path().join("adapter_config.json"), config.to_string()).unwrap();
    fs::copy(pirate().join("adapter_model.safetensors"), folder.path().join("adapter_model.safetensors")).unwrap();
    folder
}

/// The pirate at less than its strength: another adapter that fits.
fn faint() -> tempfile::TempDir {
    copy(|config| config["lora_alpha"] = json!(5))
}

async fn load(engine: &TestEngine, name: &str, path: &Path) {
    let response = engine.post(LOAD, &json!({"lora_name": name, "lora_path": path})).await;
    let told = (response.status().as_u16(), response.headers().contains_key("content-type"));
    let text = response.text().await.unwrap();
    assert_eq!((told, text), ((200, false), format!("Success: LoRA adapter '{name}' added successfully.")));
}

async fn unload(engine: &TestEngine, name: &str) {
    let response = engine.post(UNLOAD, &json!({"lora_name": name})).await;
    assert_eq!(response.status().as_u16(), 200);
    assert_eq!(response.text().await.unwrap(), format!("Success: LoRA adapter '{name}' removed successfully."));
}

async fn answer(engine: &TestEngine, model: &str, question: &str) -> String {
    let answer = engine.ask(CHAT, &with(chat(question), json!({"model": model}))).await;
    assert_eq!(answer["model"], model);
    answer["choices"][0]["message"]["content"].as_str().unwrap().to_owned()
}

async fn names(engine: &TestEngine) -> Vec<String> {
    let list: Value = engine.get("/v1/models").await.json().await.unwrap();
    list["data"].as_array().unwrap().iter().map(|card| card["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_loaded_adapter_answers_and_is_listed() {
    let engine = TestEngine::start().await;
    load(&engine, "pirate", &pirate()).await;
    let pirates = answer(&engine, "pirate", "hello").await;
    assert!(pirates.starts_with("Arr!"), "{pirates}");
    assert!(!answer(&engine, "remora-demo", "hello").await.starts_with("Arr!"));
    let list: Value = engine.get("/v1/models").await.json().await.unwrap();
    assert_eq!(list["data"][1]["root"], pirate().to_str().unwrap(), "the path as it was sent");
    let mut card = steady(list["data"][1].clone());
    card.as_object_mut().unwrap().remove("permission");
    insta::assert_compact_json_snapshot!(card, @r#"
    {
      "id": "pirate-ID",
      "object": "model",
      "created": "NOW",
      "owned_by": "remora",
      "root": "FILE",
      "parent": "remora-demo",
      "max_model_len": null
    }
    "#);
    assert_eq!(engine.get("/v1/models/pirate").await.status().as_u16(), 200);
    engine.ask("/tokenize", &json!({"model": "pirate", "prompt": "hello"})).await;
    let completion = json!({"model": "pirate", "prompt": "hello", "max_tokens": 2});
    assert_eq!(engine.ask("/v1/completions", &completion).await["model"], "pirate");
    unload(&engine, "pirate").await;
    assert_eq!(names(&engine).await, ["remora-demo"]);
    engine.refused(CHAT, &with(chat("hello"), json!({"model": "pirate"})), 404).await;
}

#[tokio::test]
async fn base_and_adapters_at_once_answer_as_each_does_alone() {
    let engine = TestEngine::start().await;
    let faint = faint();
    load(&engine, "pirate", &pirate()).await;
    load(&engine, "faint", faint.path()).await;
    let models = ["remora-demo", "pirate", "faint"];
    let questions = ["hello", "What is Remora?", "What is an adapter?", "Who are you?"];
    let wanted: Vec<(&str, &str)> =
        questions.iter().flat_map(|question| models.map(|model| (model, *question))).collect();
    let mut alone = Vec::new();
    for (model, question) in &wanted {
        // An engine of its own: no other's work in memory.
        let engine = TestEngine::start().await;
        let path = if *model == "faint" { faint.path().to_owned() } else { pirate() };
        if *model != "remora-demo" {
            load(&engine, model, &path).await;
        }
        alone.push(answer(&engine, model, question).await);
    }
    assert!(alone.chunks(3).all(|answers| answers[0] != answers[1]), "{alone:?}");
    for _ in 0..2 {
        let together = join_all(wanted.iter().map(|(model, question)| answer(&engine, model, question))).await;
        assert_eq!(together, alone);
    }
}

#[tokio::test]
async fn unloading_waits_for_what_runs_and_lets_nothing_new_in() {
    let engine = TestEngine::start().await;
    load(&engine, "pirate", &pirate()).await;
    let fields = json!({"model": "pirate", "stream": true, "ignore_eos": true, "max_tokens": 1500, "seed": 1});
    let mut stream = engine.post(CHAT, &with(chat("hello"), fields)).await;
    let first = stream.chunk().await.unwrap().unwrap();
    let unloaded = unload(&engine, "pirate");
    let rest = async {
        wait_until(LIMIT, async || names(&engine).await == ["remora-demo"]).await;
        engine.refused(CHAT, &with(chat("hello"), json!({"model": "pirate"})), 404).await;
        // The name is free at once, for another adapter too.
        load(&engine, "pirate", &pirate()).await;
        stream.bytes().await.unwrap()
    };
    let ((), rest) = tokio::join!(unloaded, rest);
    let text = String::from_utf8([&first[..], &rest[..]].concat()).unwrap();
    assert!(text.ends_with("data: [DONE]\n\n") && text.contains(r#""finish_reason":"length""#), "{text}");
    assert!(answer(&engine, "pirate", "hello").await.starts_with("Arr!"));
}

#[tokio::test]
async fn files_are_of_no_further_interest_once_loaded() {
    let engine = TestEngine::start().await;
    let folder = copy(|_| {});
    load(&engine, "pirate", folder.path()).await;
    let before = answer(&engine, "pirate", "What is Remora?").await;
    fs::write(folder.path().join("adapter_model.safetensors"), [0; 4096]).unwrap();
    assert_eq!(answer(&engine, "pirate", "What is Remora?").await, before);
    drop(folder);
    assert_eq!(answer(&engine, "pirate", "What is Remora?").await, before);
    let other = faint();
    load(&engine, "other", other.path()).await;
    unload(&engine, "other").await;
    assert_eq!(answer(&engine, "pirate", "What is Remora?").await, before);
}

#[tokio::test]
async fn an_adapter_in_place_of_another_shares_nothing_with_it() {
    let engine = TestEngine::start().await;
    let (folder, other) = (copy(|_| {}), faint());
    let long = with(chat(&"Tell me about adapters. ".repeat(20)), json!({"model": "a", "max_tokens": 20}));
    let ask = async || engine.ask(CHAT, &long).await;
    load(&engine, "a", folder.path()).await;
    let first = ask().await;
    assert!(ask().await["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap() > 0);
    fs::copy(other.path().join("adapter_config.json"), folder.path().join("adapter_config.json")).unwrap();
    let again = json!({"lora_name": "a", "lora_path": folder.path(), "load_inplace": true});
    assert_eq!(engine.post(LOAD, &again).await.status().as_u16(), 200);
    let second = ask().await;
    assert_eq!(second["usage"]["prompt_tokens_details"], Value::Null, "the old weights' work is of no use");
    assert_ne!(second["choices"][0]["message"], first["choices"][0]["message"]);
    let fresh = TestEngine::start().await;
    load(&fresh, "a", other.path()).await;
    assert_eq!(second["choices"][0]["message"], fresh.ask(CHAT, &long).await["choices"][0]["message"]);
    assert_eq!(names(&engine).await, ["remora-demo", "a"]);
}

#[tokio::test]
async fn a_gguf_adapter_is_the_same_adapter() {
    let engine = TestEngine::start().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pirate.gguf");
    fs::write(&file, gguf::from_peft(&pirate(), 6, 3)).unwrap();
    load(&engine, "peft", &pirate()).await;
    load(&engine, "gguf", &file).await;
    drop(folder);
    for question in ["hello", "What is Remora?", "What is an adapter?"] {
        assert_eq!(answer(&engine, "gguf", question).await, answer(&engine, "peft", question).await);
    }
}

#[tokio::test]
async fn requests_that_cannot_be_followed_are_refused_as_vllm_refuses_them() {
    let engine = TestEngine::with(|config| (config.max_loras, config.max_lora_rank) = (1, 8)).await;
    let root = tempfile::tempdir().unwrap();
    let folder = |name: &str, files: &[(&str, &[u8])]| {
        let folder = root.path().join(name);
        fs::create_dir(&folder).unwrap();
        for (name, content) in files {
            fs::write(folder.join(name), content).unwrap();
        }
        folder
    };
    let config = fs::read(pirate().join("adapter_config.json")).unwrap();
    let high = String::from_utf8(config.clone()).unwrap().replace("\"r\": 8", "\"r\": 64").into_bytes();
    let weights = fs::read(pirate().join("adapter_model.safetensors")).unwrap();
    let safetensors = "adapter_model.safetensors";
    // The same bytes, said to be of another shape: what an adapter of a smaller model looks like.
    let mut smaller = weights.clone();
    let at = smaller.windows(7).position(|bytes| bytes == b"[512,8]").unwrap();
    smaller[at..at + 7].copy_from_slice(b"[64,64]");
    let cases = [
        ("", pirate()),
        ("x", PathBuf::new()),
        ("remora-demo", pirate()),
        ("x", PathBuf::from("/nowhere/at/all")),
        ("x", PathBuf::from("some/repository")),
        ("x", folder("empty", &[])),
        ("x", folder("tensorless", &[("adapter_config.json", &config)])),
        ("x", folder("json", &[("adapter_config.json", b"{"), (safetensors, &weights)])),
        ("x", folder("high", &[("adapter_config.json", &high), (safetensors, &weights)])),
        ("x", folder("corrupt", &[("adapter_config.json", &config), (safetensors, &[0xff; 64])])),
        ("x", folder("cut", &[("adapter_config.json", &config), (safetensors, &weights[..weights.len() / 2])])),
        ("x", folder("shape", &[("adapter_config.json", &config), (safetensors, &smaller)])),
        ("x", demo_model()),
        ("x", pirate().join(safetensors)),
    ];
    let mut lines = Vec::new();
    for (name, path) in &cases {
        let response = engine.post(LOAD, &json!({"lora_name": name, "lora_path": path})).await;
        let status = response.status().as_u16();
        let body: Value = response.json().await.unwrap();
        let error = &body["error"];
        assert_eq!((&error["code"], &error["param"]), (&json!(status), &Value::Null));
        let message = error["message"].as_str().unwrap().replace(root.path().to_str().unwrap(), "ROOT");
        lines.push(format!("{status} {} {message}", error["type"].as_str().unwrap()));
    }
    insta::assert_snapshot!(lines.join("\n"), @"
    400 InvalidUserInput Both 'lora_name' and 'lora_path' must be provided.
    400 InvalidUserInput Both 'lora_name' and 'lora_path' must be provided.
    400 InvalidUserInput The lora adapter 'remora-demo' conflicts with a served base model.
    404 NotFoundError Loading lora x failed: No adapter found for /nowhere/at/all
    404 NotFoundError Loading lora x failed: No adapter found for some/repository
    404 NotFoundError Loading lora x failed: No adapter found for ROOT/empty
    400 BadRequestError Call to add_lora method failed: ROOT/tensorless doesn't contain tensors
    400 BadRequestError Call to add_lora method failed: adapter_config.json is not usable: EOF while parsing an object at line 1 column 1
    400 BadRequestError Call to add_lora method failed: LoRA rank 64 is greater than max_lora_rank 8.
    400 BadRequestError Call to add_lora method failed: Error while deserializing header: header too large
    400 BadRequestError Call to add_lora method failed: Error while deserializing header: base_model.model.model.layers.1.self_attn.v_proj.lora_A.weight: incomplete metadata, file not fully covered
    400 BadRequestError Call to add_lora method failed: The adapter was made for another base model: blk.0.ffn_gate.weight takes 192 numbers and gives 512, the adapter's lora_A is 8 x 192 and its lora_B 64 x 64.
    400 BadRequestError Call to add_lora method failed: The file has no general.type: it is not an adapter.
    400 BadRequestError Call to add_lora method failed: The adapter file is not usable: it does not begin with 'GGUF'
    ");
    assert_eq!(names(&engine).await, ["remora-demo"], "nothing of it is left");
    load(&engine, "x", &pirate()).await;
    let refused =
        async |path: &str, body: Value, status: u16| engine.refused(path, &body, status).await["error"].clone();
    let errors = [
        refused(LOAD, json!({"lora_name": "x", "lora_path": "/y"}), 400).await,
        refused(LOAD, json!({"lora_name": "y", "lora_path": pirate()}), 400).await,
        refused(LOAD, json!({"lora_name": "y"}), 400).await,
        refused(LOAD, json!({}), 400).await,
        refused(UNLOAD, json!({"lora_name": "y", "lora_int_id": 7}), 404).await,
        refused(UNLOAD, json!({"lora_name": ""}), 400).await,
        refused(UNLOAD, json!({"lora_name": 1}), 400).await,
    ];
    let lines = errors.map(|error| format!("{} {} {}", error["type"], error["param"], error["message"]));
    insta::assert_snapshot!(lines.join("\n"), @r#"
    "InvalidUserInput" null "The lora adapter 'x' has already been loaded. If you want to load the adapter in place, set 'load_inplace' to True."
    "BadRequestError" null "Call to add_lora method failed: 1 adapters are loaded already, the most that --max-loras allows. Unload one first."
    "Bad Request" "body.lora_path" "1 validation error:\n  {'type': 'missing', 'loc': 'body.lora_path', 'msg': 'Field required'}"
    "Bad Request" "body.lora_name" "1 validation error:\n  {'type': 'missing', 'loc': 'body.lora_name', 'msg': 'Field required'}"
    "NotFoundError" null "The lora adapter 'y' cannot be found."
    "InvalidUserInput" null "'lora_name' needs to be provided to unload a LoRA adapter."
    "Bad Request" "body.lora_name" "1 validation error:\n  {'type': 'type_error', 'loc': 'body.lora_name', 'msg': 'invalid type: integer `1`, expected a string at line 1 column 14'}"
    "#);
    assert!(answer(&engine, "x", "hello").await.starts_with("Arr!"), "and it works on");
}

/// What llama.cpp's `convert_lora_to_gguf.py` does for `llama`, written once more, apart from the engine's own.
mod gguf {
    use super::*;

    pub(super) fn from_peft(folder: &Path, heads: usize, key_heads: usize) -> Vec<u8> {
        let file = fs::read(folder.join("adapter_model.safetensors")).unwrap();
        let length = usize::try_from(u64::from_le_bytes(file[..8].try_into().unwrap())).unwrap();
        let table: serde_json::Map<String, Value> = serde_json::from_slice(&file[8..8 + length]).unwrap();
        let lines = table.iter().filter(|(name, _)| *name != "__metadata__");
        let tensors: Vec<_> = lines
            .map(|(name, line)| {
                let number = |value: &Value| usize::try_from(value.as_u64().unwrap()).unwrap();
                let place = |index: usize| 8 + length + number(&line["data_offsets"][index]);
                let data = &file[place(0)..place(1)];
                let heads = if name.contains("q_proj.lora_B") {
                    heads
                } else if name.contains("k_proj.lora_B") {
                    key_heads
                } else {
                    0
                };
                let (rows, columns) = (number(&line["shape"][0]), number(&line["shape"][1]));
                (renamed(name), rows, columns, reordered(data, rows, heads))
            })
            .collect();
        write(&tensors)
    }

    fn renamed(name: &str) -> String {
        let parts: Vec<&str> = name.split('.').collect();
        let module = match parts[6] {
            "q_proj" => "attn_q",
            "k_proj" => "attn_k",
            "v_proj" => "attn_v",
            "o_proj" => "attn_output",
            "gate_proj" => "ffn_gate",
            "up_proj" => "ffn_up",
            "down_proj" => "ffn_down",
            other => panic!("{other}"),
        };
        format!("blk.{}.{module}.weight.{}", parts[4], parts[7].to_lowercase())
    }

    fn reordered(data: &[u8], rows: usize, heads: usize) -> Vec<u8> {
        if heads == 0 {
            return data.to_vec();
        }
        let (width, size) = (data.len() / rows, rows / heads);
        let mut moved = vec![0; data.len()];
        for row in 0..rows {
            let (head, j, i) = (row / size, row % size / (size / 2), row % (size / 2));
            let to = head * size + 2 * i + j;
            moved[to * width..(to + 1) * width].copy_from_slice(&data[row * width..(row + 1) * width]);
        }
        moved
    }

    fn write(tensors: &[(String, usize, usize, Vec<u8>)]) -> Vec<u8> {
        let mut file = b"GGUF\x03\0\0\0".to_vec();
        let number = |file: &mut Vec<u8>, number: usize| file.extend((number as u64).to_le_bytes());
        let text = |file: &mut Vec<u8>, text: &str| {
            file.extend((text.len() as u64).to_le_bytes());
            file.extend(text.as_bytes());
        };
        number(&mut file, tensors.len());
        number(&mut file, 5);
        for (key, value) in [
            ("general.type", "adapter"),
            ("general.architecture", "llama"),
            ("general.name", "pirate"),
            ("adapter.type", "lora"),
        ] {
            text(&mut file, key);
            file.extend(8u32.to_le_bytes());
            text(&mut file, value);
        }
        text(&mut file, "adapter.lora.alpha");
        file.extend(6u32.to_le_bytes());
        file.extend(16f32.to_le_bytes());
        let mut offset = 0;
        for (name, rows, columns, data) in tensors {
            text(&mut file, name);
            file.extend(2u32.to_le_bytes());
            number(&mut file, *columns);
            number(&mut file, *rows);
            file.extend(1u32.to_le_bytes());
            number(&mut file, offset);
            offset += data.len().next_multiple_of(32);
        }
        for (_, _, _, data) in tensors {
            file.resize(file.len().next_multiple_of(32), 0);
            file.extend(data);
        }
        file
    }
}

#[tokio::test]
async fn metrics_tell_which_adapters_are_in_use() {
    let engine = TestEngine::with(|config| config.slots = Some(1)).await;
    load(&engine, "pirate", &pirate()).await;
    let told = async |wanted: &str| {
        let text = engine.get("/metrics").await.text().await.unwrap();
        let lines: Vec<_> = text.lines().filter(|line| line.starts_with("vllm:lora_requests_info{")).collect();
        assert_eq!(lines.len(), 1, "{lines:?}");
        lines[0].starts_with(&format!("vllm:lora_requests_info{{max_lora=\"16\",{wanted}}} 1"))
    };
    assert!(told(r#"waiting_lora_adapters="",running_lora_adapters="""#).await);
    let endless = json!({"model": "pirate", "stream": true, "ignore_eos": true, "max_tokens": 1500});
    let first = engine.post(CHAT, &with(chat("hello"), endless.clone())).await;
    let second = engine.post(CHAT, &with(chat("hello"), endless)).await;
    let busy = r#"waiting_lora_adapters="pirate",running_lora_adapters="pirate""#;
    wait_until(LIMIT, async || told(busy).await).await;
    drop((first, second));
    wait_until(LIMIT, async || told(r#"waiting_lora_adapters="",running_lora_adapters="""#).await).await;
}
