"""The servers that are tried, how each is started, and the calls that need no network. Nothing here runs anything."""

import os
import sqlite3
from dataclasses import dataclass, field

TINY = "data:text/plain;base64,aGVsbG8="


@dataclass
class Server:
    name: str
    command: list
    calls: list = field(default_factory=list)
    env: dict = field(default_factory=dict)
    # Variables that are not set here: absent without Sentinel, `${NAME:-}` in its file, which must come to the same.
    keys: tuple = ()
    # Started by the test and reached at this path; `PORT` in the command and the environment is its port.
    http: str = ""
    # It speaks both eras: what it offers and answers in the one that Sentinel chooses is compared as well.
    both: bool = False
    # It speaks HTTP+SSE, the transport of 2024-11-05, and this is what Sentinel's file says of that.
    transport: str = ""

    def started(self, port=0):
        fill = [part.replace("PORT", str(port)) for part in self.command]
        return fill, {name: value.replace("PORT", str(port)) for name, value in self.env.items()}


def everything():
    return [
        ("echo", {"message": "grüße \u2028 \"quoted\" \\ \U0001f9ea\t0"}),
        ("echo", {}),
        ("get-annotated-message", {"messageType": "error", "includeImage": True}),
        ("get-env", {}),
        ("get-resource-links", {"count": 4}),
        ("get-resource-reference", {"resourceType": "Blob", "resourceId": 3}),
        ("get-structured-content", {"location": "Chicago"}),
        ("get-sum", {"a": 0.1, "b": 1e21}),
        ("get-tiny-image", {}),
        ("gzip-file-as-resource", {"name": "a.gz", "data": TINY, "outputType": "resource"}),
        ("toggle-simulated-logging", {}),
        ("toggle-simulated-logging", {}),
        ("toggle-subscriber-updates", {}),
        ("toggle-subscriber-updates", {}),
        ("trigger-long-running-operation", {"duration": 1, "steps": 2}),
    ]


def filesystem(folder):
    def at(name):
        return os.path.join(folder, name)
    return [
        ("list_allowed_directories", {}),
        ("write_file", {"path": at("a.txt"), "content": "eins\nzwei\ndrei ü\n"}),
        ("read_file", {"path": at("a.txt"), "tail": 1}),
        ("read_text_file", {"path": at("a.txt")}),
        ("read_text_file", {"path": at("none.txt")}),
        ("read_text_file", {"path": "/etc/passwd"}),
        ("edit_file", {"path": at("a.txt"), "edits": [{"oldText": "zwei", "newText": "two"}]}),
        ("create_directory", {"path": at("sub")}),
        ("move_file", {"source": at("a.txt"), "destination": at("sub/b.txt")}),
        ("read_multiple_files", {"paths": [at("sub/b.txt"), at("kept.txt"), at("none.txt")]}),
        ("read_media_file", {"path": at("kept.png")}),
        ("list_directory", {"path": folder}),
        ("list_directory_with_sizes", {"path": folder, "sortBy": "size"}),
        ("directory_tree", {"path": folder}),
        ("search_files", {"path": folder, "pattern": "**/*.txt"}),
        ("get_file_info", {"path": at("kept.txt")}),
    ]


MEMORY = [
    ("create_entities", {"entities": [{"name": "Ada", "entityType": "person", "observations": ["counts"]},
                                      {"name": "Engine", "entityType": "machine", "observations": []}]}),
    ("create_relations", {"relations": [{"from": "Ada", "to": "Engine", "relationType": "programs"}]}),
    ("add_observations", {"observations": [{"entityName": "Ada", "contents": ["née Byron ☂"]}]}),
    ("add_observations", {"observations": [{"entityName": "Nobody", "contents": ["x"]}]}),
    ("search_nodes", {"query": "ada"}),
    ("open_nodes", {"names": ["Engine"]}),
    ("delete_observations", {"deletions": [{"entityName": "Ada", "observations": ["counts"]}]}),
    ("delete_relations", {"relations": [{"from": "Ada", "to": "Engine", "relationType": "programs"}]}),
    ("delete_entities", {"entityNames": ["Engine"]}),
    ("read_graph", {}),
]

