"""The owner's log can only grow; whatever else happens to it is noticed."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from federated.cli.exit_codes import ExitCode
from federated.cli.frame import run
from federated.errors import CheckFailed, ConfigurationError, InvalidArgument
from federated.owner.audit import FILE, HEAD, TORN, Audit, AuditEvent, read_audit

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
TASK = bytes(range(32))
WRITER = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from federated.owner.audit import Audit, AuditEvent
log = Audit(Path(sys.argv[1]))
for _ in range(int(sys.argv[2])):
    print(log.note(datetime(2026, 6, 1, tzinfo=UTC), Event("masked update", left={"numbers": 7})), flush=True)
"""


def written(folder: Path, entries: int = 3) -> list[str]:
    log = Audit(folder)
    hashes = [
        log.note(NOW, AuditEvent("accepted", TASK, "ana", "ACCEPT", (), {"numbers": n}))
        for n in range(entries)
    ]
    log.close()
    return hashes


def test_what_was_noted_is_read_back_in_order(tmp_path: Path) -> None:
    hashes = written(tmp_path)
    log = read_audit(tmp_path)
    assert log.hashes == tuple(hashes)
    assert [(entry.number, entry.left) for entry in log.entries] == [
        (n + 1, {"numbers": n}) for n in range(3)
    ]
    assert {(entry.event, entry.modeller, entry.task, entry.time) for entry in log.entries} == {
        ("accepted", "ana", TASK.hex(), "2026-06-01T12:00:00+00:00")
    }
    assert written(tmp_path, 1)[0] == read_audit(tmp_path).hashes[3]


def test_any_change_to_any_byte_is_noticed(tmp_path: Path) -> None:
    written(tmp_path)
    whole = (tmp_path / FILE).read_bytes()
    for place in range(0, len(whole), 7):
        changed = bytes([whole[place] ^ 1])
        (tmp_path / FILE).write_bytes(whole[:place] + changed + whole[place + 1 :])
        with pytest.raises(CheckFailed, match="audit log"):
            read_audit(tmp_path)
        with pytest.raises(CheckFailed, match="audit log"):
            Audit(tmp_path)
    (tmp_path / FILE).write_bytes(whole)
    assert len(read_audit(tmp_path).entries) == 3


def test_a_log_that_was_cut_reordered_or_emptied_is_noticed(tmp_path: Path) -> None:
    written(tmp_path)
    first, second, third = (tmp_path / FILE).read_bytes().splitlines(keepends=True)
    for content in (
        first + second,
        first + second + third[:-1],
        first,
        b"",
        second + first + third,
        first + third,
    ):
        (tmp_path / FILE).write_bytes(content)
        with pytest.raises(CheckFailed):
            Audit(tmp_path)
    (tmp_path / FILE).unlink()
    with pytest.raises(CheckFailed):
        read_audit(tmp_path)
    with pytest.raises(CheckFailed):
        Audit(tmp_path)


@pytest.mark.parametrize("content", [None, b"{}", b'{"entries":0,"hash":"' + b"0" * 64 + b'"}'])
def test_a_head_that_is_gone_or_changed_is_noticed(tmp_path: Path, content: bytes | None) -> None:
    written(tmp_path)
    (tmp_path / HEAD).unlink()
    if content is not None:
        (tmp_path / HEAD).write_bytes(content)
    with pytest.raises(CheckFailed):
        Audit(tmp_path)


def test_a_kill_between_an_entry_and_its_head_loses_nothing(tmp_path: Path) -> None:
    written(tmp_path, 2)
    head = (tmp_path / HEAD).read_bytes()
    hashes = [*written(tmp_path, 1)]
    (tmp_path / HEAD).write_bytes(head)
    assert read_audit(tmp_path).hashes[-1] == hashes[0]
    assert len(Audit(tmp_path)._head.hash) == 64
    assert len(read_audit(tmp_path).entries) == 3


@pytest.mark.parametrize("tail", [b"{", b'{"number":', b"\xff\xff", b"{\n", b"\n", b"{\n{"])
def test_an_unfinished_line_is_kept_named_and_the_chain_goes_on(tmp_path: Path, tail: bytes) -> None:
    written(tmp_path)
    with (tmp_path / FILE).open("ab") as file:
        file.write(tail)
    assert read_audit(tmp_path).torn == tail
    written(tmp_path, 1)
    log = read_audit(tmp_path)
    assert [entry.event for entry in log.entries] == ["accepted"] * 3 + [TORN, "accepted"]
    assert tail in (tmp_path / FILE).read_bytes()
    assert log.entries[3].torn and not log.torn
    content = (tmp_path / FILE).read_bytes()
    (tmp_path / FILE).write_bytes(content.replace(b"\n" + tail, b"\n" + tail + b" ", 1))
    with pytest.raises(CheckFailed):
        read_audit(tmp_path)


