"""An MCP server for tests. Its first argument says how it misbehaves; a tool's name says what a call does."""
import json, os, signal, sys, time

MODE = sys.argv[1] if len(sys.argv) > 1 else "good"
DIRECTORY = sys.argv[2] if len(sys.argv) > 2 else ""
held, cancelled, told, lists, initialized = [], [], [], 0, False


def send(message):
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def result(id, value):
    send({"jsonrpc": "2.0", "id": id, "result": value})


def text(id, value):
    result(id, {"content": [{"type": "text", "text": json.dumps(value)}]})


def pid_file(name):
    with open(os.path.join(DIRECTORY, name + ".new"), "w") as out:
        out.write(str(os.getpid()))
    os.rename(os.path.join(DIRECTORY, name + ".new"), os.path.join(DIRECTORY, name))


def tree():
    """A grandchild in the group, and one that left it for a session of its own; both hold our pipes and hear no TERM."""
    for name, leaves in (("stays", False), ("leaves", True)):
        if os.fork() == 0:
            if leaves:
                os.setsid()
            if os.fork() == 0:
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
                pid_file(name)
                while True:
                    time.sleep(60)
            os._exit(0)


def looked(arguments):
    """Who we are, and what of these paths and this port we can reach."""
    import ctypes, socket
    death = ctypes.c_int()
    ctypes.CDLL(None).prctl(2, ctypes.byref(death))
    seen = {"uid": os.getuid(), "gid": os.getgid(), "groups": os.getgroups(), "home": os.environ.get("HOME"),
            "cwd": os.getcwd(), "death_signal": death.value,
            "processes": sum(name.isdigit() for name in os.listdir("/proc"))}
    for path in arguments.get("read", []):
        try:
            seen[path] = os.listdir(path) if os.path.isdir(path) else open(path).read()
        except OSError as fault:
            seen[path] = type(fault).__name__
    for path in arguments.get("write", []):
        try:
            open(path, "w").write("written")
            seen[path] = "written"
        except OSError as fault:
            seen[path] = fault.strerror
    try:
        socket.create_connection(("127.0.0.1", arguments.get("port", 1)), 2).close()
        seen["network"] = True
    except OSError:
        seen["network"] = False
    return seen


