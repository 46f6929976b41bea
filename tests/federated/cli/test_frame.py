"""The frame of the command line: help, switches, errors as sentences, exit statuses."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Annotated, Any

import pytest
import typer

import ehr.errors
from ehr.files.problems import FileErrors, Problem
from federated.cli import commands, frame, terminal
from federated.cli.commands import Place
from federated.cli.exit_codes import ExitCode
from federated.errors import PolicyRefused

MARY = "Mary Marked 1970-01-01"


@pytest.fixture(autouse=True)
def quiet_state(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("TRIALVEIL_DEBUG", raising=False)
    terminal.state.reset()
    yield
    terminal.state.reset()


Raiser = Callable[[], Any]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[[Raiser], None]:
    """Mount ``trialveil act``, which does what it is given."""

    def mount(act: Raiser) -> None:
        module = ModuleType("acting")
        module.app = app = typer.Typer()  # type: ignore[attr-defined]  # a module made here

        @app.command()
        def run(json: terminal.Json = False) -> Any:
            """Act."""
            return act()

        _mount(monkeypatch, {"act": module})

    return mount


def _mount(monkeypatch: pytest.MonkeyPatch, modules: dict[str, ModuleType]) -> None:
    class Here(Place):
        exists = True

    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setitem(commands.COMMANDS, name, Here(module.__name__, "Do it."))


def _raising(error: BaseException) -> Raiser:
    def act() -> None:
        raise error

    return act


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ehr.errors.LoginRefused("The EHR refused the login."), 4),
        (FileErrors([Problem("a.yaml", 1, 2, "TV001", "a"), Problem("a.yaml", 2, 2, "TV002", "b")]), 5),
        (PolicyRefused("The owner does not allow it."), 6),
        (ExceptionGroup("several", [ehr.errors.TimedOut("Too late.")]), 3),
    ],
)
def test_an_error_of_ours_is_its_own_sentence(
    error: Exception, status: int, command: Callable[[Raiser], None], capsys: pytest.CaptureFixture[str]
) -> None:
    command(_raising(error))
    assert frame.run(["act"]) == status
    shown = capsys.readouterr()
    sentence = str(error.exceptions[0]) if isinstance(error, ExceptionGroup) else str(error)
    prefix = "" if isinstance(error, FileErrors) else "trialveil: "
    assert (shown.out, shown.err) == ("", f"{prefix}{sentence}\n")


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), asyncio.CancelledError(), typer.Abort(), typer.Exit(130)]
)
def test_a_stop_ends_with_130(
    error: BaseException, command: Callable[[Raiser], None], capsys: pytest.CaptureFixture[str]
) -> None:
    command(_raising(error))
    assert frame.run(["act"]) == 130
    assert capsys.readouterr().err == "trialveil: Stopped.\n"


@pytest.mark.parametrize("switch", [[], ["-v"]])
def test_an_unexpected_error_shows_no_value_even_when_asked_to_say_more(
    switch: list[str], command: Callable[[Raiser], None], capsys: pytest.CaptureFixture[str]
) -> None:
    def act() -> None:
        try:
            raise KeyError(MARY)
        except KeyError:
            raise ValueError(f"cannot read {MARY}")  # noqa: B904  # the implicit chain is what is tested

    command(act)
    assert frame.run([*switch, "act"]) == 1
    shown = capsys.readouterr().err
    assert "ValueError" in shown
    assert "Mary" not in shown
    assert ("test_frame.py" in shown) == bool(switch)
    assert ("KeyError" in shown) == bool(switch)


def test_the_environment_turns_on_debugging(
    command: Callable[[Raiser], None], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRIALVEIL_DEBUG", "1")
    command(_raising(RuntimeError("x")))
    assert frame.run(["act"]) == 1
    assert "test_frame.py" in capsys.readouterr().err


def test_only_our_own_log_records_are_shown_and_no_exception_s_text(
    command: Callable[[Raiser], None], capsys: pytest.CaptureFixture[str]
) -> None:
    def act() -> None:
        logging.getLogger("httpx").warning("GET /Patient?family=%s", MARY)
        logging.getLogger("federated.acting").info("one request")
        try:
            raise ValueError(MARY)
        except ValueError:
            logging.getLogger("federated.acting").exception("a fault")

    command(act)
    assert frame.run(["act", "-v"]) == 0
    shown = capsys.readouterr().err
    assert "Mary" not in shown
    assert "INFO: one request\nERROR: a fault\n" in shown
    assert "ValueError" in shown
    assert frame.run(["act"]) == 0
    assert "one request" not in capsys.readouterr().err


def test_a_server_s_text_is_never_shown(
    command: Callable[[Raiser], None], capsys: pytest.CaptureFixture[str]
) -> None:
    command(_raising(ehr.errors.LoginRefused("Refused.", debug_detail=MARY)))
    assert frame.run(["-v", "act"]) == 4
    assert "Mary" not in capsys.readouterr().err


@pytest.mark.parametrize(("given", "status"), [(None, 0), (ExitCode.SOME_UNREAD, 3), (0, 0), ("text", 0)])
def test_a_command_may_return_its_status(given: Any, status: int, command: Callable[[Raiser], None]) -> None:
    command(lambda: given)
    assert frame.run(["act"]) == status


@pytest.mark.parametrize("error", [typer.Exit(3), SystemExit(3)])
def test_a_command_may_leave_with_a_status(error: BaseException, command: Callable[[Raiser], None]) -> None:
    command(_raising(error))
    assert frame.run(["act"]) == 3


def test_a_failed_file_says_why_but_not_which(
    command: Callable[[Raiser], None], capsys: pytest.CaptureFixture[str]
) -> None:
    command(_raising(PermissionError(13, "Permission denied", f"/{MARY}")))
    assert frame.run(["act"]) == 1
    shown = capsys.readouterr().err
    assert "Permission denied" in shown
    assert "Mary" not in shown


@pytest.mark.parametrize("arguments", [["act", "--no-such"], ["no-such"], ["act", "surplus"], []])
def test_wrong_usage_ends_with_2_and_nothing_on_stdout(
    arguments: list[str], command: Callable[[Raiser], None], capsys: pytest.CaptureFixture[str]
) -> None:
    command(lambda: None)
    assert frame.run(arguments) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "Usage: trialveil" in shown.err


@pytest.mark.parametrize("arguments", [["-q", "act"], ["act", "-q"], ["act", "--quiet"]])
def test_quiet_works_before_and_after_the_command(
    arguments: list[str], command: Callable[[Raiser], None], capsys: pytest.CaptureFixture[str]
) -> None:
    command(lambda: terminal.say("hello"))
    assert frame.run(arguments) == 0
    assert capsys.readouterr().err == ""
    assert frame.run(["act"]) == 0
    assert capsys.readouterr().err == "hello\n"


def test_more_is_said_only_when_asked(
    command: Callable[[Raiser], None], capsys: pytest.CaptureFixture[str]
) -> None:
    command(lambda: terminal.say_more("more"))
    for arguments, expected in ((["act"], ""), (["act", "-v"], "more\n")):
        assert frame.run(arguments) == 0
        assert capsys.readouterr().err == expected


def test_groups_are_mounted_by_app_by_named_app_and_by_register(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    two, other = ModuleType("two_groups"), ModuleType("registering")
    first, second = typer.Typer(help="First."), typer.Typer(help="Second.")

    @first.command("go")
    @second.command("go")
    def go(name: Annotated[str, typer.Option()] = "x") -> None:
        terminal.out(name)

    @first.command("stay")
    @second.command("stay")
    def stay() -> None:
        """Stay where one is, which takes more words to say than one line of help on a terminal has room for."""

    def register(app: typer.Typer) -> None:
        app.command("third")(go)

    two.app, two.second_app, other.register = first, second, register  # type: ignore[attr-defined]  # made here
    _mount(monkeypatch, {"first": two, "second": two, "third": other})
    for arguments in (
        ["first", "go", "--name", "a"],
        ["second", "go", "--name", "a"],
        ["third", "--name", "a"],
    ):
        assert frame.run([*arguments, "-q"]) == 0
        assert capsys.readouterr().out == "a\n"
    assert frame.run(["second", "--help"]) == 0
    shown = capsys.readouterr().out
    assert "Second." in shown
    assert "completion" not in shown
    assert "on a terminal has room for" in " ".join(shown.split())


def test_help_lists_every_command_whose_module_is_here(capsys: pytest.CaptureFixture[str]) -> None:
    assert frame.run(["--help"]) == 0
    shown = capsys.readouterr().out
    for name, place in commands.COMMANDS.items():
        assert (f"\n  {name} " in shown) == place.exists
    for later in ("login", "export"):
        assert f"\n  {later} " not in shown


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert frame.run(["--version"]) == 0
    assert capsys.readouterr().out.startswith("trialveil 0.")


@pytest.mark.parametrize("arguments", [["--help"], ["list", "--json"]])
def test_start_up_imports_nothing_heavy(arguments: list[str]) -> None:
    code = (
        f"import sys; from federated.cli.frame import run; status = run({arguments!r});"
        "print(*sys.modules, file=sys.stderr); sys.exit(status)"
    )
    seen = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    # Not pydantic: newer versions of Typer use it themselves to read options.
    heavy = {"numpy", "pandas", "torch", "fhir", "httpx", "aiohttp", "yaml", "msgspec"}
    assert not heavy & set(seen.stderr.split())


@pytest.mark.parametrize("arguments", [["--help"], ["list"]])
def test_help_and_the_list_come_within_half_a_second_of_processor_time(arguments: list[str]) -> None:
    def seconds() -> float:
        before = os.times()
        subprocess.run([sys.executable, "-m", "federated.cli", *arguments], capture_output=True, check=True)
        after = os.times()
        return after.children_user - before.children_user + after.children_system - before.children_system

    assert min(seconds() for _ in range(3)) < 0.5


def test_a_reader_that_stops_early_is_no_fault() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "federated.cli", "list", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        said = process.stderr.read()
    assert b"Traceback" not in said
    assert b"unexpected" not in said


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_shown_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    for stream, quiet, shown in (
        (_Terminal(), False, True),
        (_Terminal(), True, False),
        (io.StringIO(), False, False),
    ):
        monkeypatch.setattr(sys, "stderr", stream)
        terminal.state.quiet = quiet
        with terminal.progress("Reading", 3) as bar:
            bar.advance(2)
        assert ("Reading" in stream.getvalue()) == shown
        assert ("2/3" in stream.getvalue()) == shown


def test_progress_may_be_told_as_a_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", stream := _Terminal())
    with terminal.progress("Reading") as bar:
        bar.update(4, 5)
    assert "4/5" in stream.getvalue()


def test_no_colour_is_used_where_the_user_wants_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    for wanted in ("", "1"):
        monkeypatch.setenv("NO_COLOR", wanted)
        stream = _Terminal()
        terminal.console(stream).print("[red]text[/red]")
        assert ("31m" in stream.getvalue()) == (wanted == "")


def test_the_first_column_stays_whole_on_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setattr(sys, "stdout", stream := _Terminal())
    terminal.out_table(("Name", "Notes"), [("N" * 40, "word " * 12)])
    shown = stream.getvalue()
    assert "N" * 40 in shown
    assert max(len(line) for line in shown.splitlines() if "NNN" in line) <= 60


def test_a_value_in_a_table_is_not_markup(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.out_table(("A",), [("[red]x[/red]",)])
    assert "[red]x[/red]" in capsys.readouterr().out


def test_json_holds_no_nan_and_survives_a_narrow_encoding(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError):
        terminal.out_json({"x": float("nan")})
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii", write_through=True))
    terminal.out_json({"x": "é"})
    assert json.loads(raw.getvalue()) == {"x": "é"}


def test_of_several_errors_the_one_nobody_expected_counts(
    command: Callable[[Raiser], None], capsys: pytest.CaptureFixture[str]
) -> None:
    command(_raising(ExceptionGroup("several", [ehr.errors.TimedOut("Too late."), RuntimeError(MARY)])))
    assert frame.run(["act"]) == 1
    shown = capsys.readouterr().err
    assert "RuntimeError" in shown
    assert "Mary" not in shown


def test_text_of_others_does_not_steer_the_terminal(
    command: Callable[[Raiser], None], capsys: pytest.CaptureFixture[str]
) -> None:
    """Names and sentences of EHRs, pods and tasks are shown; their control characters are not."""

    def act() -> None:
        terminal.out("a\x1b[2Jb\tc\nd\u202ee")
        terminal.out_table(["Name"], [["x\x9b31my"]])
        terminal.say("s\x07\x1b]0;title\x07")
        raise PolicyRefused("no\x1b[8m")

    command(act)
    frame.run(["act"])
    said = capsys.readouterr()
    assert "a\ufffd[2Jb\tc\nd\ufffde" in said.out and "x\ufffd31my" in said.out
    assert "s\ufffd\ufffd]0;title\ufffd" in said.err and "no\ufffd[8m" in said.err
    assert not {"\x1b", "\x9b", "\x07", "\u202e"} & set(said.out + said.err)
