// A tour of Inferwire from TypeScript: see README.md.
//
//   npm start -- TARGET [PART ...]    parts: chat tools structured embeddings deadline cancel errors retry

import { setTimeout as sleep } from "node:timers/promises";

import { credentials, Metadata, status, type CallOptions, type ServiceError } from "@grpc/grpc-js";

import type { Any } from "./gen/google/protobuf/any.js";
import { BadRequest, ErrorInfo, RetryInfo } from "./gen/google/rpc/error_details.js";
import { Status } from "./gen/google/rpc/status.js";
import {
  ChatCompletionRequest,
  ResponseEventType,
  type ChatCompletionResponse,
  type ChatCompletionResponseStreamChunk,
} from "./gen/inferwire/v1/chat.js";
import type { InterleavedContent } from "./gen/inferwire/v1/content.js";
import {
  EmbeddingEncoding,
  StreamEmbeddingsRequest,
  type Embedding,
  type StreamEmbeddingsResponse,
} from "./gen/inferwire/v1/embeddings.js";
import { InferenceServiceClient } from "./gen/inferwire/v1/inference_service.js";
import { ConstraintOutcome, ResponseFormat } from "./gen/inferwire/v1/response_format.js";
import { SamplingParams } from "./gen/inferwire/v1/sampling.js";
import { ToolCallVerdict, ToolChoice, ToolConfig, ToolDefinition } from "./gen/inferwire/v1/tools.js";

const CHAT_MODEL = "smollm2-135m-instruct";
const EMBEDDING_MODEL = "all-minilm-l6-v2";

// Generation has no side effects, so every call may be sent again. gRPC does so by itself, after the time that the
// server told (grpc-retry-pushback-ms) or else these pauses. CANCELLED, not by the caller, is what a call may meet that
// arrives just as a server ends.
const SERVICE_CONFIG = {
  methodConfig: [
    {
      name: [{ service: "inferwire.v1.InferenceService" }],
      retryPolicy: {
        maxAttempts: 4,
        initialBackoff: "0.1s",
        maxBackoff: "2s",
        backoffMultiplier: 2,
        retryableStatusCodes: ["UNAVAILABLE", "CANCELLED"],
      },
    },
  ],
};

/** The arguments of the tool. */
interface Weather {
  city: string;
  unit: "celsius" | "fahrenheit";
}

const WEATHER_SCHEMA = {
  type: "object",
  properties: { city: { type: "string" }, unit: { enum: ["celsius", "fahrenheit"] } },
  required: ["city", "unit"],
};

/** What the model is asked to fill in. */
interface City {
  name: string;
  continent: "Africa" | "America" | "Asia" | "Europe" | "Oceania";
  capital: boolean;
}

const CITY_SCHEMA = {
  type: "object",
  properties: {
    name: { type: "string", maxLength: 20 },
    continent: { enum: ["Africa", "America", "Asia", "Europe", "Oceania"] },
    capital: { type: "boolean" },
  },
  required: ["name", "continent", "capital"],
};

const TEXTS = {
  question: "How do plants make food?",
  plants: "Leaves turn sunlight, water and carbon dioxide into sugar.",
  volcanoes: "Molten rock rises through the crust and erupts as lava.",
  bread: "Yeast makes the dough rise before it goes into the oven.",
  empty: "",
};

type Client = InferenceServiceClient;
type Chunks = AsyncIterable<ChatCompletionResponseStreamChunk>;

/** The answer as it is written. */
async function chat(client: Client): Promise<void> {
  process.stdout.write("chat: ");
  const chunks: Chunks = client.streamChatCompletion(question("What is the capital of France?"));
  for await (const { event, usage } of chunks) {
    if (event?.delta?.delta?.$case === "text") process.stdout.write(event.delta.delta.value.text);
    if (event?.eventType === ResponseEventType.COMPLETE) {
      console.log(`\nchat: ${event.stopReason}, ${usage?.completionTokens} tokens`);
    }
  }
}

