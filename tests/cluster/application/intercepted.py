"""An application with a provider's URL in its code, and others that find the sidecar where that URL leads.

Prints what came back as one line of JSON. The first argument says what is done; the second is the document's seed.
"""

import hashlib
import json
import socket
import ssl
import sys
import urllib.request

import document
from openai import OpenAI

HOST = "api.openai.com"
URL = f"https://{HOST}/v1"
KEY = "key-of-the-application"


def messages(seed):
    return [
        {"role": "user", "content": document.long(seed)},
        {"role": "user", "content": document.QUESTION},
    ]


def own(headers):
    return {name.lower(): value for name, value in headers.items() if name.lower().startswith("x-liquid-")}


def sdk(seed):
    client = OpenAI(base_url=URL, api_key=KEY, max_retries=0)
    answer = client.chat.completions.with_raw_response.create(model="any-model", messages=messages(seed))
    return {"headers": own(answer.headers), "text": answer.parse().choices[0].message.content}


def standard(seed):
    body = json.dumps({"model": "any-model", "messages": messages(seed)}).encode()
    headers = {"content-type": "application/json", "authorization": f"Bearer {KEY}"}
    request = urllib.request.Request(f"{URL}/chat/completions", body, headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        text = json.load(answer)["choices"][0]["message"]["content"]
        return {"headers": own(answer.headers), "text": text}


def pinned(_):
    """Trusts authorities of its own, as clients do that pin certificates: here none."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.wrap_socket(socket.create_connection((HOST, 443), timeout=30), server_hostname=HOST)
    except ssl.SSLCertVerificationError as error:
        return {"error": error.verify_message}
    raise SystemExit("an authority is trusted that is not in the list")


def other(name):
    """The certificate that another host shows, reached at the sidecar's address, and by the host's own."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE

    def shown(address):
        with socket.create_connection((address, 443), timeout=30) as stream:
            with context.wrap_socket(stream, server_hostname=name) as encrypted:
                return hashlib.sha256(encrypted.getpeercert(binary_form=True)).hexdigest()

    return {"passed_on": shown("127.0.0.1"), "direct": shown(name)}


what = {"sdk": sdk, "standard": standard, "pinned": pinned, "other": other}[sys.argv[1]]
print(json.dumps({"base_url": URL, **what(sys.argv[2])}))
