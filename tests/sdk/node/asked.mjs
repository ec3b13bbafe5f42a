// What the tests ask of a model. The two books are compared outside, by each call's client request id: the test's name.

import { test as nodeTest } from "node:test";
import { z } from "zod";

export const url = process.env.TEST_FAREBOX;
export const apiKey = "sk-test-of-the-caller";
export const question = "Which city is the capital of Norway, and how many people live there?";
export const png = process.env.TEST_PNG_BASE64;
export const City = z.object({ name: z.string(), people: z.int() });
export const Place = z.object({ city: z.string(), unit: z.enum(["celsius", "fahrenheit"]) });

// A test that is given the headers of its calls.
export function test(name, body) {
  nodeTest(name, () => body({ "x-client-request-id": name }));
}
