"""Anthropic's official SDK against a running Remora: each function is one promise to its users.

Needs ANTHROPIC_BASE_URL and ANTHROPIC_API_KEY, ENGINE_URL to see that a cancelled request leaves the engine, and
SLOW_URL: a canned server whose streams begin with pings.
"""

import os
import time
import urllib.request

import anthropic

client = anthropic.Anthropic(max_retries=0)
HELLO = [{"role": "user", "content": "hello"}]
READ = {
    "name": "read",
    "description": "Reads a file",
    "input_schema": {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]},
}
# The SDK has no argument for it any more; without it no answer could be told beforehand.
GREEDY = {"temperature": 0}
# One black pixel.
PICTURE = ("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg==")


def ask(messages, **more):
    request = {"model": "remora-demo", "max_tokens": 100, "messages": messages, "extra_body": GREEDY}
    return client.messages.create(**{**request, **more})


def say(text):
    return [{"role": "user", "content": text}]


def total(usage):
    return usage.input_tokens + (usage.cache_read_input_tokens or 0) + (usage.cache_creation_input_tokens or 0)


def models_are_listed_and_found():
    page = client.models.list(limit=1000)
    models = {model.id: model for model in page}
    assert "remora-demo" in models and not page.has_more, page
    model = client.models.retrieve("remora-demo")
    assert (model.id, model.type) == ("remora-demo", "model") and model.display_name, model
    assert model.created_at.tzinfo is not None, model.created_at
    try:
        client.models.retrieve("nobody")
    except anthropic.NotFoundError:
        return
    raise AssertionError("a model that is not there was found")


def an_answer_comes_whole():
    message = ask(HELLO)
    assert (message.type, message.role, message.stop_reason) == ("message", "assistant", "end_turn"), message
    assert message.id.startswith("msg_"), message
    assert [block.type for block in message.content] == ["text"]
    assert "Remora" in message.content[0].text, message.content
    assert total(message.usage) > 0 and message.usage.output_tokens > 0


def a_stream_gives_the_same_message_in_pieces():
    whole = ask(HELLO)
    with client.messages.stream(model="remora-demo", max_tokens=100, extra_body=GREEDY, messages=HELLO) as stream:
        pieces = list(stream.text_stream)
        final = stream.get_final_message()
        assert stream.get_final_text() == whole.content[0].text
    assert "".join(pieces) == whole.content[0].text and len(pieces) > 1, pieces
    assert (final.stop_reason, final.usage.output_tokens) == (whole.stop_reason, whole.usage.output_tokens)
    assert total(final.usage) == total(whole.usage)


def events_come_in_their_order():
    names = []
    for event in client.messages.create(
            model="remora-demo", max_tokens=100, extra_body=GREEDY, messages=HELLO, stream=True):
        if event.type == "message_start":
            assert event.message.content == [] and total(event.message.usage) > 0, event
        if event.type != "ping" and (not names or names[-1] != event.type):
            names.append(event.type)
    assert names == ["message_start", "content_block_start", "content_block_delta", "content_block_stop",
                     "message_delta", "message_stop"], names


def a_tool_is_called_and_its_answer_read():
    question = {"role": "user", "content": "read src/main.rs"}
    whole = ask([question], tools=[READ])
    assert whole.stop_reason == "tool_use", whole
    call = next(block for block in whole.content if block.type == "tool_use")
    assert (call.name, call.input) == ("read", {"path": "src/main.rs"}), call
    with client.messages.stream(
            model="remora-demo", max_tokens=100, extra_body=GREEDY, messages=[question], tools=[READ]) as stream:
        snapshots = [event.snapshot for event in stream if event.type == "input_json"]
        final = stream.get_final_message()
    streamed = next(block for block in final.content if block.type == "tool_use")
    assert (final.stop_reason, streamed.name, streamed.input) == ("tool_use", call.name, call.input)
    assert snapshots and snapshots[-1] == call.input, snapshots
    for result in ("fn main() {}", [{"type": "text", "text": "fn main() {}"}]):
        answer = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": result}]}
        last = ask([question, {"role": "assistant", "content": whole.content}, answer], tools=[READ])
        assert last.stop_reason == "end_turn" and "main" in last.content[0].text, last


def a_tool_that_failed_is_told_to_the_model():
    question = {"role": "user", "content": "read src/main.rs"}
    call = next(block for block in ask([question], tools=[READ]).content if block.type == "tool_use")
    result = {"type": "tool_result", "tool_use_id": call.id, "is_error": True, "content": "error: no such file: x"}
    turns = [question, {"role": "assistant", "content": [call]}, {"role": "user", "content": [result]}]
    assert "no such file" in ask(turns, tools=[READ]).content[0].text


def tools_can_be_forbidden():
    answer = ask(say("read src/main.rs"), tools=[READ], tool_choice={"type": "none"})
    assert answer.stop_reason == "end_turn" and all(block.type == "text" for block in answer.content), answer


def tokens_are_counted_as_they_are_used():
    for request in (
        {"messages": HELLO},
        {"messages": HELLO, "system": "You are a helpful assistant."},
        {"messages": say("read src/main.rs"), "tools": [READ]},
    ):
        counted = client.messages.count_tokens(model="remora-demo", **request).input_tokens
        used = client.messages.create(model="remora-demo", max_tokens=4, **request).usage
        assert counted == total(used), (counted, used)


