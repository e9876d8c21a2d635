"""Preflight: the plan of a request, and all that would be refused, without generating."""

from service.api.chat import ChatCompletionRequest
from service.api.completion import CompletionRequest
from service.api.preflight import PreflightReport
from service.decoding.compile_check import CompileCheck
from service.decoding.constraint import Constraint
from service.engines.registry import Registry
from service.inference.images import Images
from service.inference.planning import Draft, draft_chat, draft_completion
from service.telemetry.calls import Call


class Preflight:
    """Plans as Chat and Completion do."""

    def __init__(self, registry: Registry, compile_check: CompileCheck, images: Images) -> None:
        self._registry = registry
        self._compile_check = compile_check
        self._images = images

    async def examine(self, request: ChatCompletionRequest | CompletionRequest, call: Call) -> PreflightReport:
        engine = self._registry.language_engine(request.model_id, call)
        compile_check, images = self._compile_check.for_caller(call.identity), self._images.for_caller(call.identity)
        match request:
            case ChatCompletionRequest():
                draft = await draft_chat(request, engine, compile_check, images)
            case CompletionRequest():
                draft = await draft_completion(request, engine, compile_check, images)
        if draft.prompt:
            call.count_tokenized(len(draft.prompt.token_ids))
            call.neutralized_spans = draft.prompt.neutralized_spans
        return _report(draft)


def _report(draft: Draft) -> PreflightReport:
    prompt, use = draft.prompt, draft.tool_use
    if prompt is None:
        return PreflightReport.refusal(draft.findings.violations)
    return PreflightReport(
        accepted=not draft.findings.violations,
        violations=draft.findings.violations,
        prompt=prompt.text,
        prompt_tokens=len(prompt.token_ids),
        context_tokens_left=max(0, draft.engine.bounds.context_length - len(prompt.token_ids)),
        tool_prompt_format=use.format if use.tools and not use.native else None,
        constraint=_described(draft.constraint) if draft.constraint else "",
        neutralized_spans=prompt.neutralized_spans,
    )


def _described(constraint: Constraint) -> str:
    text = "\n".join(constraint.choices) or constraint.text
    return f"{constraint.kind}\n{text}" if text else constraint.kind
