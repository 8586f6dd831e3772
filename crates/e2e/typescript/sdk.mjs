// What both suites share: the SDKs, wherever they were installed, and how promises are kept.

import { strict as assert } from "node:assert";
import { createRequire } from "node:module";
import { setTimeout as pause } from "node:timers/promises";

const require = createRequire(`${process.env.REMORA_TEST_NODE}/package.json`);

/** The named SDK, from the folder in REMORA_TEST_NODE. */
export const sdk = (name) => require(name);

/** Keeps every promise in turn; the first that is broken ends the process with a failure. */
export async function keep(promises) {
  for (const promise of promises) {
    await promise();
    console.log("ok", promise.name);
  }
}

/** The error of this class that a call ends with. */
export async function refused(kind, call) {
  try {
    await call();
  } catch (error) {
    assert.ok(error instanceof kind, `${kind.name} was expected, not ${error.constructor.name}: ${error.message}`);
    return error;
  }
  throw new assert.AssertionError({ message: `${kind.name} was expected` });
}

/** Waits until the engine computes nothing for anybody. */
export async function engineIsIdle() {
  for (let attempt = 0; attempt < 200; attempt++) {
    const text = await (await fetch(`${process.env.ENGINE_URL}/metrics`)).text();
    const lines = text.split("\n").filter((line) => line.startsWith("vllm:num_requests_running"));
    if (lines.every((line) => Number(line.slice(line.lastIndexOf(" "))) === 0)) return;
    await pause(50);
  }
  throw new assert.AssertionError({ message: "the engine still computes for a client that went away" });
}
