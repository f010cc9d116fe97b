"""Constant traffic: one question after the other, without any retry of its own, until SIGTERM.

Prints a line of JSON every second: how many requests were sent and failed, and what the sidecar decided. Every
failure prints its own line too.
"""

import json
import os
import signal
import sys
import time

import document
from openai import OpenAI

PAUSE = 0.2
running = True


def stop(*_):
    global running
    running = False


signal.signal(signal.SIGTERM, stop)
client = OpenAI(api_key=os.environ.get("OPENAI_API_KEY", "key-of-the-application"), max_retries=0, timeout=float(os.environ.get("TIMEOUT", "30")))
counts = {"sent": 0, "failed": 0, "decisions": {}}
said = time.monotonic()
while running:
    counts["sent"] += 1
    try:
        answer = client.chat.completions.with_raw_response.create(
            model="any-model",
            messages=[
                {"role": "user", "content": document.long(counts["sent"], sentences=250)},
                {"role": "user", "content": document.QUESTION},
            ],
        )
        decision = answer.headers.get("x-liquid-decision", "none")
        reason = answer.headers.get("x-liquid-reason", "none")
        answer.parse().choices[0].message.content.index("")
        key = decision if decision == "compressed" else f"{decision}: {reason}"
        counts["decisions"][key] = counts["decisions"].get(key, 0) + 1
    except Exception as error:
        counts["failed"] += 1
        print(json.dumps({"failure": f"{type(error).__name__}: {error}", "at": time.time()}), flush=True)
    if time.monotonic() - said >= 1:
        said = time.monotonic()
        print(json.dumps(counts), flush=True)
    time.sleep(PAUSE)
print(json.dumps(counts), flush=True)
sys.exit(0)
