"""Unmodified SDKs talk to a running sidecar; these fixtures say where it is and what reached the provider.

`cargo xtask test --only python` starts worker, sidecar and mock upstream and sets LIQUID_URL, MOCK_URL and, where the
weights of the worker's language model are there, WORKER_URL.
"""

import gzip
import hashlib
import json
import os
import pathlib
import time
import urllib.request
import uuid

import pytest

LIQUID = os.environ.get("LIQUID_URL", "")
MOCK = os.environ.get("MOCK_URL", "")
WORKER = os.environ.get("WORKER_URL", "")
INSIDE = os.environ.get("INSIDE_URL", "")
CUAD = pathlib.Path(__file__).parents[3] / "eval" / "cuad.jsonl.gz"


def pytest_configure():
    if not LIQUID or not MOCK:
        pytest.exit("run these through: cargo xtask test --only python", returncode=4)


def fetch(url, method="GET", data=None):
    request = urllib.request.Request(url, method=method, data=data)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.read()


class Mock:
    """The provider's side: the exact requests that it received."""

    def requests(self):
        return json.loads(fetch(f"{MOCK}/mock/requests"))

    def last(self):
        requests = self.requests()
        request = requests[-1]
        request["body"] = fetch(f"{MOCK}/mock/requests/{request['index']}/body")
        request["header"] = dict(request["headers"])
        return request

    def abandoned(self):
        return json.loads(fetch(f"{MOCK}/mock/stats"))["abandoned"]

    def wait_for_abandoned(self):
        """True once the provider has seen its reader leave; false after ten seconds."""
        end = time.monotonic() + 10
        while time.monotonic() < end:
            if self.abandoned() > 0:
                return True
            time.sleep(0.02)
        return False


class Contract:
    """A real contract with a lawyer's question, new to the sidecar each time."""

    def __init__(self):
        with gzip.open(CUAD, "rt", encoding="utf-8") as lines:
            item = json.loads(next(lines))
        # White space around a document stays where it is; the manifest's offsets begin behind it.
        self.text = f"Exhibit {uuid.uuid4()}\n\n{item['document']}".strip()
        self.question = item["question"]

    def assert_compressed(self, headers, mock):
        """The headers, the manifest and the bytes that the provider received tell the same story."""
        assert headers["x-liquid-decision"] == "compressed", dict(headers)
        before, after = int(headers["x-liquid-tokens-before"]), int(headers["x-liquid-tokens-after"])
        assert after < before / 2
        assert float(headers["x-liquid-overhead-ms"]) > 0
        manifest = json.loads(fetch(f"{LIQUID}/liquid/packs/{headers['x-liquid-pack-id']}"))
        source = self.text.encode()
        [record] = manifest["packs"]
        assert record["source"]["sha256"] == hashlib.sha256(source).hexdigest()
        assert record["source"]["bytes"] == len(source)
        pack = self.sent_pack(mock.last()["json"])
        assert hashlib.sha256(pack.encode()).hexdigest() == record["pack"]["sha256"]
        assert record["kept"]
        rest = pack
        for span in record["kept"]:
            text = source[span["start"] : span["end"]].decode()
            before, found, rest = rest.partition(text)
            assert found == text, f"bytes {span['start']}..{span['end']} are not in the pack, in order"
        ranges = sorted((r["start"], r["end"]) for r in record["kept"] + record["dropped"])
        assert ranges[0][0] == 0 and ranges[-1][1] == len(source)
        assert all(left[1] == right[0] for left, right in zip(ranges, ranges[1:]))

    def sent_pack(self, body):
        """The longest text of the user that reached the provider: it stands where the document stood."""
        messages = body.get("messages") or body["input"]
        texts = []
        for message in messages:
            if message.get("role") == "user":
                content = message["content"]
                texts += [content] if isinstance(content, str) else [part["text"] for part in content]
        assert self.text not in texts
        return max(texts, key=len)


@pytest.fixture
def liquid():
    return LIQUID


@pytest.fixture
def worker():
    """The worker's own address: it serves SmolLM2 there."""
    if not WORKER:
        pytest.skip("no weights of a language model; cargo xtask model --decoder fetches them")
    return WORKER


@pytest.fixture
def inside(worker):
    """A sidecar that answers with the worker's model, and has no other provider."""
    return INSIDE


@pytest.fixture
def contract():
    return Contract()


@pytest.fixture
def mock():
    fetch(f"{MOCK}/mock/requests", method="DELETE")
    return Mock()
