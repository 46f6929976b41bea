"""The store of logins: sealed, its owner's alone, never followed elsewhere, whole or not at all."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ehr.auth.store import MAGIC, NONCE_BYTES, SALT_BYTES, InMemory, SealedStore, StoredLogin
from ehr.errors import LoginNotKept

KEY = b"k" * 43
LOGIN = StoredLogin(
    "https://ehr.example/token", "canary-access", 1000.0, 300.0, "user/*.rs", "canary-refresh", "ana"
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "login.store"


def store(path: Path, account: str = "my-app https://ehr.example", key: bytes = KEY) -> SealedStore:
    return SealedStore(path, key, account)


def test_what_is_written_is_read_back_by_another_process(path: Path) -> None:
    assert store(path).read() is None
    store(path).write(LOGIN)
    assert store(path).read() == LOGIN
    newer = replace(LOGIN, access_token="newer", refresh_token=None, patient=None)
    store(path).write(newer)
    assert store(path).read() == newer


def test_two_accounts_share_a_file_and_see_only_their_own(path: Path) -> None:
    one, other = store(path, "a https://one"), store(path, "a https://other")
    one.write(LOGIN)
    assert other.read() is None
    other.write(replace(LOGIN, access_token="theirs"))
    one.write(None)
    assert one.read() is None
    kept = other.read()
    assert kept is not None
    assert kept.access_token == "theirs"


def test_nothing_of_a_login_can_be_read_in_the_file(path: Path) -> None:
    store(path).write(LOGIN)
    content = path.read_bytes()
    for secret in (b"canary", b"ehr.example", b"my-app", b"user/", b"ana", KEY):
        assert secret not in content


def test_the_same_login_written_twice_looks_different(path: Path) -> None:
    held = store(path)
    seen = set()
    for _ in range(5):
        held.write(LOGIN)
        seen.add(path.read_bytes()[len(MAGIC) + SALT_BYTES :])
    assert len({content[:NONCE_BYTES] for content in seen}) == 5


def test_the_file_is_its_owners_alone_whatever_the_umask(path: Path) -> None:
    old = os.umask(0)
    try:
        store(path).write(LOGIN)
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_file_that_others_can_read_is_refused(path: Path, mode: int) -> None:
    store(path).write(LOGIN)
    path.chmod(mode)
    with pytest.raises(LoginNotKept, match="chmod 600"):
        store(path).read()


def test_every_changed_byte_is_noticed(path: Path) -> None:
    held = store(path)
    held.write(LOGIN)
    good = path.read_bytes()
    for place in [*range(len(MAGIC), len(good), 7), len(good) - 1]:
        path.write_bytes(good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
        if len(MAGIC) <= place < len(MAGIC) + SALT_BYTES and place % 3:
            continue  # each other salt costs a tenth of a second
        with pytest.raises(LoginNotKept, match="does not open"):
            store(path).read() if place < len(MAGIC) + SALT_BYTES else held.read()
    path.write_bytes(good)
    assert held.read() == LOGIN


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (lambda good: b"", "no store of logins"),
        (lambda good: b'{"token": "x"}', "no store of logins"),
        (lambda good: good[: len(MAGIC) + 3], "no store of logins"),
        (lambda good: good[:-1], "does not open"),
        (lambda good: good + b"x", "does not open"),
        (lambda good: good.replace(b"logins 1", b"logins 2"), "no store of logins"),
        (lambda good: MAGIC + os.urandom(200), "does not open"),
        (lambda good: b"x" * (1 << 21), "no store of logins"),
    ],
)
def test_a_foreign_or_cut_file_is_a_clear_error_and_is_left_alone(
    path: Path, made: Callable[[bytes], bytes], words: str
) -> None:
    store(path).write(LOGIN)
    spoilt = made(path.read_bytes())
    path.write_bytes(spoilt)
    for act in (lambda: store(path).read(), lambda: store(path).write(LOGIN)):
        with pytest.raises(LoginNotKept, match=words) as failed:
            act()
        assert "canary" not in str(failed.value)
    assert path.read_bytes() == spoilt


def test_another_key_opens_nothing(path: Path) -> None:
    store(path).write(LOGIN)
    with pytest.raises(LoginNotKept, match="its key is another one"):
        store(path, key=b"q" * 43).read()


def test_one_stores_content_under_anothers_head_does_not_open(tmp_path: Path) -> None:
    one, other = store(tmp_path / "one"), store(tmp_path / "other")
    one.write(LOGIN)
    other.write(replace(LOGIN, access_token="theirs"))
    head = len(MAGIC) + SALT_BYTES + NONCE_BYTES
    mixed = (tmp_path / "one").read_bytes()[:head] + (tmp_path / "other").read_bytes()[head:]
    (tmp_path / "one").write_bytes(mixed)
    with pytest.raises(LoginNotKept, match="does not open"):
        one.read()


@pytest.mark.parametrize("what", ["link", "link to nothing", "folder", "pipe"])
def test_what_is_planted_where_the_store_goes_is_not_followed(tmp_path: Path, path: Path, what: str) -> None:
    outside = tmp_path / "outside"
    store(outside).write(LOGIN)
    before = outside.read_bytes()
    if what == "link":
        path.symlink_to(outside)
    elif what == "link to nothing":
        path.symlink_to(tmp_path / "nothing")
    elif what == "folder":
        path.mkdir()
    else:
        os.mkfifo(path)
    for act in (lambda: store(path).read(), lambda: store(path).write(LOGIN)):
        with pytest.raises(LoginNotKept):
            act()
    assert outside.read_bytes() == before
    assert not (tmp_path / "nothing").exists()


def test_a_disk_that_is_full_leaves_the_login_before(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = store(path)
    held.write(LOGIN)
    before = path.read_bytes()

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ehr.auth.keys.os.fsync", full)
    with pytest.raises(LoginNotKept, match="cannot be written"):
        held.write(replace(LOGIN, access_token="newer"))
    assert path.read_bytes() == before
    assert [one.name for one in path.parent.iterdir()] == [path.name]


async def test_what_is_planted_where_the_lock_goes_is_not_followed(tmp_path: Path, path: Path) -> None:
    outside = tmp_path / "outside"
    (tmp_path / "login.store.lock").symlink_to(outside)
    with pytest.raises(LoginNotKept, match="lock file"):
        async with store(path).turn():
            pass
    assert not outside.exists()
    (tmp_path / "login.store.lock").unlink()
    os.mkfifo(tmp_path / "login.store.lock")
    with pytest.raises(LoginNotKept, match="something else lies"):
        async with store(path).turn():
            pass


async def test_in_memory_a_login_is_forgotten_with_the_process() -> None:
    held = InMemory()
    assert not held.lasts
    async with held.turn():
        held.write(LOGIN)
    assert held.read() is LOGIN
    held.write(None)
    assert held.read() is None


@pytest.mark.parametrize(
    ("now", "left"), [(1000.0, 300.0), (1299.0, 1.0), (1300.0, 0.0), (9e9, 0.0), (999.0, 0.0)]
)
def test_a_stored_token_is_good_for_what_is_left_and_never_by_a_clock_that_went_back(
    now: float, left: float
) -> None:
    assert LOGIN.left_s(now) == left
