"""``medsegai segment`` on the workers of a Dask cluster: each keeps the model loaded and writes the results itself."""

from __future__ import annotations

import argparse
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from MedSegAICore.errors import ModelError, OutputError
from MedSegAILib.commands import cluster, cluster_tasks, segment
from MedSegAILib.commands.cases import Case
from MedSegAILib.commands.record import STAGED, CaseFiles
from MedSegAILib.commands.terminal import ProgressLine, say

if TYPE_CHECKING:
    from MedSegAILib.inference.prediction import Predictor
    from MedSegAILib.models.model import Model

PACKAGES = ("torch",)  # results depend on them


@contextmanager
def on_cluster(model: Model, arguments: argparse.Namespace) -> Iterator[Callable[[Sequence[Case]], Iterator]]:
    """A function that segments cases on a cluster, and gives the number and the report of each as they come."""

    def work(cases: Sequence[Case]) -> Iterator[tuple[int, segment.Report]]:
        output = cluster.path_for_workers(arguments.output, arguments)
        with _staging(output) as staging, ProgressLine(f"{len(cases)} cases") as progress:
            setup = Setup(cluster.plain(arguments, output=output), staging, model.path.absolute(), model.checksum)
            outcomes = workers.run(segment_on_worker, cases, setup, packages=PACKAGES)
            described: set[str] = set()
            for done, outcome in enumerate(outcomes, start=1):
                case = cases[outcome.index]
                failed = segment.Report(case.name, "failed", error=outcome.problem)
                report, description, said = outcome.value or (failed, "", ())
                for line in [line for line in (description, *said) if line and line not in described]:
                    say(line)
                described.add(description)  # of each kind of worker, once
                if report.output:  # as it was called here, which need not be an absolute path
                    report = replace(
                        report, output=str(CaseFiles(arguments.output, case.name, arguments.format).output)
                    )
                progress(done / len(cases), case.name)
                yield outcome.index + 1, report

    arguments.inputs = [cluster.path_for_workers(path, arguments) for path in arguments.inputs]
    with cluster.connected(arguments) as workers:
        yield work


@dataclass(frozen=True)
class Setup:
    """What a worker makes ready before its first case. Plain data.

    ``staging``: a folder in the output folder that exists as long as the run does: where it is missing, the worker
    sees another disk under that name. ``model``: its path here; ``checksum``: what its content must be.
    """

    arguments: argparse.Namespace
    staging: Path
    model: Path
    checksum: str

    def __call__(self) -> tuple[Setup, Predictor]:
        """Raises OutputError, ModelError or DeviceError if this worker cannot segment for this run."""
        from MedSegAILib.inference.devices import require_torch
        from MedSegAILib.models.library import ModelLibrary

        if not self.staging.is_dir():
            raise OutputError(
                f"The worker does not see the output folder {self.arguments.output}, or sees another one of that name. "
                "Choose one on a file system that this computer and all workers share."
            )
        # The program may be installed elsewhere there; then its bundled models are known by their id.
        place = self.model if self.model.exists() else self.arguments.model
        model = ModelLibrary().find(place, self.arguments.configurations)
        if model.checksum != self.checksum:
            raise ModelError(
                f"The worker's model {model.id!r} is another one than here. Give the path of a folder that all share."
            )
        require_torch().set_num_threads(cluster_tasks.threads())
        return self, segment.make_predictor(model, self.arguments)


def segment_on_worker(ready: tuple[Setup, Predictor], case: Case) -> tuple[segment.Report, str, list[str]]:
    """The report of a case, how this worker runs the model, and what else is to be said on the user's terminal."""
    setup, predictor = ready
    missing = next((file for file in case.source.files if not file.exists()), None)
    if missing is not None:
        return segment.Report(case.name, "failed", error=cluster_tasks.not_seen(missing)), "", []
    said: list[str] = []
    with tempfile.TemporaryDirectory(dir=setup.staging, ignore_cleanup_errors=True) as own:
        report = segment.run_case(
            case, predictor, setup.arguments, say=said.append, cancelled=cluster_tasks.cancelled, staging=Path(own)
        )
    return report, segment.describe(predictor), said


@contextmanager
def _staging(output: Path) -> Iterator[Path]:
    """A folder for what workers have not finished; with it goes what a worker left that was killed."""
    folder = output / f"{STAGED}{uuid.uuid4().hex[:12]}"
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
