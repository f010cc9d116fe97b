// openai-node against the worker itself, which serves SmolLM2: no sidecar, no provider.

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { test } from 'node:test';

import OpenAI from 'openai';
import { zodResponseFormat } from 'openai/helpers/zod';
import { z } from 'zod';

import { WORKER, noDecoder as skip } from './setup.mjs';

const client = new OpenAI({ baseURL: `${WORKER}/v1`, apiKey: 'unused', maxRetries: 0 });
const model = 'smollm2-135m-instruct';
const messages = [{ role: 'user', content: 'What is the capital of France?' }];
const create = (rest) => client.chat.completions.create({ model, messages, temperature: 0, max_tokens: 16, ...rest });

test('the worker answers', { skip }, async () => {
  const { data, request_id: id } = await create().withResponse();
  assert.equal(data.choices[0].message.content, 'The capital of France is Paris.');
  assert.equal(data.choices[0].finish_reason, 'stop');
  assert.equal(data.usage.completion_tokens, 8);
  assert.equal(id, data.id);
});

test('the worker streams, with usage', { skip }, async () => {
  const chunks = [];
  for await (const chunk of await create({ stream: true, stream_options: { include_usage: true } })) chunks.push(chunk);
  const text = chunks.map((chunk) => chunk.choices[0]?.delta.content ?? '').join('');
  assert.equal(text, 'The capital of France is Paris.');
  assert.equal(chunks.at(-1).usage.completion_tokens, 8);
});

test('several answers of a seed are drawn again alike', { skip }, async () => {
  const draw = () => create({ temperature: 1.2, n: 3, seed: 7, max_tokens: 4 });
  const [first, second] = [await draw(), await draw()];
  const texts = ({ choices }) => choices.map(({ message }) => message.content);
  assert.deepEqual(texts(first), texts(second));
  assert.deepEqual(first.choices.map(({ index }) => index), [0, 1, 2]);
  assert.ok(new Set(texts(first)).size > 1);
});

test('logprobs, a stop string and plain completions', { skip }, async () => {
  const [choice] = (await create({ logprobs: true, top_logprobs: 2, stop: [' Paris'] })).choices;
  assert.equal(choice.message.content, 'The capital of France is');
  assert.equal(choice.finish_reason, 'stop');
  assert.ok(choice.logprobs.content.every(({ top_logprobs: top, logprob }) => top.length === 2 && logprob <= 0));
  const prompt = 'The capital of France is';
  const plain = await client.completions.create({ model, prompt, temperature: 0, max_tokens: 1 });
  assert.equal(plain.choices[0].text, ' Paris');
});

test('a prefix that was read is counted as cached', { skip }, async () => {
  const rules = { role: 'system', content: `${randomUUID()} ${'Answer in one word. '.repeat(20)}` };
  const ask = () => create({ messages: [rules, ...messages], max_tokens: 2 });
  const cached = [await ask(), await ask()].map(({ usage }) => usage.prompt_tokens_details.cached_tokens);
  assert.equal(cached[0], 0);
  assert.ok(cached[1] >= 64);
});

test('an answer keeps to a schema', { skip }, async () => {
  const answer = z.object({ city: z.string(), country: z.string() });
  const format = zodResponseFormat(answer, 'answer');
  const { choices } = await client.chat.completions.parse({
    model, messages, temperature: 0, max_tokens: 64, response_format: format,
  });
  assert.equal(choices[0].finish_reason, 'stop');
  assert.deepEqual(Object.keys(choices[0].message.parsed), ['city', 'country']);
});

test('tools are refused where the model was not trained to call them', { skip }, async () => {
  const tools = [{ type: 'function', function: { name: 'f', parameters: { type: 'object' } } }];
  await assert.rejects(create({ tools }), (error) => error instanceof OpenAI.BadRequestError && error.param === 'tools');
});

test("the SDK's own runner puts the worker's stream together", { skip }, async () => {
  const runner = client.chat.completions.stream({ model, messages, temperature: 0, max_tokens: 16 });
  assert.equal(await runner.finalContent(), 'The capital of France is Paris.');
});

test("the worker's errors have their types", { skip }, async () => {
  await assert.rejects(create({ model: 'gpt-5.6' }), (error) => {
    assert.ok(error instanceof OpenAI.NotFoundError);
    return error.code === 'model_not_found' && error.param === 'model';
  });
});
