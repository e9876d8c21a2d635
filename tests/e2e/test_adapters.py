"""LoRA adapters on the real engine: registered, used beside their base, kept over restarts, taken out."""

import asyncio
import shlex
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from service.api.completion import CompletionRequest
from service.api.models import Model, ModelState, Registration
from service.api.sampling import GreedySamplingStrategy, SamplingParams
from service.client import Client
from service.errors import ModelNotLoadable
from tests.adapter_files import random_tensors, write_adapter
from tests.e2e.test_readme import console
from tests.serving import LLM, ServerProcess, bundled_models, server_process, settings_file

pytestmark = pytest.mark.real_model

LAYERS = 30
MODULES = {
    f"model.layers.{layer}.self_attn.{name}": shape
    for layer in range(LAYERS)
    for name, shape in (("q_proj", (576, 576)), ("v_proj", (576, 192)))
}
RANK, ALPHA = 4, 8
TOKENS = 16
PROMPT = "Once upon a time"
PATIENCE_S = 60


def settings(root: Path) -> dict[str, Any]:
    # In full precision, so that adapters and merged weights come to the same text.
    model = bundled_models()[0] | {"max_adapters": 2, "max_lora_rank": 8, "engine_args": {"dtype": "float32"}}
    return {"models": [model], "adapters": {"root": str(root)}, "engine": {"restart_backoff_s": 0.1}}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("adapters")
    for seed, name in enumerate(("one", "two", "three"), start=1):
        write_adapter(root / name, tensors(seed), base_model_name_or_path="HuggingFaceTB/SmolLM2-135M-Instruct")
    return root


def tensors(seed: int) -> dict[str, Any]:
    return random_tensors(MODULES, rank=RANK, scale=0.08, seed=seed)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("server")
    with server_process(folder, "--config", settings_file(folder, **settings(root))) as server:
        server.wait_until_serving()
        yield server


@pytest.fixture
async def client(server: ServerProcess) -> AsyncIterator[Client]:
    """Leaves no adapter behind."""
    async with Client(server.target) as client:
        yield client
        for model in await client.models():
            if model.base_model_id:
                await client.unregister(model.identifier)


async def register(client: Client, name: str, path: str = "") -> Model:
    return await client.register(Registration(model_id=name, provider_model_id=path or name, base_model_id=LLM))


async def said(client: Client, model_id: str) -> str:
    sampling = SamplingParams(strategy=GreedySamplingStrategy(), max_tokens=TOKENS, min_tokens=TOKENS)
    request = CompletionRequest(model_id=model_id, content=PROMPT, sampling_params=sampling)
    return (await client.complete(request, timeout_s=PATIENCE_S)).content


async def test_adapters_and_their_base_in_one_batch(client: Client, root: Path) -> None:
    before = await said(client, LLM)
    await asyncio.gather(register(client, "one"), register(client, "two"))
    assert await said(client, LLM) == before
    together = await asyncio.gather(*(said(client, name) for name in (LLM, "one", "two", LLM, "one", "two")))
    base, one, two = together[:3]
    assert together[3:] == [base, one, two]
    assert base == before
    assert len({base, one, two}) == 3
    assert (one, two) == (merged(root / "one"), merged(root / "two"))


def merged(adapter: Path) -> str:
    """What transformers makes of weights that the adapter was added to."""
    import torch
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM, AutoTokenizer

    path = bundled_models()[0]["path"]
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(path)
    weights = load_file(adapter / "adapter_model.safetensors")
    for name in MODULES:
        a, b = (weights[f"base_model.model.{name}.lora_{half}.weight"] for half in "AB")
        model.get_submodule(name).weight.data += ALPHA / RANK * b @ a
    prompt = tokenizer(PROMPT, return_tensors="pt")
    answer = model.generate(**prompt, min_new_tokens=TOKENS, max_new_tokens=TOKENS, do_sample=False)[
        0, prompt["input_ids"].shape[1] :
    ]
    return str(tokenizer.decode(answer, skip_special_tokens=True))


