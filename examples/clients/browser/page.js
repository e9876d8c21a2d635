// A chat from a browser, over gRPC-Web, through the Envoy of deploy/envoy. No code is generated: the contract's
// descriptors say all. What follows the # of the page's address says with whom, and as whom:
//
//   #server=https://inferwire.example&token=...&model=llama&question=...

import { createFileRegistry, fromBinary, fromJson } from "@bufbuild/protobuf";
import { FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";

import descriptors from "../../../generated/inferwire/descriptors.binpb";

const contract = createFileRegistry(fromBinary(FileDescriptorSetSchema, descriptors));
const given = new URLSearchParams(location.hash.slice(1));
const inference = createClient(
  contract.getService("inferwire.v1.InferenceService"),
  createGrpcWebTransport({ baseUrl: given.get("server") }),
);

async function* answerTo(question) {
  const request = fromJson(contract.getMessage("inferwire.v1.ChatCompletionRequest"), {
    modelId: given.get("model"),
    messages: [{ user: { content: { text: question } } }],
  });
  const headers = { authorization: `Bearer ${given.get("token")}` };
  for await (const { event } of inference.streamChatCompletion(request, { headers, timeoutMs: 60_000 })) {
    if (event.delta?.delta.case === "text") yield event.delta.delta.value.text;
  }
}

// Why a call failed, for programs: the reason that the contract has a table of.
function reasonOf(error) {
  const [info] = error.findDetails(contract.getMessage("google.rpc.ErrorInfo"));
  return info?.reason ?? Code[error.code];
}

const [answer, outcome] = ["answer", "outcome"].map((id) => document.getElementById(id));
try {
  for await (const text of answerTo(given.get("question"))) answer.append(text);
  outcome.append("complete");
} catch (failure) {
  outcome.append(reasonOf(ConnectError.from(failure)));
}
