"""openai-python, chat completions and what surrounds them."""

import asyncio
import hashlib
import json
import uuid

import openai
import pydantic
import pytest

HELLO = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Grüß dich, wie geht’s?"}]
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
                "required": ["city", "days"],
            },
        },
    }
]


class Verdict(pydantic.BaseModel):
    allowed: bool
    reasons: list[str]
    score: float


@pytest.fixture
def client(liquid, mock):
    return openai.OpenAI(base_url=f"{liquid}/v1", api_key="sk-test", max_retries=0)


def text(chunks, index=0):
    choices = [choice for chunk in chunks for choice in chunk.choices]
    return "".join(choice.delta.content or "" for choice in choices if choice.index == index)


def test_a_short_call_reaches_the_provider_byte_for_byte(client, mock):
    raw = client.chat.completions.with_raw_response.create(model="gpt-5.6", messages=HELLO, seed=7, user="ü")
    sent = raw.http_response.request.content
    assert mock.last()["body"] == sent
    assert hashlib.sha256(sent).hexdigest() in raw.parse().choices[0].message.content
    assert raw.headers["x-liquid-decision"] == "passed"
    assert raw.headers["x-request-id"] == "req_mock_0"


def test_the_key_is_handed_on_and_our_headers_are_not(client, mock):
    headers = {"x-liquid-mode": "off", "x-application": "kept"}
    client.chat.completions.create(model="gpt-5.6", messages=HELLO, extra_headers=headers)
    header = mock.last()["header"]
    assert header["authorization"] == "Bearer sk-test"
    assert header["x-application"] == "kept"
    assert not [name for name in header if name.startswith("x-liquid")]


def test_without_the_version_in_the_path(liquid, mock):
    client = openai.OpenAI(base_url=liquid, api_key="sk-test", max_retries=0)
    assert client.chat.completions.create(model="gpt-5.6", messages=HELLO).choices


def test_streaming(client):
    chunks = list(client.chat.completions.create(model="gpt-5.6", messages=HELLO, stream=True))
    assert text(chunks).startswith("I read ")
    assert len({chunk.id for chunk in chunks}) == 1
    assert all(chunk.usage is None for chunk in chunks)


def test_streaming_with_usage(client):
    options = {"include_usage": True}
    chunks = list(client.chat.completions.create(model="m", messages=HELLO, stream=True, stream_options=options))
    assert chunks[-1].choices == []
    assert chunks[-1].usage.total_tokens > 0


@pytest.mark.parametrize("fault", ["chunk-1", "chunk-7", "gzip", "gzip+chunk-5"])
def test_streaming_whatever_the_borders_of_writes(client, fault):
    chunks = list(client.chat.completions.create(model=f"mock-{fault}", messages=HELLO, stream=True))
    assert text(chunks).startswith("I read ")
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_gzip(client):
    answer = client.chat.completions.create(model="mock-gzip", messages=HELLO)
    assert answer.choices[0].message.content.startswith("I read ")


def test_tools(client, mock):
    answer = client.chat.completions.create(model="gpt-5.6", messages=HELLO, tools=TOOLS, tool_choice="auto")
    message = answer.choices[0].message
    call = message.tool_calls[0]
    assert json.loads(call.function.arguments) == {"city": "text", "days": 7}
    result = {"role": "tool", "tool_call_id": call.id, "content": "sunny"}
    messages = [*HELLO, message.model_dump(exclude_none=True), result]
    answer = client.chat.completions.create(model="gpt-5.6", messages=messages, tools=TOOLS)
    assert answer.choices[0].finish_reason == "stop"


def test_tools_streamed(client):
    chunks = list(client.chat.completions.create(model="gpt-5.6", messages=HELLO, tools=TOOLS, stream=True))
    calls = [call for chunk in chunks for call in chunk.choices[0].delta.tool_calls or []]
    assert calls[0].function.name == "get_weather" and calls[0].id
    assert json.loads("".join(call.function.arguments or "" for call in calls)) == {"city": "text", "days": 7}


def test_several_choices(client):
    answer = client.chat.completions.create(model="gpt-5.6", messages=HELLO, n=2)
    assert [choice.index for choice in answer.choices] == [0, 1]
    chunks = list(client.chat.completions.create(model="gpt-5.6", messages=HELLO, n=2, stream=True))
    assert text(chunks, 0) == text(chunks, 1) != ""


def test_structured_output(client):
    answer = client.chat.completions.parse(model="gpt-5.6", messages=HELLO, response_format=Verdict)
    assert answer.choices[0].message.parsed == Verdict(allowed=True, reasons=["text"], score=7.5)


def test_logprobs(client):
    answer = client.chat.completions.create(model="gpt-5.6", messages=HELLO, logprobs=True, top_logprobs=0)
    tokens = answer.choices[0].logprobs.content
    assert "".join(token.token for token in tokens) == answer.choices[0].message.content


