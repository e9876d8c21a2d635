"""`inferwire doctor`: what it finds wrong, and that it finds nothing else."""

import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy
import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID
from rich.console import Console
from safetensors.numpy import save_file

from service.cli.diagnosis import gpus
from service.cli.diagnosis.addresses import check_addresses
from service.cli.diagnosis.certificates import check_callers, check_certificates
from service.cli.diagnosis.finding import Finding, Level
from service.cli.diagnosis.hardware import GIB, _gpus, _instructions, _memory, _shared_memory, _shares
from service.cli.diagnosis.images import check_images
from service.cli.diagnosis.models import check_models
from service.cli.diagnosis.quantization import loaded_bytes
from service.cli.diagnosis.report import as_tables
from service.cli.diagnosis.versions import check_versions
from service.demo_models import default_cache_dir, prepare_embedding_model
from service.images.network import Network
from service.settings import ModelSettings, Settings
from tests.cli.conftest import Inferwire
from tests.credentials import Authority
from tests.quantized_models import W4A16, W8A8, compressed_tensors_config
from tests.serving import free_port

Findings = Iterable[Finding]


def wrong(findings: Findings) -> list[tuple[str, str]]:
    """The subjects of all that isn't fine, and what is told of them."""
    return [(finding.subject, finding.told) for finding in findings if finding.level is not Level.OK]


def the_problem(findings: Findings) -> Finding:
    [problem] = [finding for finding in findings if finding.level is Level.PROBLEM]
    assert problem.advice
    return problem


@pytest.fixture
def minilm() -> Path:
    return prepare_embedding_model(default_cache_dir())


class TestCommand:
    def test_what_would_start(self, inferwire: Inferwire, minilm: Path) -> None:
        result = inferwire("doctor", "--embedding-model", str(minilm), "--server-address", f"127.0.0.1:{free_port()}")
        assert result.exit_code == 0, result.output
        for area in ("settings", "versions", "hardware", "models", "certificates", "callers", "addresses", "images"):
            assert f" {area}: " in result.stdout
        assert result.stdout.splitlines()[-1].startswith("Nothing found that would stop a start.")
        assert result.stderr == ""

    def test_what_would_not(self, inferwire: Inferwire, tmp_path: Path) -> None:
        result = inferwire("doctor", "--model", str(tmp_path / "none"), "--server-address", f"127.0.0.1:{free_port()}")
        assert result.exit_code == 1
        [line] = [line for line in result.stdout.splitlines() if line.startswith("problem")]
        assert line == f"problem models: none: there is no folder {tmp_path / 'none'} -> Correct the path of the model."
        assert result.stdout.splitlines()[-1] == "1 problem would stop a start."

    def test_as_json(self, inferwire: Inferwire, tmp_path: Path) -> None:
        result = inferwire("doctor", "--model", str(tmp_path / "none"), "--json")
        told = json.loads(result.stdout)
        assert (result.exit_code, told["would_start"]) == (1, False)
        [problem] = [finding for finding in told["findings"] if finding["area"] == "models"]
        assert problem["level"] == "problem"

    def test_settings_that_can_t_be_loaded_leave_the_rest_to_look_at(
        self, inferwire: Inferwire, tmp_path: Path
    ) -> None:
        config = tmp_path / "settings.yaml"
        config.write_text("server: {gracee_s: 1}")
        result = inferwire("doctor", "--config", str(config))
        assert result.exit_code == 1
        assert "server.gracee_s: Extra inputs are not permitted" in result.stdout
        assert "versions: python" in result.stdout

    def test_a_file_without_models(self, inferwire: Inferwire, tmp_path: Path) -> None:
        config = tmp_path / "settings.yaml"
        config.write_text("server: {grace_s: 1}")
        assert inferwire("doctor", "--config", str(config)).exit_code == 1

    def test_nothing_given_is_no_problem(self, inferwire: Inferwire) -> None:
        result = inferwire("doctor", "--server-address", f"127.0.0.1:{free_port()}")
        assert (result.exit_code, "warning settings: models" in result.stdout) == (0, True), result.output

    def test_no_engine_is_imported(self, minilm: Path) -> None:
        program = (
            "import sys\nfrom service.cli.main import main\n"
            f"main(['doctor', '--embedding-model', {str(minilm)!r}, '--server-address', 'unix-abstract:x'])\n"
        )
        checked = (
            f"import atexit, sys\natexit.register(lambda: print('vllm' in sys.modules, file=sys.stderr))\n{program}"
        )
        ran = subprocess.run([sys.executable, "-c", checked], capture_output=True, text=True, check=True)
        assert ran.stderr == "False\n"

    def test_the_table_of_a_terminal(self, capsys: pytest.CaptureFixture[str]) -> None:
        finding = Finding(Level.PROBLEM, "key", "is [not] one", "Give another.")
        Console(width=80).print(as_tables({"certificates": [finding], "callers": []}))
        shown = capsys.readouterr().out
        for text in ("certificates", "✘", "key", "is [not] one", "Give another.", "1 problem"):
            assert text in shown


