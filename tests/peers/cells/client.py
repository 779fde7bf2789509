"""The official Python SDK's client tries each feature through Sentinel; a line of JSON for each: {feature, works, why}.

client.py legacy|modern http URL TOKEN | client.py legacy|modern stdio COMMAND ARGS…
"""

import base64
import json
import os
import sys
import warnings

import anyio
import httpx2
from mcp import types
from mcp.client import advertise
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client
from pydantic import TypeAdapter

warnings.simplefilter("ignore")
ERA, KIND, *REST = sys.argv[1:]
MODERN = ERA == "modern"
TASKS = "io.modelcontextprotocol/tasks"
WATCHED = "test://watched-resource"
ASKED, LOGS, NOTES = [], [], []


class No(Exception):
    """It does not work, and why."""


def need(good, seen):
    if not good:
        raise No(str(seen)[:300])


async def sampled(_context, params):
    ASKED.append(params)
    return types.CreateMessageResult(role="assistant", model="none",
                                     content=types.TextContent(type="text", text="a model would say this"))


async def elicited(_context, params):
    ASKED.append(params)
    if getattr(params, "mode", "form") == "url":
        return types.ElicitResult(action="accept")
    wanted = params.requested_schema.get("properties", {})
    return types.ElicitResult(action="accept", content={name: {"boolean": True, "integer": 7, "number": 7.5}.get(
        schema.get("type"), "Ada") for name, schema in wanted.items() if schema.get("type") != "array"})


async def roots(_context):
    return types.ListRootsResult(roots=[types.Root(uri="file:///projects/one")])


async def logged(params):
    LOGS.append(params)


async def noted(message):
    NOTES.append(type(message).__name__)


def text(answer):
    return "\n".join(getattr(one, "text", "") for one in answer.content)


async def until(what, good):
    with anyio.move_on_after(10):
        while not good():
            await anyio.sleep(0.02)
        return
    raise No(what)


async def code_of(call):
    try:
        seen = await call
    except Exception as fault:
        found = getattr(fault, "code", None) or getattr(getattr(fault, "error", None), "code", None)
        need(found is not None, repr(fault))
        return found, getattr(fault, "data", None) or getattr(getattr(fault, "error", None), "data", None)
    raise No(f"it was answered: {seen}")


async def opening(client):
    need(client.protocol_version == ("2026-07-28" if MODERN else "2025-11-25"), client.protocol_version)
    need(client.server_capabilities.tools is not None, client.server_capabilities)


async def ping(client):
    if MODERN:
        return "not of this era"
    await client.send_ping()


async def lists(client):
    need("test_simple_text" in [one.name for one in (await client.list_tools()).tools], "tools")
    need("test://static-text" in [str(one.uri) for one in (await client.list_resources()).resources], "resources")
    templates = (await client.list_resource_templates()).resource_templates
    need("test://template/{id}/data" in [one.uri_template for one in templates], templates)
    need("test_simple_prompt" in [one.name for one in (await client.list_prompts()).prompts], "prompts")


async def definitions(client):
    tool = next((one for one in (await client.list_tools()).tools if one.name == "test_structured_content"), None)
    need(tool is not None, "no such tool")
    need(tool.title and tool.output_schema and tool.annotations.read_only_hint and tool.icons, tool)
    need((tool.meta or {}).get("example.test/kept") == "as it is", tool.meta)


async def contents(client):
    for name, kind in (("simple_text", "text"), ("image_content", "image"), ("audio_content", "audio"),
                       ("embedded_resource", "resource"), ("resource_link", "resource_link")):
        answer = await client.call_tool(f"test_{name}", {})
        need(answer.content[0].type == kind, answer)
    need(len((await client.call_tool("test_multiple_content_types", {})).content) == 3, "three parts")


async def structured(client):
    answer = await client.call_tool("test_structured_content", {})
    need(answer.structured_content == {"answer": 42}, answer)


async def tool_error(client):
    need((await client.call_tool("test_error_handling", {})).is_error, "no error")


async def read(client):
    got = await client.read_resource("test://static-text")
    need(got.contents[0].text.startswith("This is the content"), got)
    got = await client.read_resource("test://static-binary")
    need(base64.b64decode(got.contents[0].blob).startswith(b"\x89PNG"), got)
    got = await client.read_resource("test://template/123/data")
    need('"123"' in got.contents[0].text, got)


async def missing(client):
    code, data = await code_of(client.read_resource("test://nowhere"))
    # Some SDKs' servers say the newer code in either era.
    need(code in ((-32602,) if MODERN else (-32602, -32002)) and (data or {}).get("uri") == "test://nowhere", (code, data))


