"""The frame that holds all commands: lazy mounting, common switches, errors to sentences."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
from typer.core import TyperCommand, TyperGroup

from federated.cli import terminal
from federated.cli.commands import COMMANDS
from federated.cli.exit_codes import ExitCode, exit_code_for, is_expected

if TYPE_CHECKING:
    from types import ModuleType


HELP_OPTIONS = ["--help", "-h"]

# Only our own records are shown: HTTP libraries log addresses of requests, and an address of a FHIR
# search holds the patient's name.
_OWN_LOGGERS = ("ehr", "secure_agg", "federated")


class _Commands(TyperGroup):
    """The group of all commands; a command's module is imported when the command is used."""

    def list_commands(self, ctx: Any) -> list[str]:
        return [name for name, place in COMMANDS.items() if place.exists]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        place = COMMANDS.get(cmd_name)
        return None if place is None or not place.exists else mounted(cmd_name)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name].summary) for name in self.list_commands(ctx)])

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        # Typer suggests from `commands`, which a lazy group leaves empty.
        self.commands = cast(Any, dict.fromkeys(self.list_commands(ctx)))
        return super().resolve_command(ctx, args)


def mounted(name: str) -> Any:
    """The command or group of one row of `COMMANDS`, with the common switches added."""
    command = _command_of(import_module(COMMANDS[name].module), name)
    command.name = name
    command.help = command.help or COMMANDS[name].summary
    # A group made by itself brings options that belong to a whole program.
    command.params = [p for p in command.params if p.name not in {"install_completion", "show_completion"}]
    _prepare(command)
    return command


def _command_of(module: ModuleType, name: str) -> Any:
    if hasattr(module, "register"):
        parent = typer.Typer(rich_markup_mode=None)
        parent.callback()(lambda: None)  # keeps it a group where it gets one command only
        module.register(parent)
        return cast(TyperGroup, typer.main.get_command(parent)).commands[name]
    app: typer.Typer = getattr(module, f"{name}_app", None) or module.app
    command = typer.main.get_command(app)
    inner = getattr(command, "commands", {})
    # A module with one command may name it like the row: `trialveil screen`, not `screen screen`.
    return inner[name] if set(inner) == {name} else command


def _prepare(command: Any) -> None:
    """Give a command and all below it the common switches and the common look."""
    command.rich_markup_mode = None
    command.context_settings.setdefault("help_option_names", HELP_OPTIONS)
    for inner in getattr(command, "commands", {}).values():
        # The whole first sentence, where Typer would cut it at the width of a line.
        inner.short_help = inner.short_help or " ".join((inner.help or "").split("\n\n")[0].split())
        _prepare(inner)
    if isinstance(command, TyperCommand):
        taken = {option for parameter in command.params for option in parameter.opts}
        command.params.extend(switch for switch in _switches() if not taken & {*switch.opts})


def _switches() -> list[Any]:
    """The options that every command has, as Typer makes them."""
    holder = typer.Typer(add_completion=False)
    holder.command()(_common)
    return [parameter for parameter in typer.main.get_command(holder).params if parameter.name != "help"]


def _louder(value: bool) -> None:
    if value:
        be_verbose()


def _quieter(value: bool) -> None:
    if value:
        terminal.state.quiet = True
        for name in _OWN_LOGGERS:
            logging.getLogger(name).setLevel(logging.ERROR)


Verbose = Annotated[
    bool, typer.Option("-v", "--verbose", expose_value=False, callback=_louder, help="Say more on stderr.")
]
Quiet = Annotated[
    bool,
    typer.Option("-q", "--quiet", expose_value=False, callback=_quieter, help="Only say errors on stderr."),
]


def _common(verbose: Verbose = False, quiet: Quiet = False) -> None:
    pass


class _Records(logging.Formatter):
    def formatException(self, ei: Any) -> str:  # noqa: N802  # the name that logging calls
        return "\n".join(terminal.places(ei[1]))