class TestVersions:
    def test_those_of_the_tests_go_together(self) -> None:
        assert wrong(check_versions(Settings())) == []

    def test_a_gpu_wants_another_build(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_gpus: None) -> None:
        tool = tmp_path / "nvidia-smi"
        tool.write_text("#!/bin/sh\necho 'NVIDIA L4, 23034, 570.1'\necho 'NVIDIA L4, 23034, 570.1'\n")
        tool.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
        assert gpus.find_gpus() == [gpus.Gpu("NVIDIA L4", 23034 * 1024**2, "570.1")] * 2
        [(subject, told)] = wrong(check_versions(Settings()))
        assert (subject, told) == ("vllm", "is the build for CPU, and there is a GPU")

    @pytest.mark.parametrize("output", ["exit 9", "echo garbage"])
    def test_a_broken_tool_is_no_gpu(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_gpus: None, output: str
    ) -> None:
        tool = tmp_path / "nvidia-smi"
        tool.write_text(f"#!/bin/sh\n{output}\n")
        tool.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
        assert gpus.find_gpus() == ()

    @pytest.fixture
    def no_gpus(self) -> Iterator[None]:
        """Nothing is remembered of this test's machine."""
        gpus.find_gpus.cache_clear()
        yield
        gpus.find_gpus.cache_clear()


class TestHardware:
    @pytest.mark.parametrize(
        ("machine", "flags", "level"),
        [
            ("x86_64", "flags\t: sse avx2 avx512f avx512_bf16", Level.OK),
            ("x86_64", "flags\t: sse avx2", Level.WARNING),
            ("x86_64", "flags\t: sse", Level.PROBLEM),
            ("aarch64", "Features\t: fp asimd bf16", Level.OK),
            ("aarch64", "Features\t: fp asimd", Level.WARNING),
            ("s390x", "features\t: esan3", Level.OK),
        ],
    )
    def test_instructions(self, machine: str, flags: str, level: Level) -> None:
        assert _instructions(machine, f"processor : 0\n{flags}\n").level is level

    @pytest.mark.parametrize(
        ("weights", "level"), [(1, Level.OK), (7, Level.OK), (8, Level.WARNING), (11, Level.PROBLEM)]
    )
    def test_memory_for_two_models(self, weights: int, level: Level) -> None:
        assert _memory(weights * GIB, 2, 9 * GIB if weights < 10 else 10 * GIB).level is level

    @pytest.mark.parametrize(("weights", "level"), [(20, Level.OK), (30, Level.WARNING), (50, Level.PROBLEM)])
    def test_memory_of_gpus(self, weights: int, level: Level) -> None:
        assert _gpus([gpus.Gpu("L4", 24 * GIB, "570")] * 2, weights * GIB).level is level

    @pytest.mark.parametrize(
        ("settings", "size"),
        [
            ({}, 2 * 32),
            ({"type": "embedding"}, 4 * 32),
            ({"type": "scoring"}, 4 * 32),
            ({"type": "embedding", "quantization": {"type": "bf16"}}, 2 * 32),
            ({"engine_args": {"dtype": "float32"}}, 4 * 32),
            ({"quantization": {"type": "fp8"}}, 16 + 2 * 16),
        ],
    )
    def test_memory_follows_the_quantisation(self, tmp_path: Path, settings: dict[str, Any], size: int) -> None:
        tensors = {name: numpy.zeros((4, 4), numpy.float32) for name in ("embed_tokens.weight", "q_proj.weight")}
        save_file(tensors, tmp_path / "model.safetensors")
        model = ModelSettings.model_validate({"path": str(tmp_path), **settings})
        assert loaded_bytes(model, tmp_path, 128) == size

    def test_quantised_weights_take_what_their_files_do(self, tmp_path: Path) -> None:
        save_file({"q_proj.weight": numpy.zeros((4, 4), numpy.int8)}, tmp_path / "model.safetensors")
        config = {"quantization_config": compressed_tensors_config(W8A8)}
        (tmp_path / "config.json").write_text(json.dumps(config))
        assert loaded_bytes(ModelSettings(path=str(tmp_path)), tmp_path, 17) == 17

    def test_several_models_on_a_gpu_need_a_share_each(self) -> None:
        gpu = [gpus.Gpu("L4", 24 * GIB, "570")]
        shared = {"engine_args": {"gpu_memory_utilization": 0.4}}
        one, two, with_share = (ModelSettings.model_validate({"path": "x", **more}) for more in ({}, {}, shared))
        found = [list(_shares(models, gpu)) for models in ([one], [with_share, with_share], [with_share, two])]
        assert [[finding.level for finding in findings] for findings in found] == [[], [], [Level.WARNING]]

    def test_shared_memory_is_of_interest_to_several_workers(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("service.cli.diagnosis.hardware.SHARED_BYTES", 2**62)
        one, two = (ModelSettings(path="x", engine_args={"tensor_parallel_size": count}) for count in (1, 2))
        assert [finding.level for models in ([one], [one, two]) for finding in _shared_memory(models)] == [
            Level.OK,
            Level.WARNING,
        ]


def cut_weights(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])


