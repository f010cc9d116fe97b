"""LlamaIndex: a response synthesizer, and a chat engine that puts what it retrieved into the system message."""

import pytest
from llama_index.core.chat_engine import ContextChatEngine
from llama_index.core.response_synthesizers import get_response_synthesizer
from llama_index.core.retrievers import BaseRetriever
from llama_index.core.schema import NodeWithScore, TextNode
from llama_index.llms.openai import OpenAI


class Passages(BaseRetriever):
    """Finds all that there is."""

    def __init__(self, nodes):
        super().__init__()
        self.nodes = nodes

    def _retrieve(self, query_bundle):
        return self.nodes


@pytest.fixture
def model(call, liquid):
    return OpenAI(model="gpt-4o", api_base=f"{liquid}/v1", max_retries=0)


@pytest.fixture
def nodes(contract):
    return [NodeWithScore(node=TextNode(text=passage), score=1) for passage in contract.passages]


def test_compact_synthesizer(model, call, contract, nodes):
    get_response_synthesizer(llm=model, response_mode="compact").synthesize(contract.question, nodes=nodes)
    call.assert_answerable(contract.question)


def test_context_chat_engine(model, call, contract, nodes):
    engine = ContextChatEngine.from_defaults(
        retriever=Passages(nodes), llm=model, system_prompt="You help a purchasing department."
    )
    engine.chat(contract.question)
    call.assert_answerable(contract.question)
