"""LiteLLM's SDK, with the openai release that it asks for, in the environment of the frameworks."""

import asyncio

import litellm
import pydantic
import pytest

HELLO = [{"role": "user", "content": "Hello"}]
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        },
    }
]


class Verdict(pydantic.BaseModel):
    allowed: bool


@pytest.fixture
def complete(liquid, mock):
    def call(model="gpt-5.6", messages=HELLO, api_key="sk-test", **rest):
        return litellm.completion(
            model=f"openai/{model}",
            messages=messages,
            api_base=f"{liquid}/v1",
            api_key=api_key,
            num_retries=0,
            max_retries=0,
            **rest,
        )

    return call


def test_plain(complete):
    answer = complete()
    assert answer.choices[0].message.content.startswith("I read 5 characters")
    assert answer.usage.total_tokens > 0


def test_streamed(complete):
    text = "".join(chunk.choices[0].delta.content or "" for chunk in complete(stream=True))
    assert text.startswith("I read 5 characters")


def test_tools(complete):
    call = complete(tools=TOOLS).choices[0].message.tool_calls[0]
    assert (call.function.name, call.function.arguments) == ("get_weather", '{"city":"text"}')


def test_several_choices(complete):
    assert len(complete(n=2).choices) == 2


def test_structured_output(complete):
    answer = complete(response_format=Verdict)
    assert Verdict.model_validate_json(answer.choices[0].message.content) == Verdict(allowed=True)


@pytest.mark.parametrize(
    ("model", "error"),
    [
        ("mock-404", litellm.NotFoundError),
        ("mock-429", litellm.RateLimitError),
        ("mock-500", litellm.InternalServerError),
    ],
)
def test_errors_are_typed(complete, model, error):
    with pytest.raises(error):
        complete(model)


def test_a_wrong_key(complete):
    with pytest.raises(litellm.AuthenticationError):
        complete(api_key="sk-invalid")


def test_the_asynchronous_call(liquid, mock):
    answer = asyncio.run(
        litellm.acompletion(model="openai/gpt-5.6", messages=HELLO, api_base=f"{liquid}/v1", api_key="sk-test")
    )
    assert answer.choices[0].message.content.startswith("I read 5 characters")


def test_anthropic_models(liquid, mock):
    answer = litellm.completion(
        model="anthropic/claude-opus-5", messages=HELLO, api_base=liquid, api_key="sk-ant-test", max_tokens=10
    )
    assert answer.choices[0].message.content.startswith("I read 5 characters")


def test_a_long_document_goes_out_as_its_evidence(complete, mock, contract):
    messages = [{"role": "user", "content": contract.text}, {"role": "user", "content": contract.question}]
    answer = complete(messages=messages)
    headers = answer._response_headers or answer._hidden_params["additional_headers"]
    headers = {name.removeprefix("llm_provider-"): value for name, value in headers.items()}
    contract.assert_compressed(headers, mock)
