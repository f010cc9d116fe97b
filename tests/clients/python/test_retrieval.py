"""The model's way back to a document, as applications see it: in a stream the model asks for more of a packed contract,
the sidecar answers it, and the SDKs read one answer.

The provider is a script of this file; worker and sidecar are started here, as the other tests' sidecar offers no tool.
"""

import contextlib
import json
import os
import pathlib
import socket
import subprocess
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import anthropic
import openai
import pytest

ROOT = pathlib.Path(__file__).parents[3]
PROGRAMS = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "debug"
TOOL = "liquid_retrieve"
ASKED = "Which law governs this agreement?"
# Loading the programs on a busy machine.
START_LIMIT = 120


class Provider(BaseHTTPRequestHandler):
    """Answers each call with the next stream of `script`; a stream is made of the call's body."""

    protocol_version = "HTTP/1.1"
    script, bodies = [], []

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.bodies.append(body)
        events = self.script.pop(0)(body)
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for event in events:
            self.write(event)
        self.write("")

    def write(self, text):
        data = text.encode()
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def log_message(self, *_):
        pass


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_until_ready(port, child):
    end = time.monotonic() + START_LIMIT
    while time.monotonic() < end:
        assert child.poll() is None, f"{child.args[0]} ended with {child.returncode}"
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5):
            return
        time.sleep(0.05)
    pytest.fail(f"{child.args[0]} is not ready after {START_LIMIT} s")


@contextlib.contextmanager
def running(program, arguments, admin, variables):
    """A program that is ready, until the context ends."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("LIQUID_")}
    clean.pop("SYNTHESIS_MODEL", None)
    log = subprocess.DEVNULL
    child = subprocess.Popen([PROGRAMS / program, *arguments], env={**clean, **variables}, stdout=log, stderr=log)
    try:
        wait_until_ready(admin, child)
        yield
    finally:
        child.terminate()
        child.wait()


@pytest.fixture(scope="module")
def sidecars():
    """URLs of two sidecars that offer the tool, and whose provider is the script: one that passes each API on, and one
    that translates OpenAI's for Anthropic.
    """
    server = ThreadingHTTPServer(("127.0.0.1", 0), Provider)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    upstream = f"http://127.0.0.1:{server.server_port}/v1"
    worker, worker_admin = free_port(), free_port()
    passing, translating = ((free_port(), free_port()) for _ in range(2))
    worker_variables = {
        "LIQUID_WORKER__GRPC__LISTEN": f"127.0.0.1:{worker}",
        "LIQUID_WORKER__ADMIN__LISTEN": f"127.0.0.1:{worker_admin}",
    }

    def listening(address, admin):
        return {
            "LIQUID_SIDECAR__LISTEN__ADDRESS": f"127.0.0.1:{address}",
            "LIQUID_SIDECAR__LISTEN__ADMIN": f"127.0.0.1:{admin}",
        }

    sidecar_variables = {
        "LIQUID_SIDECAR__EXTRACT__WORKERS": f"127.0.0.1:{worker}",
        "LIQUID_SIDECAR__EXTRACT__DEADLINE_MS": "60000",
        "LIQUID_SIDECAR__POLICY__RETRIEVAL__ENABLED": "true",
        "LIQUID_SIDECAR__UPSTREAM__RETRIES": "0",
        "LIQUID_SIDECAR__UPSTREAM__PROVIDERS__OPENAI__BASE_URL": upstream,
        "LIQUID_SIDECAR__UPSTREAM__PROVIDERS__ANTHROPIC__BASE_URL": upstream,
    }
    with (
        running("liquid-worker", ["serve"], worker_admin, worker_variables),
        running("liquid-sidecar", [], passing[1], {**sidecar_variables, **listening(*passing)}),
        running(
            "liquid-sidecar",
            [],
            translating[1],
            {**sidecar_variables, **listening(*translating), "SYNTHESIS_MODEL": "anthropic/m"},
        ),
    ):
        yield [f"http://127.0.0.1:{address}" for address, _ in (passing, translating)]
    server.shutdown()


@pytest.fixture
def retrieving(sidecars):
    return sidecars[0]


@pytest.fixture
def translating(sidecars):
    return sidecars[1]


@pytest.fixture
def provider():
    """The scripted provider, which has answered nothing yet."""
    Provider.script, Provider.bodies = [], []
    yield Provider
    assert Provider.script == [], "the provider was asked less often than the script says"


def document_name(body):
    """The name that the pack in a request has."""
    text = json.dumps(body)
    return text.partition("[excerpt ")[2].partition(":")[0]


def assert_answered(result, contract):
    """What the model was told is a passage of the contract, word for word, in the pack's frame."""
    name, _, rest = result.removeprefix("[").partition(" @")
    start, _, rest = rest.partition("]\n")
    passage = rest.partition(f"\n[{name} @")[0].removesuffix(f"\n[end of excerpt {name}]")
    assert len(passage) > 20
    assert contract.text.encode()[int(start) :].decode().startswith(passage)


