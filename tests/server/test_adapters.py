"""Adapters that come and go while the server runs, as callers see it."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
from grpc import StatusCode as Code

from service.engines.base import Adapter, AdapterHost
from service.engines.scripted import Reply, ScriptedLanguageEngine, scripted_host
from service.errors import EngineFailed, ModelNotLoadable
from service.settings import EngineFailurePolicy, EngineSettings, ModelSettings
from tests.adapter_files import random_tensors, write_adapter
from tests.server.serving import LIMITS, LLM, PATIENCE_S, Running, embedder, request, running

HOST = scripted_host(ModelSettings(path=LLM, max_adapters=2, max_lora_rank=8))
LOADING, READY, FAILED = 1, 2, 3
STATE = "inferwire-adapters.json"


class Base(ScriptedLanguageEngine):
    """A language model that takes adapters, and waits with an answer, or with loading one, until it may go on."""

    def __init__(self, host: AdapterHost = HOST) -> None:
        super().__init__(LLM, LIMITS, lambda _: Reply("Hi."), adapters=host)
        self.may_answer, self.may_load = asyncio.Event(), asyncio.Event()
        self.may_answer.set()
        self.may_load.set()
        self.loading = asyncio.Event()
        self.answering = asyncio.Event()
        self.refuses: set[str] = set()

    async def load_adapter(self, adapter: Adapter) -> None:
        self.loading.set()
        await self.may_load.wait()
        if adapter.name.partition("@")[0] in self.refuses:
            raise ModelNotLoadable("The engine refuses it: so it was told.")
        await super().load_adapter(adapter)

    async def generate(self, request: Any) -> Any:
        self.answering.set()
        await self.may_answer.wait()
        async for step in super().generate(request):
            yield step


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_adapter(tmp_path / "french")
    write_adapter(tmp_path / "german", random_tensors(seed=2))
    write_adapter(tmp_path / "spanish", random_tensors(seed=3))
    return tmp_path


@pytest.fixture
def base() -> Base:
    return Base()


def serving(base: Base, root: Path, **options: Any) -> AbstractAsyncContextManager[Running]:
    settings = {"adapters": {"root": root}} | options.pop("settings", {})
    return running(base, embedder(), settings=settings, **options)


@pytest.fixture
async def server(base: Base, root: Path) -> AsyncIterator[Running]:
    async with serving(base, root) as served:
        yield served


def registering(model_id: str, **fields: Any) -> Any:
    return request("RegisterModel", **{"model_id": model_id, "base_model_id": LLM, **fields})


async def register(server: Running, model_id: str, **fields: Any) -> Any:
    (answer,) = await server.answers("RegisterModel", registering(model_id, **fields))
    return answer.model


async def unregister(server: Running, model_id: str) -> None:
    await server.answers("UnregisterModel", request("UnregisterModel", model_id=model_id))


async def listed(server: Running) -> list[str]:
    (answer,) = await server.answers("ListModels", request("ListModels"))
    return [model.identifier for model in answer.models]


async def told(server: Running, model_id: str) -> Any:
    (answer,) = await server.answers("GetModel", request("GetModel", model_id=model_id))
    return answer.model


def completion(model_id: str) -> Any:
    return request("Completion", model_id=model_id, content={"text": "Hello"})


async def said(server: Running, model_id: str) -> str:
    (answer,) = await server.answers("Completion", completion(model_id))
    return str(answer.content)


async def under_way(server: Running, calls: int) -> None:
    """Returns when the server has so many."""
    while (await server.answers("GetLoad", request("GetLoad")))[0].in_flight_calls < calls:
        pass


def kept(root: Path) -> list[str]:
    if not (root / STATE).exists():
        return []
    return [adapter["registration"]["model_id"] for adapter in json.loads((root / STATE).read_text())["adapters"]]


def leftovers(root: Path) -> list[Path]:
    return list(root.glob(f".{STATE}*"))


class TestRegistering:
    async def test_it_is_a_model_of_its_own_behind_its_base(self, server: Running, root: Path) -> None:
        model = await register(server, "fr", provider_model_id="french", metadata={"team": "shop"})
        assert (model.identifier, model.base_model_id, model.provider_resource_id) == ("fr", LLM, "french")
        assert dict(model.metadata)["team"] == "shop"
        assert model.state == READY
        assert await listed(server) == [LLM, "fr", "embedder"]
        assert await told(server, "fr") == model
        assert kept(root) == ["fr"]

    async def test_and_answers_by_its_name_beside_the_base(self, server: Running) -> None:
        await register(server, "french")
        assert await asyncio.gather(said(server, "french"), said(server, LLM)) == ["As french: Hi.", "Hi."]

    async def test_the_path_is_the_identifier_unless_it_is_given(self, server: Running) -> None:
        assert (await register(server, "german")).provider_resource_id == "german"

    async def test_the_same_again_is_harmless(self, server: Running, base: Base) -> None:
        first = await register(server, "french")
        assert await register(server, "french", provider_model_id="./french/") == first
        assert len(base.adapters) == 1

    @pytest.mark.parametrize("fields", [{"provider_model_id": "german"}, {"metadata": {"a": 1}}], ids=str)
    async def test_another_one_of_that_name_is_refused(self, server: Running, fields: dict[str, Any]) -> None:
        await register(server, "french")
        failure = await server.failure("RegisterModel", registering("french", **fields))
        assert (failure.code, failure.reason) == (Code.ALREADY_EXISTS, "MODEL_EXISTS")

    async def test_so_is_the_name_of_a_configured_one(self, server: Running) -> None:
        failure = await server.failure("RegisterModel", registering(LLM, provider_model_id="french"))
        assert failure.reason == "MODEL_EXISTS"

    async def test_so_are_files_that_have_changed(self, server: Running, root: Path) -> None:
        await register(server, "french")
        write_adapter(root / "french", random_tensors(seed=9))
        failure = await server.failure("RegisterModel", registering("french"))
        assert failure.reason == "MODEL_EXISTS"
        assert "changed" in failure.message
        await unregister(server, "french")
        await register(server, "french")

    async def test_no_more_than_the_base_takes(self, server: Running) -> None:
        await asyncio.gather(register(server, "french"), register(server, "german"))
        failure = await server.failure("RegisterModel", registering("spanish"))
        assert (failure.code, failure.reason) == (Code.FAILED_PRECONDITION, "MODEL_NOT_LOADABLE")
        assert "max_adapters is 2" in failure.message
        await unregister(server, "german")
        await register(server, "spanish")

    async def test_what_the_engine_refuses_leaves_no_trace(self, server: Running, base: Base, root: Path) -> None:
        base.refuses.add("french")
        for _ in range(3):  # each would take a place if it kept one
            failure = await server.failure("RegisterModel", registering("french"))
            assert (failure.code, failure.reason) == (Code.FAILED_PRECONDITION, "MODEL_NOT_LOADABLE")
        assert await listed(server) == [LLM, "embedder"]
        assert (kept(root), base.adapters) == ([], set())
        base.refuses.clear()
        await register(server, "french")
        await register(server, "german")

    async def test_a_registration_that_cannot_be_written_is_none(
        self, server: Running, base: Base, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(*_: Any) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("service.engines.adapters.records.os.replace", full)
        failure = await server.failure("RegisterModel", registering("french"))
        assert failure.code is Code.INTERNAL
        assert (await listed(server), base.adapters, kept(root)) == ([LLM, "embedder"], set(), [])
        assert not leftovers(root)

    async def test_two_of_one_name_at_once(self, server: Running, base: Base) -> None:
        base.may_load.clear()
        same = [asyncio.create_task(register(server, "x", provider_model_id="french")) for _ in range(2)]
        await base.loading.wait()
        failure = await server.failure("RegisterModel", registering("x", provider_model_id="german"))
        assert failure.reason == "MODEL_EXISTS"
        assert "x" not in await listed(server)
        base.may_load.set()
        first, second = await asyncio.gather(*same)
        assert first == second
        assert len(base.adapters) == 1

    async def test_a_caller_who_goes_away_leaves_it_going_on(self, server: Running, base: Base) -> None:
        base.may_load.clear()
        call = server.call("RegisterModel", registering("french"))
        await base.loading.wait()
        call.cancel()
        base.may_load.set()
        assert (await register(server, "french")).identifier == "french"
        assert len(base.adapters) == 1

    async def test_a_deadline_that_passes_says_so(self, server: Running, base: Base) -> None:
        base.may_load.clear()
        failure = await server.failure("RegisterModel", registering("french"), timeout_s=0.5)
        assert failure.code is Code.DEADLINE_EXCEEDED
        base.may_load.set()

    @pytest.mark.parametrize(
        ("fields", "code", "reason", "field"),
        [
            ({"model_id": ""}, Code.INVALID_ARGUMENT, "INVALID_FIELD", "model_id"),
            ({"model_id": "a b"}, Code.INVALID_ARGUMENT, "INVALID_FIELD", "model_id"),
            ({"model_id": "x" * 129}, Code.INVALID_ARGUMENT, "INVALID_FIELD", "model_id"),
            ({"model_id": "a,b"}, Code.INVALID_ARGUMENT, "INVALID_FIELD", "model_id"),
            ({"base_model_id": ""}, Code.UNIMPLEMENTED, "NOT_IMPLEMENTED", "base_model_id"),
            ({"base_model_id": "none"}, Code.NOT_FOUND, "MODEL_NOT_FOUND", None),
            ({"base_model_id": "embedder"}, Code.FAILED_PRECONDITION, "WRONG_MODEL_TYPE", None),
            ({"base_model_id": "german"}, Code.INVALID_ARGUMENT, "INVALID_FIELD", "base_model_id"),
            ({"model_type": 2}, Code.UNIMPLEMENTED, "NOT_IMPLEMENTED", "model_type"),
            ({"model_type": 99}, Code.INVALID_ARGUMENT, "UNKNOWN_FIELD", "model_type"),
            ({"provider_id": "vllm"}, Code.INVALID_ARGUMENT, "INVALID_FIELD", "provider_id"),
            ({"provider_model_id": ""}, Code.INVALID_ARGUMENT, "INVALID_FIELD", "provider_model_id"),
            ({"metadata": {"context_length": 1}}, Code.INVALID_ARGUMENT, "INVALID_FIELD", "metadata.context_length"),
            ({"metadata": {"a": float("inf")}}, Code.INVALID_ARGUMENT, "INVALID_FIELD", "metadata"),
        ],
        ids=str,
    )
    async def test_requests_that_are_refused(
        self, server: Running, fields: dict[str, Any], code: Code, reason: str, field: str | None
    ) -> None:
        await register(server, "german")
        failure = await server.failure("RegisterModel", registering(**{"model_id": "french", **fields}))
        assert (failure.code, failure.reason) == (code, reason)
        assert failure.fields == ([field] if field else [])

    async def test_large_metadata(self, base: Base, root: Path) -> None:
        async with serving(base, root, limits={"max_request_bytes": 100_000}) as server:
            failure = await server.failure("RegisterModel", registering("french", metadata={"a": "x" * 17_000}))
        assert failure.fields == ["metadata"]

    async def test_without_a_folder_for_adapters(self, base: Base) -> None:
        async with running(base) as server:
            failure = await server.failure("RegisterModel", registering("french"))
        assert (failure.code, failure.reason) == (Code.FAILED_PRECONDITION, "MODEL_NOT_LOADABLE")
        assert "adapters.root" in failure.message

    async def test_for_a_base_that_takes_none(self, root: Path) -> None:
        async with serving(Base(AdapterHost()), root) as server:
            failure = await server.failure("RegisterModel", registering("french"))
        assert "max_adapters is 0" in failure.message


class TestChatTemplates:
    async def chatted(self, server: Running, model_id: str) -> str:
        chat = {"model_id": model_id, "messages": [{"user": {"content": {"text": "Salut"}}}]}
        (report,) = await server.answers("Preflight", request("Preflight", chat=chat))
        return str(report.prompt)

    async def test_an_adapter_may_bring_its_own(self, server: Running, root: Path) -> None:
        (root / "french" / "chat_template.jinja").write_text(
            "{% for m in messages %}[{{ m.role }}] {{ m.content }}{% endfor %}"
        )
        model = await register(server, "french")
        assert model.capabilities.chat
        await register(server, "german")
        assert await self.chatted(server, "french") == "[user] Salut"
        assert await self.chatted(server, "german") == await self.chatted(server, LLM)

    async def test_or_among_the_settings_of_its_tokenizer(self, server: Running, root: Path) -> None:
        config = {"chat_template": [{"name": "default", "template": "{{ messages[0].content }}!"}]}
        (root / "french" / "tokenizer_config.json").write_text(json.dumps(config))
        await register(server, "french")
        assert await self.chatted(server, "french") == "Salut!"

    @pytest.mark.parametrize("template", ["{% if", "{{ raise_exception('no') }}", "{{ messages.x.y.z }}"])
    async def test_a_broken_one_is_refused(self, server: Running, root: Path, template: str) -> None:
        (root / "french" / "chat_template.jinja").write_text(template)
        failure = await server.failure("RegisterModel", registering("french"))
        assert failure.reason == "MODEL_NOT_LOADABLE"
        assert "chat template" in failure.message


class TestUnregistering:
    async def test_it_is_gone(self, server: Running, base: Base, root: Path) -> None:
        await register(server, "french")
        await unregister(server, "french")
        assert (await listed(server), base.adapters, kept(root)) == ([LLM, "embedder"], set(), [])
        for method, ask in (("Completion", completion("french")), ("GetModel", request("GetModel", model_id="french"))):
            assert (await server.failure(method, ask)).reason == "MODEL_NOT_FOUND"

    async def test_its_calls_finish_and_new_ones_are_refused(self, server: Running, base: Base) -> None:
        await register(server, "french")
        base.may_answer.clear()
        answer = asyncio.create_task(said(server, "french"))
        await base.answering.wait()
        going = asyncio.create_task(unregister(server, "french"))
        while "french" in await listed(server):
            pass
        assert (await server.failure("Completion", completion("french"))).reason == "MODEL_NOT_FOUND"
        assert len(base.adapters) == 1
        assert not going.done()
        base.may_answer.set()
        assert await answer == "As french: Hi."
        await going
        assert base.adapters == set()

    async def test_a_deadline_that_passes_leaves_it_going_on(self, server: Running, base: Base) -> None:
        await register(server, "french")
        base.may_answer.clear()
        answer = asyncio.create_task(said(server, "french"))
        await base.answering.wait()
        ask = request("UnregisterModel", model_id="french")
        assert (await server.failure("UnregisterModel", ask, timeout_s=0.5)).code is Code.DEADLINE_EXCEEDED
        joined = asyncio.create_task(unregister(server, "french"))
        again = asyncio.create_task(register(server, "french"))
        await under_way(server, 3)
        base.may_answer.set()
        assert await answer == "As french: Hi."
        await joined
        assert (await again).identifier == "french"
        assert len(base.adapters) == 1

    async def test_while_it_is_being_registered(self, server: Running, base: Base, root: Path) -> None:
        base.may_load.clear()
        coming = asyncio.create_task(register(server, "french"))
        await base.loading.wait()
        going = asyncio.create_task(unregister(server, "french"))
        await under_way(server, 2)
        base.may_load.set()
        await going
        assert (await listed(server), base.adapters, kept(root)) == ([LLM, "embedder"], set(), [])
        # It was registered, and may be gone by the time that it is told.
        await asyncio.gather(coming, return_exceptions=True)

    async def test_what_isnt_there(self, server: Running) -> None:
        for model_id, code, reason in (
            ("french", Code.NOT_FOUND, "MODEL_NOT_FOUND"),
            (LLM, Code.FAILED_PRECONDITION, "MODEL_NOT_REMOVABLE"),
            ("", Code.INVALID_ARGUMENT, "INVALID_FIELD"),
        ):
            failure = await server.failure("UnregisterModel", request("UnregisterModel", model_id=model_id))
            assert (failure.code, failure.reason) == (code, reason)


class TestLoad:
    async def test_requests_are_told_under_the_base_and_tokens_by_name(self, server: Running, base: Base) -> None:
        await register(server, "french")
        base.may_answer.clear()
        answer = asyncio.create_task(said(server, "french"))
        await base.answering.wait()
        (load,) = await server.answers("GetLoad", request("GetLoad"))
        assert [(m.model_id, m.running_requests) for m in load.models] == [(LLM, 1), ("french", 0), ("embedder", 0)]
        base.may_answer.set()
        await answer
        (load,) = await server.answers("GetLoad", request("GetLoad"))
        assert [bool(m.generated_tokens_total) for m in load.models] == [False, True, False]

    async def test_places_are_the_bases(self, root: Path) -> None:
        base = Base()
        base.capacity = base.capacity.__class__(requests=1, tokens=1000)
        async with serving(base, root) as server:
            await register(server, "french")
            base.may_answer.clear()
            answers = [asyncio.create_task(said(server, name)) for name in (LLM, "french")]
            await base.answering.wait()
            while not (await self.waiting(server)):
                pass
            base.may_answer.set()
            assert sorted(await asyncio.gather(*answers)) == ["As french: Hi.", "Hi."]

    async def waiting(self, server: Running) -> int:
        (load,) = await server.answers("GetLoad", request("GetLoad"))
        return int(load.models[0].waiting_requests)


class TestRestarts:
    async def test_registrations_are_served_again(self, base: Base, root: Path) -> None:
        async with serving(base, root) as server:
            await register(server, "french", metadata={"team": "shop"})
            await register(server, "german")
            await unregister(server, "german")
        async with serving(Base(), root) as server:
            assert await listed(server) == [LLM, "french", "embedder"]
            assert dict((await told(server, "french")).metadata)["team"] == "shop"
            assert await said(server, "french") == "As french: Hi."

    async def test_one_that_cannot_be_loaded_harms_no_other(self, base: Base, root: Path) -> None:
        async with serving(base, root) as server:
            await register(server, "french")
            await register(server, "german")
        (root / "french" / "adapter_config.json").write_text("{}")
        async with serving(Base(), root) as server:
            assert await said(server, "german") == "As german: Hi."
            assert (await told(server, "french")).state == FAILED
            failure = await server.failure("Completion", completion("french"))
            assert (failure.code, failure.reason) == (Code.FAILED_PRECONDITION, "MODEL_NOT_LOADABLE")
            assert kept(root) == ["french", "german"]
            # Both of its places are taken, its own among them.
            write_adapter(root / "french", random_tensors(seed=5))
            await register(server, "french")
            assert await said(server, "french") == "As french: Hi."
            await unregister(server, "french")

    async def test_changed_files_are_not_what_was_registered(self, base: Base, root: Path) -> None:
        async with serving(base, root) as server:
            await register(server, "french")
        write_adapter(root / "french", random_tensors(seed=5))
        async with serving(Base(), root) as server:
            assert "changed" in (await server.failure("Completion", completion("french"))).message
            await unregister(server, "french")
            assert kept(root) == []

    async def test_one_of_a_base_that_is_no_longer_there_is_kept(self, base: Base, root: Path) -> None:
        async with serving(base, root) as server:
            await register(server, "french")
        async with running(embedder(), settings={"adapters": {"root": root}}) as server:
            assert await listed(server) == ["embedder"]
            assert kept(root) == ["french"]
            await unregister(server, "french")
            assert kept(root) == []

    async def test_an_engine_that_was_started_again_has_its_adapters(self, base: Base, root: Path) -> None:
        restarting = EngineSettings(on_failure=EngineFailurePolicy.RESTART, restart_backoff_s=0)
        async with serving(base, root, engine=restarting) as server:
            await register(server, "french")
            base.loading.clear()
            base.may_load.clear()
            base.die()
            await asyncio.wait_for(base.loading.wait(), PATIENCE_S)
            # The base serves already.
            assert await said(server, LLM) == "Hi."
            failure = await server.failure("Completion", completion("french"))
            assert (failure.code, failure.reason) == (Code.UNAVAILABLE, "MODEL_NOT_READY")
            assert (await told(server, "french")).state == LOADING
            base.may_load.set()
            while (await told(server, "french")).state != READY:
                pass
            assert await said(server, "french") == "As french: Hi."

    async def test_an_engine_that_dies_while_it_loads_one(self, base: Base, root: Path) -> None:
        restarting = EngineSettings(on_failure=EngineFailurePolicy.RESTART, restart_backoff_s=0)

        async def die(adapter: Adapter) -> None:
            del base.load_adapter  # type: ignore[method-assign]
            base.die()
            raise EngineFailed("The engine died.", retry_after_s=1)

        async with serving(base, root, engine=restarting) as server:
            base.load_adapter = die  # type: ignore[method-assign]
            failure = await server.failure("RegisterModel", registering("french"))
            assert (failure.code, failure.reason) == (Code.UNAVAILABLE, "ENGINE_FAILED")
            while (await told(server, LLM)).state != READY:
                pass
            assert await listed(server) == [LLM, "embedder"]
            await register(server, "french")

    async def test_two_servers_do_not_share_their_registrations(self, base: Base, root: Path) -> None:
        async with serving(base, root):
            with pytest.raises(Exception, match="Another server keeps its registrations"):
                async with serving(Base(), root):
                    pass
        async with serving(Base(), root):
            pass

    @pytest.mark.parametrize("text", ["", "[]", "{", '{"version": 2}', '{"adapters": [{}]}'])
    async def test_a_file_that_isnt_one_stops_the_start(self, base: Base, root: Path, text: str) -> None:
        (root / STATE).write_text(text)
        with pytest.raises(Exception, match="isn't one"):
            async with serving(base, root):
                pass

    async def test_registering_while_the_server_ends(self, base: Base, root: Path) -> None:
        async with serving(base, root, drain_window_s=5) as server:
            await server.answers("Drain", request("Drain"))
            for method, ask in (
                ("RegisterModel", registering("french")),
                ("UnregisterModel", request("UnregisterModel", model_id="french")),
            ):
                assert (await server.failure(method, ask)).reason == "DRAINING"

    async def test_the_end_of_the_server_waits_for_no_loading(self, base: Base, root: Path) -> None:
        async with serving(base, root, grace_s=0) as server:
            base.may_load.clear()
            call = asyncio.create_task(server.failure("RegisterModel", registering("french")))
            await base.loading.wait()
            server.stop()
            assert (await call).reason == "DRAINING"
            assert await server.exit_code() == 0
        async with serving(Base(), root) as server:
            assert await listed(server) == [LLM, "embedder"]


class TestIdentities:
    async def test_who_may_not_use_the_name_or_the_base_may_not_register(self, base: Base, root: Path) -> None:
        def identity(name: str, *models: str) -> dict[str, Any]:
            return {"name": name, "token": name, "models": models, "methods": ["ModelService/*", "InferenceService/*"]}

        people = [identity("all", "*"), identity("named", "fr-*"), identity("base", LLM)]
        settings = {"adapters": {"root": root}, "identities": people}
        async with serving(base, root, settings=settings) as server:
            ask = registering("fr-1", provider_model_id="french")
            for name in ("named", "base"):
                failure = await server.failure("RegisterModel", ask, authorization=f"Bearer {name}")
                assert failure.code is Code.PERMISSION_DENIED
            await server.answers("RegisterModel", ask, authorization="Bearer all")
            (answer,) = await server.answers("Completion", completion("fr-1"), authorization="Bearer named")
            assert answer.content == "As fr-1: Hi."
            failure = await server.failure("Completion", completion("fr-1"), authorization="Bearer base")
            assert failure.code is Code.PERMISSION_DENIED
            ask = request("UnregisterModel", model_id="fr-1")
            failure = await server.failure("UnregisterModel", ask, authorization="Bearer base")
            assert failure.code is Code.PERMISSION_DENIED
