"""The same requests to the real vLLM and to the engine: what differs is in one list, with the reason, or is a fault.

usage: parity.py VLLM_URL ENGINE_URL ADAPTER_FOLDER [CASE]...

Both serve the demo model. Compared are statuses, content types, every key with its type, what the values of those keys are that
clients decide by, and the order of the kinds of events in streams; not the words of answers, which rounding may change.
"""

import json
import re
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import requests

MODEL = "remora-demo"
CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
LOAD, UNLOAD = "/v1/load_lora_adapter", "/v1/unload_lora_adapter"
# Values that clients decide by, hence compared; of all other keys only the type is.
TELLING = {
    "object", "role", "type", "finish_reason", "stop_reason", "index", "param", "code", "name", "count", "max_model_len",
    "prompt_tokens", "owned_by", "id.kind", "model", "parent", "tokens", "token_strs",
}  # fmt: skip
# Ids are random: what comes before the first hyphen is not.
ID_KEYS = {"id"}


@dataclass(frozen=True)
class Case:
    """One request, or several of which the last is looked at."""

    name: str
    path: str
    body: object = None
    method: str = "POST"
    headers: tuple = ()


@dataclass(frozen=True)
class Difference:
    """A difference that is wanted. Each of the cases shows it, in at least one of the places."""

    cases: tuple
    places: tuple
    reason: str


def chat(content="hello", **fields):
    return {"model": MODEL, "messages": [{"role": "user", "content": content}], "temperature": 0, "max_tokens": 24} | fields


def text(prompt="Remora is", **fields):
    return {"model": MODEL, "prompt": prompt, "temperature": 0, "max_tokens": 8} | fields


def schema(definition, **more):
    return {"response_format": {"type": "json_schema", "json_schema": {"name": "it", "schema": definition} | more}}


