"""An application as anybody writes it: OpenAI() takes its address from the environment.

Asks one question about a long document, streamed, and prints what came back as one line of JSON.
"""

import json
import os
import sys

import document
from openai import OpenAI

seed = sys.argv[1] if len(sys.argv) > 1 else "0"
client = OpenAI(api_key=os.environ.get("OPENAI_API_KEY", "key-of-the-application"), max_retries=0)
with client.chat.completions.with_streaming_response.create(
    model="any-model",
    stream=True,
    messages=[
        {"role": "system", "content": "Answer from the document."},
        {"role": "user", "content": document.long(seed)},
        {"role": "user", "content": document.QUESTION},
    ],
) as answer:
    headers = {name: value for name, value in answer.headers.items() if name.startswith("x-liquid-")}
    text, chunks, reason = "", 0, None
    for chunk in answer.parse():
        chunks += 1
        for choice in chunk.choices:
            text += choice.delta.content or ""
            reason = choice.finish_reason or reason
print(json.dumps({"base_url": str(client.base_url), "headers": headers, "text": text, "chunks": chunks, "finish": reason}))
