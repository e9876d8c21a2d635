// A tour of Inferwire from Go: see README.md.
//
//	build/tour TARGET [PART ...]    parts: chat tools structured embeddings deadline cancel errors retry
package main

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"math"
	"os"
	"time"

	"google.golang.org/grpc/status"

	pb "inferwire/v1"
)

const (
	chatModel      = "smollm2-135m-instruct"
	embeddingModel = "all-minilm-l6-v2"
)

// Generation has no side effects, so every call may be sent again. gRPC does so by itself, after the time that the
// server told (grpc-retry-pushback-ms) or else these pauses. CANCELLED, not by the caller, is what a call may meet that
// arrives just as a server ends.
const serviceConfig = `{
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
}`

// weather holds the arguments of the tool.
type weather struct {
	City string `json:"city"`
	Unit string `json:"unit"`
}

const weatherSchema = `{
  "type": "object",
  "properties": {"city": {"type": "string"}, "unit": {"enum": ["celsius", "fahrenheit"]}},
  "required": ["city", "unit"]
}`

// city is what the model is asked to fill in.
type city struct {
	Name      string `json:"name"`
	Continent string `json:"continent"`
	Capital   bool   `json:"capital"`
}

const citySchema = `{
  "type": "object",
  "properties": {
    "name": {"type": "string", "maxLength": 20},
    "continent": {"enum": ["Africa", "America", "Asia", "Europe", "Oceania"]},
    "capital": {"type": "boolean"}
  },
  "required": ["name", "continent", "capital"]
}`

var texts = []struct{ id, text string }{
	{"question", "How do plants make food?"},
	{"plants", "Leaves turn sunlight, water and carbon dioxide into sugar."},
	{"volcanoes", "Molten rock rises through the crust and erupts as lava."},
	{"bread", "Yeast makes the dough rise before it goes into the oven."},
	{"empty", ""},
}

type part func(context.Context, pb.InferenceServiceClient) error

var order = []string{"chat", "tools", "structured", "embeddings", "deadline", "cancel", "errors", "retry"}

var parts = map[string]part{
	"chat": chat, "tools": tools, "structured": structured, "embeddings": embeddings,
	"deadline": deadline, "cancel": cancel, "errors": refused, "retry": retry,
}