def names(tools):
    return [tool.get("name") or tool["function"]["name"] for tool in tools]


# Chat Completions


def chat_stream(*deltas, finish, number):
    """A stream of these deltas; its usage are 100 and 10 tokens, 40 of them cached."""

    def events(_):
        chunk = {"id": f"chatcmpl-{number}", "object": "chat.completion.chunk", "created": number, "model": "m"}
        choices = [{"index": 0, "delta": delta, "finish_reason": None} for delta in deltas]
        choices.append({"index": 0, "delta": {}, "finish_reason": finish})
        chunks = [{**chunk, "choices": [choice]} for choice in choices]
        usage = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
        usage["prompt_tokens_details"] = {"cached_tokens": 40}
        chunks.append({**chunk, "choices": [], "usage": usage})
        return [f"data: {json.dumps(chunk)}\n\n" for chunk in chunks] + ["data: [DONE]\n\n"]

    return events


def chat_call(index, call, name, arguments):
    """The deltas of a tool's call, its arguments in two pieces."""
    start = {"index": index, "id": call, "type": "function", "function": {"name": name, "arguments": ""}}
    pieces = [arguments[:9], arguments[9:]]
    deltas = [start, *({"index": index, "function": {"arguments": piece}} for piece in pieces)]
    return [{"tool_calls": [delta]} for delta in deltas]


def chat_question(*before, index=0, behind=(), number=1):
    """A stream in which the model asks for more of the contract."""

    def events(body):
        arguments = json.dumps({"document": document_name(body), "question": ASKED})
        call = chat_call(index, "call_ours", TOOL, arguments)
        return chat_stream(*before, *call, *behind, finish="tool_calls", number=number)(body)

    return events


CHAT_WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}
ROLE = {"role": "assistant", "content": ""}


@pytest.fixture
def chat(retrieving, contract):
    return streamed_chat(retrieving, contract)


@pytest.fixture
def translated_chat(translating, contract):
    return streamed_chat(translating, contract)


def streamed_chat(url, contract):
    """Streams a chat about the contract through the SDK's own reader: its events, and the completion made of them."""
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="sk-test", max_retries=0)
    asked = [{"role": "user", "content": contract.text}, {"role": "user", "content": contract.question}]

    def stream(*more):
        options = {"include_usage": True}
        with client.chat.completions.stream(
            model="m", messages=[*asked, *more], tools=[CHAT_WEATHER], stream_options=options
        ) as stream:
            return list(stream), stream.get_final_completion()

    return stream


def test_openai_reads_one_stream(chat, provider, contract):
    said = [ROLE, {"content": "Let me "}, {"content": "look. "}]
    answer = [ROLE, {"content": "The law of "}, {"content": "Texas."}]
    provider.script = [chat_question(*said), chat_stream(*answer, finish="stop", number=2)]
    events, completion = chat()
    [choice] = completion.choices
    assert choice.message.content == "Let me look. The law of Texas."
    assert (choice.finish_reason, choice.message.tool_calls) == ("stop", None)
    assert completion.id == "chatcmpl-1"
    usage = completion.usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (200, 20, 220)
    assert usage.prompt_tokens_details.cached_tokens == 80
    chunks = [event.chunk for event in events if event.type == "chunk"]
    assert {chunk.id for chunk in chunks} == {"chatcmpl-1"}
    ends = [choice.finish_reason for chunk in chunks for choice in chunk.choices if choice.finish_reason]
    assert ends == ["stop"]
    assert not any(TOOL in chunk.model_dump_json() for chunk in chunks)
    first, second = provider.bodies
    assert names(first["tools"]) == ["get_weather", TOOL]
    assert second["messages"][:2] == first["messages"]
    assert second["messages"][2]["content"] == "Let me look. "
    assert_answered(second["messages"][3]["content"], contract)


