import com.google.gson.Gson;
import inferwire.v1.ChatCompletionRequest;
import inferwire.v1.ChatCompletionResponse;
import inferwire.v1.ChatCompletionResponseStreamChunk;
import inferwire.v1.CompletionMessage;
import inferwire.v1.ConstraintOutcome;
import inferwire.v1.EmbeddingEncoding;
import inferwire.v1.InferenceServiceGrpc;
import inferwire.v1.InferenceServiceGrpc.InferenceServiceBlockingStub;
import inferwire.v1.InterleavedContent;
import inferwire.v1.InterleavedContentItem;
import inferwire.v1.JsonSchemaResponseFormat;
import inferwire.v1.Message;
import inferwire.v1.ResponseEventType;
import inferwire.v1.ResponseFormat;
import inferwire.v1.SamplingParams;
import inferwire.v1.StreamEmbeddingsItem;
import inferwire.v1.StreamEmbeddingsOptions;
import inferwire.v1.StreamEmbeddingsRequest;
import inferwire.v1.ToolCall;
import inferwire.v1.ToolCallVerdict;
import inferwire.v1.ToolChoice;
import inferwire.v1.ToolConfig;
import inferwire.v1.ToolDefinition;
import inferwire.v1.ToolName;
import inferwire.v1.ToolResponseMessage;
import inferwire.v1.UserMessage;
import io.grpc.Context;
import io.grpc.ManagedChannel;
import io.grpc.ManagedChannelBuilder;
import io.grpc.StatusRuntimeException;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.Iterator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;

/**
 * A tour of Inferwire from Java: see README.md.
 *
 * <p>Arguments: TARGET [PART ...], the parts being chat tools structured embeddings deadline cancel errors retry.
 */
final class Tour {
  private static final String CHAT_MODEL = "smollm2-135m-instruct";
  private static final String EMBEDDING_MODEL = "all-minilm-l6-v2";
  private static final Gson GSON = new Gson();

  // Generation has no side effects, so every call may be sent again. gRPC does so by itself, after the time that the
  // server told (grpc-retry-pushback-ms) or else these pauses. CANCELLED, not by the caller, is what a call may meet that
  // arrives just as a server ends. gRPC takes JSON as a map, with all numbers as doubles.
  private static final Map<String, ?> SERVICE_CONFIG =
      Map.of(
          "methodConfig",
          List.of(
              Map.of(
                  "name", List.of(Map.of("service", InferenceServiceGrpc.SERVICE_NAME)),
                  "retryPolicy",
                      Map.of(
                          "maxAttempts", 4.0,
                          "initialBackoff", "0.1s",
                          "maxBackoff", "2s",
                          "backoffMultiplier", 2.0,
                          "retryableStatusCodes", List.of("UNAVAILABLE", "CANCELLED")))));

  /** The arguments of the tool. */
  record Weather(String city, String unit) {}

  private static final String WEATHER_SCHEMA =
      """
      {
        "type": "object",
        "properties": {"city": {"type": "string"}, "unit": {"enum": ["celsius", "fahrenheit"]}},
        "required": ["city", "unit"]
      }
      """;

  /** What the model is asked to fill in. */
  record City(String name, String continent, boolean capital) {}

  private static final String CITY_SCHEMA =
      """
      {
        "type": "object",
        "properties": {
          "name": {"type": "string", "maxLength": 20},
          "continent": {"enum": ["Africa", "America", "Asia", "Europe", "Oceania"]},
          "capital": {"type": "boolean"}
        },
        "required": ["name", "continent", "capital"]
      }
      """;

  private static final Map<String, String> TEXTS = new LinkedHashMap<>();

  static {
    TEXTS.put("question", "How do plants make food?");
    TEXTS.put("plants", "Leaves turn sunlight, water and carbon dioxide into sugar.");
    TEXTS.put("volcanoes", "Molten rock rises through the crust and erupts as lava.");
    TEXTS.put("bread", "Yeast makes the dough rise before it goes into the oven.");
    TEXTS.put("empty", "");
  }

  private final ManagedChannel channel;
  private final InferenceServiceBlockingStub stub;

  private Tour(String target) {
    channel =
        ManagedChannelBuilder.forTarget(target)
            .usePlaintext()
            .defaultServiceConfig(SERVICE_CONFIG)
            .enableRetry()
            .build();
    stub = InferenceServiceGrpc.newBlockingStub(channel);
  }

