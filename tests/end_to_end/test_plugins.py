"""The worked examples of plug-ins: found by their entry points, and used."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

import ehr
from ehr.people.people_file import Row
from ehr.sandbox.server import Sandbox
from federated.cli.exit_codes import ExitCode
from federated.cli.frame import run
from federated.errors import TaskRefused
from federated.models import catalogue
from federated.models.interface import Rows
from federated.models.selection import Selection
from federated.task import registry
from federated.task.spec import Unit
from tests.fakes.workplaces import place, sandbox_pod, trial_document

ROOT = Path(__file__).resolve().parents[2]
PLUGINS = ROOT / "examples" / "plugins"
Use = Callable[[str], None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Use]:
    """Makes a plug-in found as an installed one is: its folder on the path, and what an installer writes."""

    def use(name: str) -> None:
        monkeypatch.syspath_prepend(str(PLUGINS / name))
        _metadata(
            tomllib.loads((PLUGINS / name / "pyproject.toml").read_text())["project"], tmp_path / "site"
        )
        monkeypatch.syspath_prepend(str(tmp_path / "site"))
        registry.plugins.cache_clear()
        catalogue.plugins.cache_clear()

    yield use
    registry.plugins.cache_clear()
    catalogue.plugins.cache_clear()


def _metadata(project: dict[str, Any], site: Path) -> None:
    folder = site / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    lines = []
    for group, points in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {value}" for name, value in points.items())]
    (folder / "entry_points.txt").write_text("\n".join(lines) + "\n")


@pytest.fixture
def pod(tmp_path: Path) -> Iterator[Path]:
    """A pod file that names the plug-in's provider, and its running EHR."""
    with Sandbox(login=False) as sandbox:
        file = tmp_path / "pod.yaml"
        assert run(["pod", "new", str(file), "-q"]) == ExitCode.DONE
        file.write_text(
            f"name: valley\nehr: {{provider: quiet valley r4, base_url: '{sandbox.base_url}', "
            "allow_http: loopback, auth: none}\nsite: {time_zone: Europe/London, key: {file: site.key}}\n"
        )
        yield file


def test_without_its_package_the_provider_is_not_known(pod: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["pod", "check", str(pod)]) == ExitCode.BAD_FILE
    assert "PV120 provider is not known" in capsys.readouterr().err


def test_the_example_of_a_provider_is_opened_by_its_name(install: Use, pod: Path) -> None:
    install("ehr_provider")
    assert run(["pod", "check", str(pod)]) == ExitCode.DONE
    with ehr.open_site(pod) as site:
        match = site.find(ehr.Person(family="Beispiel", given="Ada", birth_date="1951-03-09"))
        assert len(site.conditions(match.require()).require()) == 2
        assert site._site.adapter.profile.page_size == 2
    assert run(["ehr", "probe", "--config", str(pod)]) == ExitCode.DONE


async def test_the_example_of_an_algorithm_is_resolved_and_runs(install: Use, pod: Path) -> None:
    install("ehr_provider")
    install("algorithm")
    row = registry.resolve("example.CountBySex")
    component = registry.load(row)
    rows = [Row(number, ehr.Person(id=f"demo-{number}")) for number in (1, 2, 3)]
    async with ehr.open_site_async(pod) as site:
        result = await component.worker(component.Parameters(), site, rows)
    assert dict(result.local) == {"female": 1, "male": 1, "other": 1, "unknown": 0}
    assert set(result.leaves.values()) == {None}, "three people are too few to be counted in public"
    assert component.modeller({"leeds": result.leaves}) == {"leeds": dict(result.leaves)}


async def test_the_example_of_a_protocol_is_found_and_runs(
    install: Use, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install("protocol")
    monkeypatch.setenv("TRIALVEIL_TASK_RESULTS_DIR", str(tmp_path / "results"))
    protocol = Unit(name="example.ScreenAndDefer")
    algorithms = tuple(
        Unit(name=f"bitfount.{name}")
        for name in ("EHRPatientQueryAlgorithm", "TrialInclusionCriteriaMatchAlgorithm")
    )
    with sandbox_pod(tmp_path) as pod:
        where = place(pod, {"trial": trial_document()})
        spec = msgspec.structs.replace(where.spec, protocol=protocol, algorithms=algorithms)
        module = registry.load(registry.resolve(protocol.name))
        side = module.worker(module.Parameters(), replace(where, spec=spec))
        assert await side.result({}) == {"steps": {}, "skipped": {}}
    assert (tmp_path / "results" / "task" / "criteria" / "decisions.csv").exists()
    assert registry.find("example.ScreenAndDefer").kind == "protocol"


async def test_the_example_of_an_algorithm_is_a_step_too(install: Use, tmp_path: Path) -> None:
    install("algorithm")
    module = registry.load(registry.resolve("example.CountBySex"))
    with sandbox_pod(tmp_path) as pod:
        result = await module.step(module.Parameters(), place(pod), {})
    assert sum(result.local.values()) == 3
    assert set(result.leaves.values()) == {None}


def test_the_example_of_a_model_is_made_by_its_name_and_learns(install: Use) -> None:
    columns = Selection(("age",), target="visits")
    with pytest.raises(TaskRefused, match="not known"):
        catalogue.made(catalogue.ModelChoice("example.PoissonRate"), columns)
    install("model")
    model = catalogue.made(
        catalogue.ModelChoice("example.PoissonRate", {"learning_rate": 0.2}), columns, "steps"
    )
    ages = np.linspace(-1, 1, 50)[:, None]
    rows = Rows(ages, np.exp(0.5 + ages[:, 0]))
    model.fit(rows, 300, bytes(32))
    assert np.allclose([*model.tensors()["weights"], *model.tensors()["bias"]], [1.0, 0.5], atol=1e-3)
    assert model.measure(rows)["deviance"] < 1e-5


def test_the_list_of_names_shows_the_algorithm(install: Use, capsys: pytest.CaptureFixture[str]) -> None:
    install("algorithm")
    assert run(["list"]) == ExitCode.DONE
    assert "example.CountBySex" in capsys.readouterr().out


@pytest.mark.proof
@pytest.mark.timeout(900)
def test_the_examples_install_into_a_fresh_environment_and_work(tmp_path: Path) -> None:
    """Downloads the core dependencies; needs a package index."""
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    sources = [
        ROOT,
        *(
            shutil.copytree(PLUGINS / name, tmp_path / name)
            for name in ("ehr_provider", "algorithm", "protocol", "model")
        ),
    ]
    command = [
        str(venv / "bin" / "python"),
        "-m",
        "pip",
        "install",
        "-q",
        "-c",
        str(ROOT / "constraints.txt"),
    ]
    subprocess.run([*command, *map(str, sources)], check=True)
    script = (
        "from ehr.providers.registry import provider; from federated.task import registry; "
        "assert provider('quiet valley r4').profile.page_size == 2; "
        "registry.load(registry.resolve('example.CountBySex')); "
        "from federated.protocols.steps import brought; "
        "assert b'steps:' in brought(registry.find('example.ScreenAndDefer').row.variant)"
    )
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run([str(venv / "bin" / "python"), "-c", script], check=True, cwd=tmp_path, env=clean)