@pytest.mark.parametrize(
    ("model", "error"),
    [
        ("mock-400", openai.BadRequestError),
        ("mock-401", openai.AuthenticationError),
        ("mock-403", openai.PermissionDeniedError),
        ("mock-404", openai.NotFoundError),
        ("mock-429", openai.RateLimitError),
        ("mock-500", openai.InternalServerError),
        ("mock-503", openai.InternalServerError),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_the_providers_errors_are_typed(client, model, error, stream):
    with pytest.raises(error) as caught:
        client.chat.completions.create(model=model, messages=HELLO, stream=stream)
    assert "scripted by the test" in caught.value.message


def test_a_wrong_key(liquid, mock):
    client = openai.OpenAI(base_url=f"{liquid}/v1", api_key="sk-invalid", max_retries=0)
    with pytest.raises(openai.AuthenticationError) as caught:
        client.chat.completions.create(model="gpt-5.6", messages=HELLO)
    assert caught.value.code == "invalid_api_key"


def test_retry_after_arrives(client):
    with pytest.raises(openai.RateLimitError) as caught:
        client.chat.completions.create(model="mock-429+retry-after-3", messages=HELLO)
    assert caught.value.response.headers["retry-after"] == "3"


def test_the_sdks_own_retries_succeed(client, mock):
    model = f"mock-429-1+retry-after-0:{uuid.uuid4()}"
    answer = client.with_options(max_retries=2).chat.completions.create(model=model, messages=HELLO)
    assert answer.choices
    assert len(mock.requests()) == 2


def test_a_body_over_the_limit(client, mock):
    messages = [{"role": "user", "content": "a" * 5_000_000}]
    with pytest.raises(openai.APIStatusError) as caught:
        client.chat.completions.create(model="gpt-5.6", messages=messages)
    assert caught.value.status_code == 413
    assert caught.value.type and caught.value.code and caught.value.message
    assert mock.requests() == []


def test_an_error_in_mid_stream_is_raised(client):
    stream = client.chat.completions.create(model="mock-error-event-4", messages=HELLO, stream=True)
    with pytest.raises(openai.APIError):
        list(stream)


def test_a_broken_stream_is_no_clean_end(client):
    stream = client.chat.completions.create(model="mock-cut-4", messages=HELLO, stream=True)
    with pytest.raises(Exception) as caught:
        list(stream)
    assert not isinstance(caught.value, StopIteration)


@pytest.mark.parametrize("surface", ["chat", "responses"])
def test_leaving_a_stream_frees_the_provider(client, mock, surface):
    model = "mock-pace-50"
    if surface == "chat":
        stream = client.chat.completions.create(model=model, messages=HELLO, stream=True)
    else:
        stream = client.responses.create(model=model, input="Hello", stream=True)
    next(iter(stream))
    stream.close()
    assert mock.wait_for_abandoned()


@pytest.mark.parametrize("stream", [False, True])
def test_a_long_document_goes_out_as_its_evidence(client, mock, contract, stream):
    messages = [
        {"role": "system", "content": "You are a lawyer."},
        {"role": "user", "content": contract.text},
        {"role": "user", "content": contract.question},
    ]
    create = client.chat.completions.with_raw_response.create
    raw = create(model="gpt-5.6", messages=messages, stream=stream, temperature=0.1)
    contract.assert_compressed(raw.headers, mock)
    sent, received = json.loads(raw.http_response.request.content), mock.last()["json"]
    sent["messages"].pop(1), received["messages"].pop(1)
    assert received == sent
    if stream:
        assert text(list(raw.parse())).startswith("I read ")
    else:
        assert raw.parse().choices[0].message.content.startswith("I read ")


def test_document_and_question_in_one_message(client, mock, contract):
    content = [{"type": "text", "text": contract.text}, {"type": "text", "text": contract.question}]
    messages = [{"role": "user", "content": content}]
    raw = client.chat.completions.with_raw_response.create(model="gpt-5.6", messages=messages)
    contract.assert_compressed(raw.headers, mock)
    assert mock.last()["json"]["messages"][0]["content"][1] == content[1]


def test_switched_off_by_the_caller(client, mock, contract):
    messages = [{"role": "user", "content": contract.text}, {"role": "user", "content": contract.question}]
    create = client.chat.completions.with_raw_response.create
    raw = create(model="gpt-5.6", messages=messages, extra_headers={"x-liquid-mode": "off"})
    assert raw.headers["x-liquid-reason"] == "mode_off"
    assert mock.last()["body"] == raw.http_response.request.content


def test_a_dry_run_sends_nothing(client, mock, contract):
    body = {
        "model": "gpt-5.6",
        "messages": [{"role": "user", "content": contract.text}, {"role": "user", "content": contract.question}],
    }
    answer = client.post("/chat/completions", body=body, cast_to=object, options={"params": {"dry_run": "1"}})
    assert answer["decision"]["action"] == "compressed"
    [pack] = answer["evidence"]["packs"]
    assert pack["excerpts"]
    assert mock.requests() == []


def test_what_we_do_not_know_passes_through(client, mock):
    assert [model.id for model in client.models.list()] == ["gpt-5.6", "mock-model"]
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("missing")
    embedding = client.embeddings.create(model="m", input=["four", "seventeen letters"])
    assert [vector.embedding for vector in embedding.data] == [[4.0, 0.5, -0.5], [17.0, 0.5, -0.5]]
    uploaded = client.files.create(file=("a.txt", b"\x00\xff" * 1000), purpose="user_data")
    assert uploaded.bytes == len(mock.last()["body"])
    assert b"\x00\xff" * 1000 in mock.last()["body"]


def test_the_asynchronous_client(liquid, mock):
    async def run():
        async with openai.AsyncOpenAI(base_url=f"{liquid}/v1", api_key="sk-test", max_retries=0) as client:
            plain = await client.chat.completions.create(model="gpt-5.6", messages=HELLO)
            assert plain.choices[0].message.content

            async def one():
                stream = await client.chat.completions.create(model="gpt-5.6", messages=HELLO, stream=True)
                return text([chunk async for chunk in stream])

            texts = await asyncio.gather(*(one() for _ in range(20)))
            assert all(streamed == texts[0] and streamed.startswith("I read ") for streamed in texts)

    asyncio.run(run())
