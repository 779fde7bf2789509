"""An MCP server on stdin and stdout that never stops talking: log notes as fast as they are read. It answers besides."""
import json
import os
import sys
import threading

NOTE = (json.dumps({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "x" * 100}}) + "\n").encode()
LOCK = threading.Lock()


def say(message):
    with LOCK:
        os.write(1, (json.dumps(message) + "\n").encode())


def flood():
    while True:
        with LOCK:
            rest = NOTE * 100
            while rest:
                rest = rest[os.write(1, rest):]


for line in sys.stdin:
    asked = json.loads(line)
    if "id" not in asked:
        continue
    result = {
        "initialize": {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}, "logging": {}}, "serverInfo": {"name": "flooding", "version": "1"}},
        "tools/list": {"tools": [{"name": "echo", "inputSchema": {"type": "object"}}]},
        "tools/call": {"content": [{"type": "text", "text": asked.get("params", {}).get("arguments", {}).get("text", "")}]},
    }.get(asked["method"], {})
    say({"jsonrpc": "2.0", "id": asked["id"], "result": result})
    if asked["method"] == "tools/list":
        threading.Thread(target=flood, daemon=True).start()
