#!/usr/bin/env -S uv run --script
# /// script
# requires-python = ">=3.10"
# dependencies = ["openai>=1.60"]
# ///
"""Checks a Remora server the way an editor uses it: with OpenAI's own client.

    uv run scripts/test_connection.py [--server http://remora-server:8000] [--model NAME]

Lists the models, asks for one answer, one stream and one tool call, counts tokens and asks for one message of
Anthropic's, and times each: the steps of `remora test`, for machines without it. Exits with 1 if a step fails, after
saying what to do about it. A key, where the server wants one, comes from REMORA_KEY.
"""

import argparse
import asyncio
import os
import sys
import time

import openai
from openai import AsyncOpenAI

HELLO = [{"role": "user", "content": "say hello"}]
# Longer than a greeting: small models are done with one in a single piece.
COUNT = [{"role": "user", "content": "count to 20"}]

TOOL = {
    "type": "function",
    "function": {
        "name": "read",
        "description": "Reads a file.",
        "parameters": {
            "type": "object",
            "properties": {"path": {"type": "string", "description": "The file's path."}},
            "required": ["path"],
        },
    },
}


class Failed(Exception):
    """A step that failed, with what to do next."""


async def models(client: AsyncOpenAI, wanted: str | None) -> tuple[str, str]:
    """The model to ask, and what was found."""
    found = [model.id async for model in client.models.list()]
    if not found:
        raise Failed("the server has no model yet: GET /v1/status says what its engines are doing")
    if wanted and wanted not in found:
        raise Failed(f"the server has no model {wanted!r}; it has: {', '.join(found)}")
    return wanted or found[0], ", ".join(found)


async def answer(client: AsyncOpenAI, model: str) -> str:
    """One whole answer."""
    reply = await client.chat.completions.create(model=model, messages=HELLO, max_tokens=64)
    text = reply.choices[0].message.content
    if not text:
        raise Failed("the answer is empty; with a thinking model, allow it more tokens")
    return repr(text[:60])


async def stream(client: AsyncOpenAI, model: str) -> str:
    """One stream; the time of its first piece matters more than that of its last."""
    began, first, pieces = time.monotonic(), None, 0
    async with await client.chat.completions.create(model=model, messages=COUNT, max_tokens=128, stream=True) as chunks:
        async for chunk in chunks:
            if chunk.choices and chunk.choices[0].delta.content:
                first = first or time.monotonic() - began
                pieces += 1
    if first is None:
        raise Failed("the stream held no text")
    return f"{pieces} pieces, the first after {first * 1000:.0f} ms"


async def tool_call(client: AsyncOpenAI, model: str) -> str:
    """One tool call. Not every model can; that is told, not a failure."""
    messages = [{"role": "user", "content": "read notes.txt"}]
    reply = await client.chat.completions.create(model=model, messages=messages, tools=[TOOL], max_tokens=128)
    calls = reply.choices[0].message.tool_calls
    if not calls:
        return "no call: this model, or its engine's tool parser, does not make them (editors' agents need that)"
    return f"{calls[0].function.name}({calls[0].function.arguments})"


async def count_tokens(client: AsyncOpenAI, model: str) -> str:
    """How many tokens a message has. Not every engine can say; that is told, not a failure."""
    try:
        counted = await client.post(
            "/messages/count_tokens", body={"model": model, "messages": HELLO}, cast_to=dict[str, int])
    except openai.BadRequestError as error:
        return f"not counted: {error.message}"
    return f"{counted['input_tokens']} tokens"


async def message(client: AsyncOpenAI, model: str) -> str:
    """One whole answer in Anthropic's dialect, at the same address."""
    body = {"model": model, "messages": HELLO, "max_tokens": 64}
    reply = await client.post("/messages", body=body, cast_to=dict[str, object])
    texts = [block.get("text") or block.get("thinking") for block in reply["content"]]
    if not any(texts):
        raise Failed("the message is empty; with a thinking model, allow it more tokens")
    return repr(next(text for text in texts if text)[:60])


STEPS = {
    "answer": answer,
    "stream": stream,
    "tool call": tool_call,
    "count_tokens": count_tokens,
    "messages": message,
}


def advice(error: Exception, server: str) -> str:
    """What to do about a failure."""
    if isinstance(error, Failed):
        return str(error)
    if isinstance(error, openai.APITimeoutError):
        return f"{server} took too long: GET {server}/v1/status says why a request waits"
    if isinstance(error, openai.APIConnectionError):
        return f"nothing answers at {server}: is it running, and is this machine on its tailnet?"
    if isinstance(error, openai.AuthenticationError):
        return f"{error.message}\nset REMORA_KEY to a key, which an administrator makes with `remora key create`"
    if isinstance(error, openai.APIStatusError):
        return f"{error.status_code}: {error.message}"
    return f"{type(error).__name__}: {error}"


async def main() -> int:
    """Runs every step in turn; the first that fails ends it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--server", default=os.environ.get("REMORA_SERVER", "http://127.0.0.1:8000"))
    parser.add_argument("--model", help="the model to ask; the first of the list where absent")
    parser.add_argument("--timeout", type=float, default=120, help="seconds for each step")
    arguments = parser.parse_args()
    server = arguments.server.rstrip("/")
    key = os.environ.get("REMORA_KEY") or "none"
    async with AsyncOpenAI(base_url=f"{server}/v1", api_key=key, timeout=arguments.timeout, max_retries=0) as client:
        model = None
        for name in ("models", *STEPS):
            began = time.monotonic()
            try:
                if model is None:
                    model, told = await models(client, arguments.model)
                else:
                    told = await STEPS[name](client, model)
            except (Failed, openai.OpenAIError) as error:
                print(f"✗ {name:12} {advice(error, server)}")
                return 1
            print(f"✓ {name:12} {(time.monotonic() - began) * 1000:8.0f} ms  {told}")
    print(f"{server} is ready for {model}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
