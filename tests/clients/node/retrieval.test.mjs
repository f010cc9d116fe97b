// The model's way back to a document: in a stream the model asks for more of a packed contract, the sidecar answers it,
// and the SDKs read one answer. The provider is a script of this file; worker and sidecars are started here, as the
// other tests' sidecar offers no tool.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { createServer as createListener } from 'node:net';
import { after, before, beforeEach, test } from 'node:test';
import { fileURLToPath } from 'node:url';

import Anthropic from '@anthropic-ai/sdk';
import OpenAI from 'openai';

import { contract } from './setup.mjs';

const TOOL = 'liquid_retrieve';
const PROGRAMS = process.env.CARGO_TARGET_DIR ?? fileURLToPath(new URL('../../../target', import.meta.url));
/** Loading the programs on a busy machine, in milliseconds. */
const START_LIMIT = 120_000;

/** Answers each call with the next stream of `script`, made of the call's body. */
const provider = { script: [], bodies: [] };
const server = createServer(async (request, response) => {
  const body = JSON.parse(Buffer.concat(await request.toArray()));
  provider.bodies.push(body);
  response.writeHead(200, { 'content-type': 'text/event-stream' });
  response.end(provider.script.shift()(body));
});
const children = [];
const urls = {};

async function freePort() {
  const listener = createListener().listen(0, '127.0.0.1');
  await once(listener, 'listening');
  const { port } = listener.address();
  listener.close();
  await once(listener, 'close');
  return port;
}

/** Starts a program and waits until it is ready. */
async function start(program, args, admin, variables) {
  const own = ([name]) => !name.startsWith('LIQUID_') && name !== 'SYNTHESIS_MODEL';
  const env = { ...Object.fromEntries(Object.entries(process.env).filter(own)), ...variables };
  const child = spawn(`${PROGRAMS}/debug/${program}`, args, { env, stdio: 'ignore' });
  children.push(child);
  const end = Date.now() + START_LIMIT;
  while (Date.now() < end) {
    assert.equal(child.exitCode, null, `${program} ended`);
    const ready = await fetch(`http://127.0.0.1:${admin}/readyz`).catch(() => undefined);
    if (ready?.ok) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  assert.fail(`${program} is not ready after ${START_LIMIT} ms`);
}

async function startSidecar(upstream, worker, variables) {
  const [address, admin] = [await freePort(), await freePort()];
  await start('liquid-sidecar', [], admin, {
    LIQUID_SIDECAR__LISTEN__ADDRESS: `127.0.0.1:${address}`,
    LIQUID_SIDECAR__LISTEN__ADMIN: `127.0.0.1:${admin}`,
    LIQUID_SIDECAR__EXTRACT__WORKERS: `127.0.0.1:${worker}`,
    LIQUID_SIDECAR__EXTRACT__DEADLINE_MS: '60000',
    LIQUID_SIDECAR__POLICY__RETRIEVAL__ENABLED: 'true',
    LIQUID_SIDECAR__UPSTREAM__RETRIES: '0',
    LIQUID_SIDECAR__UPSTREAM__PROVIDERS__OPENAI__BASE_URL: upstream,
    LIQUID_SIDECAR__UPSTREAM__PROVIDERS__ANTHROPIC__BASE_URL: upstream,
    ...variables,
  });
  return `http://127.0.0.1:${address}`;
}

before(async () => {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const upstream = `http://127.0.0.1:${server.address().port}/v1`;
  const [worker, admin] = [await freePort(), await freePort()];
  await start('liquid-worker', ['serve'], admin, {
    LIQUID_WORKER__GRPC__LISTEN: `127.0.0.1:${worker}`,
    LIQUID_WORKER__ADMIN__LISTEN: `127.0.0.1:${admin}`,
  });
  urls.passing = await startSidecar(upstream, worker, {});
  urls.translating = await startSidecar(upstream, worker, { SYNTHESIS_MODEL: 'anthropic/m' });
});

after(async () => {
  for (const child of children) child.kill();
  server.closeAllConnections();
  server.close();
});

beforeEach(() => Object.assign(provider, { script: [], bodies: [] }));

/** A question about the contract, by the name that its pack has in a request. */
const question = (body) => {
  const [, rest] = JSON.stringify(body).split('[excerpt ', 2);
  return JSON.stringify({ document: rest.split(':', 1)[0], question: 'Which law governs this agreement?' });
};

/** What the model was told is a passage of the contract, word for word. */
function assertAnswered(result, text) {
  const [, start, passage] = /^\[\w+ @(\d+)\]\n([^\n]{20,200})/.exec(result);
  assert.ok(Buffer.from(text).subarray(Number(start)).toString().startsWith(passage), result);
}

// Chat Completions

function chatStream(deltas, finish) {
  const chunk = { id: `chatcmpl-${finish}`, object: 'chat.completion.chunk', created: 1, model: 'm' };
  const choices = deltas.map((delta) => ({ index: 0, delta, finish_reason: null }));
  choices.push({ index: 0, delta: {}, finish_reason: finish });
  const usage = { prompt_tokens: 100, completion_tokens: 10, total_tokens: 110 };
  const chunks = [...choices.map((choice) => ({ ...chunk, choices: [choice] })), { ...chunk, choices: [], usage }];
  return [...chunks.map((one) => `data: ${JSON.stringify(one)}\n\n`), 'data: [DONE]\n\n'].join('');
}

const call = (id, name, args) => ({
  tool_calls: [{ index: 0, id, type: 'function', function: { name, arguments: args } }],
});
const role = { role: 'assistant', content: '' };
const says = (text) => () => chatStream([role, { content: text }], 'stop');
const parameters = { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] };

