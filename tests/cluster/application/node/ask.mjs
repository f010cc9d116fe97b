// An application of Node with a provider's URL in its code. The first argument says whose: OpenAI's answer is streamed,
// Anthropic's is not.
//
// Prints what came back as one line of JSON. The document and the question are in its environment.

import Anthropic from "@anthropic-ai/sdk";
import OpenAI from "openai";

const { DOCUMENT, QUESTION } = process.env;
const KEY = "key-of-the-application";
const messages = [DOCUMENT, QUESTION].map((content) => ({ role: "user", content }));

const own = (headers) => Object.fromEntries([...headers].filter(([name]) => name.startsWith("x-liquid-")));

async function openai() {
  const client = new OpenAI({ baseURL: "https://api.openai.com/v1", apiKey: KEY, maxRetries: 0 });
  const call = client.chat.completions.create({ model: "any-model", messages, stream: true });
  const { data, response } = await call.withResponse();
  let [text, chunks, finish] = ["", 0, null];
  for await (const chunk of data) {
    chunks += 1;
    for (const choice of chunk.choices) {
      text += choice.delta.content ?? "";
      finish = choice.finish_reason ?? finish;
    }
  }
  return { base_url: client.baseURL, headers: own(response.headers), text, chunks, finish };
}

async function anthropic() {
  const client = new Anthropic({ baseURL: "https://api.anthropic.com", apiKey: KEY, maxRetries: 0 });
  const call = client.messages.create({ model: "any-model", max_tokens: 100, messages });
  const { data, response } = await call.withResponse();
  return { base_url: client.baseURL, headers: own(response.headers), text: data.content[0].text };
}

console.log(JSON.stringify(await { openai, anthropic }[process.argv[2]]()));