THINKING = [
    ("sequentialthinking", {"thought": "one", "nextThoughtNeeded": True, "thoughtNumber": 1, "totalThoughts": 2}),
    ("sequentialthinking", {"thought": "two", "nextThoughtNeeded": False, "thoughtNumber": 2, "totalThoughts": 2}),
]

SQLITE = [
    ("db_info", {}),
    ("list_tables", {}),
    ("get_table_schema", {"tableName": "people"}),
    ("create_record", {"table": "people", "data": {"name": "Zoë", "age": 41}}),
    ("read_records", {"table": "people", "limit": 5}),
    ("update_records", {"table": "people", "data": {"age": 42.5}, "conditions": {"name": "Zoë"}}),
    ("query", {"sql": "select name, age from people where age > ? order by id", "values": [30]}),
    ("query", {"sql": "select nothing"}),
    ("delete_records", {"table": "people", "conditions": {"name": "Bob"}}),
]

N8N = [
    ("search_nodes", {"query": "webhook", "limit": 3}),
    ("get_node", {"nodeType": "nodes-base.webhook", "detail": "minimal"}),
    ("validate_node", {"nodeType": "nodes-base.webhook", "config": {"path": "x"}, "mode": "minimal"}),
    ("validate_workflow", {"workflow": {"name": "w", "nodes": [], "connections": {}}}),
    ("search_templates", {"query": "slack", "limit": 2}),
    ("get_template", {"templateId": 1}),
    ("tools_documentation", {}),
]

PAGE = "data:text/html,<title>T</title><button>go</button>"
PLAYWRIGHT = [
    ("browser_navigate", {"url": PAGE}),
    ("browser_evaluate", {"function": "() => document.title"}),
    ("browser_click", {"element": "the button", "target": "button"}),
    ("browser_tabs", {"action": "list"}),
    ("browser_close", {}),
]


TIME = [
    ("get_current_time", {"timezone": "Asia/Tokyo"}),
    ("convert_time", {"source_timezone": "UTC", "time": "12:30", "target_timezone": "Asia/Kathmandu"}),
    ("convert_time", {"source_timezone": "Nowhere", "time": "12:30", "target_timezone": "UTC"}),
]


def fresh(folder):
    """The state that servers begin with; called before each of the two runs. What is kept keeps its times."""
    files, fixed = os.path.join(folder, "files"), os.path.join(folder, "files", "kept.txt")
    os.makedirs(files, exist_ok=True)
    for found, _, names in os.walk(files, topdown=False):
        for name in names:
            if not name.startswith("kept"):
                os.unlink(os.path.join(found, name))
        if found != files:
            os.rmdir(found)
    if not os.path.exists(fixed):
        with open(fixed, "w", encoding="utf-8") as file:
            file.write("kept\n")
        with open(os.path.join(files, "kept.png"), "wb") as file:
            file.write(b"\x89PNG\r\n\x1a\n" + bytes(5000))
    open(fixed, "rb").read()
    for name in ("memory.jsonl", "stdio.db", "http.db", "sse.db"):
        path = os.path.join(folder, name)
        for suffix in ("", "-wal", "-shm", "-journal"):
            if os.path.exists(path + suffix):
                os.unlink(path + suffix)
        if name.endswith(".db"):
            with sqlite3.connect(path) as base:
                base.execute("create table people (id integer primary key, name text, age real)")
                base.execute("insert into people (name, age) values ('Ann', 36), ('Bob', 17.25)")
            base.close()
            os.utime(path, (1_700_000_000, 1_700_000_000))


def is_installed(server, peers):
    return all(os.path.exists(part) for part in server.command if part.startswith(peers))


