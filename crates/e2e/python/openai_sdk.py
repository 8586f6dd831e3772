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


WEATHER = {"type": "object", "properties": {"city": {"type": "string", "maxLength": 8}, "days": {"type": "integer", "minimum": 1, "maximum": 9}},
           "required": ["city", "days"], "additionalProperties": False}


def calls_can_be_forced():
    tool = {"type": "function", "function": {"name": "get_weather", "strict": True, "parameters": WEATHER}}
    named = {"type": "function", "function": {"name": "get_weather"}}
    for choice, reason in [("required", "tool_calls"), (named, "stop")]:
        request = {"model": "remora-demo", "messages": MESSAGES, "tools": [tool], "tool_choice": choice,
                   "temperature": 0, "max_tokens": 300, "parallel_tool_calls": False}
        whole = client.chat.completions.create(**request).choices[0]
        assert whole.finish_reason == reason, whole
        fits(whole.message.tool_calls[0].function)
        with client.chat.completions.stream(**request) as stream:
            streamed = stream.get_final_completion().choices[0]
        assert streamed.finish_reason == reason, streamed
        fits(streamed.message.tool_calls[0].function)
    other = {"type": "function", "function": {"name": "other"}}
    error = expect(openai.BadRequestError, model="remora-demo", messages=MESSAGES, tools=[tool], tool_choice=other)
    assert "does not match any of the specified `tools`" in error.message, error.message


def fits(function):
    arguments = json.loads(function.arguments)
    assert function.name == "get_weather" and set(arguments) == {"city", "days"}, function
    assert isinstance(arguments["days"], int) and len(arguments["city"]) <= 8, function


def several_answers_come_at_once():
    request = {"model": "remora-demo", "messages": MESSAGES, "n": 3, "temperature": 1, "seed": 5, "max_tokens": 8}
    answer = client.chat.completions.create(**request)
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    one = client.chat.completions.create(**{**request, "n": 1}).usage
    assert answer.usage.prompt_tokens == one.prompt_tokens, "the prompt counts once"
    seen = {choice.index for chunk in client.chat.completions.create(**request, stream=True) for choice in chunk.choices}
    assert seen == {0, 1, 2}
    texts = client.completions.create(
        model="remora-demo", prompt=["One", "Two"], n=2, max_tokens=4, temperature=1, echo=True).choices
    assert [choice.index for choice in texts] == [0, 1, 2, 3]
    assert [choice.text[:3] for choice in texts] == ["One", "One", "Two", "Two"]
    expect(openai.BadRequestError, model="remora-demo", messages=MESSAGES, n=2, temperature=0)


READ = {"type": "function", "name": "read", "description": "Reads a file", "strict": True, "parameters": {
    "type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]}}


def responses_come_whole_and_streamed():
    request = {"model": "remora-demo", "input": "hello", "temperature": 0, "max_output_tokens": 60}
    whole = client.responses.create(**request)
    assert whole.status == "completed" and whole.output_text, whole
    assert whole.usage.total_tokens == whole.usage.input_tokens + whole.usage.output_tokens
    with client.responses.stream(**request) as stream:
        events = list(stream)
        final = stream.get_final_response()
    assert final.output_text == whole.output_text
    kinds = [event.type for event in events]
    assert kinds[:2] == ["response.created", "response.in_progress"] and kinds[-1] == "response.completed", kinds
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert "".join(deltas) == whole.output_text and len(deltas) > 1
    assert [event.sequence_number for event in events] == list(range(len(events)))


def responses_call_functions_and_read_their_outputs():
    request = {"model": "remora-demo", "tools": [READ], "temperature": 0}
    history = [{"role": "user", "content": "read src/main.rs"}]
    whole = client.responses.create(input=history, **request)
    call = whole.output[0]
    assert call.type == "function_call" and json.loads(call.arguments) == {"path": "src/main.rs"}, whole
    with client.responses.stream(input=history, **request) as stream:
        streamed = stream.get_final_response().output[0]
    assert (streamed.name, streamed.arguments) == (call.name, call.arguments)
    history += [call, {"type": "function_call_output", "call_id": call.call_id, "output": "fn main() {}"}]
    assert "main" in client.responses.create(input=history, **request).output_text
    tool = {"type": "function", "name": "get_weather", "strict": True, "parameters": WEATHER}
    forced = client.responses.create(model="remora-demo", input="hello", tools=[tool], temperature=0,
                                     tool_choice={"type": "function", "name": "get_weather"}, max_output_tokens=300)
    fits(forced.output[0])


def responses_can_have_a_form():
    form = {"format": {"type": "json_schema", "name": "answer", "schema": {"enum": ["yes", "no"]}, "strict": True}}
    answer = client.responses.create(model="remora-demo", input="hello", text=form, temperature=0)
    assert json.loads(answer.output_text) in ["yes", "no"], answer


def responses_are_not_stored():
    try:
        client.responses.create(model="remora-demo", input="hello", previous_response_id="resp_1")
    except openai.NotFoundError as error:
        assert "resp_1" in error.message, error.message
    else:
        raise AssertionError("there is no such response")


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
    calls_can_be_forced,
    several_answers_come_at_once,
    responses_come_whole_and_streamed,
    responses_call_functions_and_read_their_outputs,
    responses_can_have_a_form,
    responses_are_not_stored,
    a_cancelled_stream_frees_the_engine,
    errors_have_their_classes,
]

for promise in PROMISES:
    promise()
    print("ok", promise.__name__)