def test_openai_calls_the_applications_tool_behind_a_question(chat, provider):
    weather = chat_call(0, "call_weather", "get_weather", '{"city":"Austin"}')
    answer = chat_stream(ROLE, {"content": "Sunny."}, finish="stop", number=3)
    provider.script = [chat_question(ROLE), chat_stream(ROLE, *weather, finish="tool_calls", number=2), answer]
    _, completion = chat()
    message = completion.choices[0].message
    [call] = message.tool_calls
    assert completion.choices[0].finish_reason == "tool_calls"
    assert (call.id, call.function.name, call.function.parsed_arguments) == (
        "call_weather",
        "get_weather",
        {"city": "Austin"},
    )
    assert completion.usage.total_tokens == 220
    said = {"role": "assistant", "tool_calls": [call.model_dump(include={"id", "type", "function"})]}
    said["tool_calls"][0]["function"].pop("parsed_arguments", None)
    _, completion = chat(said, {"role": "tool", "tool_call_id": call.id, "content": "sunny"})
    assert completion.choices[0].message.content == "Sunny."
    first, _, third = provider.bodies
    assert third["messages"][:2] == first["messages"], "what the provider has cached came again"


def test_openai_gets_its_own_call_of_an_answer_with_both(chat, provider):
    weather = chat_call(1, "call_weather", "get_weather", '{"city":"Austin"}')
    provider.script = [chat_question(ROLE, behind=weather)]
    _, completion = chat()
    [call] = completion.choices[0].message.tool_calls
    assert (call.id, call.function.parsed_arguments) == ("call_weather", {"city": "Austin"})


# Messages


def message_stream(*blocks, stop, number):
    """A stream of these blocks: texts in pieces, or `(id, name, arguments)` of a tool's call."""

    def events(_):
        usage = {"input_tokens": 100, "output_tokens": 1, "cache_read_input_tokens": 40}
        message = {"id": f"msg_{number}", "type": "message", "role": "assistant", "model": "m", "content": []}
        message |= {"stop_reason": None, "stop_sequence": None, "usage": usage}
        yield event(type="message_start", message=message)
        for index, block in enumerate(blocks):
            if isinstance(block, list):
                start = {"type": "text", "text": ""}
                deltas = [{"type": "text_delta", "text": piece} for piece in block]
            else:
                call, name, arguments = block
                start = {"type": "tool_use", "id": call, "name": name, "input": {}}
                pieces = [arguments[:9], arguments[9:]]
                deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in pieces]
            yield event(type="content_block_start", index=index, content_block=start)
            yield from (event(type="content_block_delta", index=index, delta=delta) for delta in deltas)
            yield event(type="content_block_stop", index=index)
        delta = {"stop_reason": stop, "stop_sequence": None}
        yield event(type="message_delta", delta=delta, usage={"output_tokens": 10})
        yield event(type="message_stop")

    return events


def event(**data):
    return f"event: {data['type']}\ndata: {json.dumps(data)}\n\n"


def message_question(*before, behind=()):
    """A stream in which the model asks for more of the contract."""

    def events(body):
        arguments = json.dumps({"document": document_name(body), "question": ASKED})
        ours = ("toolu_ours", TOOL, arguments)
        return message_stream(*before, ours, *behind, stop="tool_use", number=1)(body)

    return events


WEATHER = {"name": "get_weather", "input_schema": CHAT_WEATHER["function"]["parameters"]}


@pytest.fixture
def messages(retrieving, contract):
    """Streams a message about the contract through the SDK's own reader: its events, and the message made of them."""
    client = anthropic.Anthropic(base_url=retrieving, api_key="sk-ant-test", max_retries=0)
    asked = [{"type": "text", "text": text} for text in (contract.text, contract.question)]

    def stream(*more):
        said = [{"role": "user", "content": asked}, *more]
        with client.messages.stream(model="m", max_tokens=100, messages=said, tools=[WEATHER]) as stream:
            return list(stream), stream.get_final_message()

    return stream


