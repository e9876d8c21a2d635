"""Who calls, and what it may: decided from metadata and the names in a certificate."""

import logging
from pathlib import Path
from typing import Any

import pytest

from service.errors import PermissionDenied, Unauthenticated
from service.server.auth import Authenticator, Caller
from service.settings import Settings
from tests.credentials import Issuer
from tests.server.serving import METHODS

TOKEN = "search-token-0123"
SEARCH = {"name": "search", "token": TOKEN}
MTLS = {"certificate": "a", "key": "b", "client_ca": "c"}
MESH = {"metadata_key": "x-caller"}
INFERENCE = ["Completion", "StreamCompletion", "ChatCompletion", "StreamChatCompletion", "Embeddings"]
READING = ["ListModels", "GetModel"]
PATHS = {name: f"/{method.containing_service.full_name}/{name}" for name, method in METHODS.items()}


def authenticator(**settings: Any) -> Authenticator:
    return Authenticator(Settings(**settings))


def bearer(token: str, scheme: str = "Bearer") -> tuple[str, str]:
    return ("authorization", f"{scheme} {token}")


def identity(known: Authenticator, *metadata: tuple[str, str | bytes], names: tuple[str, ...] = ()) -> str:
    return known.authenticate(metadata, names).identity


def allowed(caller: Caller) -> list[str]:
    return [name for name, path in PATHS.items() if may_call(caller, path)]


def may_call(caller: Caller, path: str) -> bool:
    try:
        caller.check_method(path)
    except PermissionDenied:
        return False
    return True


@pytest.fixture
def issuer(tmp_path: Path) -> Issuer:
    return Issuer(tmp_path / "keys.json")


class TestIdentity:
    def test_without_identities_everybody_is_anonymous_and_may_do_all(self) -> None:
        caller = authenticator().authenticate([], [])
        assert caller.identity == "anonymous"
        assert allowed(caller) == list(METHODS)

    def test_a_token_that_nobody_here_can_check_is_left_to_others(self) -> None:
        assert identity(authenticator(), bearer("of the mesh")) == "anonymous"

    @pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
    def test_a_token_names_its_identity(self, scheme: str) -> None:
        assert identity(authenticator(identities=[SEARCH]), bearer(TOKEN, scheme)) == "search"

    def test_a_json_web_token_does(self, issuer: Issuer) -> None:
        people = [{"name": "staff", "subjects": ["alice", "b*"]}, {"name": "others", "subjects": ["*"]}]
        known = authenticator(identities=people, auth={"jwt": issuer.settings})
        subjects = {"alice": "staff", "bob": "staff", "Alice": "others"}
        assert {subject: identity(known, bearer(issuer.token(subject))) for subject in subjects} == subjects

    def test_a_certificate_does(self) -> None:
        search = {"name": "search", "sans": ["search.example", "spiffe://example/ns/search/*"]}
        known = authenticator(identities=[search], tls=MTLS)
        assert identity(known, names=("other", "search.example")) == "search"
        assert identity(known, names=("spiffe://example/ns/search/sa/a",)) == "search"

    def test_a_mesh_does(self) -> None:
        known = authenticator(identities=[{"name": "search", "subjects": ["spiffe://search"]}], auth=MESH)
        assert identity(known, ("x-caller", "spiffe://search")) == "search"

    def test_a_token_counts_more_than_a_certificate_and_that_more_than_the_mesh(self) -> None:
        people = [SEARCH, {"name": "gateway", "sans": ["gateway"]}, {"name": "end", "subjects": ["end"]}]
        known = authenticator(identities=people, tls=MTLS, auth=MESH)
        mesh = ("x-caller", "end")
        assert identity(known, bearer(TOKEN), mesh, names=("gateway",)) == "search"
        assert identity(known, mesh, names=("gateway",)) == "gateway"
        assert identity(known, mesh, names=("nobody",)) == "end"


def of_all_kinds(issuer: Issuer, **settings: Any) -> Authenticator:
    return authenticator(
        identities=[{**SEARCH, "subjects": ["alice"], "sans": ["search.example"]}],
        tls=MTLS,
        auth={"jwt": issuer.settings, **MESH},
        **settings,
    )


Shown = tuple[list[tuple[str, str | bytes]], tuple[str, ...]]
NOTHING: dict[str, Shown] = {
    "nothing at all": ([], ()),
    "another key": ([("token", TOKEN)], ()),
    "bytes": ([("authorization", b"Bearer " + TOKEN.encode())], ()),
    "a certificate of nobody": ([], ("other.example", "")),
    "somebody else by the mesh": ([("x-caller", "bob")], ()),
    "the name of an identity by the mesh": ([("x-caller", "search")], ()),
}
WRONG: dict[str, Shown] = {
    "a wrong token": ([bearer("search-token-0124")], ()),
    "no token": ([bearer("")], ()),
    "another scheme": ([bearer(TOKEN, "Basic")], ()),
    "no scheme": ([("authorization", TOKEN)], ()),
    "two tokens": ([bearer(TOKEN), bearer(TOKEN)], ()),
    "a wrong token with a right certificate": ([bearer("wrong")], ("search.example",)),
    "two names by the mesh": ([("x-caller", "alice"), ("x-caller", "alice")], ()),
}


