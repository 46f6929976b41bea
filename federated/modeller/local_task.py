"""`run_task`: a task with its pods in this process, or with pods that dial in; the same for both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from ehr.files.pod_file import read_bytes
from ehr.sync import run_here
from federated.errors import ConfigurationError, LinkLost
from federated.links.in_process import InProcess
from federated.links.link import Link
from federated.links.sockets import listen
from federated.modeller.check import load_task
from federated.modeller.task_run import TaskResult, TaskRun, begin, is_begun, run
from federated.pod.program import Pod
from federated.pod.services import open_pod
from federated.rounds.coordinator import News, OnProgress
from federated.task.file import TaskFile, make_spec, modeller_identity


def run_task(task: str | Path, pods: Sequence[str | Path] = (), out: str | Path | None = None) -> TaskResult:
    """Run a task file to its end.

    Args:
        task: the file.
        pods: pod files that run in this process; none lets pods dial in where the task file says.
        out: folder of the log and the results; None keeps nothing on the disk.

    Returns:
        ``.model``, ``.metrics``, ``.report()``.

    Raises:
        ConfigurationError: a file is wrong.
        PolicyRefused: every pod refused the task.
        TooFewPods: too few pods took part.
    """
    folder = None if out is None else Path(out)
    return run_here(run_task_file(Path(task), [Path(pod) for pod in pods], folder, lambda news: None))


async def run_task_file(
    path: Path,
    pods: Sequence[Path],
    out: Path | None,
    on_progress: OnProgress,
    *,
    log: Callable[[str], Any] = lambda text: None,
    must_exist: bool = False,
) -> TaskResult:
    """The same, inside a running loop, with progress.

    Args:
        path, pods, out: as for `run_task`.
        on_progress: hears what happens.
        log: hears what a person may want to know, such as that a run goes on.
        must_exist: whether there must be an earlier start to go on with.
    """
    task = load_task(path)
    if must_exist and (out is None or not is_begun(out)):
        raise ConfigurationError('there is no earlier start in that folder; begin with "trialveil task run".')
    given = prepared(path, out, on_progress, task)
    async with AsyncExitStack() as held:
        link = _in_process(pods, held) if pods else await _listening(task, given, held)
        return await run_over(given, link, log)


async def run_over(given: TaskRun, link: Link, log: Callable[[str], Any] = lambda text: None) -> TaskResult:
    """Run a prepared task over a link that is open."""
    begun = begin(given)
    try:
        if begun.resumes:
            log("Going on where an earlier start stopped.")
        return await run(begun, given, link)
    finally:
        begun.journal.close()


def prepared(path: Path, out: Path | None, on_progress: OnProgress, task: TaskFile | None = None) -> TaskRun:
    """What is needed to run a task file.

    Raises:
        ConfigurationError: the file, or one that it names, cannot be used.
    """
    known = task or load_task(path)
    signer = modeller_identity(known, path.parent)
    key = signer.public.hex()
    text = read_bytes(path, "task file").decode()
    return TaskRun(
        lambda now, nonce: make_spec(known, path.parent, now, nonce, key), text, signer, out, on_progress
    )


def _in_process(paths: Sequence[Path], held: AsyncExitStack) -> Link:
    pods: dict[str, Pod] = {}
    for path in paths:
        pod = open_pod(path)
        held.callback(pod.close)
        if pod.name in pods:
            raise ConfigurationError(f"{path.name}: another of the pod files has the same federation.name.")
        pods[pod.name] = pod
    return InProcess({name: pod.handle for name, pod in pods.items()})


async def _listening(task: TaskFile, given: TaskRun, held: AsyncExitStack) -> Link:
    address = task.modeller.host_and_port
    if address is None:
        raise ConfigurationError(
            'the task file has no "modeller.listen", so no pod can dial in; give it, or run pods with --pod.'
        )
    pinned = {pod.name: bytes.fromhex(pod.key) for pod in task.pods}
    try:
        hub = await listen(given.signer, pinned, *address)
    except LinkLost as error:
        raise ConfigurationError(
            f'"modeller.listen" of the task file: {error} Another start of this task may still be running.'
        ) from None
    held.push_async_callback(hub.close)
    given.on_progress(News("offer", 0, 0, "", f"listening; waiting for {len(pinned)} pods"))
    return hub