def call(id, params):
    global held
    name, arguments = params["name"], params.get("arguments", {})
    if name == "echo":
        text(id, arguments)
    elif name == "fail":
        send({"jsonrpc": "2.0", "id": id, "error": {"code": -32000, "message": "no"}})
    elif name == "gather":
        held.append((id, arguments["n"]))
        if len(held) == arguments["of"]:
            for id, n in reversed(held):
                text(id, n)
            held = []
    elif name == "hold":
        held.append((id, 0))
    elif name == "release":
        for late, n in held:
            text(late, n)
        text(id, {"held": len(held), "cancelled": len(cancelled)})
        held = []
    elif name == "noise":
        sys.stdout.write("hello, I am a banner\n{\"half\": \n[]\n\n" + "x" * 300_000 + "\n")
        text(999_999, "unknown")
        text(id, "right")
        text(id, "twice")
    elif name == "progress":
        token = params["_meta"]["progressToken"]
        for at in (1, 2):
            send({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": token, "progress": at}})
        text(id, token == id)
    elif name == "ask":
        send({"jsonrpc": "2.0", "id": "p", "method": "ping"})
        send({"jsonrpc": "2.0", "id": 7, "method": "sampling/createMessage", "params": {}})
        text(id, "asked")
    elif name == "told":
        text(id, told)
    elif name == "change":
        for _ in range(5):
            send({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"})
        send({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "changed"}})
        text(id, "changed")
    elif name == "long":
        text(id, "x" * arguments["bytes"])
    elif name == "flood":
        for _ in range(arguments["lines"]):
            sys.stdout.write(arguments["line"] + "\n")
        sys.stdout.flush()
    elif name == "exit":
        sys.stderr.write("about to exit\n")
        sys.exit(3)
    elif name == "environment":
        text(id, dict(os.environ))
    elif name == "limits":
        import resource
        status = open("/proc/self/status").read()
        text(id, {"files": resource.getrlimit(resource.RLIMIT_NOFILE)[1], "core": resource.getrlimit(resource.RLIMIT_CORE)[1],
                  "no_new_privs": "NoNewPrivs:\t1" in status, "leads": os.getpgid(0) == os.getpid(),
                  "open": sorted(int(fd) for fd in os.listdir("/proc/self/fd"))[:3], "cwd": os.getcwd()})
    elif name == "look":
        text(id, looked(arguments))
    elif name == "hide":
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                pid_file("hidden")
                null = os.open(os.devnull, os.O_RDWR)
                for pipe in (0, 1, 2):
                    os.dup2(null, pipe)
                os.execve("/bin/sleep", ["sleep", "600"], {})
            os._exit(0)
        os.wait()
        text(id, "hidden")
    elif name == "until_file":
        while not os.path.exists(os.path.join(DIRECTORY, "go")):
            time.sleep(0.02)
        text(id, "gone on")
    elif name == "slow":
        time.sleep(0.3)
        text(id, "slow")
    elif name == "deaf":
        text(id, "from here on I read nothing")
        while True:
            time.sleep(60)


def modern(method, id, message):
    """The era of 2026-07-28: true where that is all there is to say."""
    meta = message.get("params", {}).get("_meta", {})
    if method == "server/discover":
        if MODE == "late":
            time.sleep(6)
        tools = {"listChanged": True} if MODE != "poll" else {}
        result(id, {"resultType": "complete", "supportedVersions": ["2026-07-28"], "capabilities": {"tools": tools},
                    "ttlMs": 0, "cacheScope": "private",
                    "_meta": {"io.modelcontextprotocol/serverInfo": {"name": "modern", "version": "1"}}})
    elif meta.get("io.modelcontextprotocol/protocolVersion") != "2026-07-28" and method != "notifications/cancelled":
        send({"jsonrpc": "2.0", "id": id, "error": {"code": -32602, "message": "no such revision"}})
    elif method == "subscriptions/listen":
        send({"jsonrpc": "2.0", "method": "notifications/subscriptions/acknowledged",
              "params": {"_meta": {"io.modelcontextprotocol/subscriptionId": id}, "notifications": {}}})
    elif method == "tools/call" and message["params"]["name"] == "seen":
        result(id, {"resultType": "complete", "content": [{"type": "text", "text": json.dumps(message["params"])}]})
    elif method == "tools/call" and message["params"]["name"] == "typed":
        result(id, {"content": [], "resultType": message["params"]["arguments"]["type"]})
    elif method == "tools/call" and message["params"]["name"] == "refuse":
        send({"jsonrpc": "2.0", "id": id, "error": {"code": -32022, "message": "not any more", "data": {}}})
    else:
        return False
    return True


def serve():
    global lists, initialized
    for line in iter(sys.stdin.readline, ""):
        message = json.loads(line)
        method, id = message.get("method"), message.get("id")
        initialized = initialized or (MODE == "both" and method == "initialize")
        if MODE in ("modern", "late", "poll", "both") and not initialized:
            if modern(method, id, message):
                continue
        elif method == "server/discover" and MODE == "startled":
            sys.exit(2)
        elif method == "server/discover" and MODE != "mute":
            send({"jsonrpc": "2.0", "id": id, "error": {"code": -32601, "message": "what?"}})
        if method == "initialize":
            result(id, {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": {"name": "child", "version": "1"}})
        elif method == "notifications/initialized" and MODE == "early":
            send({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"})
        elif method == "tools/list":
            tools = [{"name": "echo", "inputSchema": {"type": "object"}}]
            if message.get("params", {}).get("cursor") == "2":
                lists += 1
                result(id, {"tools": [{"name": "list-%d" % lists, "inputSchema": {}}]})
            else:
                result(id, {"tools": tools, "nextCursor": "2"})
        elif method == "ping":
            result(id, {})
        elif method == "tools/call":
            call(id, message["params"])
        elif method == "notifications/cancelled":
            cancelled.append(message["params"]["requestId"])
        elif method is None:
            told.append(message)


if MODE == "exit":
    sys.stderr.write("no, thank you\n")
    sys.exit(1)
if MODE in ("usage", "noise"):
    # One write: a second one might meet a pipe that was closed for the first.
    os.write(1, b"usage: child [-h]\n" * 2000)
    if MODE == "usage":
        sys.exit(1)
    time.sleep(600)
if MODE == "silent" or os.path.exists(os.path.join(DIRECTORY, "silent")):
    for _ in sys.stdin:
        pass
if MODE == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if MODE in ("tree", "stubborn") and DIRECTORY:
    tree()
serve()
while MODE == "stubborn":
    time.sleep(60)