class _Stderr(logging.StreamHandler[Any]):
    def __init__(self) -> None:
        super().__init__(sys.stderr)
        self.setFormatter(_Records("%(levelname)s: %(message)s"))


def _start_logging() -> None:
    """Show warnings of ours, and nothing of any library; a library's record may hold an address."""
    root = logging.getLogger()
    if not root.handlers:
        root.addHandler(logging.NullHandler())  # else logging prints warnings by itself
    for name in _OWN_LOGGERS:
        own = logging.getLogger(name)
        own.setLevel(logging.WARNING)
        own.handlers = [handler for handler in own.handlers if not isinstance(handler, _Stderr)]
        own.addHandler(_Stderr())


def be_verbose() -> None:
    """Let more of our own log records through, and show where a fault came from."""
    terminal.state.verbose = True
    for name in _OWN_LOGGERS:
        logging.getLogger(name).setLevel(logging.INFO)


def _show_version(value: bool) -> None:
    if value:
        terminal.out(f"trialveil {version('trialveil')}")
        raise typer.Exit


app = typer.Typer(
    cls=_Commands,
    rich_markup_mode=None,
    add_completion=False,
    no_args_is_help=True,
    context_settings={"help_option_names": HELP_OPTIONS},
    epilog="Exit status: " + " · ".join(f"{code} {text}" for code, text in terminal.meanings()),
)


@app.callback()
def trialveil(
    verbose: Verbose = False,
    quiet: Quiet = False,
    show_version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Screen a hospital's patients for clinical trials.

    Results go to stdout, progress and messages to stderr.
    """


def run(arguments: Sequence[str]) -> int:
    """Run one command line.

    Args:
        arguments: without the program's name.

    Returns:
        The exit status. Errors are shown as one sentence on stderr; nothing is raised but `SystemExit`.
    """
    terminal.state.reset()
    _start_logging()
    if os.environ.get("TRIALVEIL_DEBUG"):
        be_verbose()
    try:
        result = typer.main.get_command(app)(
            args=list(arguments), prog_name="trialveil", standalone_mode=False
        )
    except BaseException as error:  # noqa: BLE001  # the edge: every error becomes an exit status
        return _ended_by(error)
    status = int(result) if isinstance(result, int) else ExitCode.DONE
    if status == ExitCode.STOPPED:
        terminal.complain("Stopped.")
    return status


def _ended_by(error: BaseException) -> int:
    """The exit status for an error, after its sentence was shown."""
    if isinstance(error.__context__ if isinstance(error, SystemExit) else error, BrokenPipeError):
        return ExitCode.STOPPED  # whoever read stdout has gone: there is nobody to tell
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else ExitCode.FAULT
    if isinstance(error, BaseExceptionGroup):
        return _ended_by(_worst(error))
    if hasattr(error, "show"):  # the parser's own: wrong option, missing argument
        error.show(sys.stderr)
        return int(getattr(error, "exit_code", ExitCode.USAGE))
    status = ExitCode.STOPPED if isinstance(error, typer.Abort) else exit_code_for(error)
    if status == ExitCode.STOPPED:
        terminal.complain("Stopped.")
    elif is_expected(error):
        terminal.complain(str(error))
    elif isinstance(error, OSError) and error.strerror:
        terminal.complain(f"A file or connection failed: {error.strerror}.")
    else:
        terminal.complain(
            f"An unexpected fault ({type(error).__name__}) ended the command; its details may hold patient "
            'data and are not shown. "trialveil -v …" shows where it happened.'
        )
    if terminal.state.verbose:
        terminal.where(error)
    return status


def _worst(group: BaseExceptionGroup[Any]) -> BaseException:
    """The error of a group that says most: one nobody expected first, then by exit status."""
    inner = list(group.exceptions)
    unexpected = [error for error in inner if exit_code_for(error) == ExitCode.FAULT]
    return (unexpected or inner)[0]
