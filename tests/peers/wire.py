"""JSON-RPC as text: clients for stdio and HTTP that keep what they were answered byte for byte, so that two answers can
be compared as JSON text. No SDK: what an SDK makes of an answer is not what was sent. Not a whole MCP client."""

import http.client
import json
import queue
import subprocess
import threading
from urllib.parse import urlsplit

NEWEST = "2025-11-25"


def members(text, at=0):
    """{name: text of its value} of the object that begins at `at`, nothing reformatted."""
    decoder, found = json.JSONDecoder(), {}
    at = skip(text, at) + 1
    while text[skip(text, at)] != "}":
        name, at = decoder.raw_decode(text, skip(text, at))
        start = skip(text, skip(text, at) + 1)
        _, at = decoder.raw_decode(text, start)
        found[name] = text[start:at]
        at = skip(text, at)
        at += text[at] == ","
    return found


def elements(text):
    """The texts of the elements of an array."""
    decoder, found, at = json.JSONDecoder(), [], 1
    while text[skip(text, at)] != "]":
        start = skip(text, at)
        _, at = decoder.raw_decode(text, start)
        found.append(text[start:at])
        at = skip(text, at)
        at += text[at] == ","
    return found


def skip(text, at):
    while text[at] in " \t\r\n":
        at += 1
    return at


class Client:
    """What both transports share; `send(text)` and `answer(id, seconds)` are theirs."""

    ids = 0

    def open(self):
        told, _ = self.ask("initialize", json.dumps({"protocolVersion": NEWEST, "capabilities": {},
                                                     "clientInfo": {"name": "peers", "version": "1"}}))
        requests = json.loads(told or "{}").get("capabilities", {}).get("tasks", {}).get("requests", {})
        self.has_tasks = "call" in requests.get("tools", {})
        self.send('{"jsonrpc":"2.0","method":"notifications/initialized"}')
        return self

    def ask(self, method, params="{}", seconds=90):
        """(text of `result`, text of `error`), one of them None."""
        self.ids += 1
        self.send(f'{{"jsonrpc":"2.0","id":{self.ids},"method":"{method}","params":{params}}}')
        answer = members(self.answer(self.ids, seconds))
        return answer.get("result"), answer.get("error")

    def tools(self):
        """{name: text of the definition}, all pages."""
        found, params = {}, "{}"
        while True:
            result, error = self.ask("tools/list", params)
            assert result is not None, error
            page = members(result)
            for tool in elements(page["tools"]):
                found[json.loads(members(tool)["name"])] = tool
            if "nextCursor" not in page:
                return found
            params = f'{{"cursor":{page["nextCursor"]}}}'

    def call(self, name, arguments, seconds=90):
        text = json.dumps(arguments, ensure_ascii=False)
        return self.ask("tools/call", f'{{"name":{json.dumps(name)},"arguments":{text}}}', seconds)


class Stdio(Client):
    def __init__(self, command, env, cwd=None):
        self.process = subprocess.Popen(command, env=env, cwd=cwd, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.DEVNULL)
        self.lines = queue.Queue()
        threading.Thread(target=self.read, daemon=True).start()
        self.open()

    def read(self):
        for line in self.process.stdout:
            self.lines.put(line.decode())
        self.lines.put("")

    def send(self, text):
        self.process.stdin.write(text.encode() + b"\n")
        self.process.stdin.flush()

    def answer(self, number, seconds):
        while True:
            line = self.lines.get(timeout=seconds)
            if not line:
                raise EOFError("it left without an answer")
            message = members(line)
            if message.get("id") == str(number) and "method" not in message:
                return line

    def close(self):
        self.process.stdin.close()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Http(Client):
    def __init__(self, url, token=None):
        self.url, self.headers = urlsplit(url), {"Content-Type": "application/json",
                                                 "Accept": "application/json, text/event-stream"}
        if token:
            self.headers["Authorization"] = f"Bearer {token}"
        self.body = self.kind = None
        self.open()

    def send(self, text):
        link = http.client.HTTPConnection(self.url.hostname, self.url.port, timeout=90)
        link.request("POST", self.url.path, text.encode(), self.headers)
        response = link.getresponse()
        session = response.getheader("Mcp-Session-Id")
        if session:
            self.headers |= {"Mcp-Session-Id": session, "MCP-Protocol-Version": NEWEST}
        self.kind, self.body = response.getheader("Content-Type") or "", response.read().decode()
        link.close()

    def answer(self, number, _seconds):
        if "event-stream" not in self.kind:
            return self.body
        for event in self.body.replace("\r\n", "\n").split("\n\n"):
            data = "\n".join(line[5:].lstrip() for line in event.split("\n") if line.startswith("data:"))
            if data:
                message = members(data)
                if message.get("id") == str(number) and "method" not in message:
                    return data
        raise EOFError(f"no answer in {self.body[:300]!r}")

    def close(self):
        pass


class HttpSse(Client):
    """HTTP+SSE of 2024-11-05: messages are POSTed where the stream says, answers come on the stream."""

    def __init__(self, url):
        self.url, self.events = urlsplit(url), queue.Queue()
        self.stream = http.client.HTTPConnection(self.url.hostname, self.url.port)
        self.stream.request("GET", self.url.path, headers={"Accept": "text/event-stream"})
        threading.Thread(target=self.read, args=(self.stream.getresponse(),), daemon=True).start()
        self.endpoint = self.events.get(timeout=30)
        self.open()

    def read(self, response):
        data = []
        for line in response:
            line = line.decode().rstrip("\r\n")
            if line.startswith("data:"):
                data.append(line[5:].removeprefix(" "))
            elif not line and data:
                self.events.put("\n".join(data))
                data = []
        self.events.put("")

    def send(self, text):
        link = http.client.HTTPConnection(self.url.hostname, self.url.port, timeout=90)
        link.request("POST", self.endpoint, text.encode(), {"Content-Type": "application/json"})
        response = link.getresponse()
        assert response.status in range(200, 300), f"{response.status} {response.read()!r}"
        link.close()

    def answer(self, number, seconds):
        while True:
            event = self.events.get(timeout=seconds)
            if not event:
                raise EOFError("its stream ended without an answer")
            message = members(event)
            if message.get("id") == str(number) and "method" not in message:
                return event

    def close(self):
        self.stream.sock.shutdown(2)