def test_anthropic_reads_one_stream(messages, provider, contract):
    answer = message_stream(["The law of ", "Texas."], stop="end_turn", number=2)
    provider.script = [message_question(["Let me ", "look. "]), answer]
    events, message = messages()
    assert [block.text for block in message.content] == ["Let me look. ", "The law of Texas."]
    assert (message.id, message.stop_reason) == ("msg_1", "end_turn")
    usage = message.usage
    assert (usage.input_tokens, usage.output_tokens, usage.cache_read_input_tokens) == (200, 20, 80)
    kinds = [event.type for event in events]
    assert kinds.count("message_start") == kinds.count("message_delta") == kinds.count("message_stop") == 1
    starts = [event.index for event in events if event.type == "content_block_start"]
    assert starts == [0, 1]
    first, second = provider.bodies
    assert names(first["tools"]) == ["get_weather", TOOL]
    assert second["messages"][:1] == first["messages"]
    [result] = second["messages"][2]["content"]
    assert result["tool_use_id"] == "toolu_ours"
    assert_answered(result["content"], contract)


def test_anthropic_calls_the_applications_tool_behind_a_question(messages, provider):
    weather = ("toolu_weather", "get_weather", '{"city":"Austin"}')
    called = message_stream(weather, stop="tool_use", number=2)
    provider.script = [message_question(), called, message_stream(["Sunny."], stop="end_turn", number=3)]
    _, message = messages()
    [call] = message.content
    assert (message.stop_reason, call.id, call.name, call.input) == (
        "tool_use",
        "toolu_weather",
        "get_weather",
        {"city": "Austin"},
    )
    assert message.usage.output_tokens == 20
    said = {"role": "assistant", "content": [call.model_dump(include={"type", "id", "name", "input"})]}
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "sunny"}
    _, message = messages(said, {"role": "user", "content": [result]})
    assert message.content[0].text == "Sunny."
    first, _, third = provider.bodies
    assert third["messages"][:1] == first["messages"], "what the provider has cached came again"


def test_anthropic_gets_its_own_call_of_an_answer_with_both(messages, provider):
    weather = ("toolu_weather", "get_weather", '{"city":"Austin"}')
    provider.script = [message_question(["Both. "], behind=[weather])]
    _, message = messages()
    text, call = message.content
    assert (text.text, call.id, call.input) == ("Both. ", "toolu_weather", {"city": "Austin"})


# Chat Completions, translated for Anthropic


def test_openai_reads_one_translated_stream(translated_chat, provider, contract):
    answer = message_stream(["The law of ", "Texas."], stop="end_turn", number=2)
    provider.script = [message_question(["Let me ", "look. "]), answer]
    events, completion = translated_chat()
    [choice] = completion.choices
    assert choice.message.content == "Let me look. The law of Texas."
    assert (choice.finish_reason, choice.message.tool_calls) == ("stop", None)
    usage = completion.usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (280, 20, 300)
    assert usage.prompt_tokens_details.cached_tokens == 80
    chunks = [event.chunk for event in events if event.type == "chunk"]
    assert len({chunk.id for chunk in chunks}) == 1
    assert not any(TOOL in chunk.model_dump_json() for chunk in chunks)
    first, second = provider.bodies
    assert names(first["tools"]) == ["get_weather", TOOL]
    assert second["messages"][: len(first["messages"])] == first["messages"]
    [result] = second["messages"][-1]["content"]
    assert result["tool_use_id"] == "toolu_ours"
    content = result["content"]
    assert_answered(content if isinstance(content, str) else content[0]["text"], contract)


def test_openai_calls_the_applications_tool_behind_a_translated_question(translated_chat, provider):
    weather = ("toolu_weather", "get_weather", '{"city":"Austin"}')
    called = message_stream(weather, stop="tool_use", number=2)
    provider.script = [message_question(), called]
    _, completion = translated_chat()
    [call] = completion.choices[0].message.tool_calls
    assert completion.choices[0].finish_reason == "tool_calls"
    assert (call.function.name, call.function.parsed_arguments) == ("get_weather", {"city": "Austin"})


def test_openai_gets_its_own_call_of_a_translated_answer_with_both(translated_chat, provider):
    weather = ("toolu_weather", "get_weather", '{"city":"Austin"}')
    provider.script = [message_question(behind=[weather])]
    _, completion = translated_chat()
    [call] = completion.choices[0].message.tool_calls
    assert call.function.parsed_arguments == {"city": "Austin"}


# Responses


