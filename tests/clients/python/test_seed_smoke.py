"""The smoke test of the product that this one replaces; streaming and tools answered 501 there."""

import openai
import pytest

TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather at a place",
        "parameters": {"type": "object", "properties": {"location": {"type": "string"}}, "required": ["location"]},
    },
}


@pytest.fixture
def client(liquid, mock):
    return openai.OpenAI(base_url=f"{liquid}/v1", api_key="sk-test", max_retries=0)


def test_basic_shape(client):
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]
    answer = client.chat.completions.create(model="gpt-5.6", messages=messages)
    assert answer.object == "chat.completion"
    assert answer.choices[0].message.role == "assistant"
    assert answer.choices[0].message.content
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_single_message(client):
    messages = [{"role": "user", "content": "Hello"}]
    answer = client.chat.completions.create(model="gpt-5.6", messages=messages)
    assert "5 characters" in answer.choices[0].message.content


def test_streaming(client):
    messages = [{"role": "user", "content": "Hello"}]
    chunks = list(client.chat.completions.create(model="gpt-5.6", messages=messages, stream=True))
    assert len(chunks) > 3
    assert "5 characters" in "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_tools(client):
    messages = [{"role": "user", "content": "Weather in Lisbon?"}]
    answer = client.chat.completions.create(model="gpt-5.6", messages=messages, tools=[TOOL])
    call = answer.choices[0].message.tool_calls[0]
    assert call.function.name == "get_weather"
    assert answer.choices[0].finish_reason == "tool_calls"