  public static void main(String[] arguments) throws Exception {
    Tour tour = new Tour(arguments[0]);
    try {
      List<String> chosen = List.of(arguments).subList(1, arguments.length);
      for (String part : chosen.isEmpty() ? PARTS.keySet() : chosen) {
        PARTS.get(part).show(tour);
      }
    } finally {
      tour.channel.shutdownNow().awaitTermination(5, TimeUnit.SECONDS);
    }
  }

  private interface Part {
    void show(Tour tour) throws Exception;
  }

  private static final Map<String, Part> PARTS = new LinkedHashMap<>();

  static {
    PARTS.put("chat", Tour::chat);
    PARTS.put("tools", Tour::tools);
    PARTS.put("structured", Tour::structured);
    PARTS.put("embeddings", Tour::embeddings);
    PARTS.put("deadline", Tour::deadline);
    PARTS.put("cancel", Tour::cancel);
    PARTS.put("errors", Tour::errors);
    PARTS.put("retry", Tour::retry);
  }

  /** The answer as it is written. */
  private void chat() {
    System.out.print("chat: ");
    Iterator<ChatCompletionResponseStreamChunk> chunks =
        stub.streamChatCompletion(question("What is the capital of France?").build());
    chunks.forEachRemaining(
        chunk -> {
          System.out.print(chunk.getEvent().getDelta().getText().getText());
          System.out.flush();
          if (chunk.getEvent().getEventType() == ResponseEventType.RESPONSE_EVENT_TYPE_COMPLETE) {
            System.out.printf(
                "%nchat: %s, %d tokens%n",
                chunk.getEvent().getStopReason(), chunk.getUsage().getCompletionTokens());
          }
        });
  }

  /** The model asks for a tool, gets what the tool says, and answers. */
  private void tools() {
    ChatCompletionRequest.Builder request =
        question("What is the weather in Paris, in celsius?")
            .addTools(
                ToolDefinition.newBuilder()
                    .setToolName(ToolName.newBuilder().setCustom("get_weather"))
                    .setDescription("The weather of a city")
                    .setInputSchemaJson(WEATHER_SCHEMA))
            .setToolConfig(toolConfig(ToolChoice.TOOL_CHOICE_REQUIRED));
    CompletionMessage asked = stub.chatCompletion(request.build()).getCompletionMessage();
    request.addMessages(Message.newBuilder().setAssistant(asked));
    for (ToolCall call : asked.getToolCallsList()) {
      request.addMessages(Message.newBuilder().setTool(callTool(call)));
    }
    request.setToolConfig(toolConfig(ToolChoice.TOOL_CHOICE_NONE));
    System.out.printf("tools: %s%n", textOf(stub.chatCompletion(request.build())));
  }

  private static ToolResponseMessage callTool(ToolCall call) {
    if (call.getVerdict() != ToolCallVerdict.TOOL_CALL_VERDICT_COMPLETE) {
      throw new IllegalStateException(call.getProblem());
    }
    Weather weather = GSON.fromJson(call.getArgumentsJson(), Weather.class);
    System.out.printf("tools: %s of %s in %s%n", call.getToolName().getCustom(), weather.city(), weather.unit());
    return ToolResponseMessage.newBuilder()
        .setCallId(call.getCallId())
        .setContent(text("It is 18 degrees Celsius and sunny in Paris."))
        .build();
  }

  /** JSON that fits a schema, as an object of a type of ours. */
  private void structured() {
    ChatCompletionResponse response =
        stub.chatCompletion(
            question("Describe the city of Nairobi.")
                .setResponseFormat(
                    ResponseFormat.newBuilder()
                        .setJsonSchema(JsonSchemaResponseFormat.newBuilder().setJsonSchema(CITY_SCHEMA)))
                .build());
    if (response.getConstraintOutcome() != ConstraintOutcome.CONSTRAINT_OUTCOME_SATISFIED) {
      throw new IllegalStateException("The answer is no city: " + response.getConstraintOutcome());
    }
    City city = GSON.fromJson(textOf(response), City.class);
    System.out.printf(
        "structured: %s, %s, %s%n", city.name(), city.continent(), city.capital() ? "capital" : "no capital");
  }