def a_system_prompt_may_be_text_or_blocks():
    text = "You are a helpful assistant."
    blocks = [{"type": "text", "text": text, "cache_control": {"type": "ephemeral"}}]
    one, other = ask(say("say hello world"), system=text), ask(say("say hello world"), system=blocks)
    assert one.content[0].text == other.content[0].text == "hello world", (one.content, other.content)
    assert total(one.usage) == total(other.usage)
    assert total(one.usage) > total(ask(say("say hello world")).usage)


def a_turn_may_be_text_or_blocks():
    blocks = [{"role": "user", "content": [{"type": "text", "text": "say hello world"}]}]
    assert ask(blocks).content[0].text == ask(say("say hello world")).content[0].text


def stop_sequences_stop_and_are_named():
    message = ask(say("count to 12"), stop_sequences=[" 7"])
    assert (message.stop_reason, message.stop_sequence) == ("stop_sequence", " 7"), message
    assert message.content[0].text == "1 2 3 4 5 6"
    with client.messages.stream(model="remora-demo", max_tokens=100, extra_body=GREEDY, messages=say("count to 12"),
                                stop_sequences=[" 7"]) as stream:
        final = stream.get_final_message()
    assert (final.stop_reason, final.stop_sequence, final.content[0].text) == ("stop_sequence", " 7", "1 2 3 4 5 6")


def a_limit_is_told_as_the_reason():
    message = ask(say("count to 12"), max_tokens=5)
    assert (message.stop_reason, message.usage.output_tokens) == ("max_tokens", 5), message


def a_picture_is_refused_in_clear_words_by_a_model_that_cannot_see():
    source = {"type": "base64", "media_type": "image/png", "data": PICTURE}
    turn = [{"role": "user", "content": [{"type": "image", "source": source}, {"type": "text", "text": "what is it?"}]}]
    error = expect(anthropic.BadRequestError, messages=turn)
    assert "image" in error.message or "multimodal" in error.message, error.message


def fields_that_nobody_knows_yet_are_accepted():
    message = ask(HELLO, extra_body={"context_management": {"edits": []}, "wibble": 1, **GREEDY},
                  extra_headers={"anthropic-beta": "something-2030-01-01"}, metadata={"user_id": "u"})
    assert message.content


def a_cancelled_stream_frees_the_engine():
    stream = client.messages.create(model="remora-demo", max_tokens=1900, messages=say("tell me a story"), stream=True)
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
    error = expect(anthropic.NotFoundError, model="nobody")
    assert error.body["error"]["type"] == "not_found_error" and error.body["request_id"], error.body
    error = expect(anthropic.BadRequestError, extra_body={"temperature": -1})
    assert error.body["error"]["type"] == "invalid_request_error", error.body
    expect(anthropic.BadRequestError, messages=[{"role": "user", "content": [{"type": "text"}]}])
    with_key = client.with_options(api_key="rmr_00000000_" + "0" * 64)
    error = expect(anthropic.AuthenticationError, asker=with_key)
    assert error.body["error"]["type"] == "authentication_error", error.body


def a_stream_that_is_refused_is_refused_before_it_begins():
    expect(anthropic.NotFoundError, model="nobody", stream=True)
    expect(anthropic.BadRequestError, extra_body={"temperature": -1}, stream=True)


def a_prompt_that_is_too_long_is_told_in_the_words_that_clients_act_on():
    error = expect(anthropic.BadRequestError, messages=say("word " * 20_000))
    words = error.body["error"]["message"]
    assert words.startswith("prompt is too long: ") and words.endswith(" tokens > 2048 maximum"), words
    expect(anthropic.BadRequestError, messages=say("word " * 20_000), stream=True)


def pings_before_the_message_begins_do_no_harm():
    slow = anthropic.Anthropic(base_url=os.environ["SLOW_URL"], api_key="unused", max_retries=0)
    with slow.messages.stream(model="m", max_tokens=10, messages=HELLO) as stream:
        assert "".join(stream.text_stream) == "hello"
        assert stream.get_final_message().stop_reason == "end_turn"
    names = [event.type for event in slow.messages.create(model="m", max_tokens=10, messages=HELLO, stream=True)]
    assert "message_start" in names and names[-1] == "message_stop", names


def expect(kind, asker=client, **more):
    request = {"model": "remora-demo", "max_tokens": 20, "messages": HELLO}
    try:
        asker.messages.create(**{**request, **more})
    except kind as error:
        return error
    raise AssertionError(f"{kind.__name__} was expected")


PROMISES = [
    models_are_listed_and_found,
    an_answer_comes_whole,
    a_stream_gives_the_same_message_in_pieces,
    events_come_in_their_order,
    a_tool_is_called_and_its_answer_read,
    a_tool_that_failed_is_told_to_the_model,
    tools_can_be_forbidden,
    tokens_are_counted_as_they_are_used,
    a_system_prompt_may_be_text_or_blocks,
    a_turn_may_be_text_or_blocks,
    stop_sequences_stop_and_are_named,
    a_limit_is_told_as_the_reason,
    a_picture_is_refused_in_clear_words_by_a_model_that_cannot_see,
    fields_that_nobody_knows_yet_are_accepted,
    a_cancelled_stream_frees_the_engine,
    errors_have_their_classes,
    a_stream_that_is_refused_is_refused_before_it_begins,
    a_prompt_that_is_too_long_is_told_in_the_words_that_clients_act_on,
    pings_before_the_message_begins_do_no_harm,
]

for promise in PROMISES:
    promise()
    print("ok", promise.__name__, flush=True)