def ask_for_another_file(folder: Path) -> None:
    weights = {"weight": "model.safetensors", "other": "model-2.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weights}))


class TestModels:
    @pytest.fixture
    def folder(self, tmp_path: Path, minilm: Path) -> Path:
        """A small model, complete but for a chat template."""
        for file in ("config.json", "tokenizer.json", "tokenizer_config.json"):
            shutil.copy(minilm / file, tmp_path)
        save_file({"weight": numpy.zeros((4, 4), numpy.float32)}, tmp_path / "model.safetensors")
        return tmp_path

    def found(self, path: Path | str, **settings: Any) -> list[Finding]:
        return list(check_models(Settings(models=(ModelSettings(path=str(path), id="m", **settings),))))

    def test_a_complete_one(self, folder: Path) -> None:
        assert wrong(self.found(folder, type="embedding")) == []

    def test_one_that_can_t_chat(self, folder: Path) -> None:
        assert [subject for subject, _ in wrong(self.found(folder))] == ["m chat template"]

    def test_a_scripted_one_has_no_files(self) -> None:
        assert self.found("scripted", engine="scripted") == []

    @pytest.mark.parametrize(
        ("damage", "subject", "told"),
        [
            (lambda folder: (folder / "config.json").unlink(), "m config", "there is no config.json"),
            (lambda folder: (folder / "config.json").write_text("{"), "m config", "can't be used"),
            (
                lambda folder: (folder / "config.json").write_text('{"model_type": "unheard-of"}'),
                "m config",
                "unheard-of",
            ),
            (cut_weights, "m weights", "can't be read"),
            (ask_for_another_file, "m weights", "1 of the files are missing, such as model-2.safetensors"),
            (
                lambda folder: (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1"),
                "m weights",
                "git lfs pull",
            ),
            (lambda folder: (folder / "model.safetensors").unlink(), "m weights", "there are none"),
            (lambda folder: (folder / "tokenizer.json").write_text("{"), "m tokenizer", "can't be loaded"),
        ],
    )
    def test_a_damaged_one(self, folder: Path, damage: Callable[[Path], Any], subject: str, told: str) -> None:
        damage(folder)
        problem = the_problem(self.found(folder, type="embedding"))
        assert (problem.subject, told in problem.told) == (subject, True), problem

    def test_one_with_code_of_its_own(self, folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text()) | {"auto_map": {"AutoConfig": "own.Config"}}
        (folder / "config.json").write_text(json.dumps(config))
        assert [subject for subject, _ in wrong(self.found(folder, type="embedding"))][:1] == ["m config"]

    def quantised(self, folder: Path, scheme: str) -> Path:
        config = json.loads((folder / "config.json").read_text())
        config["quantization_config"] = compressed_tensors_config(scheme)
        (folder / "config.json").write_text(json.dumps(config))
        return folder

    def test_a_quantised_one_is_told_as_such(self, folder: Path) -> None:
        found = {f.subject: f for f in self.found(self.quantised(folder, W4A16), type="embedding")}
        assert found["m quantisation"].level is Level.OK
        assert W4A16 in found["m quantisation"].told

    @pytest.mark.parametrize("wanted", [{"type": "bf16"}, {"type": "int4"}])
    def test_a_quantisation_that_it_has_not(self, folder: Path, wanted: dict[str, str]) -> None:
        finding = the_problem(self.found(self.quantised(folder, W8A8), type="embedding", quantization=wanted))
        assert finding.subject == "m quantisation"
        assert f"type: {wanted['type']}" in finding.told
        assert W8A8 in finding.told

    @pytest.mark.parametrize(("flags", "level"), [("amx_tile", Level.OK), ("avx2", Level.PROBLEM)])
    def test_fp8_is_made_where_it_runs(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, flags: str, level: Level
    ) -> None:
        cpu_info = folder / "cpuinfo"
        cpu_info.write_text(f"flags : {flags}")
        monkeypatch.setattr("service.cli.diagnosis.quantization.CPU_INFO", cpu_info)
        found = {f.subject: f for f in self.found(folder, type="embedding", quantization={"type": "fp8"})}
        assert found["m quantisation"].level is level

    @pytest.mark.parametrize(("offline", "level"), [("0", Level.WARNING), ("1", Level.PROBLEM)])
    def test_one_of_the_hub_that_is_not_here(self, monkeypatch: pytest.MonkeyPatch, offline: str, level: Level) -> None:
        monkeypatch.setenv("HF_HUB_OFFLINE", offline)
        [finding] = self.found("some-org/not-here")
        assert (finding.level, "not on this machine" in finding.told) == (level, True)


class TestCertificates:
    @pytest.fixture
    def authority(self, tmp_path: Path) -> Authority:
        return Authority(tmp_path)

    def found(self, certificate: Path, key: Path, **more: Any) -> list[Finding]:
        return list(check_certificates(Settings(tls={"certificate": certificate, "key": key, **more})))

    def issued(self, authority: Authority, *names: str, **options: Any) -> tuple[Path, Path]:
        certificate, key = authority.issue("server", *(names or ("inferwire.example",)), **options)
        key.chmod(0o600)
        return certificate, key

    def test_good_ones(self, authority: Authority) -> None:
        found = self.found(*self.issued(authority), client_ca=authority.file)
        assert wrong(found) == []
        assert any(finding.told == "inferwire.example" for finding in found)

    def test_none(self) -> None:
        assert wrong(check_certificates(Settings())) == []

    def test_an_expired_one(self, authority: Authority) -> None:
        assert the_problem(self.found(*self.issued(authority, expired=True))).told.startswith("expired on")

    def test_the_key_of_another(self, authority: Authority) -> None:
        certificate, _ = self.issued(authority)
        _, other = authority.issue("other", "other.example")
        assert "not the key of the certificate" in the_problem(self.found(certificate, other)).told

    def test_a_key_that_others_may_read(self, authority: Authority) -> None:
        certificate, key = self.issued(authority)
        key.chmod(0o644)
        [(subject, _)] = wrong(self.found(certificate, key))
        assert subject == "key"

    def test_a_key_with_a_passphrase(self, authority: Authority, tmp_path: Path) -> None:
        certificate, _ = self.issued(authority)
        locked = tmp_path / "locked.key"
        key = ec.generate_private_key(ec.SECP256R1())
        locked.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")))
        assert "passphrase" in the_problem(self.found(certificate, locked)).told

    @pytest.mark.parametrize("which", ["certificate", "key", "client_ca"])
    @pytest.mark.parametrize("content", [None, "nothing of the kind"])
    def test_files_that_are_not_there_or_something_else(
        self, authority: Authority, tmp_path: Path, which: str, content: str | None
    ) -> None:
        certificate, key = self.issued(authority)
        other = tmp_path / "other.pem"
        if content:
            other.write_text(content)
        given = {"certificate": certificate, "key": key, "client_ca": authority.file, which: other}
        assert str(other) in the_problem(check_certificates(Settings(tls=given))).told

    def test_a_chain_in_disorder(self, authority: Authority) -> None:
        certificate, key = self.issued(authority)
        stranger = trustme.CA().cert_pem.bytes()
        certificate.write_bytes(certificate.read_bytes() + stranger)
        [(subject, told)] = wrong(self.found(certificate, key))
        assert (subject, "chain is broken" in told) == ("certificate", True)

    @pytest.mark.parametrize(
        ("lifetime", "names", "usage", "told"),
        [
            (timedelta(days=5), True, ExtendedKeyUsageOID.SERVER_AUTH, "expires on"),
            (timedelta(days=90), False, ExtendedKeyUsageOID.SERVER_AUTH, "none (SAN)"),
            (timedelta(days=90), True, ExtendedKeyUsageOID.CLIENT_AUTH, "not meant for servers"),
        ],
    )
    def test_odd_ones(
        self, tmp_path: Path, lifetime: timedelta, names: bool, usage: x509.ObjectIdentifier, told: str
    ) -> None:
        certificate, key = own_certificate(tmp_path, lifetime, names, usage)
        [(_, wrong_with_it)] = wrong(self.found(certificate, key))
        assert told in wrong_with_it

    def test_identities_whose_tokens_are_missing(self, tmp_path: Path) -> None:
        settings = Settings(identities=[{"name": "search", "token_file": tmp_path / "none"}])
        assert str(tmp_path / "none") in the_problem(check_callers(settings)).told


def own_certificate(folder: Path, lifetime: timedelta, names: bool, usage: x509.ObjectIdentifier) -> tuple[Path, Path]:
    """One that signs itself."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "inferwire.example")])
    builder = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + lifetime)
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    )
    if names:
        builder = builder.add_extension(
            x509.SubjectAlternativeName([x509.DNSName("inferwire.example")]), critical=False
        )
    files = folder / "own.pem", folder / "own.key"
    files[0].write_bytes(builder.sign(key, SHA256()).public_bytes(Encoding.PEM))
    files[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    files[1].chmod(0o600)
    return files


class TestAddresses:
    def found(self, address: str, **settings: Any) -> list[Finding]:
        return list(check_addresses(Settings(server={"address": address, "allow_insecure": True}, **settings)))

    @pytest.mark.parametrize("address", ["127.0.0.1:0", "[::1]:0", "localhost:0", "unix-abstract:x"])
    def test_free_ones(self, address: str) -> None:
        assert wrong(self.found(address)) == []

    def test_one_that_is_taken_is_told_with_who_has_it(self) -> None:
        program = (
            "import socket, time; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True)"
        )
        command = [sys.executable, "-c", f"{program}; time.sleep(60)"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout
            port = int(process.stdout.readline())
            try:
                told = the_problem(self.found(f"127.0.0.1:{port}")).told
            finally:
                process.kill()
        assert told.startswith(f"127.0.0.1:{port} is in use by ")
        assert f"(process {process.pid})" in told

    def test_one_that_is_given_twice(self) -> None:
        address = f"127.0.0.1:{free_port()}"
        told = the_problem(self.found(address, metrics={"address": address})).told
        assert "another address of these settings" in told

    @pytest.mark.parametrize(
        ("address", "told"),
        [
            ("192.0.2.1:50051", "not an address of this machine"),
            ("nowhere", "no address"),
            ("a.invalid:1", "no address"),
        ],
    )
    def test_impossible_ones(self, address: str, told: str) -> None:
        assert told in the_problem(self.found(address)).told

    def test_a_socket_file_that_somebody_listens_at(self, tmp_path: Path) -> None:
        path = tmp_path / "s"
        assert wrong(self.found(f"unix:{path}")) == []
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(path))
            listening.listen()
            assert "listens at" in the_problem(self.found(f"unix:{path}")).told
        assert "not there" in the_problem(self.found(f"unix:{tmp_path}/none/s")).told


class TestImages:
    @pytest.fixture(autouse=True)
    def no_proxies(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY"):
            monkeypatch.delenv(name, raising=False)
            monkeypatch.delenv(name.lower(), raising=False)

    def found(self, *addresses: str, **fetch: Any) -> Iterable[Finding]:
        def resolve(host: str, port: int) -> Any:
            if not addresses:
                raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

        return check_images(Settings(images={"fetch": fetch}), Network(resolve=resolve))

    def test_nothing_is_fetched(self) -> None:
        assert wrong(self.found()) == []

    def test_a_host_with_a_public_address(self) -> None:
        assert wrong(self.found("8.8.8.8", allowed_hosts=["a.example.com:8443", "*.b.example.com"])) == []

    def test_one_with_another(self) -> None:
        told = "a.example.com has the address 10.0.0.1, which is not public: nothing would be fetched from it"
        assert wrong(self.found("8.8.8.8", "10.0.0.1", allowed_hosts=["a.example.com"])) == [("images", told)]

    def test_one_that_nobody_knows(self) -> None:
        told = "a.example.com is not found: Name or service not known"
        assert wrong(self.found(allowed_hosts=["a.example.com"])) == [("images", told)]

    def test_http(self) -> None:
        found = self.found("8.8.8.8", allowed_hosts=["a.example.com"], allow_http=True)
        assert wrong(found) == [("images", "may come unencrypted")]

    def test_a_proxy_has_no_effect(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("https_proxy", "http://proxy:3128")
        found = self.found("8.8.8.8", allowed_hosts=["a.example.com"])
        assert wrong(found) == [("images", "HTTPS_PROXY is set, but images are fetched directly")]

    def test_nobody_to_trust(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none"))
        monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
        found = self.found("8.8.8.8", allowed_hosts=["a.example.com"])
        assert wrong(found) == [("images", "no certificate of any host would be trusted")]
