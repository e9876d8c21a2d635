"""protos/buf.gen.yaml, with the plugins that are installed here."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.clients.building import BIN, BUILD_S, NODE, Command, Language, run
from tests.toolchains import need

pytestmark = pytest.mark.timeout(2 * BUILD_S)

MADE = {
    "cpp": ("inference_service.pb.cc", "inference_service.grpc.pb.cc"),
    "go": ("inference_service.pb.go", "inference_service_grpc.pb.go"),
    "java": ("ChatCompletionRequest.java", "InferenceServiceGrpc.java"),
    "python": ("inference_service_pb2.py", "inference_service_pb2.pyi", "inference_service_pb2_grpc.py"),
    "typescript": ("chat.ts", "inference_service.ts"),
}
WITH_GOOGLES = {"cpp", "typescript"}
"""Where no library has them, or not those that the generated code refers to."""


@pytest.fixture(scope="module")
def stubs(built: Callable[[Language], Command], client_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    need("protoc", "grpc_cpp_plugin", "grpc_python_plugin", "grpc_java_plugin", "protoc-gen-go", "protoc-gen-go-grpc")
    built(NODE)
    folder = tmp_path_factory.mktemp("buf")
    # Debian's name for what Maven names protoc-gen-grpc-java.
    (folder / "protoc-gen-grpc-java").symlink_to(str(shutil.which("grpc_java_plugin")))
    path = os.pathsep.join(map(str, (folder, client_folder / "node" / "node_modules" / ".bin", os.environ["PATH"])))
    template = ("--template", "protos/buf.gen.yaml", "--output", str(folder))
    run(str(BIN / "buf"), "generate", str(client_folder / "protos"), *template, PATH=path)
    return folder / "dist" / "stubs"


@pytest.mark.parametrize("language", MADE)
def test_messages_and_stubs_are_generated(stubs: Path, language: str) -> None:
    made = {file.name for file in (stubs / language / "inferwire" / "v1").iterdir()}
    assert made >= set(MADE[language])


@pytest.mark.parametrize("language", MADE)
def test_googles_definitions_are_generated_only_where_no_library_has_them(stubs: Path, language: str) -> None:
    definitions = [file for file in (stubs / language).rglob("*rror*etails*") if file.is_file()]
    assert bool(definitions) == (language in WITH_GOOGLES)


def test_it_generates_what_the_client_on_node_is_built_from(stubs: Path, client_folder: Path) -> None:
    client = client_folder / "node" / "src" / "gen"
    for file in MADE["typescript"]:
        one, other = (code(folder / "inferwire" / "v1" / file) for folder in (stubs / "typescript", client))
        assert one == other


def code(file: Path) -> list[str]:
    """Without the head, which names the compiler."""
    return file.read_text().splitlines()[5:]
