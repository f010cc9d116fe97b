// Where the running sidecar and the mock provider are; `cargo xtask test --only node` starts both.

import assert from 'node:assert/strict';
import { createHash, randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';

export const LIQUID = process.env.LIQUID_URL;
/** The worker's own address, where it serves SmolLM2; undefined where its weights are absent. */
export const WORKER = process.env.WORKER_URL;
/** A sidecar that answers with the worker's model, and has no other provider; undefined likewise. */
export const INSIDE = process.env.INSIDE_URL;
export const noDecoder = WORKER ? false : 'no weights of a language model; cargo xtask model --decoder fetches them';
const MOCK = process.env.MOCK_URL;
assert.ok(LIQUID && MOCK, 'run these through: cargo xtask test --only node');

/** The provider's side: the exact requests that it received. */
export const mock = {
  reset: () => fetch(`${MOCK}/mock/requests`, { method: 'DELETE' }),
  requests: async () => (await fetch(`${MOCK}/mock/requests`)).json(),
  async last() {
    const request = (await this.requests()).at(-1);
    const body = await fetch(`${MOCK}/mock/requests/${request.index}/body`);
    return { ...request, body: Buffer.from(await body.arrayBuffer()) };
  },
  /** True once the provider has seen its reader leave; false after ten seconds. */
  async waitForAbandoned() {
    for (let tries = 0; tries < 500; tries += 1) {
      const { abandoned } = await (await fetch(`${MOCK}/mock/stats`)).json();
      if (abandoned > 0) return true;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    return false;
  },
};

/** A real contract with a lawyer's question, new to the sidecar each time. */
export function contract() {
  const file = new URL('../../../eval/cuad.jsonl.gz', import.meta.url);
  const [line] = gunzipSync(readFileSync(file)).toString().split('\n', 1);
  const { document, question } = JSON.parse(line);
  // White space around a document stays where it is; the manifest's offsets begin behind it.
  return { text: `Exhibit ${randomUUID()}\n\n${document}`.trim(), question };
}

/** The headers, the manifest and the text that the provider received tell the same story. */
export async function assertCompressed(headers, source, pack) {
  assert.equal(headers.get('x-liquid-decision'), 'compressed', headers.get('x-liquid-reason'));
  const tokens = (name) => Number(headers.get(`x-liquid-tokens-${name}`));
  assert.ok(tokens('after') < tokens('before') / 2);
  const manifest = await (await fetch(`${LIQUID}/liquid/packs/${headers.get('x-liquid-pack-id')}`)).json();
  const bytes = Buffer.from(source);
  const [record] = manifest.packs;
  assert.equal(record.source.sha256, createHash('sha256').update(bytes).digest('hex'));
  assert.equal(record.pack.sha256, createHash('sha256').update(pack).digest('hex'));
  assert.ok(record.kept.length > 0);
  let from = 0;
  for (const { start, end } of record.kept) {
    const span = bytes.subarray(start, end).toString();
    const found = pack.indexOf(span, from);
    assert.ok(found >= from, `bytes ${start}..${end} are not in the pack, in order`);
    from = found + span.length;
  }
}
