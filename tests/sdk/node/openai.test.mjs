// OpenAI's Node SDK.

import assert from "node:assert/strict";
import OpenAI from "openai";
import { zodResponseFormat, zodTextFormat } from "openai/helpers/zod";
import { apiKey, City, Place, png, question, test, url } from "./asked.mjs";
import { z } from "zod";

const model = "gpt-4o-mini";
const messages = [{ role: "user", content: question }];
const parameters = z.toJSONSchema(Place);
const client = (defaultHeaders) => new OpenAI({ baseURL: `${url}/v1`, apiKey, maxRetries: 0, defaultHeaders });

test("openai: a chat", async (headers) => {
  const answer = await client(headers).chat.completions.create({ model, messages });
  assert.ok(answer.choices[0].message.content);
  assert.ok(answer.usage.total_tokens > 0);
});

test("openai: a stream without usage asked for", async (headers) => {
  const stream = await client(headers).chat.completions.create({ model, messages, stream: true });
  let said = "";
  for await (const chunk of stream) {
    assert.equal(chunk.choices.length, 1);
    assert.ok(!("usage" in chunk));
    said += chunk.choices[0].delta.content ?? "";
  }
  assert.ok(said);
});

test("openai: a stream with usage asked for", async (headers) => {
  const asked = { model, messages, stream: true, stream_options: { include_usage: true } };
  let last;
  for await (const chunk of await client(headers).chat.completions.create(asked)) last = chunk;
  assert.deepEqual(last.choices, []);
  assert.ok(last.usage.completion_tokens > 0);
});

test("openai: tools", async (headers) => {
  const tools = [{ type: "function", function: { name: "weather", parameters } }];
  const answer = await client(headers).chat.completions.create({ model, messages, tools, tool_choice: "required" });
  const [wanted] = answer.choices[0].message.tool_calls;
  assert.ok(Place.parse(JSON.parse(wanted.function.arguments)));
});

test("openai: streamed tools", async (headers) => {
  const tools = [{ type: "function", function: { name: "weather", parameters } }];
  const stream = client(headers).chat.completions.stream({ model, messages, tools, tool_choice: "required" });
  const [wanted] = (await stream.finalMessage()).tool_calls;
  assert.ok(Place.parse(JSON.parse(wanted.function.arguments)));
});

test("openai: a json schema", async (headers) => {
  const asked = { model, messages, response_format: zodResponseFormat(City, "city") };
  const answer = await client(headers).chat.completions.parse(asked);
  assert.ok(answer.choices[0].message.parsed.name);
});

test("openai: vision", async (headers) => {
  const image_url = { url: `data:image/png;base64,${png}` };
  const content = [{ type: "text", text: "What is this?" }, { type: "image_url", image_url }];
  const asked = { model: "gpt-4o", messages: [{ role: "user", content }] };
  assert.ok((await client(headers).chat.completions.create(asked)).choices[0].message.content);
});

test("openai: embeddings", async (headers) => {
  const answer = await client(headers).embeddings.create({ model: "text-embedding-3-small", input: ["one", "two"] });
  assert.equal(answer.data.length, 2);
  assert.equal(typeof answer.data[0].embedding[0], "number");
});

test("openai: a response", async (headers) => {
  assert.ok((await client(headers).responses.create({ model, input: question })).output_text);
});

test("openai: a streamed response", async (headers) => {
  let last;
  for await (const event of await client(headers).responses.create({ model, input: question, stream: true })) last = event;
  assert.equal(last.type, "response.completed");
});

test("openai: a response by a json schema", async (headers) => {
  const asked = { model, input: question, text: { format: zodTextFormat(City, "city") } };
  assert.ok((await client(headers).responses.parse(asked)).output_parsed.name);
});

for (const [status, kind] of [
  [400, OpenAI.BadRequestError],
  [429, OpenAI.RateLimitError],
  [500, OpenAI.InternalServerError],
]) {
  test(`openai: an error ${status}`, async (headers) => {
    const wishes = { ...headers, "x-sim-status": String(status), "x-sim-retry-after": "7" };
    const error = await client(wishes).chat.completions.create({ model, messages }).catch((error) => error);
    assert.ok(error instanceof kind, String(error));
    assert.equal(error.headers.get("retry-after"), "7");
  });
}