@pytest.mark.parametrize(("metadata", "names"), (NOTHING | WRONG).values(), ids=NOTHING | WRONG)
def test_who_shows_nothing_right_is_refused_in_the_same_words(
    issuer: Issuer, metadata: list[tuple[str, str | bytes]], names: tuple[str, ...], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG), pytest.raises(Unauthenticated) as refused:
        of_all_kinds(issuer).authenticate(metadata, names)
    assert (refused.value.message, refused.value.metadata) == ("The call carries no valid credentials.", {})
    assert TOKEN not in caplog.text + str([vars(record) for record in caplog.records])


def test_so_is_a_token_of_nobody(issuer: Issuer) -> None:
    for token in (issuer.token("bob"), issuer.token(exp=1), issuer.unsigned(), issuer.signed_with_the_public_key()):
        with pytest.raises(Unauthenticated):
            of_all_kinds(issuer).authenticate([bearer(token)], ())


GUARDED = {"Drain", "GetLoad", "RegisterModel", "UnregisterModel"}


class TestWhereAnonymousCallersAreAllowed:
    @pytest.mark.parametrize(("metadata", "names"), NOTHING.values(), ids=NOTHING)
    def test_who_is_nobody_known_is_one(self, issuer: Issuer, metadata: Any, names: tuple[str, ...]) -> None:
        assert of_all_kinds(issuer, anonymous={"allowed": True}).authenticate(metadata, names).identity == "anonymous"

    @pytest.mark.parametrize(("metadata", "names"), WRONG.values(), ids=WRONG)
    def test_wrong_credentials_are_refused_nevertheless(
        self, issuer: Issuer, metadata: Any, names: tuple[str, ...]
    ) -> None:
        with pytest.raises(Unauthenticated):
            of_all_kinds(issuer, anonymous={"allowed": True}).authenticate(metadata, names)

    def test_they_get_the_usual_methods_and_what_models_are_set(self) -> None:
        known = authenticator(identities=[SEARCH], anonymous={"allowed": True, "models": ["small"]})
        caller = known.authenticate([], [])
        assert set(INFERENCE + READING) < set(allowed(caller))
        assert not {"Drain", "GetLoad", "RegisterModel", "UnregisterModel"} & set(allowed(caller))
        assert caller.models == ("small",)

    def test_a_wildcard_does_not_give_them_administration(self) -> None:
        known = authenticator(identities=[SEARCH], anonymous={"allowed": True, "methods": "*"})
        assert set(METHODS) - set(allowed(known.authenticate([], []))) == GUARDED

    def test_nor_does_a_certificate_of_nobody_in_particular(self) -> None:
        caller = authenticator(tls=MTLS).authenticate([], ["anybody.example"])
        assert caller.identity == "anonymous"
        assert not {"Drain", "GetLoad", "RegisterModel"} & set(allowed(caller))


class TestMethods:
    def caller(self, *methods: str) -> Caller:
        return authenticator(identities=[{**SEARCH, "methods": methods}]).authenticate([bearer(TOKEN)], [])

    def test_an_address_of_this_machine_alone_leaves_all_to_everybody(self) -> None:
        assert allowed(authenticator(server={"address": "unix:/run/inferwire"}).authenticate([], [])) == list(METHODS)

    @pytest.mark.parametrize(
        "open_", [{"tls": {"certificate": "a", "key": "b"}}, {"server": {"allow_insecure": True}}], ids=str
    )
    def test_administration_is_not_for_a_whole_network(self, open_: dict[str, Any]) -> None:
        server = {"address": "0.0.0.0:1", **open_.get("server", {})}
        settings = {**open_, "server": server}
        anybody = authenticator(**settings).authenticate([], [])
        assert not {"Drain", "GetLoad", "RegisterModel"} & set(allowed(anybody))
        told = {"methods": ["AdminService/GetLoad"]}
        assert allowed(authenticator(**settings, anonymous=told).authenticate([], [])) == ["GetLoad"]

    def test_by_service(self) -> None:
        assert allowed(self.caller("ModelService/*")) == [*READING, "RegisterModel", "UnregisterModel"]

    def test_by_name(self) -> None:
        assert allowed(self.caller("ModelService/ListModels", "InferenceService/Embeddings")) == [
            "Embeddings",
            "ListModels",
        ]

    @pytest.mark.parametrize(
        "pattern",
        ["*", "*/*", "?dminService/*", "Admin*", "*Service/Drain", "[A]dminService/Drain", "*/RegisterModel", "Model*"],
    )
    def test_administration_is_not_meant_by_a_wildcard(self, pattern: str) -> None:
        assert not GUARDED & set(allowed(self.caller(pattern)))

    def test_only_by_its_name(self) -> None:
        assert allowed(self.caller("AdminService/*")) == ["Drain", "GetLoad"]
        assert allowed(self.caller("AdminService/GetLoad")) == ["GetLoad"]

    def test_none(self) -> None:
        assert allowed(self.caller()) == []

    def test_a_refusal_names_the_method(self) -> None:
        with pytest.raises(PermissionDenied) as refused:
            self.caller("ModelService/*").check_method(PATHS["Embeddings"])
        assert refused.value.message == "The identity 'search' may not call InferenceService/Embeddings."
        assert refused.value.metadata == {"method": PATHS["Embeddings"]}