READ = {"type": "function", "function": {"name": "read", "description": "Reads a file", "parameters": {
    "type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]}}}  # fmt: skip
NAMED = {"type": "function", "function": {"name": "read"}}
STREAM = {"stream": True}
USAGE = {"stream": True, "stream_options": {"include_usage": True}}
POINT = {"type": "object", "properties": {"x": {"type": "integer", "minimum": 0, "maximum": 9}}, "required": ["x"],
         "additionalProperties": False}  # fmt: skip
CALL = {"id": "call-1", "type": "function", "function": {"name": "read", "arguments": '{"path": "a.rs"}'}}


def cases(adapter, broken):
    """In this order: adapters are loaded and unloaded on the way."""
    yield Case("models", "/v1/models", method="GET")
    yield Case("health", "/health", method="GET")
    yield Case("version", "/version", method="GET")

    yield Case("chat", CHAT, chat())
    yield Case("chat/no model", CHAT, {key: value for key, value in chat().items() if key != "model"})
    yield Case("chat/cut off", CHAT, chat(max_tokens=2))
    yield Case("chat/stop", CHAT, chat(stop=["o"]))
    yield Case("chat/stop kept", CHAT, chat(stop=["o"], include_stop_str_in_output=True))
    yield Case("chat/stop token", CHAT, chat(stop_token_ids=[2]))
    yield Case("chat/log probabilities", CHAT, chat(logprobs=True, top_logprobs=2))
    yield Case("chat/token ids", CHAT, chat(return_token_ids=True))
    yield Case("chat/parts", CHAT, chat([{"type": "text", "text": "hello"}]))
    yield Case("chat/stream", CHAT, chat(**STREAM))
    yield Case("chat/stream, usage", CHAT, chat(**USAGE))
    yield Case("chat/stream, usage always", CHAT, chat(
        stream=True, stream_options={"include_usage": True, "continuous_usage_stats": True}))  # fmt: skip
    yield Case("chat/stream, log probabilities", CHAT, chat(logprobs=True, top_logprobs=2, **STREAM))
    yield Case("chat/stream, cut off", CHAT, chat(max_tokens=2, **STREAM))
    yield Case("chat/stream, stop", CHAT, chat(stop=["o"], **STREAM))
    yield Case("chat/two answers", CHAT, chat(n=2, temperature=0.5, ignore_eos=True))
    # A token each: vLLM puts the tokens of several steps into one event when it cannot keep up.
    yield Case("chat/two answers, stream", CHAT, chat(n=2, temperature=0.5, ignore_eos=True, **STREAM) | {"max_tokens": 1})
    yield Case("chat/last message continued", CHAT, chat() | {
        "messages": [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "Hel"}],
        "add_generation_prompt": False, "continue_final_message": True})  # fmt: skip
    yield Case("chat/echo", CHAT, chat(echo=True))
    yield Case("chat/prompt log probabilities", CHAT, chat(prompt_logprobs=1))

    yield Case("text", TEXT, text())
    yield Case("text/tokens", TEXT, text([20, 30, 40]))
    yield Case("text/two prompts", TEXT, text(["a", "b"]))
    yield Case("text/two answers", TEXT, text(n=2, temperature=0.5, ignore_eos=True))
    yield Case("text/log probabilities", TEXT, text(logprobs=2))
    yield Case("text/echo", TEXT, text(echo=True))
    yield Case("text/token ids", TEXT, text(return_token_ids=True))
    yield Case("text/stream", TEXT, text(**STREAM))
    yield Case("text/stream, usage", TEXT, text(**USAGE))
    yield Case("text/stream, log probabilities", TEXT, text(logprobs=2, **STREAM))
    yield Case("text/stream, two prompts", TEXT, text(["a", "b"], **STREAM) | {"max_tokens": 1})
    yield Case("text/suffix", TEXT, text(suffix="x"))

    yield Case("tokenize/text", "/tokenize", {"model": MODEL, "prompt": "hello"})
    yield Case("tokenize/words", "/tokenize", {"model": MODEL, "prompt": "hello", "return_token_strs": True})
    yield Case("tokenize/chat", "/tokenize", {"model": MODEL, "messages": chat()["messages"]})
    yield Case("tokenize/chat with tools", "/tokenize", {"model": MODEL, "messages": chat()["messages"], "tools": [READ]})
    yield Case("tokenize/nothing", "/tokenize", {"model": MODEL})
    yield Case("detokenize", "/detokenize", {"model": MODEL, "tokens": [20, 30]})
    yield Case("detokenize/unknown token", "/detokenize", {"model": MODEL, "tokens": [99999]})
    yield Case("detokenize/negative", "/detokenize", {"model": MODEL, "tokens": [-1]})

    tools = {"tools": [READ], "max_tokens": 60}
    yield Case("tools/auto", CHAT, chat("read src/main.rs", **tools))
    yield Case("tools/auto, said so", CHAT, chat("read src/main.rs", tool_choice="auto", **tools))
    yield Case("tools/auto, words", CHAT, chat("hello", **tools))
    yield Case("tools/auto, stream", CHAT, chat("read src/main.rs", **tools, **USAGE))
    yield Case("tools/none", CHAT, chat("read src/main.rs", tool_choice="none", **tools))
    yield Case("tools/required", CHAT, chat("read src/main.rs", tool_choice="required", **tools))
    yield Case("tools/required, stream", CHAT, chat("read src/main.rs", tool_choice="required", **tools, **STREAM))
    yield Case("tools/named", CHAT, chat("read src/main.rs", tool_choice=NAMED, **tools))
    yield Case("tools/named, stream", CHAT, chat("read src/main.rs", tool_choice=NAMED, **tools, **STREAM))
    yield Case("tools/named, unknown", CHAT, chat(tool_choice={"type": "function", "function": {"name": "no"}}, **tools))
    yield Case("tools/choice without tools", CHAT, chat(tool_choice="auto"))
    yield Case("tools/no tools", CHAT, chat(tools=[]))
    yield Case("tools/nameless", CHAT, chat(tools=[{"type": "function", "function": {"description": "x"}}]))
    yield Case("tools/result", CHAT, chat(**tools) | {"messages": [
        {"role": "user", "content": "read a.rs"}, {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "call-1", "content": "fn main() {}"}]})  # fmt: skip

    yield Case("form/schema", CHAT, chat(**schema(POINT)))
    yield Case("form/schema, stream", CHAT, chat(**schema(POINT), **STREAM))
    yield Case("form/object", CHAT, chat(response_format={"type": "json_object"}, max_tokens=4))
    yield Case("form/text", CHAT, chat(response_format={"type": "text"}))
    yield Case("form/regular expression", CHAT, chat(structured_outputs={"regex": "[0-9]{3}"}))
    yield Case("form/choice", CHAT, chat(structured_outputs={"choice": ["left", "right"]}))
    yield Case("form/choice, text", TEXT, text(structured_outputs={"choice": ["left", "right"]}))
    yield Case("form/json", CHAT, chat(structured_outputs={"json": POINT}))
    yield Case("form/unknown", CHAT, chat(response_format={"type": "yaml"}))
    yield Case("form/no schema", CHAT, chat(response_format={"type": "json_schema"}))
    yield Case("form/bad schema", CHAT, chat(**schema({"type": "object", "properties": {"x": {"$ref": "#/nowhere"}}})))
    yield Case("form/no such type", CHAT, chat(**schema({"type": "wibble"})))
    yield Case("form/bad regular expression", CHAT, chat(structured_outputs={"regex": "(a"}))
    yield Case("form/no choices", CHAT, chat(structured_outputs={"choice": []}))
    yield Case("form/two forms", CHAT, chat(structured_outputs={"regex": "a", "choice": ["a"]}))

    yield Case("adapters/load", LOAD, {"lora_name": "pirate", "lora_path": adapter})
    yield Case("adapters/loaded again", LOAD, {"lora_name": "pirate", "lora_path": adapter})
    yield Case("adapters/in place", LOAD, {"lora_name": "pirate", "lora_path": adapter, "load_inplace": True})
    yield Case("adapters/listed", "/v1/models", method="GET")
    yield Case("adapters/used", CHAT, chat(model="pirate"))
    yield Case("adapters/used in a stream", CHAT, chat(model="pirate", **USAGE))
    yield Case("adapters/used for text", TEXT, text(model="pirate"))
    yield Case("adapters/name of the model", LOAD, {"lora_name": MODEL, "lora_path": adapter})
    yield Case("adapters/no name", LOAD, {"lora_name": "", "lora_path": adapter})
    yield Case("adapters/no path", LOAD, {"lora_name": "x", "lora_path": ""})
    yield Case("adapters/path left out", LOAD, {"lora_name": "x"})
    yield Case("adapters/missing folder", LOAD, {"lora_name": "x", "lora_path": "/nowhere/at/all"})
    yield Case("adapters/empty folder", LOAD, {"lora_name": "x", "lora_path": broken["empty"]})
    yield Case("adapters/no weights", LOAD, {"lora_name": "x", "lora_path": broken["no weights"]})
    yield Case("adapters/corrupt weights", LOAD, {"lora_name": "x", "lora_path": broken["corrupt"]})
    yield Case("adapters/rank too high", LOAD, {"lora_name": "x", "lora_path": broken["rank"]})
    yield Case("adapters/unload", UNLOAD, {"lora_name": "pirate"})
    yield Case("adapters/unload again", UNLOAD, {"lora_name": "pirate"})
    yield Case("adapters/unload nothing", UNLOAD, {"lora_name": ""})
    yield Case("adapters/gone", CHAT, chat(model="pirate"))

    yield Case("errors/not JSON", CHAT, b'{"messages": [}')
    yield Case("errors/no body", CHAT, b"")
    yield Case("errors/a list", CHAT, [])
    yield Case("errors/no messages", CHAT, {"model": MODEL})
    yield Case("errors/messages empty", CHAT, chat() | {"messages": []})
    yield Case("errors/messages null", CHAT, chat() | {"messages": None})
    yield Case("errors/no role", CHAT, chat() | {"messages": [{"content": "x"}]})
    yield Case("errors/an image", CHAT, chat([{"type": "image_url", "image_url": {"url": "data:,"}}]))
    yield Case("errors/unknown model", CHAT, chat(model="nobody"))
    yield Case("errors/unknown model, text", TEXT, text(model="nobody"))
    yield Case("errors/unknown model, stream", CHAT, chat(model="nobody", **STREAM))
    yield Case("errors/too long", CHAT, chat("word " * 2100))
    yield Case("errors/too long by far", CHAT, chat("word " * 20_000))
    yield Case("errors/too long, text", TEXT, text([7] * 2100))
    yield Case("errors/no prompt", TEXT, {"model": MODEL})
    yield Case("errors/empty prompt", TEXT, text(""))
    yield Case("errors/empty list of tokens", TEXT, text([]))
    yield Case("errors/unknown token", TEXT, text([99999]))
    for name, fields in BAD_VALUES.items():
        yield Case(f"values/{name}", CHAT, chat(**fields))
    yield Case("errors/unknown field", CHAT, chat(wibble=1))
    yield Case("errors/unknown route", "/v1/wibble", {})
    yield Case("errors/wrong method", CHAT, method="GET")
    yield Case("errors/content type", CHAT, json.dumps(chat()).encode(), headers=(("content-type", "text/plain"),))


BAD_VALUES = {
    "temperature below": {"temperature": -1},
    "temperature above": {"temperature": 2.5},
    "temperature a word": {"temperature": "warm"},
    "top_p zero": {"top_p": 0},
    "top_p above": {"top_p": 1.5},
    "top_k below": {"top_k": -2},
    "min_p above": {"min_p": 2},
    "presence_penalty above": {"presence_penalty": 3},
    "frequency_penalty below": {"frequency_penalty": -3},
    "repetition_penalty zero": {"repetition_penalty": 0},
    "max_tokens zero": {"max_tokens": 0},
    "max_tokens above": {"max_tokens": 5000},
    "max_completion_tokens above": {"max_completion_tokens": 5000},
    "min_tokens below": {"min_tokens": -1},
    "min_tokens above": {"min_tokens": 99},
    "n zero": {"n": 0},
    "stop empty": {"stop": [""]},
    "stops many": {"stop": ["a", "b", "c", "d", "e"]},
    "stop_token_ids unknown": {"stop_token_ids": [9999]},
    "logit_bias a word": {"logit_bias": {"x": 1}},
    "logit_bias unknown": {"logit_bias": {"9999": 1}},
    "allowed_token_ids empty": {"allowed_token_ids": []},
    "top_logprobs above": {"logprobs": True, "top_logprobs": 21},
    "top_logprobs alone": {"top_logprobs": 2},
    "usage without stream": {"stream_options": {"include_usage": True}},
    "template": {"chat_template": "{{ messages }}"},
    "both ends": {"continue_final_message": True, "add_generation_prompt": True},
}

# What differs on purpose, and why. Nothing else may, and what is here has to. Of an answer in place of an error, or an
# error in place of an answer, only the status is looked at.
NOT_YET = [
    Difference(("chat/prompt log probabilities",), ("status",), "prompts are not scored"),
    Difference(("chat/echo",), (".prompt_logprobs",), "prompts are not scored"),
    Difference(
        ("chat/stream, usage always",),
        ("event *.usage.completion_tokens_details",),
        "counts on the way leave out what is null",
    ),
]
WORDS = [
    Difference(
        (
            "tools/nameless", "adapters/path left out", "errors/not JSON", "errors/no body", "errors/a list",
            "errors/no messages", "values/temperature a word", "tokenize/nothing",
        ),
        (".error.message",),
        "faults of a body's shape have vLLM's frame, class and place, but serde's words",
    ),
    Difference(
        ("errors/no role",),
        (".error.message", ".error.param"),
        "messages are one type here; vLLM tries eleven and tells what each of them lacks",
    ),
    Difference(
        ("errors/messages null",),
        (".error.message", ".error.param", ".error.type"),
        "an error of the body's shape, where vLLM lets Python trip over it",
    ),
    Difference(("errors/an image",), (".error.message",), "names the kind of part"),
    Difference(("text/suffix",), (".error.message",), "not done, by any model"),
    Difference(
        ("detokenize/negative",),
        (".error.message", ".error.param", ".error.type"),
        "no token, like any other that the vocabulary lacks",
    ),
    Difference(
        ("form/bad schema", "form/no such type", "form/bad regular expression", "form/no choices", "form/two forms"),
        (".error.message", ".error.param"),
        "names the field that is at fault",
    ),
    Difference(("form/no schema",), (".error.message",), "tells what is missing in it, too"),
    Difference(
        ("form/unknown",),
        (".error.message", ".error.param", ".error.type"),
        "forms are not told apart by their shape, so there is one thing to say and not six",
    ),
    Difference(("errors/too long",), (".error.message",), "prompts are counted to the end, where vLLM says 'at least'"),
    Difference(("adapters/empty folder",), (".error.message",), "the path that was sent is told, where vLLM hides it"),
]
DIFFERENCES = [
    *NOT_YET,
    *WORDS,
    Difference(("models", "adapters/listed"), (".data[].owned_by",), "who serves it"),
    Difference(("*",), ("*usage.prompt_tokens_details",), "cached tokens are told without a switch, where there are any"),
    Difference(
        ("tools/auto, stream", "tools/required, stream", "tools/named, stream"),
        ("event *.choices[].delta.tool_calls[].function.arguments",),
        "a call begins with empty arguments, as OpenAI's do; vLLM leaves them out",
    ),
    Difference(
        ("tools/auto, stream", "tools/required, stream", "tools/named, stream"),
        ("event *.choices[].delta.content",),
        "a piece of a call has no content, as OpenAI's; vLLM says null",
    ),
    Difference(
        ("form/schema", "form/schema, stream", "form/json"),
        ("*.finish_reason",),
        "JSON has no blanks to be lost in: it is complete where vLLM's runs out of tokens",
    ),
    Difference(("detokenize/unknown token",), ("status",), "a token that there is not is an error; vLLM passes over it"),
    Difference(
        ("adapters/no weights", "adapters/corrupt weights", "adapters/rank too high"),
        ("status",),
        "whose fault an adapter is: 400, where vLLM says 500",
    ),
    Difference(("values/stops many",), ("status",), "16 stop texts are taken, where vLLM takes 4: agents send more"),
    Difference(
        ("errors/unknown route", "errors/wrong method"),
        (".detail", ".error"),
        "unknown routes and methods are answered in the same dialect as all else",
    ),
    Difference(("errors/content type",), ("status",), "a content type is not asked for"),
]


class Server:
    def __init__(self, url):
        self.url = url
        self.session = requests.Session()
        self.session.trust_env = False

    def look(self, case):
        """What one answer is made of, by its places."""
        content = case.body if isinstance(case.body, bytes | None) else json.dumps(case.body).encode()
        headers = {} if case.body is None else {"content-type": "application/json"}
        answer = self.session.request(
            case.method, self.url + case.path, data=content, headers=headers | dict(case.headers), timeout=120
        )
        kind = answer.headers.get("content-type", "none")
        seen = {"status": answer.status_code, "content-type": kind}
        if kind.startswith("text/event-stream"):
            look_at_events(answer.content.decode(), seen)
        elif kind == "application/json":
            look_at_value("", answer.json(), seen)
        else:
            seen["text"] = answer.text
        return seen


def look_at_events(stream, seen):
    """Each kind of event once, with those that follow it: how many there are of one kind is up to rounding."""
    kinds = []
    for event in stream.split("\n\n"):
        if not event:
            continue
        places = {}
        if event.startswith("data: {"):
            look_at_value("", json.loads(event.removeprefix("data: ")), places)
        else:
            places[""] = event
        if places not in kinds[-1:]:
            kinds.append(places)
    for nr, places in enumerate(kinds):
        seen |= {f"event {nr}{place}": what for place, what in places.items()}


def look_at_value(place, value, seen):
    """The types of all that is in a value, by place. Items of a list count as one."""
    key = place.rpartition(".")[2].rstrip("[]")
    if isinstance(value, dict):
        seen[place] = "object"
        for name, field in value.items():
            # Tokens as keys are as many as chance wants.
            counted = name.isdigit() or key == "top_logprobs"
            look_at_value(f"{place}.{'TOKEN' if counted else name}", field, seen)
    elif isinstance(value, list) and not (key in TELLING and all(isinstance(item, str | int) for item in value)):
        seen[place] = "list" if value else "empty list"
        for item in value:
            look_at_value(f"{place}[]", item, seen)
    else:
        told = what(place, key, value)
        before = seen.get(place)
        seen[place] = told if before in (None, told) else " | ".join(sorted({*str(before).split(" | "), told}))


def what(place, key, value):
    if key == "message" and place == ".error.message":
        return value
    if key == "id" and isinstance(value, str):
        return value.rpartition("-")[0]
    if key in TELLING:
        return json.dumps(value, ensure_ascii=False)
    return {bool: "boolean", int: "number", float: "number", str: "text", type(None): "null"}[type(value)]


def differences(reference, engine):
    """Where they differ; not what follows from it. An answer in place of an error is one difference."""
    if reference["status"] != engine["status"]:
        yield "status", summary(reference), summary(engine)
        return
    told = []
    for place in sorted(reference.keys() | engine.keys()):
        theirs, ours = reference.get(place, "nothing"), engine.get(place, "nothing")
        if theirs != ours and not any(place.startswith((f"{above}.", f"{above}[")) for above in told):
            told.append(place)
            yield place, theirs, ours


def summary(seen):
    told = [seen.get(place) for place in ("status", ".error.type", ".error.param", ".error.message", "text")]
    return " ".join(str(each) for each in told if each is not None)


def broken_adapters(adapter, folder):
    """Folders that no server should take for an adapter."""
    config = json.loads((adapter / "adapter_config.json").read_text())
    weights = (adapter / "adapter_model.safetensors").read_bytes()
    kinds = {
        "empty": {},
        "no weights": {"adapter_config.json": json.dumps(config).encode()},
        "corrupt": {
            "adapter_config.json": json.dumps(config).encode(),
            "adapter_model.safetensors": weights[: len(weights) // 2],
        },
        "rank": {"adapter_config.json": json.dumps(config | {"r": 64}).encode(), "adapter_model.safetensors": weights},
    }
    for nr, files in enumerate(kinds.values()):
        (folder / str(nr)).mkdir()
        for name, content in files.items():
            (folder / str(nr) / name).write_bytes(content)
    return {name: str(folder / str(nr)) for nr, name in enumerate(kinds)}


def like(text, pattern):
    """Whether a text is as the pattern says, in which a star stands for anything."""
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), text) is not None


def wanted(case, place):
    """The entries of the list that speak of a difference."""
    return [
        entry
        for entry in DIFFERENCES
        if any(like(case, each) for each in entry.cases) and any(like(place, each) for each in entry.places)
    ]


def main(reference_url, engine_url, adapter, only):
    reference, engine = Server(reference_url), Server(engine_url)
    used, faults, count = set(), [], 0
    with tempfile.TemporaryDirectory() as folder:
        for case in cases(adapter, broken_adapters(Path(adapter), Path(folder))):
            if only and not any(like(case.name, each) for each in only):
                continue
            count += 1
            for place, theirs, ours in differences(reference.look(case), engine.look(case)):
                entries = wanted(case.name, place)
                used |= {(entry, each) for entry in entries for each in entry.cases if like(case.name, each)}
                if not entries:
                    faults.append(f"{case.name}: {place.lstrip('.') or 'answer'}\n    vLLM:   {theirs}\n    engine: {ours}")
    for entry in DIFFERENCES if not only else []:
        faults += [f"{each}: no difference any more: {entry.reason}" for each in entry.cases if (entry, each) not in used]
    print("\n".join(faults))
    print(f"{count} requests, {len(DIFFERENCES)} wanted differences, {len(faults)} faults")
    assert not faults


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:])
