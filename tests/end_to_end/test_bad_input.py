"""Bad input at every edge, as a user meets it: the right status, a sentence that helps, nobody's data in it."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ehr.auth.keys import make_ring
from ehr.errors import ClockWrong
from ehr.sandbox.faults import Body, Fault, Oversize, When
from ehr.sandbox.server import Sandbox
from federated.cli.exit_codes import ExitCode
from federated.cli.frame import run
from federated.screening.decide.evidence import Verdict
from federated.screening.run import Options, screen_async
from tests.end_to_end.clinics import TRIAL, Pod, clinic_ehr, make_pod, patients, ring_in

CANARY = "Zzyzxova"
"""A name that must never come back from a file that could not be used."""
GIB = 1 << 30
MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Said:
    """What a command ended with and printed."""

    status: int
    out: str
    err: str

    @property
    def sentence(self) -> str:
        assert "Traceback" not in self.err
        assert CANARY not in self.out + self.err
        assert "eyJ" not in self.out + self.err, "a token is shown"
        return self.err


@dataclass(frozen=True, slots=True)
class Stage:
    ehr: Sandbox
    pod: Pod


@pytest.fixture(scope="module")
def module_stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("pod")
    with clinic_ehr("north", ring_in(folder)) as ehr:
        yield Stage(ehr, make_pod(folder, ehr.base_url, patients("north", [1, 2, 3])))


@pytest.fixture
def stage(module_stage: Stage) -> Iterator[Stage]:
    yield module_stage
    module_stage.ehr.faults = ()


def command(capsys: pytest.CaptureFixture[str], *arguments: object) -> Said:
    capsys.readouterr()
    status = run([str(argument) for argument in arguments])
    printed = capsys.readouterr()
    return Said(status, printed.out, printed.err)


def screen(
    capsys: pytest.CaptureFixture[str], pod: Path, out: Path, *more: object, trial: Path = TRIAL
) -> Said:
    return command(capsys, "screen", "--config", pod, "--trial", trial, "--out", out, *more)


PEOPLE = {
    "an empty file": (b"", "is empty"),
    "only blanks": (b" \n \n", "is empty"),
    "a header alone": (b"mrn,family,given,birth_date\n", "no row"),
    "wrong columns": (f"name,dob\n{CANARY},1950-01-01\n".encode(), "none of the 2 columns"),
    "no comma at all": (f"{CANARY}\n".encode(), "none of the 1 columns"),
    "a column given twice": (f"mrn,mrn\n{CANARY},1\n".encode(), "same name"),
    "too many cells": (f"mrn,family\n1,{CANARY},3\n".encode(), "rows 1 have more cells"),
    "a birth date of another form": (
        f"family,birth_date\n{CANARY},01/02/1950\n".encode(),
        "rows 1 have a birth",
    ),
    "an unclosed quote": (f'mrn,family\n1,"{CANARY}\n'.encode(), "not closed"),
    "NUL characters": (f"mrn,family\n1,{CANARY}\x00\n".encode(), "NUL"),
    "Latin-1": (f"mrn,family\n1,{CANARY}é\n".encode("latin-1"), "not UTF-8"),
    "a spreadsheet": (b"PK\x03\x04" + CANARY.encode() + b"\xff\x00" * 50, "not UTF-8"),
}


@pytest.mark.parametrize("case", PEOPLE)
def test_a_patients_file_that_cannot_be_used_is_one_sentence(
    stage: Stage, tmp_path: Path, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    content, word = PEOPLE[case]
    (tmp_path / "people.csv").write_bytes(content)
    said = screen(capsys, stage.pod.config, tmp_path / "out", "--patients", tmp_path / "people.csv")
    assert said.status == ExitCode.BAD_FILE
    assert word in said.sentence
    assert not (tmp_path / "out" / "summary.json").exists()


def test_a_patients_file_that_is_not_there_or_a_folder_is_said(
    stage: Stage, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for place in (tmp_path / "nowhere.csv", tmp_path):
        said = screen(capsys, stage.pod.config, tmp_path / "out", "--patients", place)
        assert said.status == ExitCode.BAD_FILE
        assert "patients" in said.sentence


def test_a_patient_who_is_listed_twice_is_decided_and_counted_once(stage: Stage, tmp_path: Path) -> None:
    (tmp_path / "people.csv").write_text(patients("north", [3, 2, 3, 3]), encoding="utf-8")
    options = Options(patients=tmp_path / "people.csv")
    decisions = asyncio.run(screen_async(stage.pod.config, TRIAL, options))
    rows = {patient.input_row: patient for patient in decisions.run.patients}
    assert sorted(rows) == [1, 2, 3, 4]
    assert [rows[number].match.value for number in (1, 2, 3, 4)] == [
        "matched",
        "matched",
        "duplicate",
        "duplicate",
    ]
    assert rows[3].outcome is rows[4].outcome is None
    counts = decisions.summary["counts"]
    assert (counts["input"], counts["evaluated"]) == (4, 2)


def _peak_memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@pytest.mark.parametrize(
    "body", [Oversize(GIB), Oversize(64 * MIB, packed=True)], ids=["a gibibyte", "64 MiB in a small gzip"]
)
def test_a_body_that_is_far_too_long_is_refused_early(stage: Stage, body: Oversize) -> None:
    """Observations without an end: unknown, not read to the end, and not held in memory."""
    asyncio.run(screen_async(stage.pod.config, TRIAL, Options()))
    before = _peak_memory()
    stage.ehr.faults = (Fault(body, When(resource_type="Observation")),)
    found = asyncio.run(screen_async(stage.pod.config, TRIAL, Options())).run
    assert _peak_memory() - before < 200 * MIB
    evaluated = [patient for patient in found.patients if patient.outcome is not None]
    assert evaluated
    for patient in evaluated:
        assert patient.fetched["observation"] not in ("OK", "EMPTY")
        (acuity,) = [one for one in patient.outcome.criteria if one.id == "acuity"] if patient.outcome else []
        assert acuity.verdict is Verdict.UNKNOWN


def test_json_of_a_hundred_thousand_levels_is_unknown_and_not_a_crash(
    stage: Stage, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stage.ehr.faults = (Fault(Body("deep"), When(resource_type="Condition")),)
    said = screen(capsys, stage.pod.config, tmp_path / "out")
    assert said.status == ExitCode.SOME_UNREAD
    assert said.sentence


def _pod_beside(stage: Stage, folder: Path, text: str | None = None) -> Path:
    """A pod file of its own that uses the stage's keys, patients and site key."""
    folder.mkdir(parents=True, exist_ok=True)
    written = stage.pod.config.read_text(encoding="utf-8") if text is None else text
    for name in ("site.key", "patients.csv"):
        (folder / name).write_bytes((stage.pod.folder / name).read_bytes())
        (folder / name).chmod(0o600)
    (folder / "pod.yaml").write_text(written, encoding="utf-8")
    return folder / "pod.yaml"


