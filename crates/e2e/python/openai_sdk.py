"""The official SDK against a running Remora: each function is one promise to its users.

Needs OPENAI_BASE_URL, OPENAI_API_KEY, and ENGINE_URL to see that a cancelled request leaves the engine.
"""

import json
import os
import time
import urllib.request

import openai

client = openai.OpenAI(max_retries=0)
MESSAGES = [{"role": "user", "content": "hello"}]


def models_are_listed_and_found():
    ids = [model.id for model in client.models.list()]
    assert "remora-demo" in ids, ids
    assert client.models.retrieve("remora-demo").id == "remora-demo"


def an_answer_comes_whole():
    answer = client.chat.completions.create(model="remora-demo", messages=MESSAGES, temperature=0)
    assert answer.choices[0].message.role == "assistant"
    assert answer.choices[0].message.content
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def a_stream_gives_the_same_text_in_pieces():
    whole = client.chat.completions.create(model="default", messages=MESSAGES, temperature=0)
    options = {"include_usage": True}
    chunks = list(client.chat.completions.create(
        model="default", messages=MESSAGES, temperature=0, stream=True, stream_options=options))
    pieces = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert "".join(pieces) == whole.choices[0].message.content
    assert len([piece for piece in pieces if piece]) > 1, "more than one piece"
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens


def completions_and_log_probabilities_work():
    answer = client.completions.create(model="remora-demo", prompt="Remora is", max_tokens=8, temperature=0, logprobs=2)
    assert answer.choices[0].text
    assert len(answer.choices[0].logprobs.tokens) == answer.usage.completion_tokens
    chat = client.chat.completions.create(
        model="remora-demo", messages=MESSAGES, max_tokens=4, temperature=0, logprobs=True, top_logprobs=2)
    assert len(chat.choices[0].logprobs.content[0].top_logprobs) == 2


def tools_are_called_and_their_answers_read():
    tool = {"type": "function", "function": {"name": "read", "description": "Reads a file", "parameters": {
        "type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]}}}
    request = {"model": "remora-demo", "tools": [tool], "temperature": 0}
    question = {"role": "user", "content": "read src/main.rs"}
    whole = client.chat.completions.create(messages=[question], **request).choices[0]
    assert whole.finish_reason == "tool_calls"
    call = whole.message.tool_calls[0]
    assert json.loads(call.function.arguments) == {"path": "src/main.rs"}
    with client.chat.completions.stream(messages=[question], **request) as stream:
        streamed = stream.get_final_completion().choices[0]
    assert streamed.finish_reason == "tool_calls"
    assert streamed.message.tool_calls[0].function.arguments == call.function.arguments
    result = {"role": "tool", "tool_call_id": call.id, "content": "fn main() {}"}
    answer = client.chat.completions.create(messages=[question, whole.message, result], **request).choices[0]
    assert answer.finish_reason == "stop" and "main" in answer.message.content, answer


def a_cancelled_stream_frees_the_engine():
    stream = client.chat.completions.create(
        model="remora-demo", messages=MESSAGES, stream=True, max_tokens=1900, extra_body={"ignore_eos": True})
    next(iter(stream))
    stream.close()
    for _ in range(200):
        if running_requests() == 0:
            return
        time.sleep(0.05)
    raise AssertionError("the engine still computes for a client that went away")


def running_requests():
    with urllib.request.urlopen(os.environ["ENGINE_URL"] + "/metrics") as answer:
        lines = answer.read().decode().splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith("vllm:num_requests_running"))


def errors_have_their_classes():
    expect(openai.NotFoundError, model="nobody", messages=MESSAGES)
    expect(openai.BadRequestError, model="remora-demo", messages=MESSAGES, temperature=-1)
    too_long = [{"role": "user", "content": "word " * 20_000}]
    error = expect(openai.BadRequestError, model="remora-demo", messages=too_long)
    assert "maximum context length" in error.message, error.message


def expect(kind, **request):
    try:
        client.chat.completions.create(**request)
    except kind as error:
        return error
    raise AssertionError(f"{kind.__name__} was expected")


PROMISES = [
    models_are_listed_and_found,
    an_answer_comes_whole,
    a_stream_gives_the_same_text_in_pieces,
    completions_and_log_probabilities_work,
    tools_are_called_and_their_answers_read,
    a_cancelled_stream_frees_the_engine,
    errors_have_their_classes,
]

for promise in PROMISES:
    promise()
    print("ok", promise.__name__)
