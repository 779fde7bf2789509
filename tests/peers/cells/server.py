"""A server on the official Python SDK, which speaks both eras: what the clients of the table of cells try. The names and
contents are those of the official conformance suite, as in tests/conformance/fixture, which is on rmcp.

server.py stdio | server.py http PORT
"""

import base64
import sys
import warnings
from typing import Annotated

import anyio
from mcp.server.elicitation import ElicitationResult
from mcp.server.mcpserver import Context, MCPServer, Message, UserMessage
from mcp.server.mcpserver.prompts import Prompt
from mcp.server.mcpserver.resolve import Elicit, ListRoots, Resolve, Sample
from mcp.server.mcpserver.resources import TextResource
from mcp.shared.exceptions import MCPError
from mcp_types import (
    AudioContent,
    CallToolResult,
    Completion,
    CreateMessageResult,
    EmbeddedResource,
    Icon,
    ImageContent,
    ListRootsResult,
    ResourceLink,
    SamplingMessage,
    TextContent,
    TextResourceContents,
    ToolAnnotations,
)
from pydantic import BaseModel, Field

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
    name: str = "Ada"


class Kinds(BaseModel):
    name: str = "John Doe"
    age: int = 30
    score: float = 95.5
    verified: bool = True


# What a parameter is filled with: a request of the server's own in the legacy era, `input_required` in the modern one.
def named(message: str = "What is your name?"):
    return Elicit(message, Answer)


def sampled(prompt: str = "Generate a greeting"):
    content = TextContent(type="text", text=prompt)
    return Sample([SamplingMessage(role="user", content=content)], max_tokens=100)


def colored(_first: Annotated[ElicitationResult[Answer], Resolve(lambda: Elicit("Step 1: your name?", Answer))]):
    return Elicit("Step 2: your color?", Answer)


@fixture.tool(description="Asks the client's model.")
async def test_sampling(prompt: str, said: Annotated[CreateMessageResult, Resolve(sampled)]) -> CallToolResult:
    return text(f"LLM response: {said.content.text}")


@fixture.tool(description="Asks the user.")
async def test_elicitation(message: str, said: Annotated[ElicitationResult[Answer], Resolve(named)]) -> CallToolResult:
    return text(f"User response: {said.action}")


@fixture.tool(description="Asks the user, with defaults for all.")
async def test_elicitation_sep1034_defaults(
        said: Annotated[ElicitationResult[Kinds], Resolve(lambda: Elicit("Values", Kinds))]) -> CallToolResult:
    return text(f"User response: {said.action}")


@fixture.tool(description="Gives back its argument, which stands in a header as well.")
def test_custom_header(value: Annotated[str, Field(json_schema_extra={"x-mcp-header": "Value"})]) -> CallToolResult:
    return text(value)


@fixture.tool(description="Asks for the client's roots.")
async def test_input_required_result_list_roots(
        said: Annotated[ListRootsResult, Resolve(lambda: ListRoots())]) -> CallToolResult:
    return text("roots: " + ", ".join(str(root.uri) for root in said.roots))


@fixture.tool(description="Asks three things at once.")
async def test_input_required_result_multiple_inputs(
        name: Annotated[ElicitationResult[Answer], Resolve(lambda: Elicit("What is your name?", Answer))],
        greeting: Annotated[CreateMessageResult, Resolve(lambda: sampled())],
        roots: Annotated[ListRootsResult, Resolve(lambda: ListRoots())]) -> CallToolResult:
    return text(f"All inputs received: {name.action}, {greeting.content.text}, {len(roots.roots)}")


@fixture.tool(description="Asks twice.")
async def test_input_required_result_multi_round(
        said: Annotated[ElicitationResult[Answer], Resolve(colored)]) -> CallToolResult:
    return text(f"Multi-round flow complete: {said.action}")


GIVEN_UP = []


@fixture.tool(description="Takes as long as it is told to.")
async def test_slow(ms: int) -> CallToolResult:
    try:
        await anyio.sleep(ms / 1000)
    except anyio.get_cancelled_exc_class():
        GIVEN_UP.append(ms)
        raise
    return text("it is over")


@fixture.tool(description="How many calls of test_slow were given up.")
def test_slow_calls() -> CallToolResult:
    return text(str(len(GIVEN_UP)))


class Found(BaseModel):
    answer: int


@fixture.tool(description="Returns an object, and says of what shape.", title="Structured",
              annotations=ToolAnnotations(read_only_hint=True, idempotent_hint=True),
              icons=[Icon(src=f"data:image/png;base64,{PNG}", mime_type="image/png")],
              meta={"example.test/kept": "as it is"})
def test_structured_content() -> Found:
    return Found(answer=42)


@fixture.tool(description="Returns a link to a resource.")
def test_resource_link() -> CallToolResult:
    return CallToolResult(content=[ResourceLink(type="resource_link", uri="test://static-text", name="static-text")])


@fixture.tool(description="Needs a client that samples.")
async def test_missing_capability(context: Context) -> CallToolResult:
    if getattr(context.client_capabilities, "sampling", None) is None:
        raise MCPError(-32021, "sampling is needed", {"requiredCapabilities": {"sampling": {}}})
    return text("it samples")


def come_and_go(there, add, remove):
    if there:
        remove()
    else:
        add()


@fixture.tool(description="Shows one tool more, or one less.")
async def test_trigger_tool_change(context: Context) -> CallToolResult:
    name = "test_that_comes_and_goes"
    come_and_go(any(tool.name == name for tool in await fixture.list_tools()),
                lambda: fixture.add_tool(test_simple_text, name=name, description="Is here for a while."),
                lambda: fixture.remove_tool(name))
    await context.notify_tools_changed()
    await context.session.send_tool_list_changed()
    return text("it was changed")


@fixture.tool(description="Shows one prompt more.")
async def test_trigger_prompt_change(context: Context) -> CallToolResult:
    fixture.add_prompt(Prompt.from_function(test_simple_prompt, name=f"test_that_came_{len(await fixture.list_prompts())}"))
    await context.notify_prompts_changed()
    await context.session.send_prompt_list_changed()
    return text("it was changed")


@fixture.tool(description="Shows one resource more.")
async def test_trigger_resource_change(context: Context) -> CallToolResult:
    uri = f"test://that-came-{len(await fixture.list_resources())}"
    fixture.add_resource(TextResource(uri=uri, name="that-came", text="It came."))
    await context.notify_resources_changed()
    await context.session.send_resource_list_changed()
    return text("it was changed")


@fixture.tool(description="Says that the watched resource is another.")
async def test_update_resource(context: Context) -> CallToolResult:
    await context.notify_resource_updated("test://watched-resource")
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
    warnings.simplefilter("ignore")
    if sys.argv[1] == "http":
        fixture.run(transport="streamable-http", host="127.0.0.1", port=int(sys.argv[2]))
    else:
        fixture.run(transport="stdio")
