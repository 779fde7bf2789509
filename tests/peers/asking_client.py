"""The official Python SDK's client, asked through Sentinel: a model's words, a person's, roots. In mode `auto` it speaks
revision 2026-07-28, and is asked within answers. `everything` is server-everything, of the legacy era; `cells` is
cells/server.mjs in the modern one.

asking_client.py auto|legacy everything|cells http URL TOKEN | … auto|legacy everything|cells stdio COMMAND ARGS…
"""

import os
import sys

import anyio
import httpx2
from mcp import types
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client


# What each server calls its tools that ask.
TOOLS = {
    "everything": ("trigger-sampling-request", "trigger-elicitation-request", "get-roots-list"),
    "cells": ("test_sampling", "test_elicitation", "test_input_required_result_list_roots"),
}


def check(what, good, seen):
    if not good:
        raise SystemExit(f"{what}: {seen}")
    print(f"ok {what}", flush=True)


async def sampled(_context, params):
    said = params.messages[0].content.text
    return types.CreateMessageResult(role="assistant", model="none",
                                     content=types.TextContent(type="text", text=f"heard: {said}"))


async def elicited(_context, params):
    if not params.message.startswith(tuple(f"[{name}] " for name in TOOLS)):
        return types.ErrorData(code=-32602, message=f"who asks? {params.message}")
    return types.ElicitResult(action="decline")


async def roots(_context):
    return types.ListRootsResult(roots=[types.Root(uri="file:///projects/python")])


async def main():
    mode, server, kind, *rest = sys.argv[1:]
    if kind == "http":
        url, token = rest
        async with httpx2.AsyncClient(headers={"Authorization": f"Bearer {token}"}, timeout=60) as http:
            await use(streamable_http_client(url, http_client=http), mode, server)
    else:
        await use(stdio_client(StdioServerParameters(command=rest[0], args=rest[1:], env=dict(os.environ))), mode,
                  server)


async def use(transport, mode, server):
    async with Client(transport, mode=mode, sampling_callback=sampled, elicitation_callback=elicited,
                      list_roots_callback=roots) as client:
        spoken = client.protocol_version
        check(f"speaks {spoken}", spoken == ("2026-07-28" if mode == "auto" else "2025-11-25"), spoken)

        async def call(tool, arguments=None):
            answer = await client.call_tool(f"{server}__{tool}", arguments or {})
            return "\n".join(getattr(one, "text", "") for one in answer.content)

        sampling, elicitation, roots_list = TOOLS[server]
        text = await call(sampling, {"prompt": "what is said?"})
        check("sampling", "heard: " in text and "what is said?" in text, text)
        text = await call(elicitation, {"message": "Who?"} if server == "cells" else {})
        check("a declined elicitation", "decline" in text.lower(), text)
        text = await call(roots_list)
        check("roots", "file:///projects/python" in text, text)


anyio.run(main)
