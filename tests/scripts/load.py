"""A small MCP client, and load made of it, for tests that need traffic and no SDK."""

import itertools
import json
import threading
import time
import urllib.request


class Client:
    """The least that speaks MCP: one session on one plane."""

    def __init__(self, port, token):
        self.url, self.token, self.session, self.last = f"http://127.0.0.1:{port}/mcp", token, None, 0

    def post(self, message):
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
        if self.session:
            headers |= {"Mcp-Session-Id": self.session, "MCP-Protocol-Version": "2025-11-25"}
        request = urllib.request.Request(self.url, json.dumps(message).encode(), headers)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.headers, answer.read()

    def initialize(self):
        params = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "load", "version": "1"}}
        headers, _ = self.post({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params})
        self.session = headers["Mcp-Session-Id"]
        self.post({"jsonrpc": "2.0", "method": "notifications/initialized"})
        return self

    def call(self, tool, arguments):
        """The request id and the answer."""
        self.last += 1
        headers, body = self.post({"jsonrpc": "2.0", "id": self.last, "method": "tools/call", "params": {"name": tool, "arguments": arguments}})
        return headers["x-request-id"], json.loads(body)


class Load:
    """Calls on a plane until told, the given ones in turn; keeps the request id of each answered one."""

    def __init__(self, port, token, calls=(("example__echo", {"text": "x"}),), pause=0.005):
        self.calls, self.pause = itertools.cycle(calls), pause
        self.answered, self.failed, self.lost, self.stop = [], 0, 0, threading.Event()
        self.thread = threading.Thread(target=self.go, args=(port, token), daemon=True)
        self.thread.start()

    def go(self, port, token):
        client = None
        while not self.stop.is_set():
            try:
                client = client or Client(port, token).initialize()
                request, answer = client.call(*next(self.calls))
                self.answered.append(request)
                # An error is an answer too, and has its row.
                self.failed += "result" not in answer
            except (OSError, ValueError):
                self.lost += 1
                time.sleep(0.05)
            time.sleep(self.pause)

    def end(self):
        self.stop.set()
        self.thread.join(15)