KEYS = {
    "empty": (b"", 0o600),
    "words": (CANARY.encode() * 20, 0o600),
    "a public key": (b"-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----\n", 0o600),
    "a certificate": (b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n", 0o600),
    "a private key cut short": (
        b"-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkq\n-----END PRIVATE KEY-----\n",
        0o600,
    ),
    "NUL bytes": (b"\x00" * 4096, 0o600),
    "a JSON list": (b"[1, 2]", 0o600),
    "a symmetric key": (b'{"kty": "oct", "k": "c2VjcmV0"}', 0o600),
}


@pytest.mark.parametrize("case", KEYS)
def test_a_wrong_key_file_is_named_and_its_content_is_not(
    stage: Stage, tmp_path: Path, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    content, mode = KEYS[case]
    pod = _pod_beside(stage, tmp_path / "pod")
    (tmp_path / "pod" / "keys").write_bytes(content)
    (tmp_path / "pod" / "keys").chmod(mode)
    said = screen(capsys, pod, tmp_path / "out")
    assert said.status == ExitCode.BAD_FILE
    assert "key" in said.sentence
    assert "c2VjcmV0" not in said.sentence


def test_a_key_that_others_may_read_is_refused(
    stage: Stage, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pod = _pod_beside(stage, tmp_path / "pod")
    ring_in(tmp_path / "pod")
    for path in (tmp_path / "pod" / "keys").iterdir():
        path.chmod(0o644)
    said = screen(capsys, pod, tmp_path / "out")
    assert said.status == ExitCode.BAD_FILE
    assert "0600" in said.sentence or "others" in said.sentence


def test_a_key_that_the_ehr_does_not_know_is_a_refused_login(
    stage: Stage, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pod = _pod_beside(stage, tmp_path / "pod")
    make_ring(tmp_path / "pod" / "keys")
    said = screen(capsys, pod, tmp_path / "out")
    assert said.status == ExitCode.LOGIN_REFUSED
    assert said.sentence
    assert not (tmp_path / "out" / "decisions.csv").exists()


@pytest.mark.parametrize("key", [b"", b"short", b"\x00" * 8], ids=["empty", "short", "NUL"])
def test_a_site_key_that_is_too_weak_is_refused(
    stage: Stage, tmp_path: Path, capsys: pytest.CaptureFixture[str], key: bytes
) -> None:
    pod = _pod_beside(stage, tmp_path / "pod")
    ring_in(tmp_path / "pod")
    (tmp_path / "pod" / "site.key").write_bytes(key)
    said = screen(capsys, pod, tmp_path / "out")
    assert said.status == ExitCode.BAD_FILE
    assert "site.key" in said.sentence


@pytest.mark.parametrize("hours", [-48, 48], ids=["the EHR lives yesterday", "the EHR lives tomorrow"])
def test_a_clock_that_is_wrong_is_said_and_ends_with_4(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], hours: int
) -> None:
    def away() -> datetime:
        return datetime.now(UTC) + timedelta(hours=hours)

    with clinic_ehr("north", ring_in(tmp_path), clock=away) as ehr:
        pod = make_pod(tmp_path, ehr.base_url, patients("north", [1]))
        said = screen(capsys, pod.config, tmp_path / "out")
        assert said.status == ExitCode.LOGIN_REFUSED
        assert "clock" in said.sentence
        with pytest.raises(ClockWrong):
            asyncio.run(screen_async(pod.config, TRIAL, Options()))


def test_an_output_folder_that_is_a_file_or_under_one_is_said(
    stage: Stage, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    blocked = tmp_path / "blocked"
    blocked.write_text(CANARY, encoding="utf-8")
    for out in (blocked, blocked / "inner"):
        said = screen(capsys, stage.pod.config, out)
        assert said.status == ExitCode.BAD_FILE
        assert "output folder" in said.sentence.lower()
    assert blocked.read_text(encoding="utf-8") == CANARY


@pytest.mark.parametrize(
    ("code", "word"),
    [(errno.EROFS, "cannot be used"), (errno.EACCES, "cannot be used"), (errno.ENOSPC, "full")],
    ids=["read-only", "not ours", "full disk"],
)
def test_a_disk_that_takes_nothing_is_one_sentence_and_no_half_file(
    stage: Stage,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    code: int,
    word: str,
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    real = os.open

    def refusing(path: str | bytes | os.PathLike[str], flags: int, *more: int, **options: int) -> int:
        if str(path).startswith(str(out)) and flags & (os.O_WRONLY | os.O_RDWR):
            raise OSError(code, os.strerror(code))
        return real(path, flags, *more, **options)

    monkeypatch.setattr(os, "open", refusing)
    said = screen(capsys, stage.pod.config, out)
    monkeypatch.undo()
    assert said.status == ExitCode.BAD_FILE
    assert word in said.sentence
    assert list(out.iterdir()) == []


def test_a_disk_that_fills_in_the_middle_keeps_what_was_done(
    stage: Stage, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    real, written = os.write, [0]

    def filling(handle: int, data: bytes) -> int:
        if bytes(data[:8]) == b'[{"row":':
            written[0] += 1
            if written[0] >= 2:  # a full disk stays full, for patients who are read meanwhile too
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(handle, data)

    monkeypatch.setattr(os, "write", filling)
    said = screen(capsys, stage.pod.config, out)
    monkeypatch.undo()
    assert said.status == ExitCode.BAD_FILE
    assert "full" in said.sentence
    assert not (out / "decisions.csv").exists()
    again = screen(capsys, stage.pod.config, out)
    assert again.status == ExitCode.DONE
    assert "1 of 3 patients are done" in again.err


PODS = {
    "NUL": (b"name: north\x00\n", "pod.yaml"),
    "binary": (b"\x80\x81\x82" * 400, "pod.yaml"),
    "empty": (b"", "pod.yaml"),
    "a list": (b"- 1\n- 2\n", "pod.yaml"),
    "a bomb of aliases": (b"a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n", "pod.yaml"),
    "ten thousand brackets": (b"[" * 10_000, "pod.yaml"),
    "a tag": (b"name: !!python/object/apply:os.system ['true']\n", "pod.yaml"),
}


@pytest.mark.parametrize("case", PODS)
def test_a_pod_file_that_is_none_is_said_at_its_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    content, word = PODS[case]
    (tmp_path / "pod.yaml").write_bytes(content + f"# {CANARY}".encode())
    for arguments in (
        ("pod", "check", tmp_path / "pod.yaml"),
        ("screen", "--config", tmp_path / "pod.yaml", "--trial", TRIAL, "--out", tmp_path / "out"),
    ):
        said = command(capsys, *arguments)
        assert said.status == ExitCode.BAD_FILE
        assert word in said.sentence + said.out


@pytest.mark.parametrize("kind", ["folder", "missing", "NUL", "endless", "a pod file", "a link to itself"])
def test_a_trial_that_is_none_is_said(
    stage: Stage, tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    trial = tmp_path / "trial.yaml"
    if kind == "folder":
        trial.mkdir()
    elif kind == "NUL":
        trial.write_bytes(b"trialveil: 1\nid: x\x00y\n# " + CANARY.encode())
    elif kind == "endless":
        trial.write_bytes(b"# " + b"x" * (2 * MIB))
    elif kind == "a pod file":
        trial.write_bytes(stage.pod.config.read_bytes())
    elif kind == "a link to itself":
        trial.symlink_to(trial)
    said = screen(capsys, stage.pod.config, tmp_path / "out", trial=trial)
    assert said.status == ExitCode.BAD_FILE
    assert said.sentence.strip()
    for asked in ("check", "explain", "lock"):
        assert command(capsys, "trial", asked, trial).status == ExitCode.BAD_FILE
    assert not (tmp_path / "out" / "summary.json").exists()


def _as_a_process(*arguments: str, closed: bool) -> tuple[int, str]:
    """Run the command line with a stdout that nobody reads, or none at all."""
    code = "from federated.cli import main; main()"
    start = f"exec {sys.executable} -c '{code}' \"$@\""
    shell = ["sh", "-c", start + (" >&-" if closed else ""), "trialveil", *arguments]
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        shell,
        stdout=None if closed else writing,
        stderr=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
        timeout=60,
        check=False,
    )
    os.close(writing)
    return done.returncode, done.stderr.decode()


@pytest.mark.parametrize("closed", [True, False], ids=["no stdout", "nobody reads"])
def test_a_stdout_that_is_gone_is_no_fault_of_ours(closed: bool) -> None:
    status, err = _as_a_process("list", closed=closed)
    assert "Traceback" not in err
    assert "fault" not in err
    assert status in (ExitCode.DONE, ExitCode.STOPPED)
    assert (status == ExitCode.DONE) == closed


def test_a_full_disk_behind_stdout_is_said() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-c", "from federated.cli import main; main()", "list", "--json"],
            stdout=full,
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
        )
    assert done.returncode == ExitCode.FAULT
    assert b"No space left on device" in done.stderr
    assert b"Exception" not in done.stderr


CODE_LISTS = {
    "empty": b"",
    "NUL": b'{"resourceType": "ValueSet", \x00}',
    "deep": b"[" * 200_000,
    "not UTF-8": b"\x80\x81",
    "a filter": b'{"resourceType": "ValueSet", "compose": {"include": [{"system": "http://loinc.org", "filter": '
    b'[{"property": "a", "op": "=", "value": "Zzyzxova"}]}]}}',
    "cut short": b'{"resourceType": "ValueSet", "expansion": {"total": 9, "contains": [{"system": '
    b'"http://loinc.org", "code": "4548-4"}]}}',
}


@pytest.mark.parametrize("case", [*CODE_LISTS, "a folder", "missing"])
def test_a_code_list_that_is_none_or_not_whole_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    source = tmp_path / "codes.json"
    if case == "a folder":
        source.mkdir()
    elif case != "missing":
        source.write_bytes(CODE_LISTS[case])
    said = command(capsys, "valueset", "import", source, "--out", tmp_path / "out.json")
    assert said.status == ExitCode.BAD_FILE
    assert said.sentence.startswith("trialveil: ")
    assert not (tmp_path / "out.json").exists()
