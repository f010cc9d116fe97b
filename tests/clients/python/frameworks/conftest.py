"""Unmodified frameworks put a contract into a call in their default ways; these fixtures give them the contract and
judge what reached the provider: the question word for word, and little else of the contract than what answers it.

A framework's calls are told from all others by their key, so the tests do not disturb each other.
"""

import gzip
import json
import os
import pathlib
import re
import urllib.request
import uuid

import openai
import pytest

# Before a framework is imported: none may fetch prices, send telemetry or look for models. What tries to leave this
# machine all the same meets a closed port at once.
os.environ.update(
    AGNO_TELEMETRY="false",
    HAYSTACK_TELEMETRY_ENABLED="False",
    HF_HUB_OFFLINE="1",
    LANGSMITH_TRACING="false",
    LITELLM_LOCAL_MODEL_COST_MAP="True",
    OPENAI_AGENTS_DISABLE_TRACING="1",
    HTTP_PROXY="http://127.0.0.1:9",
    HTTPS_PROXY="http://127.0.0.1:9",
    NO_PROXY="127.0.0.1",
)

CUAD = pathlib.Path(__file__).parents[4] / "eval" / "cuad.jsonl.gz"
# 4,188 words, of which one clause of 85 answers; whoever asks for no more than "the terms" does not get that clause.
ITEM = "cuad-dev-0140"
# Words that must be saved, and how much less evidence may arrive than when the same is asked plainly.
SAVED, LOSS = 0.3, 0.02


def strings(value):
    """Every text in a JSON value, in order, with the texts of JSON that stands inside a text."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            yield from strings(inner)
    elif isinstance(value, str):
        yield value
        if value.lstrip()[:1] in ("{", "["):
            try:
                inner = json.loads(value)
            except ValueError:
                return
            yield from strings(inner)


def count_words(value):
    """The words of a JSON value's texts, each once."""
    if isinstance(value, str):
        return len(value.split())
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, list):
        return 0
    return sum(count_words(inner) for inner in value)


def recall(evidence, text, run=6):
    """The share of the evidence's letters in words that arrived in runs of `run` words, a shorter piece as a whole."""
    arrived = text.split()
    total = kept = 0
    for piece in evidence:
        words = piece.split()
        length = min(run, len(words))
        runs = {tuple(arrived[at : at + length]) for at in range(len(arrived) - length + 1)}
        found = set()
        for at in range(len(words) - length + 1):
            if tuple(words[at : at + length]) in runs:
                found.update(range(at, at + length))
        total += sum(len(word) for word in words)
        kept += sum(len(words[at]) for at in found)
    return kept / total


class Contract:
    """A real contract, a lawyer's question about it and the clause that answers it."""

    def __init__(self):
        with gzip.open(CUAD, "rt", encoding="utf-8") as lines:
            item = next(item for item in map(json.loads, lines) if item["id"] == ITEM)
        self.text = item["document"]
        self.question = item["question"]
        # The same without the name of the clause, as an extraction describes a field.
        self.task = item["question"].partition(": ")[2]
        self.evidence = [span["text"] for span in item["evidence"]]
        # What a retriever would return: pieces of up to 1,800 characters, not cut within a word.
        self.passages = re.findall(r"(?s).{1,1800}(?:\s|$)", self.text)


class Call:
    """The calls of one framework: the key that they bear, and what of them reached the provider."""

    def __init__(self, contract, plain=1.0):
        self.key = f"sk-{uuid.uuid4()}"
        self.contract = contract
        self.plain = plain

    def bodies(self):
        with urllib.request.urlopen(f"{os.environ['MOCK_URL']}/mock/requests", timeout=10) as answer:
            requests = json.load(answer)
        return [request["json"] for request in requests if any(self.key in value for _, value in request["headers"])]

    def texts(self):
        """The texts of each call."""
        return [list(strings(body)) for body in self.bodies()]

    def recalls(self):
        """How much of the clause reached the provider in each call."""
        texts = ["\n".join(texts) for texts in self.texts()]
        # Some templates put JSON between other words of a text: its words count as they read.
        texts = [text.replace("\\n", "\n").replace('\\"', '"') for text in texts]
        return [recall(self.contract.evidence, text) for text in texts]

    def assert_answerable(self, asked, fetched_by=0):
        """In each call the question stands word for word, the contract shrank and its clause is there; with the first
        `fetched_by` calls an agent fetches the contract."""
        bodies = self.bodies()
        assert len(bodies) > fetched_by, "the contract did not reach the provider"
        for body, found in zip(bodies[fetched_by:], self.recalls()[fetched_by:]):
            assert any(asked in text for text in strings(body)), "the question did not arrive word for word"
            saved = 1 - count_words(body) / count_words(self.contract.text)
            assert saved > SAVED, f"{saved:.1%} of the contract's words were saved"
            assert found >= self.plain - LOSS, f"{found:.1%} of the clause arrived"


@pytest.fixture(scope="session")
def contract():
    return Contract()


@pytest.fixture(scope="session")
def plain(contract):
    """The share of the clause that arrives when contract and question are two plain messages."""
    call = Call(contract)
    messages = [{"role": "user", "content": text} for text in (contract.text, contract.question)]
    client = openai.OpenAI(base_url=f"{os.environ['LIQUID_URL']}/v1", api_key=call.key, max_retries=0)
    client.chat.completions.create(model="gpt-5.6", messages=messages)
    found = call.recalls()[0]
    assert found > 0.9, f"{found:.1%} of the clause arrived when it was asked for plainly"
    return found


@pytest.fixture
def call(contract, plain, liquid, monkeypatch):
    """What the frameworks find in their environment, as their users set it."""
    call = Call(contract, plain)
    for name, value in {"OPENAI": f"{liquid}/v1", "ANTHROPIC": liquid}.items():
        monkeypatch.setenv(f"{name}_BASE_URL", value)
        monkeypatch.setenv(f"{name}_API_KEY", call.key)
    return call
