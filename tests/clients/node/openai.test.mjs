// openai-node: chat completions, Responses and typed errors.

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { beforeEach, test } from 'node:test';

import OpenAI from 'openai';
import { zodResponseFormat } from 'openai/helpers/zod';
import { z } from 'zod';

import { LIQUID, assertCompressed, contract, mock } from './setup.mjs';

const client = new OpenAI({ baseURL: `${LIQUID}/v1`, apiKey: 'sk-test', maxRetries: 0 });
const messages = [{ role: 'system', content: 'Be brief.' }, { role: 'user', content: 'Grüß dich' }];
const parameters = { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] };
const tools = [{ type: 'function', function: { name: 'get_weather', parameters } }];
const create = (rest) => client.chat.completions.create({ model: 'gpt-5.6', messages, ...rest });

async function collect(stream) {
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return chunks;
}

const text = (chunks, index = 0) =>
  chunks
    .flatMap((chunk) => chunk.choices)
    .filter((choice) => choice.index === index)
    .map((choice) => choice.delta.content ?? '')
    .join('');

beforeEach(() => mock.reset());

test('plain', async () => {
  const answer = await create();
  assert.match(answer.choices[0].message.content, /^I read 9 characters/);
  const sent = await mock.last();
  assert.ok(answer.choices[0].message.content.includes(sent.body_sha256));
});

test('headers with the parsed answer', async () => {
  const { data, response, request_id: id } = await create().withResponse();
  assert.ok(data.usage.total_tokens > 0);
  assert.equal(response.headers.get('x-liquid-decision'), 'passed');
  assert.equal(id, 'req_mock_0');
});

test('streaming, with usage', async () => {
  const chunks = await collect(await create({ stream: true, stream_options: { include_usage: true } }));
  assert.match(text(chunks), /^I read 9 characters/);
  assert.ok(chunks.at(-1).usage.total_tokens > 0);
});

for (const fault of ['chunk-1', 'gzip', 'gzip+chunk-3']) {
  test(`streaming, written as ${fault}`, async () => {
    const chunks = await collect(await create({ model: `mock-${fault}`, stream: true }));
    assert.match(text(chunks), /^I read 9 characters/);
  });
}

test('tools', async () => {
  const answer = await create({ tools });
  const [call] = answer.choices[0].message.tool_calls;
  assert.deepEqual(JSON.parse(call.function.arguments), { city: 'text' });
  const result = { role: 'tool', tool_call_id: call.id, content: 'sunny' };
  const second = await create({ tools, messages: [...messages, answer.choices[0].message, result] });
  assert.equal(second.choices[0].finish_reason, 'stop');
});

test('tools, streamed', async () => {
  const chunks = await collect(await create({ tools, stream: true }));
  const calls = chunks.flatMap((chunk) => chunk.choices[0].delta.tool_calls ?? []);
  assert.equal(calls[0].function.name, 'get_weather');
  assert.deepEqual(JSON.parse(calls.map((call) => call.function.arguments ?? '').join('')), { city: 'text' });
});

test('several choices', async () => {
  const answer = await create({ n: 2 });
  assert.deepEqual(answer.choices.map((choice) => choice.index), [0, 1]);
});

test('structured output', async () => {
  const Verdict = z.object({ allowed: z.boolean(), reasons: z.array(z.string()) });
  const format = zodResponseFormat(Verdict, 'verdict');
  const answer = await client.chat.completions.parse({ model: 'gpt-5.6', messages, response_format: format });
  assert.deepEqual(answer.choices[0].message.parsed, { allowed: true, reasons: ['text'] });
});

for (const [model, error] of [
  ['mock-401', OpenAI.AuthenticationError],
  ['mock-404', OpenAI.NotFoundError],
  ['mock-429', OpenAI.RateLimitError],
  ['mock-500', OpenAI.InternalServerError],
]) {
  test(`${model} is a typed error`, async () => {
    await assert.rejects(create({ model }), error);
    await assert.rejects(create({ model, stream: true }), error);
  });
}

test('the SDK retries', async () => {
  const model = `mock-429-1+retry-after-0:${randomUUID()}`;
  await client.chat.completions.create({ model, messages }, { maxRetries: 1 });
  assert.equal((await mock.requests()).length, 2);
});

test('a body over the limit', async () => {
  const error = await create({ messages: [{ role: 'user', content: 'a'.repeat(5_000_000) }] }).catch((e) => e);
  assert.ok(error instanceof OpenAI.APIError);
  assert.equal(error.status, 413);
  assert.deepEqual(await mock.requests(), []);
});

test('an error in mid-stream is thrown', async () => {
  const stream = await create({ model: 'mock-error-event-4', stream: true });
  await assert.rejects(collect(stream), OpenAI.APIError);
});

test('a broken stream is no clean end', async () => {
  await assert.rejects(collect(await create({ model: 'mock-cut-4', stream: true })));
});

test('leaving a stream frees the provider', async () => {
  const stream = await create({ model: 'mock-pace-50', stream: true });
  for await (const _ of stream) break;
  assert.ok(await mock.waitForAbandoned());
});

test('embeddings pass through', async () => {
  const { data } = await client.embeddings.create({ model: 'm', input: 'four' });
  assert.deepEqual(Array.from(data[0].embedding), [4, 0.5, -0.5]);
});

test('responses, plain and streamed', async () => {
  const answer = await client.responses.create({ model: 'gpt-5.6', input: 'Hello' });
  assert.match(answer.output_text, /^I read 5 characters/);
  const events = await collect(await client.responses.create({ model: 'gpt-5.6', input: 'Hello', stream: true }));
  const deltas = events.filter((event) => event.type === 'response.output_text.delta');
  assert.match(deltas.map((event) => event.delta).join(''), /^I read 5 characters/);
});

for (const stream of [false, true]) {
  test(`a long document goes out as its evidence, ${stream ? 'streamed' : 'plain'}`, async () => {
    const { text: document, question } = contract();
    const long = [{ role: 'user', content: document }, { role: 'user', content: question }];
    const { data, response } = await create({ messages: long, stream }).withResponse();
    const sent = (await mock.last()).json.messages;
    assert.deepEqual(sent[1], long[1]);
    await assertCompressed(response.headers, document, sent[0].content);
    const answer = stream ? text(await collect(data)) : data.choices[0].message.content;
    assert.match(answer, /^I read /);
  });
}
