// A tour of Inferwire from C++: see README.md.
//
//   build/tour TARGET [PART ...]    parts: chat tools structured embeddings deadline cancel errors retry

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <functional>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>
#include <numeric>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "inferwire/v1/inference_service.grpc.pb.h"
#include "refusal.h"

namespace iw = inferwire::v1;
using namespace std::chrono_literals;

constexpr char kChatModel[] = "smollm2-135m-instruct";
constexpr char kEmbeddingModel[] = "all-minilm-l6-v2";

// Generation has no side effects, so every call may be sent again. gRPC does so by itself, after the time that the
// server told (grpc-retry-pushback-ms) or else these pauses. CANCELLED, not by the caller, is what a call may meet that
// arrives just as a server ends.
constexpr char kServiceConfig[] = R"({
  "methodConfig": [{
    "name": [{"service": "inferwire.v1.InferenceService"}],
    "retryPolicy": {
      "maxAttempts": 4,
      "initialBackoff": "0.1s",
      "maxBackoff": "2s",
      "backoffMultiplier": 2,
      "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"]
    }
  }]
})";

// The arguments of the tool.
struct Weather {
  std::string city;
  std::string unit;
  NLOHMANN_DEFINE_TYPE_INTRUSIVE(Weather, city, unit)
};

constexpr char kWeatherSchema[] = R"({
  "type": "object",
  "properties": {"city": {"type": "string"}, "unit": {"enum": ["celsius", "fahrenheit"]}},
  "required": ["city", "unit"]
})";

// What the model is asked to fill in.
struct City {
  std::string name;
  std::string continent;
  bool capital;
  NLOHMANN_DEFINE_TYPE_INTRUSIVE(City, name, continent, capital)
};

constexpr char kCitySchema[] = R"({
  "type": "object",
  "properties": {
    "name": {"type": "string", "maxLength": 20},
    "continent": {"enum": ["Africa", "America", "Asia", "Europe", "Oceania"]},
    "capital": {"type": "boolean"}
  },
  "required": ["name", "continent", "capital"]
})";

const std::vector<std::pair<std::string, std::string>> kTexts = {
    {"question", "How do plants make food?"},
    {"plants", "Leaves turn sunlight, water and carbon dioxide into sugar."},
    {"volcanoes", "Molten rock rises through the crust and erupts as lava."},
    {"bread", "Yeast makes the dough rise before it goes into the oven."},
    {"empty", ""},
};

using Stub = iw::InferenceService::Stub;
using Vector = std::vector<float>;

iw::InterleavedContent Text(const std::string& words) {
  iw::InterleavedContent content;
  content.set_text(words);
  return content;
}

iw::ChatCompletionRequest Question(const std::string& words) {
  iw::ChatCompletionRequest request;
  request.set_model_id(kChatModel);
  *request.add_messages()->mutable_user()->mutable_content() = Text(words);
  request.mutable_sampling_params()->set_max_tokens(40);
  return request;
}

// Longer than anybody waits for.
iw::ChatCompletionRequest LongStory() {
  auto request = Question("Tell me a story.");
  request.mutable_sampling_params()->set_min_tokens(1000);
  request.mutable_sampling_params()->set_max_tokens(1000);
  return request;
}

const std::string& TextOf(const iw::ChatCompletionResponse& response) {
  return response.completion_message().content().text();
}

void Check(const grpc::Status& status) {
  if (!status.ok()) throw std::runtime_error(CodeName(status) + ": " + status.error_message());
}

iw::ChatCompletionResponse Answer(Stub& stub, const iw::ChatCompletionRequest& request) {
  grpc::ClientContext context;
  iw::ChatCompletionResponse response;
  Check(stub.ChatCompletion(&context, request, &response));
  return response;
}

