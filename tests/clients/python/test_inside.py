"""anthropic-python and openai-python through a sidecar whose only provider is the worker's language model."""

import anthropic
import openai
import pytest

FRANCE = [{"role": "user", "content": "What is the capital of France?"}]
# The SDK of Anthropic has no temperature any more; its API has.
CERTAIN = {"model": "any-model", "extra_body": {"temperature": 0}, "max_tokens": 16, "messages": FRANCE}
ANSWER = "The capital of France is Paris."


@pytest.fixture
def client(inside):
    return anthropic.Anthropic(base_url=inside, api_key="unused", max_retries=0)


def test_openai_is_answered(inside):
    client = openai.OpenAI(base_url=f"{inside}/v1", api_key="unused", max_retries=0)
    assert client.chat.completions.create(**CERTAIN).choices[0].message.content == ANSWER


def test_a_message(client):
    message = client.messages.create(**CERTAIN)
    assert [block.text for block in message.content] == [ANSWER]
    assert (message.role, message.stop_reason) == ("assistant", "end_turn")
    assert message.usage.output_tokens == 8 and message.usage.input_tokens + message.usage.cache_read_input_tokens > 8


def test_a_streamed_message(client):
    with client.messages.stream(**CERTAIN) as stream:
        pieces = list(stream.text_stream)
        message = stream.get_final_message()
    assert len(pieces) > 3 and "".join(pieces) == ANSWER
    assert (message.stop_reason, message.usage.output_tokens) == ("end_turn", 8)


def test_a_limit_and_a_conversation(client):
    short = client.messages.create(**{**CERTAIN, "max_tokens": 3})
    assert (short.stop_reason, short.usage.output_tokens) == ("max_tokens", 3)
    turns = [*FRANCE, {"role": "assistant", "content": ANSWER}, {"role": "user", "content": "And of Italy?"}]
    assert "Rome" in client.messages.create(**{**CERTAIN, "messages": turns}).content[0].text


def test_errors_have_their_types(client):
    with pytest.raises(anthropic.BadRequestError) as error:
        client.messages.create(**CERTAIN, tools=[{"name": "f", "input_schema": {"type": "object"}}])
    assert error.value.body["error"]["type"] == "invalid_request_error"
    image = {"type": "image", "source": {"type": "url", "url": "https://host/a.png"}}
    with pytest.raises(anthropic.BadRequestError):
        client.messages.create(**{**CERTAIN, "messages": [{"role": "user", "content": [image]}]})
