"""anthropic-python: the Messages API."""

import anthropic
import pytest

HELLO = [{"role": "user", "content": "Hello"}]
TOOLS = [
    {
        "name": "get_weather",
        "description": "The weather at a place",
        "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    }
]
MODEL = {"model": "claude-opus-5", "max_tokens": 100}


@pytest.fixture
def client(liquid, mock):
    return anthropic.Anthropic(base_url=liquid, api_key="sk-ant-test", max_retries=0)


def test_plain(client, mock):
    raw = client.messages.with_raw_response.create(**MODEL, messages=HELLO, system="Be brief.")
    assert raw.parse().content[0].text.startswith("I read 5 characters")
    last = mock.last()
    assert last["body"] == raw.http_response.request.content
    assert last["header"]["authorization"] == "Bearer sk-ant-test"
    assert last["header"]["anthropic-version"]
    assert raw.headers["x-liquid-decision"] == "passed"


def test_streamed(client):
    with client.messages.stream(**MODEL, messages=HELLO) as stream:
        text = "".join(stream.text_stream)
        message = stream.get_final_message()
    assert text == message.content[0].text
    assert message.stop_reason == "end_turn"


def test_tools(client):
    message = client.messages.create(**MODEL, messages=HELLO, tools=TOOLS)
    call = message.content[0]
    assert (message.stop_reason, call.name, call.input) == ("tool_use", "get_weather", {"city": "text"})
    answered = [
        *HELLO,
        {"role": "assistant", "content": [call.model_dump(exclude_none=True)]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "sunny"}]},
    ]
    assert client.messages.create(**MODEL, messages=answered, tools=TOOLS).stop_reason == "end_turn"


def test_tools_streamed(client):
    with client.messages.stream(**MODEL, messages=HELLO, tools=TOOLS) as stream:
        message = stream.get_final_message()
    assert message.content[0].input == {"city": "text"}


def test_counting_tokens_passes_through(client):
    assert client.messages.count_tokens(model="claude-opus-5", messages=HELLO).input_tokens == 2


@pytest.mark.parametrize(
    ("model", "error"),
    [
        ("mock-400", anthropic.BadRequestError),
        ("mock-401", anthropic.AuthenticationError),
        ("mock-404", anthropic.NotFoundError),
        ("mock-429", anthropic.RateLimitError),
        ("mock-500", anthropic.InternalServerError),
    ],
)
def test_errors_are_typed(client, model, error):
    with pytest.raises(error) as caught:
        client.messages.create(model=model, max_tokens=10, messages=HELLO)
    assert caught.value.body["type"] == "error"


def test_a_body_over_the_limit(client, mock):
    messages = [{"role": "user", "content": "a" * 5_000_000}]
    with pytest.raises(anthropic.APIStatusError) as caught:
        client.messages.create(**MODEL, messages=messages)
    assert caught.value.status_code == 413
    assert caught.value.body["error"]["type"] == "request_too_large"
    assert mock.requests() == []


def test_an_error_in_mid_stream_is_raised(client):
    stream = client.messages.create(model="mock-error-event-4", max_tokens=10, messages=HELLO, stream=True)
    with pytest.raises(anthropic.APIError):
        list(stream)


def test_leaving_a_stream_frees_the_provider(client, mock):
    stream = client.messages.create(model="mock-pace-50", max_tokens=10, messages=HELLO, stream=True)
    next(iter(stream))
    stream.close()
    assert mock.wait_for_abandoned()


@pytest.mark.parametrize("stream", [False, True])
def test_a_long_document_goes_out_as_its_evidence(client, mock, contract, stream):
    content = [{"type": "text", "text": contract.text}, {"type": "text", "text": contract.question}]
    raw = client.messages.with_raw_response.create(
        **MODEL, system="You are a lawyer.", messages=[{"role": "user", "content": content}], stream=stream
    )
    contract.assert_compressed(raw.headers, mock)
    assert mock.last()["json"]["system"] == "You are a lawyer."


def test_a_cache_marked_document_is_left_alone(client, mock, contract):
    marked = {"type": "text", "text": contract.text, "cache_control": {"type": "ephemeral"}}
    messages = [{"role": "user", "content": [marked, {"type": "text", "text": contract.question}]}]
    raw = client.messages.with_raw_response.create(**MODEL, messages=messages)
    assert raw.headers["x-liquid-reason"] == "cache_marked"
    assert mock.last()["body"] == raw.http_response.request.content
