"""Retrieval as a tool, and its recall: do the documents that answer a question reach the model?

    inferwire demo          # in one terminal
    python examples/retrieval.py [ADDRESS]

The model is made to call `search`. The tool embeds the query and answers with a ToolResponse: text for the model, and
the ids of the documents as metadata, which the server writes into its log and traces and never into a prompt. Here the
same metadata tells the recall.
"""

import asyncio
import json
import sys
from collections.abc import Sequence

from service.api.chat import ChatCompletionRequest
from service.api.content import TextContentItem
from service.api.embeddings import EmbeddingsRequest
from service.api.messages import CompletionMessage, Message, ToolResponse, UserMessage
from service.api.sampling import SamplingParams
from service.api.tools import (
    NamedToolChoice,
    ToolCall,
    ToolChoice,
    ToolConfig,
    ToolDefinition,
    ToolParamDefinition,
    ToolParameters,
)
from service.client import Client

CHAT_MODEL, EMBEDDING_MODEL = "smollm2-135m-instruct", "all-minilm-l6-v2"
DOCUMENTS = {
    "garden-1": "Tomatoes need at least six hours of sun a day and water at their roots, not on their leaves.",
    "garden-2": "Basil grows well beside tomatoes and keeps some insects away from them.",
    "bikes-1": "A bicycle chain should be cleaned and oiled every 200 kilometres, more often in rain.",
    "bikes-2": "Worn brake pads are thinner than two millimetres and have to be replaced.",
    "bread-1": "Sourdough bread rises for twelve hours at room temperature before it is baked.",
    "bread-2": "Bread is baked when its core has reached 96 degrees Celsius.",
}
QUESTIONS = {
    "How much sun do tomatoes need?": {"garden-1"},
    "What can I plant next to tomatoes?": {"garden-2"},
    "How often do I have to oil my bicycle chain?": {"bikes-1"},
    "When must brake pads be replaced?": {"bikes-2"},
    "How long does sourdough have to rise?": {"bread-1"},
}
SEARCH = ToolDefinition(
    tool_name="search",
    description="Finds documents about a topic",
    input=ToolParameters(
        parameters=(ToolParamDefinition(name="query", param_type="string", description="The question of the user"),)
    ),
)
BEST = 2


async def main(address: str) -> None:
    async with Client(address) as client:
        vectors = await embed(client, list(DOCUMENTS.values()))
        recalls = []
        for question, relevant in QUESTIONS.items():
            answer, found = await ask(client, vectors, question)
            recalls.append(len(relevant & set(found)) / len(relevant))
            print(f"{question}\n  found {', '.join(found)}: recall {recalls[-1]:.0%}\n  {answer}")
        print(f"\nMean recall of {len(recalls)} questions: {sum(recalls) / len(recalls):.0%}")


async def ask(client: Client, vectors: Sequence[Sequence[float]], question: str) -> tuple[str, list[str]]:
    """The model's answer, and the ids of the documents that it was shown."""
    conversation: list[Message] = [UserMessage(content=question)]
    called = await chat(client, conversation, NamedToolChoice(tool_name="search"))
    conversation.append(called)
    found: list[str] = []
    for call in called.tool_calls:
        response = await search(client, vectors, call)
        found += (response.metadata or {})["document_ids"]
        conversation.append(response)
    answer = await chat(client, conversation, ToolChoice.NONE)
    return str(answer.content).strip(), found


async def search(client: Client, vectors: Sequence[Sequence[float]], call: ToolCall) -> ToolResponse:
    """The tool: the documents that are nearest to the query, best first."""
    (wanted,) = await embed(client, [json.loads(call.arguments_json)["query"]])
    scores = {name: dot(wanted, vector) for name, vector in zip(DOCUMENTS, vectors, strict=True)}
    names = sorted(scores, key=scores.__getitem__, reverse=True)[:BEST]
    return ToolResponse(
        call_id=call.call_id,
        tool_name="search",
        content="\n".join(DOCUMENTS[name] for name in names),
        metadata={"document_ids": names},
    )


async def chat(
    client: Client, conversation: Sequence[Message], choice: ToolChoice | NamedToolChoice
) -> CompletionMessage:
    request = ChatCompletionRequest(
        model_id=CHAT_MODEL,
        messages=tuple(conversation),
        tools=(SEARCH,),
        tool_config=ToolConfig(tool_choice=choice),
        sampling_params=SamplingParams(max_tokens=80),
    )
    return (await client.chat(request)).completion_message


async def embed(client: Client, texts: Sequence[str]) -> list[Sequence[float]]:
    request = EmbeddingsRequest(model_id=EMBEDDING_MODEL, contents=tuple(TextContentItem(text=text) for text in texts))
    return [embedding.values for embedding in (await client.embed(request)).embeddings]


def dot(a: Sequence[float], b: Sequence[float]) -> float:
    """The cosine of the angle between two vectors of length 1, as the embedding model makes them."""
    return sum(x * y for x, y in zip(a, b, strict=True))


if __name__ == "__main__":
    asyncio.run(main(*(sys.argv[1:] or ["127.0.0.1:50051"])))
