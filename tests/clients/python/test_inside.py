"""anthropic-python and openai-python (chats and Responses) through a sidecar whose only provider is the worker's model."""

import anthropic
import openai
import pydantic
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


@pytest.fixture
def responses(inside):
    return openai.OpenAI(base_url=f"{inside}/v1", api_key="unused", max_retries=0).responses


CERTAIN_RESPONSE = {"model": "any-model", "temperature": 0, "max_output_tokens": 16, "input": FRANCE}


def test_a_response(responses):
    response = responses.create(**CERTAIN_RESPONSE)
    assert (response.output_text, response.status, response.error) == (ANSWER, "completed", None)
    assert response.usage.output_tokens == 8 and response.usage.total_tokens > 16
    short = responses.create(**{**CERTAIN_RESPONSE, "max_output_tokens": 3})
    assert (short.status, short.incomplete_details.reason) == ("incomplete", "max_output_tokens")


def test_a_streamed_response(responses):
    with responses.stream(**CERTAIN_RESPONSE) as stream:
        events = list(stream)
        final = stream.get_final_response()
    pieces = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert len(pieces) > 3 and "".join(pieces) == final.output_text == ANSWER
    assert [event.sequence_number for event in events if hasattr(event, "sequence_number")] == list(range(len(events)))
    assert (events[0].type, events[-1].type, final.usage.output_tokens) == ("response.created", "response.completed", 8)


def test_a_response_with_a_schema_and_a_conversation(responses):
    class Place(pydantic.BaseModel):
        city: str

    parsed = responses.parse(**{**CERTAIN_RESPONSE, "max_output_tokens": 32}, text_format=Place)
    assert parsed.output_parsed.city
    said = responses.create(**CERTAIN_RESPONSE).output
    said = [item.model_dump(exclude_none=True) for item in said]
    turns = [*FRANCE, *said, {"role": "user", "content": "And of Italy?"}]
    assert "Rome" in responses.create(**{**CERTAIN_RESPONSE, "input": turns}).output_text


def test_what_a_response_leans_on_is_refused_by_name(responses):
    search = {"type": "web_search"}
    for field, value in {"previous_response_id": "resp_1", "background": True, "tools": [search]}.items():
        with pytest.raises(openai.BadRequestError) as error:
            responses.create(**CERTAIN_RESPONSE, **{field: value})
        assert error.value.param == field


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
