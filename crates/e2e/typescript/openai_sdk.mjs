// OpenAI's official SDK against a running Remora: each function is one promise to its users.
//
// Needs OPENAI_BASE_URL and OPENAI_API_KEY, REMORA_TEST_NODE with the SDK, and ENGINE_URL to see that a cancelled
// request leaves the engine.

import { strict as assert } from "node:assert";

import { engineIsIdle, keep, refused, sdk } from "./sdk.mjs";

const { OpenAI, AuthenticationError, BadRequestError, NotFoundError } = sdk("openai");

const client = new OpenAI({ maxRetries: 0 });
const say = (content) => [{ role: "user", content }];
const request = (more) => ({ model: "remora-demo", temperature: 0, messages: say("hello"), ...more });
const READ = {
  type: "function",
  function: {
    name: "read",
    description: "Reads a file",
    parameters: { type: "object", properties: { path: { type: "string" } }, required: ["path"] },
  },
};

async function modelsAreListedAndFound() {
  const ids = [];
  for await (const model of client.models.list()) ids.push(model.id);
  assert.ok(ids.includes("remora-demo"), ids.join());
  assert.equal((await client.models.retrieve("remora-demo")).id, "remora-demo");
}

async function aStreamGivesTheSameTextInPieces() {
  const whole = await client.chat.completions.create(request());
  assert.equal(whole.choices[0].finish_reason, "stop");
  const stream = client.chat.completions.stream(request({ stream_options: { include_usage: true } }));
  const pieces = [];
  stream.on("content", (piece) => pieces.push(piece));
  const final = await stream.finalChatCompletion();
  assert.equal(final.choices[0].message.content, whole.choices[0].message.content);
  assert.equal(pieces.join(""), whole.choices[0].message.content);
  assert.ok(pieces.length > 1);
  assert.equal((await stream.totalUsage()).completion_tokens, whole.usage.completion_tokens);
}

async function aToolIsRunAndItsAnswerRead() {
  const paths = [];
  const read = ({ path }) => {
    paths.push(path);
    return "fn main() {}";
  };
  const tool = { ...READ, function: { ...READ.function, function: read, parse: JSON.parse } };
  const runner = client.chat.completions.runTools(request({ messages: say("read src/main.rs"), tools: [tool] }));
  const text = await runner.finalContent();
  assert.deepEqual(paths, ["src/main.rs"]);
  assert.ok(text.includes("main"), text);
}

async function aToolsArgumentsAreStreamed() {
  const asked = request({ messages: say("read src/main.rs"), tools: [READ] });
  const final = await client.chat.completions.stream(asked).finalChatCompletion();
  assert.equal(final.choices[0].finish_reason, "tool_calls");
  const [call] = final.choices[0].message.tool_calls;
  assert.deepEqual([call.function.name, JSON.parse(call.function.arguments)], ["read", { path: "src/main.rs" }]);
}

async function aCancelledStreamFreesTheEngine() {
  const stream = await client.chat.completions.create(request({ stream: true, max_tokens: 1900, ignore_eos: true }));
  for await (const chunk of stream) {
    assert.equal(chunk.object, "chat.completion.chunk");
    break;
  }
  stream.controller.abort();
  await engineIsIdle();
}

async function errorsHaveTheirClasses() {
  const missing = await refused(NotFoundError, () => client.chat.completions.create(request({ model: "nobody" })));
  assert.equal(missing.code, "model_not_found");
  assert.ok(missing.requestID, "a request has an id");
  await refused(NotFoundError, () => client.chat.completions.create(request({ model: "nobody", stream: true })));
  await refused(BadRequestError, () => client.chat.completions.create(request({ temperature: -1 })));
  const stranger = client.withOptions({ apiKey: `rmr_00000000_${"0".repeat(64)}` });
  await refused(AuthenticationError, () => stranger.chat.completions.create(request()));
  const long = request({ messages: say("word ".repeat(20_000)) });
  const error = await refused(BadRequestError, () => client.chat.completions.create(long));
  assert.ok(error.message.includes("maximum context length"), error.message);
}

await keep([
  modelsAreListedAndFound,
  aStreamGivesTheSameTextInPieces,
  aToolIsRunAndItsAnswerRead,
  aToolsArgumentsAreStreamed,
  aCancelledStreamFreesTheEngine,
  errorsHaveTheirClasses,
]);