  /** Many texts on one stream, answered in any order, each with a vector or an error of its own. */
  private void embeddings() throws Exception {
    List<StreamEmbeddingsRequest> requests = new ArrayList<>();
    requests.add(
        StreamEmbeddingsRequest.newBuilder()
            .setOptions(
                StreamEmbeddingsOptions.newBuilder()
                    .setModelId(EMBEDDING_MODEL)
                    .setEncoding(EmbeddingEncoding.EMBEDDING_ENCODING_FLOAT32))
            .build());
    TEXTS.forEach((id, words) -> requests.add(item(id, words)));

    Map<String, FloatBuffer> vectors = new LinkedHashMap<>();
    Bulk.send(
        InferenceServiceGrpc.newStub(channel),
        requests.iterator(),
        result -> {
          if (result.hasError()) {
            System.out.printf("embeddings: %s: %s%n", result.getId(), Refusal.of(result.getError()));
          } else {
            var packed = result.getEmbedding().getPacked().asReadOnlyByteBuffer();
            vectors.put(result.getId(), packed.order(ByteOrder.LITTLE_ENDIAN).asFloatBuffer());
          }
        });
    FloatBuffer sought = vectors.remove("question");
    String closest =
        vectors.keySet().stream().max(Comparator.comparing(id -> dot(vectors.get(id), sought))).orElseThrow();
    System.out.printf(
        "embeddings: %d dimensions, the closest of %d is %s%n", sought.remaining(), vectors.size(), closest);
  }

  private static StreamEmbeddingsRequest item(String id, String words) {
    return StreamEmbeddingsRequest.newBuilder()
        .setItem(
            StreamEmbeddingsItem.newBuilder()
                .setId(id)
                .setContent(InterleavedContentItem.newBuilder().setText(words)))
        .build();
  }

  /** A call that may take no longer than 0.2 s, queueing included. */
  private void deadline() {
    try {
      stub.withDeadlineAfter(200, TimeUnit.MILLISECONDS).chatCompletion(longStory());
    } catch (StatusRuntimeException error) {
      System.out.printf("deadline: %s%n", error.getStatus().getCode());
    }
  }

  /** A stream that its reader leaves, which frees the engine at once. */
  private void cancel() throws Exception {
    Context.CancellableContext context = Context.current().withCancellation();
    Iterator<ChatCompletionResponseStreamChunk> chunks =
        context.call(() -> stub.streamChatCompletion(longStory()));
    int pieces = 0;
    try {
      while (chunks.hasNext()) {
        if (chunks.next().getEvent().getEventType() == ResponseEventType.RESPONSE_EVENT_TYPE_PROGRESS
            && ++pieces == 3) {
          context.cancel(null);
        }
      }
    } catch (StatusRuntimeException error) {
      System.out.printf("cancel: %s after %d pieces%n", error.getStatus().getCode(), pieces);
    }
  }

  /** What a refused call says to programs. */
  private void errors() {
    ChatCompletionRequest.Builder request = question("Hi");
    request.getSamplingParamsBuilder().setMinP(3);
    try {
      stub.chatCompletion(request.build());
    } catch (StatusRuntimeException error) {
      System.out.printf("errors: %s%n", Refusal.of(error));
    }
  }

  /** UNAVAILABLE is gRPC's to retry (SERVICE_CONFIG); a full server says when to come back. */
  private void retry() throws InterruptedException {
    InferenceServiceBlockingStub patient = stub.withDeadlineAfter(60, TimeUnit.SECONDS);
    while (true) {
      try {
        ChatCompletionResponse response =
            patient.chatCompletion(question("What is the capital of France?").build());
        System.out.printf("retry: %s%n", textOf(response));
        return;
      } catch (StatusRuntimeException error) {
        Refusal refusal = Refusal.of(error);
        System.out.printf("retry: %s%n", refusal);
        if (refusal.retryAfter() == null) {
          return;
        }
        Thread.sleep(refusal.retryAfter().toMillis());
      }
    }
  }

  private static ChatCompletionRequest.Builder question(String words) {
    return ChatCompletionRequest.newBuilder()
        .setModelId(CHAT_MODEL)
        .addMessages(Message.newBuilder().setUser(UserMessage.newBuilder().setContent(text(words))))
        .setSamplingParams(SamplingParams.newBuilder().setMaxTokens(40));
  }

  /** Longer than anybody waits for. */
  private static ChatCompletionRequest longStory() {
    return question("Tell me a story.")
        .setSamplingParams(SamplingParams.newBuilder().setMinTokens(1000).setMaxTokens(1000))
        .build();
  }

  private static ToolConfig toolConfig(ToolChoice choice) {
    return ToolConfig.newBuilder().setChoice(choice).setParallelToolCalls(false).build();
  }

  private static InterleavedContent text(String words) {
    return InterleavedContent.newBuilder().setText(words).build();
  }

  private static String textOf(ChatCompletionResponse response) {
    return response.getCompletionMessage().getContent().getText();
  }

  private static float dot(FloatBuffer one, FloatBuffer other) {
    float sum = 0;
    for (int i = 0; i < one.remaining(); i++) {
      sum += one.get(i) * other.get(i);
    }
    return sum;
  }
}
