"""Provider profiles and plug-ins: checked when they are loaded, and no plug-in takes a built-in's place."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from ehr.config import ProviderProfile
from ehr.errors import ConfigurationError
from ehr.providers import registry
from ehr.providers.generic import GenericAdapter
from ehr.providers.profile import read_profile, read_profile_file
from ehr.providers.registry import GROUP, provider, shipped_profile

HEAD = 'version = 1\nname = "x r4"\ntitle = "X"\n'
SMART = "smarthealthit r4"


def read(text: str) -> ProviderProfile:
    return read_profile(HEAD + text, shipped_profile)


def test_the_shipped_profile_is_read_and_says_what_the_vendor_does() -> None:
    found = shipped_profile(SMART)
    assert found.name == SMART
    assert "Condition" in found.search_parameters
    assert found.rate.concurrency == 8
    assert provider(SMART).make is not None


def test_every_key_of_a_profile_is_read() -> None:
    found = read(
        'scope_style = "v2"\nrequired_settings = ["base_url", "client_id"]\nauth_modes = ["backend"]\n'
        'assertion_algorithms = ["RS384"]\nbulk = ["group"]\nsort = true\npage_size = 7\n'
        'patient_search = [["identifier"], ["family", "birthdate"]]\n'
        '[search_parameters]\nPatient = ["_id"]\n'
        '[fan_out]\nCondition = {parameter = "category", values = ["a", "b"]}\n'
        '[outcome_states]\n59108 = "RESTRICTED"\n[code_systems]\nICD10 = "http://hl7.org/fhir/sid/icd-10-cm"\n'
        "[rate]\nconcurrency = 4\nrequests_per_s = 5\n"
        '[[extra_headers]]\nname = "Client-ID"\nsetting = "client_id"\nmodes = ["backend"]\n'
    )
    assert found.patient_search == (("identifier",), ("family", "birthdate"))
    assert found.search_parameters == {"Patient": frozenset({"_id"})}
    assert found.fan_out == {"Condition": ("category", ("a", "b"))}
    assert found.outcome_states == {"59108": "RESTRICTED"}
    assert found.code_systems == {"icd10": "http://hl7.org/fhir/sid/icd-10-cm"}
    assert (found.rate.concurrency, found.rate.requests_per_s) == (4, 5)
    assert (found.extra_headers[0].name, found.extra_headers[0].modes) == ("Client-ID", {"backend"})
    assert (found.scope_style, found.page_size, found.sort) == ("v2", 7, True)


def test_what_was_read_cannot_be_changed() -> None:
    found = read('[search_parameters]\nPatient = ["_id"]\n')
    with pytest.raises(TypeError):
        found.search_parameters["Patient"] = frozenset()  # type: ignore[index]  # that is what is tested
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.name = "y"  # type: ignore[misc]  # that is what is tested


WRONG = {
    "page_sise = 3\n": 'profile key "page_sise" is not known. Did you mean "page_size"?',
    'page_size = "3"\n': 'profile key "page_size" has a value of the wrong form',
    "page_size = true\n": "page_size",
    "page_size = 0\n": "page_size is not between 1 and page_size_max",
    "page_size = 2000\n": "page_size is not between",
    "token_life_s = 0\n": "token_life_s",
    "sort = 1\n": "sort",
    'scope_style = "v3"\n': "scope_style",
    'trust = "nobody"\n': "trust",
    'next_link = "anywhere"\n': "next_link",
    'auth_modes = ["magic"]\n': "auth_modes",
    'auth_modes = "none"\n': "auth_modes",
    'assertion_algorithms = ["HS256"]\n': "assertion_algorithms",
    'bulk = ["everything"]\n': "bulk",
    "mrn_types = [1]\n": "mrn_types",
    "patient_search = [1]\n": "patient_search",
    "search_parameters = 3\n": "search_parameters",
    '[search_parameters]\nPatient = "_id"\n': "search_parameters",
    '[outcome_states]\n1 = "GREAT"\n': "outcome_states",
    "[fan_out]\nCondition = {values = []}\n": "fan_out",
    "[rate]\nconcurrency = 0\n": "rate",
    '[rate]\nconcurrency = "4"\n': "rate",
    "[rate]\nspeed = 3\n": "rate",
    "[rate]\nrequests_per_s = nan\n": "rate",
    'extra_headers = [{name = "a"}]\n': "extra_headers",
    "broken = [\n": "not TOML",
}


@pytest.mark.parametrize("text", WRONG)
def test_a_mistake_in_a_profile_names_its_key(text: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        read(text)
    assert WRONG[text] in str(refused.value)


@pytest.mark.parametrize("text", ['title = "X"', 'version = 2\nname = "x"', 'version = "1"'])
def test_another_version_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="version"):
        read_profile(text, shipped_profile)


def test_a_profile_needs_a_name_and_a_title() -> None:
    with pytest.raises(ConfigurationError, match="no name"):
        read_profile("version = 1\n", shipped_profile)


def test_a_profile_can_say_only_what_differs_from_its_parent() -> None:
    head = f'version = 1\nextends = "{SMART}"\nname = "hull r4"\nsort = false\n'
    found = read_profile(head + '[search_parameters]\nPatient = ["_id"]\n', shipped_profile)
    assert (found.name, found.sort, found.title) == ("hull r4", False, "SMART Health IT")
    assert found.search_parameters == {"Patient": frozenset({"_id"})}  # in place of the parent's, not added


@pytest.mark.parametrize("parent", ["nobody", "hull r4"])
def test_an_unknown_parent_is_refused(parent: str) -> None:
    with pytest.raises(ConfigurationError, match="provider is not known"):
        read_profile(f'version = 1\nextends = "{parent}"\n', shipped_profile)


def test_a_file_that_cannot_be_read_is_refused_without_its_name(tmp_path: Path) -> None:
    broken = tmp_path / "secret-name.toml"
    broken.write_bytes(b"\xff")
    for path in (broken, tmp_path / "secret-none.toml", tmp_path):
        with pytest.raises(ConfigurationError, match="profile file: cannot be read") as refused:
            read_profile_file(path, shipped_profile)
        assert "secret" not in str(refused.value)


# --- plug-ins ----------------------------------------------------------------------------------------------

PROFILE = ProviderProfile(name="hull r4", title="Hull", search_parameters={"Patient": frozenset({"_id"})})


class Own(GenericAdapter):
    """A plug-in's own adapter."""

    profile = PROFILE  # type: ignore[assignment]  # what the registry looks at, on the class


