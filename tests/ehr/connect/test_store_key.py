"""Where a store's secret comes from."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from ehr.connect.store_key import new_store_key, store_secret
from ehr.errors import ConfigurationError
from ehr.files.settings import StoreKey


@pytest.fixture
def store(tmp_path: Path) -> Path:
    (tmp_path / "site").mkdir()
    return tmp_path / "site" / "login.store"


class Keyring:
    """The operating system's keyring, as far as it is used."""

    def __init__(self) -> None:
        self.held: dict[tuple[str, str], str] = {}

    def get_password(self, service: str, name: str) -> str | None:
        return self.held.get((service, name))

    def set_password(self, service: str, name: str, value: str) -> None:
        self.held[service, name] = value


def test_a_keyring_makes_its_entry_once(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ring = Keyring()
    monkeypatch.setitem(sys.modules, "keyring", ring)
    key = StoreKey(keyring="north")
    first = store_secret(key, store, store.parent, None)
    assert len(first) >= 32
    assert store_secret(key, store, store.parent, None) == first
    assert store_secret(StoreKey(keyring="south"), store, store.parent, None) != first
    assert set(ring.held) == {("trialveil", "north"), ("trialveil", "south")}


def test_a_keyring_that_is_not_installed_is_named_with_its_pip_line(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "keyring", None)
    with pytest.raises(ConfigurationError, match="pip install keyring"):
        store_secret(StoreKey(keyring="north"), store, store.parent, None)


def test_a_keyring_that_fails_tells_no_words_of_its_own(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(service: str, name: str) -> str:
        raise RuntimeError("Canarywords")

    monkeypatch.setitem(sys.modules, "keyring", SimpleNamespace(get_password=fails))
    with pytest.raises(ConfigurationError, match="RuntimeError") as failed:
        store_secret(StoreKey(keyring="north"), store, store.parent, None)
    assert "Canary" not in str(failed.value)


@pytest.mark.parametrize(
    ("answers", "words"),
    [(["short"], "fewer than 12"), (["long enough, really", "another long one"], "differ")],
)
def test_a_new_passphrase_is_long_and_typed_twice(store: Path, answers: list[str], words: str) -> None:
    left = list(answers)
    with pytest.raises(ConfigurationError, match=words) as failed:
        store_secret(StoreKey(passphrase="ask"), store, store.parent, lambda question: left.pop(0))
    assert not left
    assert all(answer not in str(failed.value) for answer in answers)


def test_a_key_file_elsewhere_and_an_environment_variable_are_taken(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new_store_key(tmp_path / "login.key")
    secret = store_secret(StoreKey(file="../login.key"), store, store.parent, None)
    assert secret == (tmp_path / "login.key").read_bytes().strip()
    monkeypatch.setenv("LOGIN_KEY", "e" * 40)
    assert store_secret(StoreKey(env="LOGIN_KEY"), store, store.parent, None) == b"e" * 40