/** The model asks for a tool, gets what the tool says, and answers. */
async function tools(client: Client): Promise<void> {
  const request = question("What is the weather in Paris, in celsius?");
  request.tools.push(
    ToolDefinition.fromPartial({
      toolName: { name: { $case: "custom", value: "get_weather" } },
      description: "The weather of a city",
      input: { $case: "inputSchemaJson", value: JSON.stringify(WEATHER_SCHEMA) },
    }),
  );
  request.toolConfig = toolConfig(ToolChoice.REQUIRED);
  const { completionMessage: asked } = await answer(client, request);
  if (!asked) throw new Error("no message");
  request.messages.push({ message: { $case: "assistant", value: asked } });
  for (const call of asked.toolCalls) {
    if (call.verdict !== ToolCallVerdict.COMPLETE) throw new Error(call.problem);
    const weather: Weather = JSON.parse(call.argumentsJson);
    console.log(`tools: ${call.toolName?.name?.value} of ${weather.city} in ${weather.unit}`);
    const said = { callId: call.callId, toolName: undefined, content: text("It is 18 degrees Celsius and sunny in Paris.") };
    request.messages.push({ message: { $case: "tool", value: said } });
  }
  request.toolConfig = toolConfig(ToolChoice.NONE);
  console.log(`tools: ${textOf(await answer(client, request))}`);
}

/** JSON that fits a schema, as an object of a type of ours. */
async function structured(client: Client): Promise<void> {
  const request = question("Describe the city of Nairobi.");
  const jsonSchema = JSON.stringify(CITY_SCHEMA);
  request.responseFormat = ResponseFormat.fromPartial({ format: { $case: "jsonSchema", value: { jsonSchema } } });
  const response = await answer(client, request);
  // The server has checked it: what is SATISFIED is a City.
  if (response.constraintOutcome !== ConstraintOutcome.SATISFIED) throw new Error(response.constraintOutcome);
  const city: City = JSON.parse(textOf(response));
  console.log(`structured: ${city.name}, ${city.continent}, ${city.capital ? "capital" : "no capital"}`);
}

/** Many texts on one stream, answered in any order, each with a vector or an error of its own. */
async function embeddings(client: Client): Promise<void> {
  const stream = client.streamEmbeddings();
  // Beside reading: the server reads no further while its results are not read.
  const sending = sendAll(stream);
  const results: AsyncIterable<StreamEmbeddingsResponse> = stream;
  const vectors = new Map<string, Float32Array>();
  for await (const { id, result } of results) {
    if (result?.$case === "embedding") vectors.set(id, unpacked(result.value));
    else if (result) console.log(`embeddings: ${id}: ${new Refusal(result.value.code, result.value.details)}`);
  }
  await sending;
  const sought = vectors.get("question")!;
  vectors.delete("question");
  const ranked = [...vectors].sort(([, one], [, other]) => dot(other, sought) - dot(one, sought));
  console.log(`embeddings: ${sought.length} dimensions, the closest of ${ranked.length} is ${ranked[0]?.[0]}`);
}

async function sendAll(stream: ReturnType<Client["streamEmbeddings"]>): Promise<void> {
  const send = (request: StreamEmbeddingsRequest) =>
    stream.write(request) ? undefined : new Promise((drained) => stream.once("drain", drained));
  await send(
    StreamEmbeddingsRequest.fromPartial({
      request: { $case: "options", value: { modelId: EMBEDDING_MODEL, encoding: EmbeddingEncoding.FLOAT32 } },
    }),
  );
  for (const [id, value] of Object.entries(TEXTS)) {
    await send({ request: { $case: "item", value: { id, content: { item: { $case: "text", value } } } } });
  }
  stream.end();
}

/** A call that may take no longer than 0.2 s, queueing included. */
async function deadline(client: Client): Promise<void> {
  try {
    await answer(client, longStory(), { deadline: Date.now() + 200 });
  } catch (error) {
    console.log(`deadline: ${status[(error as ServiceError).code]}`);
  }
}

/** A stream that its reader leaves, which frees the engine at once. */
async function cancel(client: Client): Promise<void> {
  const call = client.streamChatCompletion(longStory());
  const chunks: Chunks = call;
  let pieces = 0;
  try {
    for await (const { event } of chunks) {
      if (event?.eventType === ResponseEventType.PROGRESS) pieces += 1;
      if (pieces === 3) call.cancel();
    }
  } catch (error) {
    console.log(`cancel: ${status[(error as ServiceError).code]} after ${pieces} pieces`);
  }
}

/** What a refused call says to programs. */
async function errors(client: Client): Promise<void> {
  const request = question("Hi");
  request.samplingParams = SamplingParams.fromPartial({ minP: 3 });
  try {
    await answer(client, request);
  } catch (error) {
    console.log(`errors: ${Refusal.of(error as ServiceError)}`);
  }
}