def all_of(peers, folder):
    """Every server, as its package under `peers` is started; `is_installed` says whether it is there."""
    npm, services, sqlite = (os.path.join(peers, part, "node_modules") for part in ("npm", "services", "sqlite"))
    node24 = os.path.join(npm, "node", "bin", "node")

    def bin_of(root, name):
        return os.path.join(root, ".bin", name)
    files = os.path.join(folder, "files")
    chromium = next((path for path in ("/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome")
                     if os.path.exists(path)), None)
    playwright = [bin_of(services, "playwright-mcp"), "--headless", "--isolated"]
    if chromium:
        playwright += ["--executable-path", chromium] + (["--no-sandbox"] if os.getuid() == 0 else [])
    mode = {"MCP_MODE": "stdio", "LOG_LEVEL": "error", "DISABLE_CONSOLE_OUTPUT": "true",
            "N8N_MCP_TELEMETRY_DISABLED": "true"}
    return [
        Server("everything", [bin_of(npm, "mcp-server-everything"), "stdio"], everything()),
        Server("thinking", [bin_of(npm, "mcp-server-sequential-thinking")], THINKING,
               {"DISABLE_THOUGHT_LOGGING": "true"}),
        Server("files", [bin_of(npm, "mcp-server-filesystem"), files], filesystem(files)),
        Server("memory", [bin_of(npm, "mcp-server-memory")], MEMORY,
               {"MEMORY_FILE_PATH": os.path.join(folder, "memory.jsonl")}),
        Server("sqlite", [bin_of(sqlite, "mcp-sqlite-server"), os.path.join(folder, "stdio.db")], SQLITE),
        Server("everything-http", [bin_of(npm, "mcp-server-everything"), "streamableHttp"], everything(),
               {"PORT": "PORT"}, http="/mcp"),
        Server("everything-sse", [bin_of(npm, "mcp-server-everything"), "sse"], everything(), {"PORT": "PORT"},
               http="/sse", transport="sse"),
        Server("sqlite-sse", [bin_of(npm, "mcp-proxy"), "--host", "127.0.0.1", "--port", "PORT", "--server", "sse",
                              "--", bin_of(sqlite, "mcp-sqlite-server"), os.path.join(folder, "sse.db")],
               SQLITE, http="/sse", transport="auto"),
        Server("python-sse", [os.path.join(peers, "python", "bin", "python"),
                              os.path.join(os.path.dirname(__file__), "sse_server.py"), "PORT"],
               [("add", {"a": 1, "b": 2}), ("steps", {}), ("fails", {}), ("add", {"a": "x"})], http="/sse",
               transport="auto"),
        Server("sqlite-http", [bin_of(npm, "mcp-proxy"), "--host", "127.0.0.1", "--port", "PORT", "--server", "stream",
                               "--", bin_of(sqlite, "mcp-sqlite-server"), os.path.join(folder, "http.db")],
               SQLITE, http="/mcp"),
        Server("context7", [bin_of(services, "context7-mcp")],
               [("resolve-library-id", {"query": "how", "libraryName": "react"})], keys=("CONTEXT7_API_KEY",), both=True),
        Server("exa", [bin_of(services, "exa-mcp-server")], [("web_search_exa", {"query": "bees"})],
               keys=("EXA_API_KEY",)),
        Server("firecrawl", [node24, os.path.join(services, "firecrawl-mcp", "dist", "index.js")],
               [("firecrawl_scrape", {"url": "https://example.invalid/"})], keys=("FIRECRAWL_API_KEY",)),
        Server("playwright", playwright, PLAYWRIGHT if chromium else []),
        Server("n8n", [bin_of(services, "n8n-mcp")], N8N, mode),
        Server("time", [os.path.join(peers, "python", "bin", "mcp-server-time"), "--local-timezone", "UTC"], TIME, both=True),
    ]
