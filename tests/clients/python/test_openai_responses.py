"""openai-python, the Responses API: the default of OpenAI's agent SDKs."""

import json

import openai
import pydantic
import pytest

TOOL = {
    "type": "function",
    "name": "get_weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


class Verdict(pydantic.BaseModel):
    allowed: bool


@pytest.fixture
def client(liquid, mock):
    return openai.OpenAI(base_url=f"{liquid}/v1", api_key="sk-test", max_retries=0)


def test_plain(client, mock):
    raw = client.responses.with_raw_response.create(model="gpt-5.6", input="Hello")
    assert raw.parse().output_text.startswith("I read 5 characters")
    assert mock.last()["body"] == raw.http_response.request.content


def test_streamed(client):
    events = list(client.responses.create(model="gpt-5.6", input="Hello", stream=True))
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert "".join(deltas) == events[-1].response.output_text
    assert [event.sequence_number for event in events] == list(range(len(events)))


def test_the_sdks_stream_helper(client):
    with client.responses.stream(model="gpt-5.6", input="Hello") as stream:
        for _ in stream:
            pass
        assert stream.get_final_response().output_text.startswith("I read 5 characters")


@pytest.mark.parametrize("stream", [False, True])
def test_tools(client, stream):
    answer = client.responses.create(model="gpt-5.6", input="Weather?", tools=[TOOL], stream=stream)
    response = list(answer)[-1].response if stream else answer
    call = response.output[0]
    assert (call.type, call.name, json.loads(call.arguments)) == ("function_call", "get_weather", {"city": "text"})
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
    items = [{"role": "user", "content": "Weather?"}, call.model_dump(exclude_none=True), result]
    assert client.responses.create(model="gpt-5.6", input=items, tools=[TOOL]).output_text


def test_structured_output(client):
    answer = client.responses.parse(model="gpt-5.6", input="Hello", text_format=Verdict)
    assert answer.output_parsed == Verdict(allowed=True)


def test_errors_are_typed(client):
    with pytest.raises(openai.RateLimitError):
        client.responses.create(model="mock-429", input="Hello")
    with pytest.raises(openai.InternalServerError):
        client.responses.create(model="mock-500", input="Hello", stream=True)


@pytest.mark.parametrize("stream", [False, True])
def test_a_long_document_goes_out_as_its_evidence(client, mock, contract, stream):
    items = [{"role": "user", "content": contract.text}, {"role": "user", "content": contract.question}]
    raw = client.responses.with_raw_response.create(
        model="gpt-5.6", instructions="You are a lawyer.", input=items, stream=stream
    )
    contract.assert_compressed(raw.headers, mock)
    assert mock.last()["json"]["input"][1] == items[1]
    answer = raw.parse()
    response = list(answer)[-1].response if stream else answer
    assert response.output_text.startswith("I read ")
