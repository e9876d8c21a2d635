"""Inferwire: language models for backend services, over gRPC.

The rooms, each importing only what stands below it (`|` = don't know each other; checked by import-linter):

    cli                   one file per command
    server | client       the process around the calls | the typed client
    rpc                   servicers: decode, one call, encode
    inference | wire      the use cases | protobuf <-> api
    engines               what runs models: vLLM, and a scripted one for tests
    prompts | decoding    conversation -> tokens | sampling and constraints
    tool_formats | images how tool calls are written and read | where images come from
    settings              what an operator can set
    api                   the shapes of requests and answers
    telemetry | errors    logs and trace context | why a call can fail

`demo_models` prepares the two bundled models and stands apart. A streamed chat crosses four files and comes back
through the same four: server/interceptors, rpc/inference, inference/chat, engines/vllm/language.
"""