// The answer as it is written.
void Chat(Stub& stub) {
  grpc::ClientContext context;
  auto stream = stub.StreamChatCompletion(&context, Question("What is the capital of France?"));
  std::cout << "chat: ";
  for (iw::ChatCompletionResponseStreamChunk chunk; stream->Read(&chunk);) {
    std::cout << chunk.event().delta().text().text() << std::flush;
    if (chunk.event().event_type() == iw::RESPONSE_EVENT_TYPE_COMPLETE) {
      std::cout << "\nchat: " << iw::StopReason_Name(chunk.event().stop_reason()) << ", "
                << chunk.usage().completion_tokens() << " tokens\n";
    }
  }
  Check(stream->Finish());
}

iw::ToolResponseMessage CallTool(const iw::ToolCall& call) {
  if (call.verdict() != iw::TOOL_CALL_VERDICT_COMPLETE) throw std::runtime_error(call.problem());
  const auto weather = nlohmann::json::parse(call.arguments_json()).get<Weather>();
  std::cout << "tools: " << call.tool_name().custom() << " of " << weather.city << " in " << weather.unit << '\n';
  iw::ToolResponseMessage said;
  said.set_call_id(call.call_id());
  *said.mutable_content() = Text("It is 18 degrees Celsius and sunny in Paris.");
  return said;
}

// The model asks for a tool, gets what the tool says, and answers.
void Tools(Stub& stub) {
  auto request = Question("What is the weather in Paris, in celsius?");
  auto* tool = request.add_tools();
  tool->mutable_tool_name()->set_custom("get_weather");
  tool->set_description("The weather of a city");
  tool->set_input_schema_json(kWeatherSchema);
  request.mutable_tool_config()->set_choice(iw::TOOL_CHOICE_REQUIRED);
  request.mutable_tool_config()->set_parallel_tool_calls(false);
  const auto asked = Answer(stub, request).completion_message();
  *request.add_messages()->mutable_assistant() = asked;
  for (const auto& call : asked.tool_calls()) *request.add_messages()->mutable_tool() = CallTool(call);
  request.mutable_tool_config()->set_choice(iw::TOOL_CHOICE_NONE);
  std::cout << "tools: " << TextOf(Answer(stub, request)) << '\n';
}

// JSON that fits a schema, as an object of a type of ours.
void Structured(Stub& stub) {
  auto request = Question("Describe the city of Nairobi.");
  request.mutable_response_format()->mutable_json_schema()->set_json_schema(kCitySchema);
  const auto response = Answer(stub, request);
  if (response.constraint_outcome() != iw::CONSTRAINT_OUTCOME_SATISFIED) throw std::runtime_error("no city");
  const auto city = nlohmann::json::parse(TextOf(response)).get<City>();
  std::cout << "structured: " << city.name << ", " << city.continent << ", "
            << (city.capital ? "capital" : "no capital") << '\n';
}

using BulkStream = grpc::ClientReaderWriter<iw::StreamEmbeddingsRequest, iw::StreamEmbeddingsResponse>;

// Writing waits while the server doesn't read, and fails when the call has ended; Finish tells why.
void SendAll(BulkStream& stream) {
  iw::StreamEmbeddingsRequest first;
  first.mutable_options()->set_model_id(kEmbeddingModel);
  first.mutable_options()->set_encoding(iw::EMBEDDING_ENCODING_FLOAT32);
  bool open = stream.Write(first);
  for (const auto& [id, words] : kTexts) {
    iw::StreamEmbeddingsRequest next;
    next.mutable_item()->set_id(id);
    next.mutable_item()->mutable_content()->set_text(words);
    open = open && stream.Write(next);
  }
  stream.WritesDone();
}

// As a machine of little-endian order has it, which is what the contract says.
Vector Unpacked(const std::string& packed) {
  Vector values(packed.size() / sizeof(float));
  std::memcpy(values.data(), packed.data(), packed.size());
  return values;
}

float Dot(const Vector& one, const Vector& other) {
  return std::inner_product(one.begin(), one.end(), other.begin(), 0.0F);
}

