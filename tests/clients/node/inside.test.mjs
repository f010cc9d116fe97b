// The SDKs through a sidecar whose only provider is the worker's language model: nothing leaves.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import Anthropic from '@anthropic-ai/sdk';
import OpenAI from 'openai';

import { INSIDE, noDecoder as skip } from './setup.mjs';

const messages = [{ role: 'user', content: 'What is the capital of France?' }];
const certain = { model: 'any-model', temperature: 0, max_tokens: 16, messages };
const anthropic = new Anthropic({ baseURL: INSIDE, apiKey: 'unused', maxRetries: 0 });
const answer = 'The capital of France is Paris.';

test('OpenAI: a streamed answer', { skip }, async () => {
  const client = new OpenAI({ baseURL: `${INSIDE}/v1`, apiKey: 'unused', maxRetries: 0 });
  assert.equal(await client.chat.completions.stream(certain).finalContent(), answer);
});

test('Anthropic: a message', { skip }, async () => {
  const message = await anthropic.messages.create(certain);
  assert.equal(message.content[0].text, answer);
  assert.equal(message.stop_reason, 'end_turn');
  assert.equal(message.usage.output_tokens, 8);
});

test('Anthropic: a streamed message', { skip }, async () => {
  const message = await anthropic.messages.stream(certain).finalMessage();
  assert.equal(message.content[0].text, answer);
  assert.equal(message.usage.output_tokens, 8);
});

test('Anthropic: typed errors', { skip }, async () => {
  const tools = [{ name: 'f', input_schema: { type: 'object' } }];
  await assert.rejects(anthropic.messages.create({ ...certain, tools }), Anthropic.BadRequestError);
});
