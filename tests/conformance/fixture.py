"""The server that the official conformance suite is run against: the names and contents that its scenarios ask for, on the
official Python SDK, which speaks both eras. Questions to the client are here as the legacy era asks them, not yet as
`input_required`.

fixture.py stdio | fixture.py http PORT
"""

import base64
import sys

import anyio
from mcp.server.mcpserver import Context, MCPServer, Message, UserMessage
from mcp.shared.exceptions import MCPError
from mcp_types import (
    AudioContent,
    CallToolResult,
    Completion,
    EmbeddedResource,
    ImageContent,
    SamplingMessage,
    TextContent,
    TextResourceContents,
)
from pydantic import BaseModel

# One red pixel; a tenth of a second of silence.
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg=="
WAV = base64.b64encode(b"RIFF\x24\x00\x00\x00WAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00\x40\x1f\x00\x00\x80\x3e\x00\x00"
                       b"\x02\x00\x10\x00data\x00\x00\x00\x00").decode()

fixture = MCPServer("conformance-fixture")


def resource(uri, kind, text):
    return EmbeddedResource(type="resource", resource=TextResourceContents(uri=uri, mime_type=kind, text=text))


@fixture.tool(description="Returns a text.")
def test_simple_text() -> CallToolResult:
    return CallToolResult(content=[TextContent(type="text", text="This is a simple text response for testing.")])


@fixture.tool(description="Returns an image.")
def test_image_content() -> CallToolResult:
    return CallToolResult(content=[ImageContent(type="image", data=PNG, mime_type="image/png")])


@fixture.tool(description="Returns audio.")
def test_audio_content() -> CallToolResult:
    return CallToolResult(content=[AudioContent(type="audio", data=WAV, mime_type="audio/wav")])


@fixture.tool(description="Returns a resource.")
def test_embedded_resource() -> CallToolResult:
    return CallToolResult(content=[resource("test://embedded-resource", "text/plain",
                                            "This is an embedded resource content.")])


@fixture.tool(description="Returns a text, an image and a resource.")
def test_multiple_content_types() -> CallToolResult:
    return CallToolResult(content=[
        TextContent(type="text", text="Multiple content types test:"),
        ImageContent(type="image", data=PNG, mime_type="image/png"),
        resource("test://mixed-content-resource", "application/json", '{"test":"data","value":123}'),
    ])


@fixture.tool(description="Fails.")
def test_error_handling() -> CallToolResult:
    return CallToolResult(is_error=True, content=[
        TextContent(type="text", text="This tool intentionally returns an error for testing")])


@fixture.tool(description="Reports its progress.")
async def test_tool_with_progress(context: Context) -> CallToolResult:
    for done in (0, 50, 100):
        await context.report_progress(done, 100)
        await anyio.sleep(0.05)
    return CallToolResult(content=[TextContent(type="text", text="progress was reported")])


async def logs(context):
    for text in ("Tool execution started", "Tool processing data", "Tool execution completed"):
        await context.info(text)
        await anyio.sleep(0.05)
    return CallToolResult(content=[TextContent(type="text", text="it was logged")])


@fixture.tool(description="Logs three times.")
async def test_tool_with_logging(context: Context) -> CallToolResult:
    return await logs(context)


@fixture.tool(description="Logs three times.")
async def test_logging_tool(context: Context) -> CallToolResult:
    return await logs(context)


def text(said):
    return CallToolResult(content=[TextContent(type="text", text=said)])


class Answer(BaseModel):
    response: str


@fixture.tool(description="Asks the client's model.")
async def test_sampling(prompt: str, context: Context) -> CallToolResult:
    asked = [SamplingMessage(role="user", content=TextContent(type="text", text=prompt))]
    answer = await context.session.create_message(messages=asked, max_tokens=100)
    return text(f"LLM response: {answer.content.text}")


@fixture.tool(description="Asks the user.")
async def test_elicitation(message: str, context: Context) -> CallToolResult:
    answer = await context.elicit(message, Answer)
    return text(f"User response: {answer.action}")


@fixture.tool(description="Asks the user, if somebody is there to be asked.")
async def test_streaming_elicitation(context: Context) -> CallToolResult:
    try:
        return text(f"User response: {(await context.elicit('Well?', Answer)).action}")
    except Exception as fault:  # of this era, or of this client
        return text(f"nobody could be asked: {fault}")


@fixture.tool(description="Needs a client that samples.")
async def test_missing_capability(context: Context) -> CallToolResult:
    if getattr(context.client_capabilities, "sampling", None) is None:
        raise MCPError(-32021, "sampling is needed", {"requiredCapabilities": {"sampling": {}}})
    return text("it samples")


@fixture.tool(description="Changes the list of tools.")
async def test_trigger_tool_change(context: Context) -> CallToolResult:
    name = "test_that_comes_and_goes"
    if any(tool.name == name for tool in await fixture.list_tools()):
        fixture.remove_tool(name)
    else:
        fixture.add_tool(test_simple_text, name=name, description="Is here for a while.")
    await context.notify_tools_changed()
    await context.session.send_tool_list_changed()
    return text("it was changed")


@fixture.resource("test://static-text", name="static-text", mime_type="text/plain")
def static_text() -> str:
    return "This is the content of the static text resource."


@fixture.resource("test://static-binary", name="static-binary", mime_type="image/png")
def static_binary() -> bytes:
    return base64.b64decode(PNG)


@fixture.resource("test://watched-resource", name="watched-resource", mime_type="text/plain")
def watched() -> str:
    return "Watched."


@fixture.resource("test://template/{id}/data", name="template", mime_type="application/json")
def template(id: str) -> str:
    return f'{{"id":"{id}","templateTest":true,"data":"Data for ID: {id}"}}'


@fixture.prompt(description="A simple prompt.")
def test_simple_prompt() -> str:
    return "This is a simple prompt for testing."


@fixture.prompt(description="A prompt with two arguments.")
def test_prompt_with_arguments(arg1: str, arg2: str) -> str:
    return f"Prompt with arguments: arg1='{arg1}', arg2='{arg2}'"


@fixture.prompt(description="A prompt with a resource.")
def test_prompt_with_embedded_resource(resourceUri: str) -> list[Message]:
    return [UserMessage(resource(resourceUri, "text/plain", "Embedded resource content for testing.")),
            UserMessage("Please process the embedded resource above.")]


@fixture.prompt(description="A prompt with an image.")
def test_prompt_with_image() -> list[Message]:
    return [UserMessage(ImageContent(type="image", data=PNG, mime_type="image/png")),
            UserMessage("Please analyze the image above.")]


@fixture.completion()
async def complete(_ref, argument, _context):
    return Completion(values=[f"{argument.value}{end}" for end in ("a", "b")], total=2, has_more=False)


if __name__ == "__main__":
    if sys.argv[1] == "http":
        fixture.run(transport="streamable-http", host="127.0.0.1", port=int(sys.argv[2]))
    else:
        fixture.run(transport="stdio")
