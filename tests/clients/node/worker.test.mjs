// openai-node against the worker itself, which serves SmolLM2: no sidecar, no provider.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import OpenAI from 'openai';

import { WORKER } from './setup.mjs';

const skip = WORKER ? false : 'no weights of a language model; cargo xtask model --decoder fetches them';
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
