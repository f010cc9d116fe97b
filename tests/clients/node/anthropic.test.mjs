// The Anthropic SDK for Node: messages, streaming, tools, typed errors.

import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';

import Anthropic from '@anthropic-ai/sdk';

import { LIQUID, assertCompressed, contract, mock } from './setup.mjs';

const client = new Anthropic({ baseURL: LIQUID, apiKey: 'sk-ant-test', maxRetries: 0 });
const hello = { model: 'claude-opus-5', max_tokens: 100, messages: [{ role: 'user', content: 'Hello' }] };

beforeEach(() => mock.reset());

test('plain', async () => {
  const message = await client.messages.create(hello);
  assert.match(message.content[0].text, /^I read 5 characters/);
});

test('streamed', async () => {
  const message = await client.messages.stream(hello).finalMessage();
  assert.match(message.content[0].text, /^I read 5 characters/);
});

test('tools, streamed', async () => {
  const schema = { type: 'object', properties: { city: { type: 'string' } } };
  const tools = [{ name: 'get_weather', input_schema: schema }];
  const message = await client.messages.stream({ ...hello, tools }).finalMessage();
  assert.deepEqual(message.content[0].input, { city: 'text' });
});

test('errors are typed', async () => {
  await assert.rejects(client.messages.create({ ...hello, model: 'mock-401' }), Anthropic.AuthenticationError);
  await assert.rejects(client.messages.create({ ...hello, model: 'mock-429' }), Anthropic.RateLimitError);
});

test('a long document goes out as its evidence', async () => {
  const { text, question } = contract();
  const content = [{ type: 'text', text }, { type: 'text', text: question }];
  const messages = [{ role: 'user', content }];
  const { response } = await client.messages.create({ ...hello, messages }).withResponse();
  const sent = (await mock.last()).json.messages[0].content;
  assert.deepEqual(sent[1], content[1]);
  await assertCompressed(response.headers, text, sent[0].text);
});
