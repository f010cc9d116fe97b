"""An application as anybody writes it, in a cluster whose only language model is the workers': no key, no provider.

Asks the same question about a long document twice, streamed, and prints as one line of JSON what came back and with whom its
pod was connected meanwhile. Its sidecar is in the same pod, so in the same network: the connections are the sidecar's too.
"""

import ipaddress
import json
import os
import urllib.request

import document
from openai import OpenAI

ESTABLISHED, LISTENING = "01", "0A"


def address(text):
    """An address of /proc/net/tcp: words of four bytes, each with its last byte first."""
    host, port = text.split(":")
    raw = bytes.fromhex(host)
    raw = b"".join(raw[place : place + 4][::-1] for place in range(0, len(raw), 4))
    found = ipaddress.ip_address(raw)
    return str(getattr(found, "ipv4_mapped", None) or found), int(port, 16)


def peers():
    """Who is at the other end of the connections that this pod has opened."""
    lines = []
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        if os.path.exists(table):
            lines += [line.split() for line in open(table).readlines()[1:]]
    own = {address(line[1])[1] for line in lines if line[3] == LISTENING}
    open_ones = [line for line in lines if line[3] == ESTABLISHED and address(line[1])[1] not in own]
    return {address(line[2])[0] for line in open_ones}


client = OpenAI(api_key="unused", max_retries=0, timeout=60)
body = {
    "model": "any-model",
    "messages": [
        {"role": "user", "content": document.long("inside")},
        {"role": "user", "content": document.QUESTION},
    ],
    "temperature": 0,
    "stream": True,
    "stream_options": {"include_usage": True},
}


def ask(tokens):
    with client.chat.completions.with_streaming_response.create(max_tokens=tokens, **body) as answer:
        headers = {name: value for name, value in answer.headers.items() if name.startswith("x-liquid-")}
        text, pieces, reason, usage, seen = "", 0, None, None, set()
        for chunk in answer.parse():
            seen |= peers()
            usage = chunk.usage or usage
            for choice in chunk.choices:
                pieces += bool(choice.delta.content)
                text += choice.delta.content or ""
                reason = choice.finish_reason or reason
    usage = usage.model_dump()
    return {"headers": headers, "text": text, "pieces": pieces, "finish": reason, "usage": usage, "peers": sorted(seen)}


first, second = ask(24), ask(4)
stats = json.load(urllib.request.urlopen(str(client.base_url).replace("/v1/", "/liquid/stats")))
keys = sorted(name for name in os.environ if name.endswith("_API_KEY"))
print(json.dumps({"base_url": str(client.base_url), "first": first, "second": second, "stats": stats, "keys": keys}))