async def prompts(client):
    got = await client.get_prompt("test_prompt_with_arguments", {"arg1": "one", "arg2": "two"})
    need("'one'" in got.messages[0].content.text, got)
    got = await client.get_prompt("test_prompt_with_embedded_resource", {"resourceUri": "test://x"})
    need(str(got.messages[0].content.resource.uri) == "test://x", got)


async def completion(client):
    got = await client.complete(types.PromptReference(type="ref/prompt", name="test_prompt_with_arguments"),
                                {"name": "arg1", "value": "t"})
    need(got.completion.values == ["ta", "tb"], got)


async def progress(client):
    steps = []

    async def step(done, _total, _message):
        steps.append(done)
    await client.call_tool("test_tool_with_progress", {}, progress_callback=step)
    need(steps == [0, 50, 100], steps)


async def logging(client):
    if not MODERN:
        await client.set_logging_level("info")
    LOGS.clear()
    await client.call_tool("test_tool_with_logging", {})
    await until(f"{len(LOGS)} notes of three", lambda: len(LOGS) >= 3)
    if not MODERN:
        await client.set_logging_level("error")
        LOGS.clear()
        await client.call_tool("test_tool_with_logging", {})
        need(not LOGS, f"{len(LOGS)} notes below the level")
        await client.set_logging_level("debug")


async def cancel(client):
    async def given_up():
        return int(text(await client.call_tool("test_slow_calls", {})))
    before = await given_up()
    with anyio.move_on_after(1):
        await client.call_tool("test_slow", {"ms": 60000})
        raise No("it was answered")
    with anyio.fail_after(10):
        while await given_up() == before:
            await anyio.sleep(0.05)


async def sampling(client):
    answer = await client.call_tool("test_sampling", {"prompt": "what is said?"})
    need("a model would say this" in text(answer), answer)


async def form(client):
    ASKED.clear()
    answer = await client.call_tool("test_elicitation", {"message": "Who?"})
    need("accept" in text(answer), answer)
    need("Who?" in ASKED[-1].message, ASKED)


async def forms(client):
    for name in ("defaults", "enums"):
        ASKED.clear()
        answer = await client.call_tool(f"test_elicitation_sep{dict(defaults='1034', enums='1330')[name]}_{name}", {})
        need("accept" in text(answer), answer)
    need(ASKED[-1].requested_schema["properties"]["titledSingle"]["oneOf"][0]["const"] == "value1", ASKED[-1])


async def url(client):
    ASKED.clear()
    answer = await client.call_tool("test_elicitation_url", {})
    need("accept" in text(answer) and str(ASKED[-1].url).startswith("https://example.test"), (answer, ASKED))


async def asked_roots(client):
    answer = await client.call_tool("test_input_required_result_list_roots", {})
    need("file:///projects/one" in text(answer), answer)


async def several(client):
    answer = await client.call_tool("test_input_required_result_multiple_inputs", {})
    need("All inputs received" in text(answer), answer)
    answer = await client.call_tool("test_input_required_result_multi_round", {})
    need("complete" in text(answer), answer)


async def asking_prompt(client):
    got = await client.get_prompt("test_input_required_result_prompt")
    need("Ada" in got.messages[0].content.text, got)


async def changed(client):
    kinds = (("tool", "ToolsListChanged", "ToolListChangedNotification"),
             ("prompt", "PromptsListChanged", "PromptListChangedNotification"),
             ("resource", "ResourcesListChanged", "ResourceListChangedNotification"))
    for kind, event, note in kinds:
        if MODERN:
            async with client.listen(**{f"{kind}s_list_changed": True}) as changes:
                await client.call_tool(f"test_trigger_{kind}_change", {})
                with anyio.fail_after(10):
                    need(type(await anext(aiter(changes))).__name__ == event, kind)
        else:
            NOTES.clear()
            await client.call_tool(f"test_trigger_{kind}_change", {})
            await until(f"no {note}, only {NOTES}", lambda note=note: note in NOTES)


async def updated(client):
    if MODERN:
        async with client.listen(resource_subscriptions=[WATCHED]) as changes:
            need(changes.honored.resource_subscriptions, "the subscription was not granted")
            await client.call_tool("test_update_resource", {})
            with anyio.fail_after(10):
                need(type(await anext(aiter(changes))).__name__ == "ResourceUpdated", "another event")
        return
    await client.subscribe_resource(WATCHED)
    NOTES.clear()
    await client.call_tool("test_update_resource", {})
    await until(f"no note, only {NOTES}", lambda: "ResourceUpdatedNotification" in NOTES)
    await client.unsubscribe_resource(WATCHED)