async function chat(url) {
  const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: 'sk-test', maxRetries: 0 });
  const { text, question: content } = contract();
  const chunks = [];
  const runner = client.chat.completions.stream({
    model: 'm',
    messages: [{ role: 'user', content: text }, { role: 'user', content }],
    tools: [{ type: 'function', function: { name: 'get_weather', parameters } }],
    stream_options: { include_usage: true },
  });
  runner.on('chunk', (chunk) => chunks.push(chunk));
  const completion = await runner.finalChatCompletion();
  assert.ok(!JSON.stringify(chunks).includes(TOOL));
  return { text, completion };
}

test('openai reads one stream', async () => {
  const asks = (body) => chatStream([role, { content: 'Let me look. ' }, call('call_q', TOOL, question(body))], 'tool_calls');
  provider.script = [asks, says('The law of Texas.')];
  const { text, completion } = await chat(urls.passing);
  assert.equal(completion.choices[0].message.content, 'Let me look. The law of Texas.');
  assert.equal(completion.choices[0].finish_reason, 'stop');
  assert.equal(completion.usage.total_tokens, 220);
  const [first, second] = provider.bodies;
  assert.deepEqual(first.tools.map((tool) => tool.function.name), ['get_weather', TOOL]);
  assert.deepEqual(second.messages.slice(0, 2), first.messages);
  assertAnswered(second.messages[3].content, text);
});

test("openai gets the application's call behind a question", async () => {
  const asks = (body) => chatStream([role, call('call_q', TOOL, question(body))], 'tool_calls');
  provider.script = [asks, () => chatStream([role, call('call_w', 'get_weather', '{"city":"Austin"}')], 'tool_calls')];
  const { completion } = await chat(urls.passing);
  const [own] = completion.choices[0].message.tool_calls;
  assert.deepEqual([own.id, own.function.arguments], ['call_w', '{"city":"Austin"}']);
});

// Messages, and Chat Completions that are translated to them

function messageStream(blocks, stop) {
  const usage = { input_tokens: 100, output_tokens: 1, cache_read_input_tokens: 40 };
  const message = { id: `msg_${stop}`, type: 'message', role: 'assistant', model: 'm', content: [], stop_reason: null };
  const events = [{ type: 'message_start', message: { ...message, stop_sequence: null, usage } }];
  for (const [index, block] of blocks.entries()) {
    const isText = typeof block === 'string';
    const content_block = isText ? { type: 'text', text: '' } : { type: 'tool_use', ...block, input: {} };
    const json = { type: 'input_json_delta', partial_json: block.input };
    const delta = isText ? { type: 'text_delta', text: block } : json;
    events.push({ type: 'content_block_start', index, content_block });
    events.push({ type: 'content_block_delta', index, delta }, { type: 'content_block_stop', index });
  }
  const delta = { stop_reason: stop, stop_sequence: null };
  events.push({ type: 'message_delta', delta, usage: { output_tokens: 10 } }, { type: 'message_stop' });
  return events.map((event) => `event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`).join('');
}

const asksInMessage = (body) =>
  messageStream(['Let me look. ', { id: 'toolu_q', name: TOOL, input: question(body) }], 'tool_use');
const answersInMessage = () => messageStream(['The law of Texas.'], 'end_turn');

test('anthropic reads one stream', async () => {
  provider.script = [asksInMessage, answersInMessage];
  const client = new Anthropic({ baseURL: urls.passing, apiKey: 'sk-ant-test', maxRetries: 0 });
  const { text, question: asked } = contract();
  const content = [{ type: 'text', text }, { type: 'text', text: asked }];
  const events = [];
  const stream = client.messages.stream({ model: 'm', max_tokens: 100, messages: [{ role: 'user', content }] });
  stream.on('streamEvent', (event) => events.push(event));
  const message = await stream.finalMessage();
  assert.deepEqual(message.content.map((block) => block.text), ['Let me look. ', 'The law of Texas.']);
  assert.deepEqual([message.stop_reason, message.usage.output_tokens], ['end_turn', 20]);
  assert.ok(!JSON.stringify(events).includes(TOOL));
  const [result] = provider.bodies[1].messages[2].content;
  assertAnswered(result.content, text);
});

test('openai reads one stream of an anthropic upstream', async () => {
  provider.script = [asksInMessage, answersInMessage];
  const { text, completion } = await chat(urls.translating);
  assert.equal(completion.choices[0].message.content, 'Let me look. The law of Texas.');
  assert.equal(completion.choices[0].finish_reason, 'stop');
  assert.deepEqual([completion.usage.prompt_tokens, completion.usage.completion_tokens], [280, 20]);
  const [result] = provider.bodies[1].messages.at(-1).content;
  assert.equal(result.tool_use_id, 'toolu_q');
  const told = typeof result.content === 'string' ? result.content : result.content[0].text;
  assertAnswered(told, text);
});
