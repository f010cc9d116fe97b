"""openai-python and LangChain against the worker itself, which serves SmolLM2: no sidecar, no provider."""

import asyncio
import uuid

import openai
import pytest
from langchain_openai import ChatOpenAI

MODEL = "smollm2-135m-instruct"
FRANCE = [{"role": "user", "content": "What is the capital of France?"}]
CERTAIN = {"model": MODEL, "temperature": 0, "max_tokens": 16}


@pytest.fixture
def client(worker):
    return openai.OpenAI(base_url=f"{worker}/v1", api_key="unused", max_retries=0)


def test_the_model_is_listed(client):
    [model] = client.models.list()
    assert model.id == MODEL
    assert client.models.retrieve(MODEL).created == model.created


def test_an_answer(client):
    answer = client.chat.completions.create(messages=FRANCE, **CERTAIN)
    [choice] = answer.choices
    assert choice.message.content == "The capital of France is Paris."
    assert choice.finish_reason == "stop"
    usage = answer.usage
    assert usage.prompt_tokens + usage.completion_tokens == usage.total_tokens
    assert usage.completion_tokens == 8


def test_a_stream_is_the_answer_in_pieces(client):
    options = {"include_usage": True}
    chunks = list(client.chat.completions.create(messages=FRANCE, stream=True, stream_options=options, **CERTAIN))
    assert chunks[0].choices[0].delta.role == "assistant"
    pieces = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert "".join(pieces) == "The capital of France is Paris."
    assert sum(piece != "" for piece in pieces) > 3
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    assert chunks[-1].usage.completion_tokens == 8


def test_a_prefix_is_read_once(client):
    rules = {"role": "system", "content": f"{uuid.uuid4()} " + "Answer in one word. " * 20}
    asked = [client.chat.completions.create(messages=[rules, *FRANCE], **CERTAIN) for _ in range(2)]
    cached = [answer.usage.prompt_tokens_details.cached_tokens for answer in asked]
    assert cached[0] == 0 and cached[1] >= 64
    assert asked[0].choices[0].message.content == asked[1].choices[0].message.content


def test_a_seed_repeats_what_is_drawn(client):
    draw = {"model": MODEL, "messages": FRANCE, "temperature": 1.2, "n": 2, "seed": 5, "max_tokens": 4}
    first, second = (client.chat.completions.create(**draw) for _ in range(2))
    texts = [[choice.message.content for choice in answer.choices] for answer in (first, second)]
    assert texts[0] == texts[1]
    assert texts[0][0] != texts[0][1]


def test_logprobs_and_stop(client):
    answer = client.chat.completions.create(messages=FRANCE, logprobs=True, top_logprobs=3, stop=" Paris", **CERTAIN)
    [choice] = answer.choices
    assert (choice.message.content, choice.finish_reason) == ("The capital of France is", "stop")
    assert "".join(token.token for token in choice.logprobs.content).startswith("The capital of France is")
    assert all(len(token.top_logprobs) == 3 for token in choice.logprobs.content)


def test_plain_completions(client):
    prompts = ["The capital of France is", "The capital of Italy is"]
    answer = client.completions.create(prompt=prompts, echo=True, **{**CERTAIN, "max_tokens": 1})
    assert [choice.text for choice in answer.choices] == [f"{prompts[0]} Paris", f"{prompts[1]} Rome"]
    stream = client.completions.create(prompt=prompts[0], stream=True, **{**CERTAIN, "max_tokens": 2})
    assert "".join(chunk.choices[0].text for chunk in stream) == " Paris."


def test_errors_have_their_types(client):
    create = client.chat.completions.create
    with pytest.raises(openai.NotFoundError) as error:
        create(messages=FRANCE, model="gpt-5.6")
    assert (error.value.code, error.value.param) == ("model_not_found", "model")
    with pytest.raises(openai.BadRequestError) as error:
        create(messages=[{"role": "user", "content": "word " * 9000}], **CERTAIN)
    assert error.value.code == "context_length_exceeded"
    # SmolLM2's template would drop them without a word.
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    with pytest.raises(openai.BadRequestError) as error:
        create(messages=FRANCE, tools=[tool], **CERTAIN)
    assert error.value.param == "tools"


def test_many_at_once_are_answered_as_one_alone(worker):
    async def ask():
        client = openai.AsyncOpenAI(base_url=f"{worker}/v1", api_key="unused", max_retries=0)
        async with client:
            calls = [client.chat.completions.create(messages=FRANCE, **CERTAIN) for _ in range(4)]
            return await asyncio.gather(*calls)

    answers = asyncio.run(ask())
    assert {answer.choices[0].message.content for answer in answers} == {"The capital of France is Paris."}
    assert len({answer.id for answer in answers}) == 4


def test_langchain(worker):
    model = ChatOpenAI(base_url=f"{worker}/v1", api_key="unused", max_retries=0, **CERTAIN)
    answer = model.invoke("What is the capital of France?")
    assert answer.content == "The capital of France is Paris."
    assert answer.usage_metadata["output_tokens"] == 8
    pieces = [chunk.content for chunk in model.stream("What is the capital of France?")]
    assert "".join(pieces) == answer.content