/** UNAVAILABLE is gRPC's to retry (SERVICE_CONFIG); a full server says when to come back. */
async function retry(client: Client): Promise<void> {
  const patienceEnds = Date.now() + 60_000;
  while (true) {
    try {
      const response = await answer(client, question("What is the capital of France?"), { deadline: patienceEnds });
      console.log(`retry: ${textOf(response)}`);
      return;
    } catch (error) {
      const refusal = Refusal.of(error as ServiceError);
      console.log(`retry: ${refusal}`);
      if (refusal.retryAfterMs === undefined || Date.now() + refusal.retryAfterMs > patienceEnds) return;
      await sleep(refusal.retryAfterMs);
    }
  }
}

/** Why a call or an item failed, for a program to act upon. */
class Refusal {
  /** The name of an ErrorReason. */
  readonly reason: string = "";
  /** The paths of the fields at fault. */
  readonly fields: string[] = [];
  /** Unless set, sending it again is of no use. */
  readonly retryAfterMs: number | undefined;

  constructor(
    readonly code: status,
    details: Any[],
  ) {
    for (const { typeUrl, value } of details) {
      switch (typeUrl.slice(typeUrl.lastIndexOf("/") + 1)) {
        case "google.rpc.ErrorInfo":
          this.reason = ErrorInfo.decode(value).reason;
          break;
        case "google.rpc.BadRequest":
          this.fields = BadRequest.decode(value).fieldViolations.map(({ field }) => field);
          break;
        case "google.rpc.RetryInfo": {
          const { seconds = 0, nanos = 0 } = RetryInfo.decode(value).retryDelay ?? {};
          this.retryAfterMs = seconds * 1000 + nanos / 1e6;
        }
      }
    }
  }

  static of(error: ServiceError): Refusal {
    const packed = error.metadata.get("grpc-status-details-bin")[0];
    return new Refusal(error.code, packed instanceof Buffer ? Status.decode(packed).details : []);
  }

  toString(): string {
    const words = [status[this.code], this.reason, ...this.fields];
    if (this.retryAfterMs !== undefined) words.push(`after ${this.retryAfterMs.toFixed()} ms`);
    return words.join(" ");
  }
}

/** grpc-js has callbacks only. */
function answer(
  client: Client,
  request: ChatCompletionRequest,
  options: Partial<CallOptions> = {},
): Promise<ChatCompletionResponse> {
  return new Promise((resolve, reject) =>
    client.chatCompletion(request, new Metadata(), options, (error, response) =>
      error ? reject(error) : resolve(response),
    ),
  );
}

function question(words: string): ChatCompletionRequest {
  return ChatCompletionRequest.fromPartial({
    modelId: CHAT_MODEL,
    messages: [{ message: { $case: "user", value: { content: text(words) } } }],
    samplingParams: { maxTokens: 40 },
  });
}

/** Longer than anybody waits for. */
function longStory(): ChatCompletionRequest {
  const request = question("Tell me a story.");
  request.samplingParams = SamplingParams.fromPartial({ minTokens: 1000, maxTokens: 1000 });
  return request;
}

function toolConfig(choice: ToolChoice): ToolConfig {
  return ToolConfig.fromPartial({ toolChoice: { $case: "choice", value: choice }, parallelToolCalls: false });
}

function text(words: string): InterleavedContent {
  return { content: { $case: "text", value: words } };
}

function textOf(response: ChatCompletionResponse): string {
  const content = response.completionMessage?.content?.content;
  return content?.$case === "text" ? content.value : "";
}

function unpacked({ packed }: Embedding): Float32Array {
  return Float32Array.from({ length: packed.length / 4 }, (_, i) => packed.readFloatLE(4 * i));
}

function dot(one: Float32Array, other: Float32Array): number {
  return one.reduce((sum, value, i) => sum + value * other[i]!, 0);
}

const PARTS = { chat, tools, structured, embeddings, deadline, cancel, errors, retry };

const [target = "127.0.0.1:50051", ...chosen] = process.argv.slice(2);
const client = new InferenceServiceClient(target, credentials.createInsecure(), {
  "grpc.service_config": JSON.stringify(SERVICE_CONFIG),
});
for (const part of chosen.length ? chosen : Object.keys(PARTS)) {
  await PARTS[part as keyof typeof PARTS](client);
}
client.close();