func main() {
	log.SetFlags(0)
	if err := run(context.Background(), os.Args[1], os.Args[2:]); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, target string, chosen []string) error {
	connection, err := dial(target)
	if err != nil {
		return err
	}
	defer connection.Close()
	if len(chosen) == 0 {
		chosen = order
	}
	client := pb.NewInferenceServiceClient(connection)
	for _, name := range chosen {
		if err := parts[name](ctx, client); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// chat shows the answer as it is written.
func chat(ctx context.Context, client pb.InferenceServiceClient) error {
	stream, err := client.StreamChatCompletion(ctx, question("What is the capital of France?"))
	if err != nil {
		return err
	}
	fmt.Print("chat: ")
	for {
		chunk, err := stream.Recv()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		fmt.Print(chunk.GetEvent().GetDelta().GetText().GetText())
		if chunk.GetEvent().GetEventType() == pb.ResponseEventType_RESPONSE_EVENT_TYPE_COMPLETE {
			fmt.Printf("\nchat: %s, %d tokens\n", chunk.GetEvent().GetStopReason(), chunk.GetUsage().GetCompletionTokens())
		}
	}
}

// tools lets the model ask for a tool, tells it what the tool says, and shows its answer.
func tools(ctx context.Context, client pb.InferenceServiceClient) error {
	request := question("What is the weather in Paris, in celsius?")
	description := "The weather of a city"
	request.Tools = []*pb.ToolDefinition{{
		ToolName:    &pb.ToolName{Name: &pb.ToolName_Custom{Custom: "get_weather"}},
		Description: &description,
		Input:       &pb.ToolDefinition_InputSchemaJson{InputSchemaJson: weatherSchema},
	}}
	request.ToolConfig = toolConfig(pb.ToolChoice_TOOL_CHOICE_REQUIRED)
	asked, err := client.ChatCompletion(ctx, request)
	if err != nil {
		return err
	}
	request.Messages = append(request.Messages, &pb.Message{Message: &pb.Message_Assistant{Assistant: asked.CompletionMessage}})
	for _, call := range asked.CompletionMessage.ToolCalls {
		said, err := callTool(call)
		if err != nil {
			return err
		}
		request.Messages = append(request.Messages, &pb.Message{Message: &pb.Message_Tool{Tool: said}})
	}
	request.ToolConfig = toolConfig(pb.ToolChoice_TOOL_CHOICE_NONE)
	answered, err := client.ChatCompletion(ctx, request)
	if err != nil {
		return err
	}
	fmt.Printf("tools: %s\n", answered.GetCompletionMessage().GetContent().GetText())
	return nil
}

func callTool(call *pb.ToolCall) (*pb.ToolResponseMessage, error) {
	if call.GetVerdict() != pb.ToolCallVerdict_TOOL_CALL_VERDICT_COMPLETE {
		return nil, errors.New(call.GetProblem())
	}
	var asked weather
	if err := json.Unmarshal([]byte(call.GetArgumentsJson()), &asked); err != nil {
		return nil, err
	}
	fmt.Printf("tools: %s of %s in %s\n", call.GetToolName().GetCustom(), asked.City, asked.Unit)
	content := text("It is 18 degrees Celsius and sunny in Paris.")
	return &pb.ToolResponseMessage{CallId: call.GetCallId(), Content: content}, nil
}

// structured asks for JSON that fits a schema, and reads it into a type of ours.
func structured(ctx context.Context, client pb.InferenceServiceClient) error {
	request := question("Describe the city of Nairobi.")
	request.ResponseFormat = &pb.ResponseFormat{Format: &pb.ResponseFormat_JsonSchema{
		JsonSchema: &pb.JsonSchemaResponseFormat{JsonSchema: citySchema},
	}}
	response, err := client.ChatCompletion(ctx, request)
	if err != nil {
		return err
	}
	if outcome := response.GetConstraintOutcome(); outcome != pb.ConstraintOutcome_CONSTRAINT_OUTCOME_SATISFIED {
		return fmt.Errorf("the answer is no city: %s", outcome)
	}
	var described city
	if err := json.Unmarshal([]byte(response.GetCompletionMessage().GetContent().GetText()), &described); err != nil {
		return err
	}
	capital := map[bool]string{true: "capital", false: "no capital"}[described.Capital]
	fmt.Printf("structured: %s, %s, %s\n", described.Name, described.Continent, capital)
	return nil
}

// embeddings sends many texts on one stream; each gets a vector or an error of its own, in any order.
func embeddings(ctx context.Context, client pb.InferenceServiceClient) error {
	stream, err := client.StreamEmbeddings(ctx)
	if err != nil {
		return err
	}
	// Beside reading: the server reads no further while its results are not read. Of a stream that fails, reading
	// tells why.
	go sendAll(stream)
	vectors := map[string][]float32{}
	for {
		result, err := stream.Recv()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		if refused := result.GetError(); refused != nil {
			fmt.Printf("embeddings: %s: %s\n", result.GetId(), refusalOfItem(refused))
		} else {
			vectors[result.GetId()] = unpacked(result.GetEmbedding().GetPacked())
		}
	}
	sought := vectors["question"]
	delete(vectors, "question")
	fmt.Printf("embeddings: %d dimensions, the closest of %d is %s\n", len(sought), len(vectors), closest(vectors, sought))
	return nil
}

func sendAll(stream pb.InferenceService_StreamEmbeddingsClient) {
	options := &pb.StreamEmbeddingsOptions{
		ModelId:  embeddingModel,
		Encoding: pb.EmbeddingEncoding_EMBEDDING_ENCODING_FLOAT32,
	}
	first := &pb.StreamEmbeddingsRequest{Request: &pb.StreamEmbeddingsRequest_Options{Options: options}}
	if stream.Send(first) != nil {
		return
	}
	for _, each := range texts {
		content := &pb.InterleavedContentItem{Item: &pb.InterleavedContentItem_Text{Text: each.text}}
		item := &pb.StreamEmbeddingsItem{Id: each.id, Content: content}
		if stream.Send(&pb.StreamEmbeddingsRequest{Request: &pb.StreamEmbeddingsRequest_Item{Item: item}}) != nil {
			return
		}
	}
	_ = stream.CloseSend()
}

// deadline makes a call that may take no longer than 0.2 s, queueing included.
func deadline(ctx context.Context, client pb.InferenceServiceClient) error {
	ctx, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
	defer cancel()
	_, err := client.ChatCompletion(ctx, longStory())
	fmt.Printf("deadline: %s\n", codeName(status.Code(err)))
	return nil
}

// cancel leaves a stream, which frees the engine at once.
func cancel(ctx context.Context, client pb.InferenceServiceClient) error {
	ctx, leave := context.WithCancel(ctx)
	defer leave()
	stream, err := client.StreamChatCompletion(ctx, longStory())
	pieces := 0
	for err == nil {
		var chunk *pb.ChatCompletionResponseStreamChunk
		chunk, err = stream.Recv()
		if chunk.GetEvent().GetEventType() == pb.ResponseEventType_RESPONSE_EVENT_TYPE_PROGRESS {
			pieces++
		}
		if pieces == 3 {
			leave()
			break
		}
	}
	for err == nil { // what had arrived before
		_, err = stream.Recv()
	}
	fmt.Printf("cancel: %s after %d pieces\n", codeName(status.Code(err)), pieces)
	return nil
}

// refused shows what a refused call says to programs.
func refused(ctx context.Context, client pb.InferenceServiceClient) error {
	request := question("Hi")
	minP := float32(3)
	request.SamplingParams.MinP = &minP
	_, err := client.ChatCompletion(ctx, request)
	fmt.Printf("errors: %s\n", refusalOf(err))
	return nil
}

// retry leaves UNAVAILABLE to gRPC (serviceConfig); a full server says when to come back.
func retry(ctx context.Context, client pb.InferenceServiceClient) error {
	ctx, cancel := context.WithTimeout(ctx, 60*time.Second)
	defer cancel()
	for {
		answered, err := client.ChatCompletion(ctx, question("What is the capital of France?"))
		if err == nil {
			fmt.Printf("retry: %s\n", answered.GetCompletionMessage().GetContent().GetText())
			return nil
		}
		refused := refusalOf(err)
		fmt.Printf("retry: %s\n", refused)
		if refused.retryAfter == nil {
			return nil
		}
		select {
		case <-time.After(*refused.retryAfter):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func question(words string) *pb.ChatCompletionRequest {
	maxTokens := int32(40)
	return &pb.ChatCompletionRequest{
		ModelId:        chatModel,
		Messages:       []*pb.Message{{Message: &pb.Message_User{User: &pb.UserMessage{Content: text(words)}}}},
		SamplingParams: &pb.SamplingParams{MaxTokens: &maxTokens},
	}
}

// longStory is longer than anybody waits for.
func longStory() *pb.ChatCompletionRequest {
	tokens := int32(1000)
	request := question("Tell me a story.")
	request.SamplingParams = &pb.SamplingParams{MinTokens: &tokens, MaxTokens: &tokens}
	return request
}

func toolConfig(choice pb.ToolChoice) *pb.ToolConfig {
	parallel := false
	return &pb.ToolConfig{ToolChoice: &pb.ToolConfig_Choice{Choice: choice}, ParallelToolCalls: &parallel}
}

func text(words string) *pb.InterleavedContent {
	return &pb.InterleavedContent{Content: &pb.InterleavedContent_Text{Text: words}}
}

func unpacked(packed []byte) []float32 {
	values := make([]float32, len(packed)/4)
	for i := range values {
		values[i] = math.Float32frombits(binary.LittleEndian.Uint32(packed[4*i:]))
	}
	return values
}

func closest(vectors map[string][]float32, sought []float32) (found string) {
	best := float32(math.Inf(-1))
	for id, vector := range vectors {
		if likeness := dot(vector, sought); likeness > best {
			best, found = likeness, id
		}
	}
	return found
}

func dot(one, other []float32) (sum float32) {
	for i := range one {
		sum += one[i] * other[i]
	}
	return sum
}
