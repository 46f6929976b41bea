"""Files: private, whole or not at all; and no name in any of them by default."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from federated.cli.exit_codes import ExitCode, exit_code_for
from federated.screening.report import files
from federated.screening.report.decisions_csv import Contact
from federated.screening.report.files import OutputError
from federated.screening.report.write import write_contacts, write_reference, write_site
from tests.fakes import runs

PERSON = Contact("MRN-4711", "Okonkwo-Shaw", "Amytist", "1987-02-20", "+44 20 7946 0958")


def test_no_name_birth_date_or_mrn_in_any_default_output(tmp_path: Path) -> None:
    """They are in the one file that is asked for, and in nothing else."""
    run = runs.run(30)
    people = {patient.input_row: PERSON for patient in run.patients}
    write_site(run, tmp_path)
    write_reference(run, tmp_path)
    contacts = write_contacts(run, tmp_path, people)
    secrets = ["4711", "Okonkwo", "Amytist", "1987-02-20", "1987", "7946"]
    for path in tmp_path.iterdir():
        held = [secret for secret in secrets if secret in path.read_text("utf-8")]
        assert held == (secrets if path == contacts else []), path.name


def test_every_file_belongs_to_its_owner_only(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        run = runs.run(3)
        folder = tmp_path / "a" / "b"
        written = [*write_site(run, folder), write_contacts(run, folder, {1: PERSON})]
    finally:
        os.umask(old)
    assert [stat.S_IMODE(path.stat().st_mode) for path in written] == [0o600] * 6
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_link_in_the_way_is_replaced_and_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("kept")
    link = tmp_path / "out.txt"
    link.symlink_to(outside)
    files.write(link, ["new"])
    assert not link.is_symlink()
    assert (link.read_text(), outside.read_text()) == ("new", "kept")


@pytest.mark.parametrize(("code", "word"), [(errno.ENOSPC, "full"), (errno.EROFS, "does not allow writing")])
def test_a_refused_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, word: str
) -> None:
    path = tmp_path / "decisions.csv"
    path.write_text("old")

    def refuse(_: int) -> None:
        raise OSError(code, f"no: {path}")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OutputError, match=word) as caught:
        files.write(path, ["new"])
    assert [item.name for item in tmp_path.iterdir()] == ["decisions.csv"]
    assert path.read_text() == "old"
    assert str(tmp_path) not in str(caught.value)
    assert caught.value.__cause__ is None
    assert exit_code_for(caught.value) is ExitCode.USAGE


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_disk_that_is_really_full_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel's own refusal, through a device that is always full."""
    monkeypatch.setattr(files, "NamedTemporaryFile", lambda *_, **__: open("/dev/full", "w"))  # noqa: SIM115 - closed by the code under test
    monkeypatch.setattr(Path, "unlink", lambda *_, **__: None)
    with pytest.raises(OutputError, match="the disk or the quota is full"):
        files.write(tmp_path / "summary.json", ["x" * 100_000])


@pytest.fixture
def nobody() -> Iterator[None]:
    """Not root, whoever runs the tests."""
    me = os.geteuid()
    if me == 0:
        os.seteuid(65534)
    yield
    os.seteuid(me)


def test_a_folder_without_the_right_to_write_is_named(nobody: None) -> None:
    """Neither a file in it nor a folder below it."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o500)
        with pytest.raises(OutputError, match="does not allow writing"):
            files.write(Path(folder) / "summary.json", ["{}"])
        with pytest.raises(OutputError, match="does not allow writing"):
            files.ready(Path(folder) / "out" / "site")
        assert not list(Path(folder).iterdir())


def test_a_file_where_the_folder_should_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(OutputError, match="a folder was expected"):
        write_site(runs.run(2), tmp_path / "out")
    with pytest.raises(ValueError, match="a folder was expected"):
        write_site(runs.run(2), tmp_path / "out" / "deeper")
