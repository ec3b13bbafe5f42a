// Vercel's AI SDK with its OpenAI, OpenAI-compatible and Anthropic providers.

import assert from "node:assert/strict";
import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { APICallError, embedMany, generateText, Output, streamText, tool } from "ai";
import { apiKey, City, Place, png, question, test, url } from "./asked.mjs";

const providers = {
  openai: (headers) => createOpenAI({ baseURL: `${url}/v1`, apiKey, headers }).chat,
  responses: (headers) => createOpenAI({ baseURL: `${url}/v1`, apiKey, headers }).responses,
  compatible: (headers) => createOpenAICompatible({ name: "farebox", baseURL: `${url}/v1`, apiKey, headers }),
  anthropic: (headers) => createAnthropic({ baseURL: `${url}/anthropic/v1`, apiKey, headers }),
};
const names = { openai: "gpt-4o-mini", responses: "gpt-4o-mini", compatible: "gpt-4o-mini", anthropic: "claude-sonnet-4-6" };
const once = { maxRetries: 0 };

for (const [name, provider] of Object.entries(providers)) {
  test(`vercel ${name}: a text`, async (headers) => {
    const answer = await generateText({ ...once, model: provider(headers)(names[name]), prompt: question });
    assert.ok(answer.text);
    assert.ok(answer.usage.outputTokens > 0);
  });

  test(`vercel ${name}: a stream`, async (headers) => {
    const answer = streamText({ ...once, model: provider(headers)(names[name]), prompt: question });
    let said = "";
    for await (const text of answer.textStream) said += text;
    assert.ok(said);
    assert.equal(await answer.finishReason, "stop");
  });

  test(`vercel ${name}: tools`, async (headers) => {
    const weather = tool({ description: "The weather of a city.", inputSchema: Place });
    const asked = { ...once, model: provider(headers)(names[name]), prompt: question, tools: { weather } };
    const answer = await generateText({ ...asked, toolChoice: "required" });
    assert.ok(Place.parse(answer.toolCalls[0].input));
  });

  test(`vercel ${name}: vision`, async (headers) => {
    const content = [{ type: "text", text: "What is this?" }, { type: "image", image: png, mediaType: "image/png" }];
    const asked = { ...once, model: provider(headers)(names[name]), messages: [{ role: "user", content }] };
    assert.ok((await generateText(asked)).text);
  });

  for (const status of [400, 429, 500]) {
    test(`vercel ${name}: an error ${status}`, async (headers) => {
      const wishes = { ...headers, "x-sim-status": String(status), "x-sim-retry-after": "7" };
      const asked = { ...once, model: provider(wishes)(names[name]), prompt: question };
      const error = await generateText(asked).catch((error) => error);
      assert.ok(APICallError.isInstance(error), String(error));
      assert.equal(error.statusCode, status);
      assert.equal(error.responseHeaders["retry-after"], "7");
    });
  }
}

for (const name of ["openai", "responses"]) {
  test(`vercel ${name}: a json schema`, async (headers) => {
    const output = Output.object({ schema: City });
    const asked = { ...once, model: providers[name](headers)(names[name]), prompt: question, output };
    assert.ok((await generateText(asked)).output.name);
  });
}

test("vercel openai: embeddings", async (headers) => {
  const model = createOpenAI({ baseURL: `${url}/v1`, apiKey, headers }).embedding("text-embedding-3-small");
  assert.equal((await embedMany({ ...once, model, values: ["one", "two"] })).embeddings.length, 2);
});

test("vercel compatible: embeddings", async (headers) => {
  const model = providers.compatible(headers).embeddingModel("text-embedding-3-small");
  assert.equal((await embedMany({ ...once, model, values: ["one", "two"] })).embeddings.length, 2);
});