async def header(client):
    answer = await client.call_tool("test_custom_header", {"value": "hé"})
    need(text(answer) == "hé", answer)


async def lacking(_client):
    async with connection() as transport, Client(transport, mode="auto" if MODERN else "legacy") as bare:
        code, data = await code_of(bare.call_tool("test_missing_capability", {}))
        need(code == -32021 and (data or {}).get("requiredCapabilities") == {"sampling": {}}, (code, data))


class AboutTask(types.Request[dict, str]):
    name_param = "taskId"


async def tasks(client):
    if not MODERN:
        return await followed(client)
    extensions = [advertise(TASKS, {})]
    async with connection() as transport, Client(transport, mode="auto", cache=None, extensions=extensions) as one:
        await followed(one)


async def followed(client):
    can = client.server_capabilities.model_dump(by_alias=True, exclude_none=True)
    offered = can.get("extensions", {}) if MODERN else can.get("tasks", {}).get("requests", {}).get("tools", {})
    need((TASKS if MODERN else "call") in offered, "tasks are not offered")

    # The SDK has no tasks of its own: messages by hand, on its transport.
    async def ask(method, **params):
        of = types.Request[dict, str] if method == "tools/call" else AboutTask
        return await client.session.send_request(of(method=method, params=params), TypeAdapter(dict))

    called = {"name": "slow_compute" if MODERN else "task_compute", "arguments": {"seconds": 0.3}}
    called |= {} if MODERN else {"task": {}}
    begun = await ask("tools/call", **called)
    task = (begun if MODERN else begun["task"])["taskId"]
    look = await ask("tasks/get", taskId=task)
    need(look["taskId"] == task, look)
    with anyio.move_on_after(10):
        while look["status"] != "completed":
            await anyio.sleep(0.02)
            look = await ask("tasks/get", taskId=task)
    done = look["result"] if MODERN else await ask("tasks/result", taskId=task)
    need("is done" in done["content"][0]["text"], done)
    need(MODERN or done["_meta"]["io.modelcontextprotocol/related-task"]["taskId"] == task, done)


FEATURES = {
    "opening": opening, "ping": ping, "lists": lists, "definitions": definitions, "kinds of content": contents,
    "structured content": structured, "tool errors": tool_error, "resources": read, "resource not found": missing,
    "prompts": prompts, "completion": completion, "progress": progress, "log messages": logging,
    "cancel by the client": cancel, "sampling": sampling, "elicitation by a form": form,
    "all kinds of forms": forms, "elicitation by a URL": url, "roots": asked_roots,
    "several questions and rounds": several, "a prompt that asks": asking_prompt, "list_changed": changed,
    "resources/updated": updated, "a capability that is missing": lacking, "tasks": tasks,
    "an argument in a header": header,
}


class connection:
    """A transport, as the words of the command line ask for it."""

    async def __aenter__(self):
        if KIND == "http":
            address, token = REST
            self.http = httpx2.AsyncClient(headers={"Authorization": f"Bearer {token}"}, timeout=60)
            await self.http.__aenter__()
            return streamable_http_client(address, http_client=self.http)
        return stdio_client(StdioServerParameters(command=REST[0], args=REST[1:], env=dict(os.environ)))

    async def __aexit__(self, *fault):
        if KIND == "http":
            await self.http.__aexit__(*fault)


def said(fault):
    while isinstance(fault, BaseExceptionGroup) and len(fault.exceptions) == 1:
        fault = fault.exceptions[0]
    return str(fault) if isinstance(fault, No) else f"{type(fault).__name__}: {fault}"


async def main():
    more = {"log_level": "info"} if MODERN else {}
    async with connection() as transport, Client(
            transport, mode="auto" if MODERN else "legacy", sampling_callback=sampled, elicitation_callback=elicited,
            list_roots_callback=roots, logging_callback=logged, message_handler=noted, cache=None, **more) as client:
        for name, tries in FEATURES.items():
            line = {"feature": name, "works": True, "why": ""}
            try:
                with anyio.fail_after(30):
                    line["why"] = await tries(client) or ""
            except Exception as fault:  # whatever it is, it is why
                line = {"feature": name, "works": False, "why": said(fault)[:300]}
            print(json.dumps(line), flush=True)


anyio.run(main)