// Many texts on one stream, answered in any order, each with a vector or an error of its own.
void Embeddings(Stub& stub) {
  grpc::ClientContext context;
  auto stream = stub.StreamEmbeddings(&context);
  // Beside reading: the server reads no further while its results are not read.
  std::thread sending([&stream] { SendAll(*stream); });
  std::map<std::string, Vector> vectors;
  for (iw::StreamEmbeddingsResponse result; stream->Read(&result);) {
    if (result.has_error()) {
      std::cout << "embeddings: " << result.id() << ": " << Refusal::Of(result.error()) << '\n';
    } else {
      vectors[result.id()] = Unpacked(result.embedding().packed());
    }
  }
  sending.join();
  Check(stream->Finish());
  const auto sought = vectors.extract("question").mapped();
  const auto closest = std::max_element(vectors.begin(), vectors.end(), [&](const auto& one, const auto& other) {
    return Dot(one.second, sought) < Dot(other.second, sought);
  });
  std::cout << "embeddings: " << sought.size() << " dimensions, the closest of " << vectors.size() << " is "
            << closest->first << '\n';
}

// A call that may take no longer than 0.2 s, queueing included.
void Deadline(Stub& stub) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + 200ms);
  iw::ChatCompletionResponse response;
  std::cout << "deadline: " << CodeName(stub.ChatCompletion(&context, LongStory(), &response)) << '\n';
}

// A stream that its reader leaves, which frees the engine at once.
void Cancel(Stub& stub) {
  grpc::ClientContext context;
  auto stream = stub.StreamChatCompletion(&context, LongStory());
  int pieces = 0;
  for (iw::ChatCompletionResponseStreamChunk chunk; pieces < 3 && stream->Read(&chunk);) {
    pieces += chunk.event().event_type() == iw::RESPONSE_EVENT_TYPE_PROGRESS;
  }
  context.TryCancel();
  std::cout << "cancel: " << CodeName(stream->Finish()) << " after " << pieces << " pieces\n";
}

// What a refused call says to programs.
void Errors(Stub& stub) {
  auto request = Question("Hi");
  request.mutable_sampling_params()->set_min_p(3);
  grpc::ClientContext context;
  iw::ChatCompletionResponse response;
  std::cout << "errors: " << Refusal::Of(stub.ChatCompletion(&context, request, &response)) << '\n';
}

// UNAVAILABLE is gRPC's to retry (kServiceConfig); a full server says when to come back.
void Retry(Stub& stub) {
  const auto patience_ends = std::chrono::system_clock::now() + 60s;
  while (true) {
    grpc::ClientContext context;
    context.set_deadline(patience_ends);
    iw::ChatCompletionResponse response;
    const auto status = stub.ChatCompletion(&context, Question("What is the capital of France?"), &response);
    if (status.ok()) {
      std::cout << "retry: " << TextOf(response) << '\n';
      return;
    }
    const auto refusal = Refusal::Of(status);
    std::cout << "retry: " << refusal << std::endl;
    if (!refusal.retry_after) return;
    std::this_thread::sleep_for(*refusal.retry_after);
  }
}

const std::vector<std::pair<std::string, std::function<void(Stub&)>>> kParts = {
    {"chat", Chat},         {"tools", Tools},   {"structured", Structured}, {"embeddings", Embeddings},
    {"deadline", Deadline}, {"cancel", Cancel}, {"errors", Errors},         {"retry", Retry},
};

int main(int count, char** arguments) {
  const std::vector<std::string> chosen(arguments + 2, arguments + count);
  grpc::ChannelArguments options;
  options.SetServiceConfigJSON(kServiceConfig);
  const auto stub = iw::InferenceService::NewStub(
      grpc::CreateCustomChannel(arguments[1], grpc::InsecureChannelCredentials(), options));
  for (const auto& [name, part] : kParts) {
    if (chosen.empty() || std::find(chosen.begin(), chosen.end(), name) != chosen.end()) part(*stub);
  }
}
