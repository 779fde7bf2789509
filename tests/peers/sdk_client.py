"""The official Python SDK's client, as its users have it, against Sentinel: list, call, progress, cancel.

sdk_client.py auto|legacy http URL TOKEN | sdk_client.py auto|legacy stdio COMMAND ARGS…
"""

import os
import sys
import time

import anyio
import httpx2
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client


def check(what, good, seen):
    if not good:
        raise SystemExit(f"{what}: {seen}")
    print(f"ok {what}", flush=True)


async def main():
    mode, kind, *rest = sys.argv[1:]
    if kind == "http":
        url, token = rest
        async with httpx2.AsyncClient(headers={"Authorization": f"Bearer {token}"}, timeout=60) as http:
            await use(streamable_http_client(url, http_client=http), mode)
    else:
        await use(stdio_client(StdioServerParameters(command=rest[0], args=rest[1:], env=dict(os.environ))), mode)


async def use(transport, mode):
    async with Client(transport, mode=mode) as client:
        spoken = client.protocol_version
        check(f"speaks {spoken}", spoken == ("2026-07-28" if mode == "auto" else "2025-11-25"), spoken)
        listed = await client.list_tools()
        names = [tool.name for tool in listed.tools]
        check(f"list: {len(names)} tools", {"example__slow", "example__echo"} <= set(names), names)

        answer = await client.call_tool("example__echo", {"text": "hé"})
        check("call", answer.content[0].text == "hé", answer)

        steps = []

        async def step(progress, _total, _message):
            steps.append(progress)
        slow = await client.call_tool("example__slow", {"ms": 600, "steps": 3}, progress_callback=step)
        check(f"progress: {steps}", not slow.is_error and len(steps) >= 2, (steps, slow))

        begun = time.monotonic()
        with anyio.CancelScope() as scope:
            async def stop(*_):
                scope.cancel()
            await client.call_tool("example__slow", {"ms": 60000, "steps": 600}, progress_callback=stop)
        check("cancel", scope.cancelled_caught and time.monotonic() - begun < 10, time.monotonic() - begun)

        after = await client.call_tool("example__echo", {"text": "still here"})
        check("a call after it", after.content[0].text == "still here", after)
        try:
            wrong = await client.call_tool("example__nothing", {})
        except Exception as fault:
            wrong = fault
        check("an unknown tool is refused", getattr(wrong, "code", None) == -32602, wrong)
        if mode == "auto":
            async with client.listen(tools_list_changed=True) as changes:
                grown = (await client.call_tool("example__grow", {})).content[0].text
                with anyio.fail_after(10):
                    await anext(aiter(changes))
                names = [tool.name for tool in (await client.list_tools()).tools]
            check("told of a new tool", f"example__{grown}" in names, names)


anyio.run(main)