async def test_the_command_of_the_readme(client: Client, server: ServerProcess, root: Path) -> None:
    write_adapter(root / "team-a" / "support", tensors(5))
    command, printed = console(".venv/bin/inferwire models register")
    _, *arguments = shlex.split(command)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "service", *arguments, "--target", server.target, stdout=asyncio.subprocess.PIPE
    )
    assert (await process.communicate())[0].decode() == printed
    assert await said(client, "support") != await said(client, LLM)


async def test_other_files_under_the_same_name(client: Client) -> None:
    """Neither the engine's number of an adapter nor its cache of prompts may bring the former one back."""
    await register(client, "it", "one")
    first = await said(client, "it")
    await client.unregister("it")
    await register(client, "it", "two")
    second = await said(client, "it")
    await client.unregister("it")
    await register(client, "it", "one")
    assert await said(client, "it") == first != second


async def test_a_place_is_free_again(client: Client) -> None:
    for _ in range(2):
        await register(client, "one")
        await register(client, "two")
        with pytest.raises(ModelNotLoadable, match="max_adapters is 2"):
            await register(client, "three")
        await client.unregister("one")
        await register(client, "three")
        await client.unregister("two")
        await client.unregister("three")


async def test_what_the_engine_alone_finds_wrong(client: Client, root: Path, server: ServerProcess) -> None:
    write_adapter(root / "pissa", tensors(4), init_lora_weights="pissa")
    before = await said(client, LLM)
    for _ in range(3):
        with pytest.raises(ModelNotLoadable, match=r"The engine refuses it: .*PiSSA") as refused:
            await register(client, "pissa")
        assert str(root) not in str(refused.value)
    assert [model.identifier for model in await client.models()] == [LLM]
    await register(client, "one")
    await register(client, "two")
    assert await said(client, LLM) == before
    assert len(server.engine_processes()) == 1


async def test_modules_of_another_model(client: Client, root: Path) -> None:
    """The base's are known from its configuration."""
    other = {"model.layers.0.self_attn.q_proj": (512, 512)}
    write_adapter(root / "other", random_tensors(other, rank=RANK))
    with pytest.raises(ModelNotLoadable, match=r"the base has 576 and 576 there"):
        await register(client, "other")
    write_adapter(root / "deeper", random_tensors({f"model.layers.{LAYERS}.self_attn.q_proj": (576, 576)}, rank=RANK))
    with pytest.raises(ModelNotLoadable, match="the base has no such module"):
        await register(client, "deeper")


async def test_an_engine_that_dies_and_comes_back_has_its_adapters(client: Client, server: ServerProcess) -> None:
    await register(client, "one")
    before = await said(client, "one")
    [engine] = server.engine_processes()
    engine.send_signal(signal.SIGKILL)
    engine.wait(PATIENCE_S)
    while (await client.model("one")).state is not ModelState.READY:  # noqa: ASYNC110
        await asyncio.sleep(0.1)
    assert await said(client, "one") == before


async def test_and_so_has_a_server_that_was_started_again(server: ServerProcess, root: Path, tmp_path: Path) -> None:
    """Ends the server of this module: the last test."""
    async with Client(server.target) as client:
        await register(client, "one")
        await register(client, "kept", "two")
        before = [await said(client, name) for name in ("one", "kept")]
    server.end()
    (root / "two" / "adapter_model.safetensors").write_bytes(b"")
    with server_process(tmp_path, "--config", settings_file(tmp_path, **settings(root))) as again:
        again.wait_until_serving()
        async with Client(again.target) as client:
            models = await client.models()
            assert [(model.identifier, model.state) for model in models] == [
                (LLM, ModelState.READY),
                ("one", ModelState.READY),
                ("kept", ModelState.FAILED),
            ]
            assert await said(client, "one") == before[0]
            with pytest.raises(ModelNotLoadable, match="not a safetensors file"):
                await said(client, "kept")
    assert "The adapter 'kept' can't be loaded." in again.logged()
