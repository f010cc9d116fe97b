"""Agents that fetch the contract with a tool of their own, or are given it with their task."""

import asyncio

import agents
import agno.agent
import agno.models.openai
import anthropic
import autogen_agentchat.agents
import autogen_ext.models.openai
import openai
import smolagents


def run_agent(instructions, items):
    """The Agents SDK over the Responses API, its default."""

    async def run():
        async with openai.AsyncOpenAI(max_retries=0) as client:
            model = agents.OpenAIResponsesModel(model="gpt-5.6", openai_client=client)
            await agents.Runner.run(agents.Agent(name="Reader", instructions=instructions, model=model), items)

    asyncio.run(run())


def test_agents_sdk_tool_result(call, contract):
    items = [
        {"role": "user", "content": contract.question},
        {"type": "function_call", "call_id": "call_7", "name": "open_file", "arguments": '{"name": "agreement.txt"}'},
        {"type": "function_call_output", "call_id": "call_7", "output": contract.text},
    ]
    run_agent("Answer from what the tool returns.", items)
    call.assert_answerable(contract.question)


def test_agents_sdk_instructions(call, contract):
    run_agent(contract.question, contract.text)
    call.assert_answerable(contract.question)


def test_autogen_reflects_on_a_tools_result(call, contract):
    async def read_agreement() -> str:
        """Returns the agreement with the supplier."""
        return contract.text

    async def ask():
        client = autogen_ext.models.openai.OpenAIChatCompletionClient(model="gpt-4o", max_retries=0)
        agent = autogen_agentchat.agents.AssistantAgent(
            "reader", client, tools=[read_agreement], reflect_on_tool_use=True
        )
        await agent.run(task=contract.question)
        await client.close()

    asyncio.run(ask())
    call.assert_answerable(contract.question, fetched_by=1)


def test_smolagents_observation(call, contract):
    @smolagents.tool
    def read_agreement() -> str:
        """Returns the agreement with the supplier."""
        return contract.text

    model = smolagents.OpenAIModel(model_id="gpt-5.6")
    smolagents.ToolCallingAgent([read_agreement], model, max_steps=1).run(contract.question)
    call.assert_answerable(contract.question, fetched_by=1)


def test_agno_references(call, contract):
    def find(query, agent=None, num_documents=None, **rest):
        return [{"name": f"part {at}", "content": passage} for at, passage in enumerate(contract.passages, 1)]

    model = agno.models.openai.OpenAIChat(id="gpt-5.6", max_retries=0)
    agent = agno.agent.Agent(
        model=model, knowledge_retriever=find, add_knowledge_to_context=True, search_knowledge=False
    )
    agent.run(contract.question)
    call.assert_answerable(contract.question)


def run_tools(contract, **more):
    @anthropic.beta_tool
    def read_agreement() -> list:
        """Returns the agreement with the supplier."""
        source = {"type": "text", "media_type": "text/plain", "data": contract.text}
        return [{"type": "document", "title": "Supply agreement", "source": source}]

    runner = anthropic.Anthropic(max_retries=0).beta.messages.tool_runner(
        model="claude-opus-5",
        max_tokens=500,
        tools=[read_agreement],
        messages=[{"role": "user", "content": contract.question}],
        **more,
    )
    runner.until_done()


def test_anthropic_tool_runner_with_a_document_block(call, contract):
    run_tools(contract, thread=False)
    call.assert_answerable(contract.question, fetched_by=1)


def test_anthropic_tool_runner_in_a_thread_that_the_provider_holds(call, contract):
    """The question went with the first call and is not in the second, so nobody can tell what may be left out."""
    run_tools(contract)
    first, second = call.texts()
    assert contract.question in first and contract.question not in second
    assert contract.text in second
