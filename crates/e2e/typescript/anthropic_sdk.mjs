// Anthropic's official SDK against a running Remora: each function is one promise to its users.
//
// Needs ANTHROPIC_BASE_URL and ANTHROPIC_API_KEY, REMORA_TEST_NODE with the SDK, ENGINE_URL to see that a cancelled
// request leaves the engine, and SLOW_URL: a canned server whose streams begin with pings.

import { strict as assert } from "node:assert";

import { engineIsIdle, keep, refused, sdk } from "./sdk.mjs";

const { Anthropic, AuthenticationError, BadRequestError, NotFoundError } = sdk("@anthropic-ai/sdk");

const client = new Anthropic({ maxRetries: 0 });
const say = (content) => [{ role: "user", content }];
const request = (more) => ({ model: "remora-demo", max_tokens: 100, temperature: 0, messages: say("hello"), ...more });
const total = (usage) =>
  usage.input_tokens + (usage.cache_read_input_tokens ?? 0) + (usage.cache_creation_input_tokens ?? 0);
const READ = {
  name: "read",
  description: "Reads a file",
  input_schema: { type: "object", properties: { path: { type: "string" } }, required: ["path"] },
};

async function modelsAreListedAndFound() {
  const ids = [];
  for await (const model of client.models.list()) ids.push(model.id);
  assert.ok(ids.includes("remora-demo"), ids.join());
  const model = await client.models.retrieve("remora-demo");
  assert.deepEqual([model.type, model.id], ["model", "remora-demo"]);
  assert.ok(model.display_name && !Number.isNaN(Date.parse(model.created_at)));
  await refused(NotFoundError, () => client.models.retrieve("nobody"));
}

async function aStreamGivesTheSameMessageInPieces() {
  const whole = await client.messages.create(request());
  assert.deepEqual([whole.type, whole.role, whole.stop_reason], ["message", "assistant", "end_turn"]);
  const pieces = [];
  const stream = client.messages.stream(request()).on("text", (piece) => pieces.push(piece));
  const final = await stream.finalMessage();
  assert.equal(pieces.join(""), whole.content[0].text);
  assert.equal(await stream.finalText(), whole.content[0].text);
  assert.ok(pieces.length > 1);
  assert.equal(final.usage.output_tokens, whole.usage.output_tokens);
  assert.equal(total(final.usage), total(whole.usage));
}

async function aToolIsCalledAndItsAnswerRead() {
  const question = say("read src/main.rs")[0];
  const final = await client.messages.stream(request({ messages: [question], tools: [READ] })).finalMessage();
  assert.equal(final.stop_reason, "tool_use");
  const call = final.content.find((block) => block.type === "tool_use");
  assert.deepEqual([call.name, call.input], ["read", { path: "src/main.rs" }]);
  const result = { role: "user", content: [{ type: "tool_result", tool_use_id: call.id, content: "fn main() {}" }] };
  const messages = [question, { role: "assistant", content: final.content }, result];
  const last = await client.messages.create(request({ messages, tools: [READ] }));
  assert.equal(last.stop_reason, "end_turn");
  assert.ok(last.content[0].text.includes("main"), last.content[0].text);
}

async function tokensAreCountedAsTheyAreUsed() {
  const asked = { model: "remora-demo", messages: say("read src/main.rs"), system: "Answer briefly.", tools: [READ] };
  const counted = await client.messages.countTokens(asked);
  const { usage } = await client.messages.create({ ...asked, max_tokens: 4 });
  assert.equal(counted.input_tokens, total(usage));
}

async function stopSequencesStopAndAreNamed() {
  const counting = request({ messages: say("count to 12"), stop_sequences: [" 7"] });
  for (const message of [
    await client.messages.create(counting),
    await client.messages.stream(counting).finalMessage(),
  ]) {
    assert.deepEqual([message.stop_reason, message.stop_sequence], ["stop_sequence", " 7"]);
    assert.equal(message.content[0].text, "1 2 3 4 5 6");
  }
}

async function aCancelledStreamFreesTheEngine() {
  const asked = request({ messages: say("tell me a story"), max_tokens: 1900 });
  const stream = await client.messages.create({ ...asked, stream: true });
  for await (const event of stream) {
    assert.equal(event.type, "message_start");
    break;
  }
  stream.controller.abort();
  await engineIsIdle();
}

async function errorsHaveTheirClasses() {
  const missing = await refused(NotFoundError, () => client.messages.create(request({ model: "nobody" })));
  assert.equal(missing.error.error.type, "not_found_error");
  await refused(NotFoundError, () => client.messages.stream(request({ model: "nobody" })).finalMessage());
  await refused(BadRequestError, () => client.messages.create(request({ temperature: -1 })));
  const stranger = client.withOptions({ apiKey: `rmr_00000000_${"0".repeat(64)}` });
  await refused(AuthenticationError, () => stranger.messages.create(request()));
  const long = request({ messages: say("word ".repeat(20_000)) });
  const error = await refused(BadRequestError, () => client.messages.create(long));
  assert.match(error.error.error.message, /^prompt is too long: \d+ tokens > 2048 maximum$/);
}

async function pingsBeforeTheMessageBeginsDoNoHarm() {
  const slow = new Anthropic({ baseURL: process.env.SLOW_URL, apiKey: "unused", maxRetries: 0 });
  const final = await slow.messages.stream(request()).finalMessage();
  assert.deepEqual([final.content[0].text, final.stop_reason], ["hello", "end_turn"]);
  const names = [];
  for await (const event of await slow.messages.create(request({ stream: true }))) names.push(event.type);
  assert.ok(names.includes("message_start") && names.at(-1) === "message_stop", names.join());
}

await keep([
  modelsAreListedAndFound,
  aStreamGivesTheSameMessageInPieces,
  aToolIsCalledAndItsAnswerRead,
  tokensAreCountedAsTheyAreUsed,
  stopSequencesStopAndAreNamed,
  aCancelledStreamFreesTheEngine,
  errorsHaveTheirClasses,
  pingsBeforeTheMessageBeginsDoNoHarm,
]);
