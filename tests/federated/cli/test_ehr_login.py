"""``trialveil ehr login``, ``logout``, ``keys store`` and the sandbox that asks a person."""

from __future__ import annotations

import io
import json
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ehr.connect.store_key import KEY_BYTES
from ehr.sandbox import RegisteredApp, Sandbox
from federated.cli import keyboard
from federated.cli.command_documents import LoginDocument
from federated.cli.exit_codes import ExitCode
from federated.cli.frame import run
from tests.ehr.auth.door import Browser
from tests.ehr.site_folder import Folder

NARROW = RegisteredApp(scopes=("user/Patient.rs", "user/Condition.rs", "offline_access"))


@pytest.fixture
def browser(monkeypatch: pytest.MonkeyPatch) -> Browser:
    """A browser that the command opens by itself."""
    made = Browser()

    def opened(address: str) -> bool:
        made.open(address)
        return True

    monkeypatch.setenv("BROWSER", "a-browser")
    monkeypatch.setattr("webbrowser.open", opened)
    return made


@pytest.fixture
def ehr() -> Iterator[Sandbox]:
    with Sandbox(apps={"my-app": RegisteredApp(), "narrow": NARROW}) as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    (tmp_path / "elsewhere").mkdir()
    assert run(["ehr", "keys", "store", "--out", str(tmp_path / "elsewhere" / "login.key")]) == ExitCode.DONE
    return Folder(tmp_path / "site")


def pod(folder: Folder, ehr: Sandbox, client: str = "my-app", store: bool = True) -> str:
    kept = ", store: {key: {file: ../elsewhere/login.key}}" if store else ""
    return str(folder.write(ehr.base_url, f"auth: {{browser: {{client_id: {client}{kept}}}}}"))


def test_a_login_says_what_may_be_read_and_what_not(
    browser: Browser, ehr: Sandbox, folder: Folder, capsys: pytest.CaptureFixture[str]
) -> None:
    config = pod(folder, ehr, "narrow")
    assert run(["ehr", "login", "--config", config]) == ExitCode.DONE
    said = capsys.readouterr()
    assert "condition" in said.out
    assert "not granted: MedicationRequest, MedicationStatement" in said.out
    assert "criteria over what may not be read stay unknown" in said.out
    assert "it is kept, sealed" in said.out
    assert browser.addresses[0] in said.err
    assert run(["ehr", "login", "--config", config, "--json"]) == ExitCode.DONE
    document = json.loads(capsys.readouterr().out)
    LoginDocument.model_validate(document)
    granted = {kind["kind"]: kind["granted"] for kind in document["kinds"]}
    assert (granted["condition"], granted["medication"]) == (True, False)


def test_without_a_store_it_says_that_nothing_is_kept(
    browser: Browser, ehr: Sandbox, folder: Folder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["ehr", "login", "--config", pod(folder, ehr, store=False)]) == ExitCode.DONE
    assert "it is not kept: name a store under auth.browser" in capsys.readouterr().out


def test_probe_and_logout_follow_the_login(
    browser: Browser, ehr: Sandbox, folder: Folder, capsys: pytest.CaptureFixture[str]
) -> None:
    config = pod(folder, ehr)
    assert run(["ehr", "probe", "--config", config]) == ExitCode.LOGIN_REFUSED
    assert "nobody is logged in" in capsys.readouterr().out
    assert run(["ehr", "login", "--config", config]) == ExitCode.DONE
    assert run(["ehr", "probe", "--config", config]) == ExitCode.DONE
    assert run(["ehr", "logout", "--config", config]) == ExitCode.DONE
    assert "logged out" in capsys.readouterr().out
    assert run(["ehr", "logout", "--config", config]) == ExitCode.DONE
    assert "nobody was logged in" in capsys.readouterr().out
    assert run(["ehr", "probe", "--config", config]) == ExitCode.LOGIN_REFUSED


def test_a_pod_without_a_browser_login_is_told_so(
    ehr: Sandbox, folder: Folder, capsys: pytest.CaptureFixture[str]
) -> None:
    config = str(folder.write(ehr.base_url, "auth: none"))
    assert run(["ehr", "login", "--config", config]) == ExitCode.BAD_FILE
    assert 'no "auth: browser"' in capsys.readouterr().err


def test_a_key_file_is_made_for_its_owner_and_never_overwritten(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "login.key"
    assert run(["ehr", "keys", "store", "--out", str(path)]) == ExitCode.DONE
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    before = path.read_bytes()
    assert len(before.strip()) >= KEY_BYTES
    assert before.decode().strip() not in capsys.readouterr().out
    assert run(["ehr", "keys", "store", "--out", str(path)]) == ExitCode.USAGE
    assert path.read_bytes() == before
    (tmp_path / "link").symlink_to(tmp_path / "nothing")
    assert run(["ehr", "keys", "store", "--out", str(tmp_path / "link")]) == ExitCode.USAGE
    assert not (tmp_path / "nothing").exists()


def test_pod_check_tries_what_a_browser_login_names(
    ehr: Sandbox, folder: Folder, capsys: pytest.CaptureFixture[str]
) -> None:
    config = pod(folder, ehr)
    assert run(["pod", "check", config]) == ExitCode.DONE
    (folder.path / "beside.key").write_text("k" * 43)
    (folder.path / "beside.key").chmod(0o600)
    text = Path(config).read_text().replace("../elsewhere/login.key", "beside.key")
    Path(config).write_text(text)
    assert run(["pod", "check", config]) == ExitCode.BAD_FILE
    said = capsys.readouterr()
    assert "PV127" in said.out + said.err
    assert "in the store's folder" in said.out + said.err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--login", "--answers", "maybe"], "--answers is not one of"),
        (["--client", "a"], "--client and --jwks go together"),
    ],
)
def test_a_sandbox_that_cannot_be_meant_is_refused(
    words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["ehr", "sandbox", *words]) == ExitCode.USAGE
    assert sentence in capsys.readouterr().err


def test_without_a_screen_no_text_browser_takes_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("sys.platform", "linux")

    def never(address: str) -> bool:
        raise AssertionError("a browser was started")

    monkeypatch.setattr("webbrowser.open", never)
    keyboard.person().show("http://127.0.0.1:1/authorize?x=1")
    assert "  http://127.0.0.1:1/authorize?x=1\n" in capsys.readouterr().err


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_only_at_a_terminal_is_a_person_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    assert keyboard.present().person is None
    monkeypatch.setattr(sys, "stdin", _Terminal())
    monkeypatch.setattr(sys, "stderr", _Terminal())
    assert keyboard.present().person is not None
