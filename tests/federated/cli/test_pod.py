"""``trialveil pod new | check | key`` as a person types them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from federated.cli.frame import run
from federated.owner.config import read_pod
from secure_agg import Identity


def test_a_new_pod_has_its_keys_and_says_its_public_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["pod", "new", str(tmp_path / "pod.yaml"), "--name", "St. Mary's, Leeds"]) == 0
    said = capsys.readouterr().out
    seed = (tmp_path / "pod.key").read_text(encoding="utf-8").strip()
    assert f"public key {Identity(bytes.fromhex(seed)).public.hex()}" in said
    assert seed not in said
    assert (tmp_path / "pod.key").stat().st_mode & 0o777 == 0o600
    assert "#   name: st.-mary-s-leeds" in (tmp_path / "pod.yaml").read_text(encoding="utf-8")


def test_a_second_pod_file_keeps_the_identity_that_is_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(["pod", "new", str(tmp_path / "pod.yaml")])
    before, first = (tmp_path / "pod.key").read_bytes(), capsys.readouterr().out
    assert run(["pod", "new", str(tmp_path / "other.yaml")]) == 0
    assert (tmp_path / "pod.key").read_bytes() == before
    second = capsys.readouterr().out
    assert first.splitlines()[-1] == second.splitlines()[-1]
    assert "wrote" in second and "pod.key" not in second


def test_the_commented_lines_of_a_new_pod_are_right(tmp_path: Path) -> None:
    file = tmp_path / "pod.yaml"
    run(["pod", "new", str(file)])
    assert read_pod(file).federation is None
    head, mark, tail = file.read_text(encoding="utf-8").partition("# Tables that tasks may use")
    filled = [re.sub(r"^(\s*)# (?=\s*[\w-]+:)", r"\1", line) for line in (mark + tail).splitlines()]
    words = {"DIGEST": "a" * 64, "MODELLER,": "uni,", "OTHER-POD": "york", "MODEL:": "logistic_regression:"}
    text = "\n".join(filled)
    for word, value in words.items():
        text = text.replace(word, value)
    text = text.replace("key: PUBLIC-KEY", f"key: {'b' * 64}").replace("PUBLIC-KEY", "c" * 64)
    file.write_text(head + text + "\n", encoding="utf-8")
    pod = read_pod(file)
    assert pod.federation is not None
    assert (pod.federation.name, list(pod.data), pod.policy.leaves) == ("my-site", ["lung"], ("counts",))


def test_a_key_is_made_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "k"
    assert run(["pod", "key", "--out", str(out), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["public"] == Identity(bytes.fromhex(out.read_text().strip())).public.hex()
    assert run(["pod", "key", "--out", str(out)]) == 2
    assert "exists and is not overwritten" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "name: x\n", "- a\n", "policy: 3\nname: x\ndata: {a: {file: a.csv}}\n"])
def test_a_wrong_file_ends_with_5(tmp_path: Path, text: str) -> None:
    (tmp_path / "pod.yaml").write_text(text, encoding="utf-8")
    assert run(["pod", "check", str(tmp_path / "pod.yaml")]) == 5


def test_the_file_is_named_either_way_and_is_pod_yaml_by_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("pod.yaml", "other.yaml"):
        Path(name).write_text("name: x\n", encoding="utf-8")
    named = {
        "pod.yaml": ["--config pod.yaml", "pod.yaml", ""],
        "other.yaml": ["--config other.yaml", "other.yaml", "other.yaml --config other.yaml"],
    }
    for name, ways in named.items():
        for way in ways:
            assert run(["pod", "check", *way.split(), "--json"]) == 5
            assert json.loads(capsys.readouterr().out)["problems"][0]["file"] == name
    assert run(["pod", "check", "pod.yaml", "--config", "other.yaml"]) == 2
    assert "given twice" in capsys.readouterr().err


@pytest.mark.parametrize("group", ["pod", "task"])
def test_the_public_key_of_an_identity_is_shown_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], group: str
) -> None:
    out = tmp_path / "k"
    run([group, "key", "--out", str(out)])
    made, before = capsys.readouterr().out.splitlines()[-1], out.read_bytes()
    assert run([group, "key", "--show", str(out)]) == 0
    assert capsys.readouterr().out == f"{made}\n"
    assert out.read_bytes() == before
    assert run([group, "key", "--show", str(tmp_path / "none")]) == 5
    assert capsys.readouterr().out == ""
    assert not (tmp_path / "none").exists()
