"""LangChain's ChatOpenAI."""

import openai
import pydantic
import pytest
from langchain_core.messages import HumanMessage, SystemMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI


class Verdict(pydantic.BaseModel):
    """Whether it is allowed."""

    allowed: bool


@tool
def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"sunny in {city}"


@pytest.fixture
def model(liquid, mock):
    def make(name="gpt-5.6", **rest):
        return ChatOpenAI(model=name, base_url=f"{liquid}/v1", api_key="sk-test", max_retries=0, **rest)

    return make


def test_plain(model):
    answer = model().invoke("Hello")
    assert answer.content.startswith("I read 5 characters")
    assert answer.usage_metadata["total_tokens"] > 0


def test_streamed(model):
    pieces = [piece.content for piece in model().stream("Hello")]
    assert len(pieces) > 3
    assert "".join(pieces).startswith("I read 5 characters")


def test_tools(model):
    answer = model().bind_tools([get_weather]).invoke("Weather?")
    assert answer.tool_calls[0]["name"] == "get_weather"
    assert answer.tool_calls[0]["args"] == {"city": "text"}


def test_several_choices(model):
    result = model(n=2).generate([[HumanMessage("Hello")]])
    assert len(result.generations[0]) == 2


def test_structured_output(model):
    assert model().with_structured_output(Verdict).invoke("May I?") == Verdict(allowed=True)


def test_errors_are_typed(model):
    with pytest.raises(openai.RateLimitError):
        model("mock-429").invoke("Hello")
    with pytest.raises(openai.NotFoundError):
        model("mock-404").invoke("Hello")


def test_a_long_document_goes_out_as_its_evidence(model, mock, contract):
    messages = [SystemMessage("You are a lawyer."), HumanMessage(contract.text), HumanMessage(contract.question)]
    answer = model(include_response_headers=True).invoke(messages)
    contract.assert_compressed(answer.response_metadata["headers"], mock)