def response_stream(*items, number):
    """A stream of these output items; its usage are 100 and 10 tokens."""

    def events(_):
        head = {"id": f"resp_{number}", "object": "response", "created_at": number, "model": "m", "tools": []}
        head |= {"parallel_tool_calls": True, "tool_choice": "auto", "store": True}
        usage = {"input_tokens": 100, "output_tokens": 10, "total_tokens": 110}
        usage |= {"input_tokens_details": {"cached_tokens": 40}, "output_tokens_details": {"reasoning_tokens": 0}}
        told = [dict(type="response.created", response={**head, "status": "in_progress", "output": []})]
        for index, item in enumerate(items):
            told += response_item(index, item)
        end = {**head, "status": "completed", "output": list(items), "usage": usage}
        told.append(dict(type="response.completed", response=end))
        return [event(**data, sequence_number=at) for at, data in enumerate(told)]

    return events


def response_item(index, item):
    place = {"output_index": index, "item_id": item["id"]}
    if item["type"] == "function_call":
        arguments = item["arguments"]
        begun, piece = {**item, "arguments": ""}, {"type": "response.function_call_arguments.delta"}
        inner = [{**piece, **place, "delta": arguments[:9]}, {**piece, **place, "delta": arguments[9:]}]
        inner.append({"type": "response.function_call_arguments.done", **place, "arguments": arguments})
    else:
        [part] = item["content"]
        begun, place = {**item, "content": []}, {**place, "content_index": 0}
        empty = {**part, "text": ""}
        inner = [
            {"type": "response.content_part.added", **place, "part": empty},
            {"type": "response.output_text.delta", **place, "delta": part["text"], "logprobs": []},
            {"type": "response.output_text.done", **place, "text": part["text"], "logprobs": []},
            {"type": "response.content_part.done", **place, "part": part},
        ]
    ends = [{"type": f"response.output_item.{end}", "output_index": index} for end in ("added", "done")]
    return [{**ends[0], "item": begun}, *inner, {**ends[1], "item": item}]


def response_text(number, text):
    part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    return {"type": "message", "id": f"msg_{number}", "role": "assistant", "status": "completed", "content": [part]}


def response_call(call, name, arguments):
    item = {"type": "function_call", "id": f"fc_{call}", "call_id": call, "name": name, "arguments": arguments}
    return {**item, "status": "completed"}


def response_question(*before, behind=()):
    """A stream in which the model asks for more of the contract."""

    def events(body):
        arguments = json.dumps({"document": document_name(body), "question": ASKED})
        ours = response_call("call_ours", TOOL, arguments)
        return response_stream(*before, ours, *behind, number=1)(body)

    return events


@pytest.fixture
def responses(retrieving, contract):
    """Streams a response about the contract through the SDK's own reader: its events, and the response made of them."""
    client = openai.OpenAI(base_url=f"{retrieving}/v1", api_key="sk-test", max_retries=0)
    asked = [{"role": "user", "content": text} for text in (contract.text, contract.question)]
    weather = {"type": "function", **CHAT_WEATHER["function"]}

    def stream():
        with client.responses.stream(model="m", input=asked, tools=[weather]) as stream:
            return list(stream), stream.get_final_response()

    return stream


def test_openai_reads_one_response(responses, provider, contract):
    first, last = response_text(1, "Let me look. "), response_text(2, "The law of Texas.")
    provider.script = [response_question(first), response_stream(last, number=2)]
    events, response = responses()
    assert response.output_text == "Let me look. The law of Texas."
    assert (response.id, response.status, response.usage.total_tokens) == ("resp_1", "completed", 220)
    assert [event.sequence_number for event in events] == list(range(len(events)))
    added = [event.output_index for event in events if event.type == "response.output_item.added"]
    assert added == [0, 1]
    assert not any(TOOL in event.model_dump_json() for event in events)
    asked, second = provider.bodies
    assert names(asked["tools"]) == ["get_weather", TOOL]
    assert second["input"][:2] == asked["input"]
    assert second["input"][4]["call_id"] == "call_ours"
    assert_answered(second["input"][4]["output"], contract)


def test_openai_gets_its_own_call_of_a_response_with_both(responses, provider):
    weather = response_call("call_weather", "get_weather", '{"city":"Austin"}')
    provider.script = [response_question(behind=[weather])]
    _, response = responses()
    [call] = response.output
    assert (call.call_id, call.parsed_arguments) == ("call_weather", {"city": "Austin"})
