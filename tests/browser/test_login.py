"""``trialveil ehr login`` as a person does it: a real command, a real browser, the sandbox's consent page."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ehr.sandbox import RegisteredApp, Sandbox, Store
from federated.cli.exit_codes import ExitCode
from tests.browser.test_report import AXE, RULES
from tests.ehr.auth.login import owner_only
from tests.ehr.sandbox.synthetic import small_store
from tests.ehr.site_folder import Folder

SHOTS = os.environ.get("TRIALVEIL_SHOTS")


@pytest.fixture(scope="module")
def store() -> Store:
    return small_store()


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    (tmp_path / "keys").mkdir()
    owner_only(tmp_path / "keys" / "login.key", b"k" * 43)
    return Folder(tmp_path / "site")


def pod(folder: Folder, ehr: Sandbox, more: str = "") -> Path:
    keys = "store: {key: {file: ../keys/login.key}}"
    return folder.write(ehr.base_url, f"auth: {{browser: {{client_id: my-app, {keys}{more}}}}}")


def command(*words: str) -> subprocess.Popen[str]:
    """The command in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "federated.cli", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
    )


@contextmanager
def logging_in(config: Path, *words: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """``ehr login``, waiting for a browser, and the address that it shows."""
    with command("ehr", "login", "--config", str(config), "--no-browser", *words) as process:
        try:
            assert process.stderr is not None
            shown = next(line.strip() for line in process.stderr if line.startswith("  http"))
            yield shown, process
        finally:
            process.kill()


def shot(browser: Any, name: str) -> None:
    """A picture, for whoever wants to look."""
    if SHOTS is not None:
        browser.save_screenshot(str(Path(SHOTS) / f"{name}.png"))


def violations(browser: Any) -> list[str]:
    """What axe-core finds wrong with the page."""
    browser.execute_script(AXE.read_text(encoding="utf-8"))
    script = "axe.run({runOnly: arguments[0]}).then(r => arguments[1](r.violations.map(v => v.id)))"
    found: list[str] = browser.execute_async_script(script, RULES)
    return found


def press(browser: Any, words: str) -> None:
    """Press a button, and wait until the page it stands on is gone."""
    from selenium.common.exceptions import WebDriverException
    from selenium.webdriver.support.expected_conditions import staleness_of
    from selenium.webdriver.support.ui import WebDriverWait

    button = browser.find_element("xpath", f"//button[normalize-space()='{words}']")
    button.click()
    # Asked in the middle of the change of pages, the driver fails instead of saying that the button is gone.
    WebDriverWait(browser, 20, ignored_exceptions=[WebDriverException]).until(staleness_of(button))


def text(browser: Any) -> str:
    found: str = browser.find_element("tag name", "main").text
    return found


def test_a_person_allows_it_and_the_next_command_reads(browser: Any, store: Store, folder: Folder) -> None:
    with Sandbox(store, apps={"my-app": RegisteredApp()}, answers="ask") as ehr:
        config = pod(folder, ehr)
        with logging_in(config, "--json") as (address, process):
            browser.get(address)
            asked = text(browser)
            assert "my-app wants to" in asked
            assert "read records that you may see: AllergyIntolerance, Appointment" in asked
            assert violations(browser) == []
            shot(browser, "consent")
            press(browser, "Allow")
            assert browser.current_url.startswith("http://127.0.0.1:")
            assert "You may close this window" in text(browser)
            assert violations(browser) == []
            shot(browser, "logged-in")
            out, err = process.communicate(timeout=30)
        assert process.returncode == ExitCode.DONE, err
        report = json.loads(out)
        assert report["schema"] == "trialveil/login/1"
        assert (report["kept"], report["renewable"], report["one_patient"]) == (True, True, False)
        assert all(kind["granted"] for kind in report["kinds"])
        for secret in re.findall(r"(?:code|state)=([^&]+)", browser.current_url):
            assert secret not in browser.page_source
            assert secret not in out
        with command("ehr", "probe", "--config", str(config), "--json") as probe:
            assert json.loads(probe.communicate(timeout=30)[0])["ok"]
        assert ehr.witness.count("token") == 1
        ehr.witness.assert_tokens_stayed_home()


def test_a_person_who_denies_it_ends_the_command_with_4(browser: Any, store: Store, folder: Folder) -> None:
    with (
        Sandbox(store, apps={"my-app": RegisteredApp()}, answers="ask") as ehr,
        logging_in(pod(folder, ehr)) as (address, process),
    ):
        browser.get(address)
        press(browser, "Deny")
        assert "did not succeed" in text(browser)
        shot(browser, "denied")
        out, err = process.communicate(timeout=30)
        assert process.returncode == ExitCode.LOGIN_REFUSED
        assert "access was not given" in err
        assert out == ""
        assert not (folder.path / "login.store").exists()


def test_a_person_picks_the_one_patient(browser: Any, store: Store, folder: Folder) -> None:
    with (
        Sandbox(store, apps={"my-app": RegisteredApp()}, answers="ask") as ehr,
        logging_in(pod(folder, ehr, ", context: patient")) as (address, process),
    ):
        browser.get(address)
        options = browser.find_elements("css selector", "select option")
        assert len(options) == len(store.all_of("Patient"))
        options[1].click()
        assert "of the patient you choose" in text(browser)
        assert violations(browser) == []
        shot(browser, "consent-patient")
        press(browser, "Allow")
        out, err = process.communicate(timeout=30)
        assert process.returncode == ExitCode.DONE, err
        assert "for the one patient chosen in the browser" in out


def test_a_page_that_was_answered_cannot_be_answered_again(
    browser: Any, store: Store, folder: Folder
) -> None:
    with Sandbox(store, apps={"my-app": RegisteredApp()}, answers="ask") as ehr:
        with logging_in(pod(folder, ehr)) as (address, process):
            browser.get(address)
            ticket = browser.find_element("name", "ticket").get_attribute("value")
            press(browser, "Allow")
            process.communicate(timeout=30)
        browser.get(address)  # the client listens no more; the EHR's page still comes
        browser.execute_script("document.querySelector('[name=ticket]').value = arguments[0]", ticket)
        press(browser, "Allow")
        assert "cannot go on" in text(browser)