def test_an_entry_that_lacks_its_line_end_only_is_an_entry(tmp_path: Path) -> None:
    written(tmp_path, 1)
    head = (tmp_path / HEAD).read_bytes()
    written(tmp_path, 1)
    (tmp_path / HEAD).write_bytes(head)
    (tmp_path / FILE).write_bytes((tmp_path / FILE).read_bytes()[:-1])
    Audit(tmp_path).close()
    assert [entry.event for entry in read_audit(tmp_path).entries] == ["accepted"] * 2
    assert not read_audit(tmp_path).torn


def test_a_kill_of_a_writing_process_loses_no_confirmed_entry(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path), "100000"], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    confirmed = [process.stdout.readline().strip() for _ in range(5)]
    os.kill(process.pid, signal.SIGKILL)
    confirmed += [line for line in process.communicate(timeout=60)[0].split("\n") if len(line) == 64]
    written(tmp_path, 1)
    assert set(confirmed) < set(read_audit(tmp_path).hashes)


def test_threads_and_processes_write_one_chain(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), "30"], stdout=subprocess.PIPE)
    log = Audit(tmp_path)
    threads = [
        threading.Thread(target=lambda: [log.note(NOW, AuditEvent("refused")) for _ in range(15)])
        for _ in range(2)
    ]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    process.communicate(timeout=60)
    assert len(read_audit(tmp_path).entries) == 60


def test_a_change_while_the_pod_runs_stops_the_next_entry(tmp_path: Path) -> None:
    log = Audit(tmp_path)
    log.note(NOW, AuditEvent("accepted"))
    log.note(NOW, AuditEvent("accepted"))
    content = (tmp_path / FILE).read_bytes()
    (tmp_path / FILE).write_bytes(content.splitlines(keepends=True)[0])
    with pytest.raises(CheckFailed):
        log.note(NOW, AuditEvent("refused"))


def test_only_words_hashes_and_whole_numbers_can_be_noted() -> None:
    for wrong in (
        {"event": "Amy Shaw, born 1987/02/20"},
        {"event": "x" * 65},
        {"event": "ok", "modeller": "Ana <ana@example.org>"},
        {"event": "ok", "left": {"mean": 0.5}},
        {"event": "ok", "left": {"flag": True}},
        {"event": "ok", "left": {"a/b": 1}},
    ):
        with pytest.raises(InvalidArgument):
            AuditEvent(**wrong)  # type: ignore[arg-type]  # wrong on purpose


def test_a_reason_of_the_policy_can_be_noted(tmp_path: Path) -> None:
    Audit(tmp_path).note(NOW, AuditEvent("refused", TASK, "ana", "NO_ACCESS", ("minimum_survivors",)))
    assert read_audit(tmp_path).entries[0].reason == ("minimum_survivors",)


def test_the_log_is_its_owners_alone(tmp_path: Path) -> None:
    written(tmp_path)
    assert {(tmp_path / name).stat().st_mode & 0o077 for name in (FILE, HEAD)} == {0}


def test_where_no_pod_has_run_there_is_no_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigurationError, match="no pod has run"):
        read_audit(tmp_path)
    assert run(["pod", "audit", "--state", str(tmp_path)]) == ExitCode.BAD_FILE
    assert str(tmp_path) not in capsys.readouterr().err


def test_the_command_shows_checks_and_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hashes = written(tmp_path)
    assert run(["pod", "audit", "--state", str(tmp_path)]) == ExitCode.DONE
    out = capsys.readouterr().out
    assert out.count("accepted") == 3 and hashes[-1] in out and TASK.hex()[:12] in out
    assert (
        run(["pod", "audit", "--state", str(tmp_path), "--verify", "--contains", hashes[0]]) == ExitCode.DONE
    )
    assert capsys.readouterr().out == f"3 entries hold together, last hash {hashes[-1]}\n"
    assert run(["pod", "audit", "--state", str(tmp_path), "--contains", "f" * 64]) == ExitCode.FAULT
    capsys.readouterr()
    assert run(["pod", "audit", "--state", str(tmp_path), "--json"]) == ExitCode.DONE
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "trialveil/audit/1"
    assert [entry["hash"] for entry in document["entries"]] == hashes
    (tmp_path / FILE).write_bytes((tmp_path / FILE).read_bytes()[:-40])
    assert run(["pod", "audit", "--state", str(tmp_path)]) == ExitCode.FAULT
    assert re.search("holds together for 2 entries where 3 were written", capsys.readouterr().err)


def test_the_command_finds_the_state_folder_of_a_pod_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "pod.yaml"
    config.write_text("name: Leeds\ndata: {heart: {file: heart.csv}}\n", encoding="utf-8")
    assert run(["pod", "audit", "--config", str(config)]) == ExitCode.USAGE
    assert "--state" in capsys.readouterr().err
    config.write_text(
        "name: Leeds\ndata: {heart: {file: heart.csv}}\nfederation:\n  name: leeds\n  key: {file: pod.key}\n"
        f"  modeller: {{name: ana, key: {'a' * 64!r}}}\n  state: kept\n",
        encoding="utf-8",
    )
    hashes = written(tmp_path / "kept")
    assert run(["pod", "audit", "--config", str(config), "--verify"]) == ExitCode.DONE
    assert hashes[-1] in capsys.readouterr().out
