"""LangChain: chains that fill a prompt, structured output, tools, and the agent of LangGraph."""

import pydantic
import pytest
from langchain.agents import create_agent
from langchain_classic.chains.combine_documents import create_stuff_documents_chain
from langchain_classic.chains.question_answering import load_qa_chain
from langchain_core.documents import Document
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.retrievers import BaseRetriever
from langchain_core.tools import create_retriever_tool
from langchain_openai import ChatOpenAI


class Passages(BaseRetriever):
    """Finds all that there is."""

    found: list[Document]

    def _get_relevant_documents(self, query, *, run_manager):
        return self.found


@pytest.fixture
def model(call):
    return ChatOpenAI(model="gpt-5.6", max_retries=0)


@pytest.fixture
def documents(contract):
    return [Document(passage) for passage in contract.passages]


def test_stuff_chain_with_the_context_in_the_system_message(model, call, contract, documents):
    system = "You answer questions of a purchasing department. Rely on these excerpts alone:\n\n{context}"
    prompt = ChatPromptTemplate.from_messages([("system", system), ("human", "{input}")])
    chain = create_stuff_documents_chain(model, prompt)
    chain.invoke({"context": documents, "input": contract.question})
    call.assert_answerable(contract.question)


def test_question_answering_chain(model, call, contract, documents):
    chain = load_qa_chain(model, chain_type="stuff")
    chain.invoke({"input_documents": documents, "question": contract.question})
    call.assert_answerable(contract.question)


def test_structured_output_asks_by_its_fields(model, call, contract):
    terms = pydantic.create_model("Terms", clause=(str, pydantic.Field(description=contract.task)))
    messages = [("system", "Read the agreement and note its terms."), ("human", contract.text)]
    model.with_structured_output(terms).invoke(messages)
    call.assert_answerable(contract.task)


def test_tool_message(model, call, contract):
    opened = {"name": "open_file", "args": {"name": "agreement.txt"}, "id": "call_7"}
    messages = [
        HumanMessage(contract.question),
        AIMessage("", tool_calls=[opened]),
        ToolMessage(contract.text, tool_call_id="call_7"),
    ]
    model.invoke(messages)
    call.assert_answerable(contract.question)


def test_agent_with_a_retriever_as_its_tool(model, call, contract, documents):
    search = create_retriever_tool(Passages(found=documents), "search_agreements", "Searches the signed agreements.")
    agent = create_agent(model, tools=[search], system_prompt="You help a purchasing department.")
    agent.invoke({"messages": [{"role": "user", "content": contract.question}]})
    call.assert_answerable(contract.question, fetched_by=1)