FILE: list[Path] = []


def broken() -> None:
    """Neither a profile nor an adapter."""


@pytest.fixture
def plugins(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Pretend that these plug-ins are installed: name to attribute of this module."""

    def install(**named: str) -> None:
        points = [
            EntryPoint(name.replace("_", " "), f"{__name__}:{value}", GROUP) for name, value in named.items()
        ]
        monkeypatch.setattr(registry, "entry_points", lambda *, group: points if group == GROUP else [])

    return install


def test_a_plug_in_brings_a_profile_alone(plugins: Callable[..., None]) -> None:
    plugins(hull_r4="PROFILE")
    assert provider("hull r4").profile is PROFILE


def test_a_plug_in_brings_a_file(
    plugins: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "hull.toml"
    path.write_text(f'version = 1\nextends = "{SMART}"\nname = "hull r4"\n')
    monkeypatch.setitem(globals(), "FILE", path)
    plugins(hull_r4="FILE")
    assert provider("hull r4").profile.name == "hull r4"


def test_a_plug_in_brings_an_adapter_of_its_own(plugins: Callable[..., None]) -> None:
    plugins(hull_r4="Own")
    found = provider("hull r4")
    assert (found.profile, found.make) == (PROFILE, Own)


def test_a_plug_in_cannot_take_a_built_in_s_place(plugins: Callable[..., None]) -> None:
    plugins(smarthealthit_r4="PROFILE", hull_r4="PROFILE")
    assert provider(SMART).profile.name == SMART


@pytest.mark.parametrize(
    ("attribute", "words"), [("broken", "neither a profile"), ("missing", "AttributeError")]
)
def test_a_plug_in_that_cannot_be_used_is_refused(
    plugins: Callable[..., None], attribute: str, words: str
) -> None:
    plugins(hull_r4=attribute)
    with pytest.raises(ConfigurationError, match=words):
        provider("hull r4")


def test_an_unknown_provider_is_refused_with_those_that_there_are(plugins: Callable[..., None]) -> None:
    plugins(hull_r4="PROFILE")
    with pytest.raises(
        ConfigurationError, match=f"provider is not known. Available: {SMART}, epic r4, hull r4"
    ) as refused:
        provider("secret vendor")
    assert "secret" not in str(refused.value)


def test_a_provider_of_a_later_release_is_named_as_that() -> None:
    with pytest.raises(ConfigurationError, match="not part of this release"):
        provider("nextgen enterprise")
