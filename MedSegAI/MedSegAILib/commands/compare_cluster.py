"""``medsegai compare`` on the workers of a Dask cluster: each measures cases and draws those that may be the worst."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from MedSegAILib.commands import cluster, cluster_tasks, compare
from MedSegAILib.commands.terminal import ProgressLine, say
from MedSegAILib.commands.worst_pictures import Pictured, WorstPictures

if TYPE_CHECKING:
    from MedSegAIMetricsLib.cohort import CaseFiles
    from MedSegAIMetricsLib.tables import Row

PACKAGES = ("numpy", "scipy", "SimpleITK")  # results depend on them


def compare_on_cluster(
    cases: Sequence[CaseFiles],
    arguments: argparse.Namespace,
    groups: Mapping[str, Mapping[str, str]] | None,
    worst: WorstPictures | None,
) -> list[Row]:
    """What ``compare_files`` returns, with the pictures in ``worst``. Raises InputError for wrong settings."""
    from MedSegAIMetricsLib.cohort import in_groups, row_without_values
    from MedSegAIMetricsLib.tables import FAILED

    settings = compare.settings_of(arguments)
    compare.measures_of(arguments)  # a wrong measure is not a matter of one case
    rows: dict[int, list[Row]] = {}
    with cluster.connected(arguments) as workers, ProgressLine(f"comparing {len(cases)} case(s)") as progress:
        images = cluster.path_for_workers(arguments.images, arguments)
        setup = Setup(cluster.plain(arguments, images=images), worst is not None)
        items = [Item(number, _for_workers(files, arguments)) for number, files in enumerate(cases)]
        for outcome in workers.run(compare_on_worker, items, setup, packages=PACKAGES):
            case = cases[outcome.index].case
            if outcome.problem:
                rows[outcome.index] = [row_without_values(case, FAILED, outcome.problem, settings)]
            else:
                rows[outcome.index], pictured, said = outcome.value
                for line in said:
                    say(line)
                if worst is not None:
                    worst.take(pictured)
            progress(len(rows) / len(cases), case)
    return in_groups([row for number in sorted(rows) for row in rows[number]], groups)


@dataclass(frozen=True)
class Item:
    """A case and its place among all."""

    number: int
    files: CaseFiles


@dataclass(frozen=True)
class Setup:
    """What a worker needs to know. Plain data. ``pictures``: whether to draw the worst cases."""

    arguments: argparse.Namespace
    pictures: bool

    def __call__(self) -> Ready:
        said: list[str] = []
        measures = compare.measures_of(self.arguments)
        worst = WorstPictures(measures, self.arguments.images, said.append) if self.pictures else None
        return Ready(self.arguments, said, worst)


@dataclass
class Ready:
    """``worst`` knows the cases of this worker only: what is among the worst of all is among the worst of these."""

    arguments: argparse.Namespace
    said: list[str]
    worst: WorstPictures | None


def compare_on_worker(ready: Ready, item: Item) -> tuple[list[Row], list[Pictured], list[str]]:
    """The rows of a case, pictures of the worst of them, and what is to be said on the user's terminal."""
    from MedSegAIMetricsLib.cohort import compare_case, row_without_values
    from MedSegAIMetricsLib.tables import FAILED

    arguments, files = ready.arguments, item.files
    settings = compare.settings_of(arguments)
    missing = next((path for path in (files.reference, files.test) if path and not path.exists()), None)
    if missing is not None:  # here only; without this it would count as a failure of the test
        return [row_without_values(files.case, FAILED, cluster_tasks.not_seen(missing), settings)], [], []
    rows, comparison = compare_case(files, settings, grid=arguments.grid, labels=arguments.labels)
    ready.said.clear()
    drawn = ready.worst is not None and comparison is not None
    pictured = ready.worst.add(item.number, files.case, rows, comparison) if drawn else []
    return rows, pictured, list(ready.said)


def _for_workers(files: CaseFiles, arguments: argparse.Namespace) -> CaseFiles:
    reference, test = (cluster.path_for_workers(path, arguments) for path in (files.reference, files.test))
    return replace(files, reference=reference, test=test)
