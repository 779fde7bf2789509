"""A server on the Python SDK that only speaks HTTP+SSE, at /sse of the port that is its one argument."""

import sys

from mcp.server.mcpserver import Context, MCPServer

server = MCPServer("python-sse")


@server.tool()
def add(a: int, b: int) -> int:
    """Adds."""
    return a + b


@server.tool()
async def steps(context: Context) -> str:
    """Tells of its progress."""
    for step in range(3):
        await context.report_progress(step, 3)
    return "done"


@server.tool()
def fails() -> str:
    """Fails."""
    raise ValueError("as asked")


server.run(transport="sse", port=int(sys.argv[1]))
