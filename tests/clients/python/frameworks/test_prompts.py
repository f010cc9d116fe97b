"""Frameworks that write the prompt themselves, from a signature, a typed answer or a template."""

import dspy
import instructor
import openai
import pydantic
import pytest
from haystack.components.builders import ChatPromptBuilder
from haystack.components.generators.chat import OpenAIChatGenerator
from haystack.dataclasses import ChatMessage, Document
from pydantic_ai import Agent

HAYSTACK = """These are excerpts of an agreement:
{% for document in documents %}
{{ document.content }}
{% endfor %}
Question: {{ question }}
Answer:"""


@pytest.fixture
def terms(contract):
    return pydantic.create_model("Terms", clause=(str, pydantic.Field(description=contract.task)))


@pytest.fixture
def lm(call, liquid):
    return dspy.LM("openai/gpt-5.6", api_base=f"{liquid}/v1", api_key=call.key, cache=False, num_retries=0)


def test_dspy_predict(lm, call, contract):
    """Twice: the answer is not in the form that DSPy's first prompt asks for, so it asks for JSON."""
    with dspy.context(lm=lm):
        dspy.Predict("context: list[str], question -> answer")(context=contract.passages, question=contract.question)
    assert len(call.bodies()) == 2
    call.assert_answerable(contract.question)


def test_dspy_chain_of_thought(lm, call, contract):
    with dspy.context(lm=lm):
        dspy.ChainOfThought("document, question -> answer")(document=contract.text, question=contract.question)
    call.assert_answerable(contract.question)


def test_instructor(call, contract, terms):
    messages = [{"role": "user", "content": f"Fill in the terms from this agreement:\n{contract.text}"}]
    client = instructor.from_openai(openai.OpenAI(max_retries=0))
    client.chat.completions.create(model="gpt-5.6", response_model=terms, max_retries=0, messages=messages)
    call.assert_answerable(contract.task)


def test_pydantic_ai(call, contract, terms):
    agent = Agent("openai-chat:gpt-5.6", output_type=terms, instructions="Note the terms of the agreement.", retries=0)
    agent.run_sync(contract.text)
    call.assert_answerable(contract.task)


def test_haystack_prompt_builder(call, contract):
    builder = ChatPromptBuilder(template=[ChatMessage.from_user(HAYSTACK)], required_variables="*")
    documents = [Document(content=passage) for passage in contract.passages]
    prompt = builder.run(documents=documents, question=contract.question)["prompt"]
    OpenAIChatGenerator(model="gpt-5.6", max_retries=0).run(prompt)
    call.assert_answerable(contract.question)
