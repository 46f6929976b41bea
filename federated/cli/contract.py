"""``trialveil ehr contract``: what every adapter must hold, tried on the shipped ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from federated.cli import terminal
from federated.cli.exit_codes import ExitCode
from federated.cli.terminal import Json
from federated.errors import UsageError

if TYPE_CHECKING:
    from ehr.testing.harness import ProviderHarness
    from ehr.testing.run import Result

EPILOG = terminal.epilog(
    ExitCode.DONE,
    ExitCode.FAULT,
    ExitCode.USAGE,
    ExitCode.BAD_FILE,
    example="trialveil ehr contract --all",
    words={
        ExitCode.DONE: "every case holds",
        ExitCode.FAULT: "a case does not hold",
        ExitCode.BAD_FILE: "the extra 'testing' is not installed",
    },
)
_WORDS = {"passed": "passed", "failed": "FAILED", "not_applicable": "n/a"}


def contract(
    provider: Annotated[
        list[str] | None, typer.Option("--provider", metavar="NAME", help="A provider; may be repeated.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every shipped provider; the default.")] = False,
    level: Annotated[
        str, typer.Option(help="must, or should: then also what an adapter need not hold.")
    ] = "should",
    json: Json = False,
) -> None:
    """Try every contract case on the shipped adapters, and show which hold.

    Each case runs on mocks and over a real socket with TLS, against an embedded EHR with the vendor's ways and
    faults. Nothing leaves this machine. For an adapter of your own: docs/test-an-adapter.md.
    """
    from ehr.testing.report import document

    if provider and everything:
        raise UsageError("give --provider or --all, not both.")
    if level not in ("must", "should"):
        raise UsageError("--level is not one of must, should.")
    results = _tried(_chosen(provider or ()), level)
    if json:
        terminal.out_json(document(results))
    else:
        _show(results)
    if any(one.outcome == "failed" for found in results.values() for one in found):
        raise typer.Exit(ExitCode.FAULT)


def _chosen(names: Sequence[str]) -> tuple[ProviderHarness, ...]:
    from ehr.errors import ConfigurationError
    from ehr.testing.harnesses import shipped_harness, shipped_harnesses

    try:
        return tuple(shipped_harness(name) for name in dict.fromkeys(names)) or shipped_harnesses()
    except ConfigurationError as error:
        raise UsageError(f"--provider: {error}") from None


def _tried(harnesses: Sequence[ProviderHarness], level: str) -> dict[str, tuple[Result, ...]]:
    from ehr.testing.run import run_contract, selected

    cases = selected("must" if level == "must" else "should")
    results = {}
    for harness in harnesses:
        with terminal.progress(harness.provider, len(cases)) as bar:
            results[harness.provider] = run_contract(harness, cases=cases, done=lambda _: bar.advance())
    return results


def _show(results: Mapping[str, Sequence[Result]]) -> None:
    from ehr.testing.report import summary

    outcomes = {name: {one.case.number: one for one in found} for name, found in results.items()}
    cases = sorted({one.case for found in results.values() for one in found}, key=lambda case: case.number)
    rows = [
        (
            f"{case.number:3} {case.name}",
            case.level,
            *(_WORDS[outcomes[name][case.number].outcome] for name in results),
        )
        for case in cases
    ]
    terminal.out_table(("Case", "Level", *results), rows)
    for name, found in results.items():
        counts = summary(found)
        terminal.out(
            f"{name}: {counts['passed']} passed, {counts['failed']} failed, {counts['not_applicable']} not applicable"
        )
        for one in found:
            if one.outcome != "passed":
                terminal.out(f"  {one.case.number} {_WORDS[one.outcome]}: {one.reason}")
