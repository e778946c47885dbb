"""Pictures of the worst cases of a comparison, made as cases come, so that no more than these are ever in memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from MedSegAICore.errors import MedSegAIError
from MedSegAICore.files import read_image

if TYPE_CHECKING:
    from MedSegAIMetricsLib.label_maps import SegmentComparison
    from MedSegAIMetricsLib.measures import Measure
    from MedSegAIMetricsLib.report import Picture
    from MedSegAIMetricsLib.tables import Row

PICTURES = 10  # of the worst cases in the report


@dataclass(frozen=True)
class Pictured:
    """A row and its picture. ``place``: the number of the case and of the row in it, which decides between equals."""

    place: tuple[int, int]
    row: Row
    picture: Picture | None = None


class WorstPictures:
    """Keeps the pictures of the worst rows of all that were added, in whatever order they came.

    ``images``: file or folder of the images. ``say`` is told why a picture has no image.
    """

    def __init__(self, measures: Sequence[Measure], images: Path | None, say: Callable[[str], None]):
        from MedSegAIMetricsLib.tables import ranking_measure

        self._measure = ranking_measure(measures)
        self._images, self._say = images, say
        self._kept: list[Pictured] = []

    def add(self, number: int, case: str, rows: list[Row], comparison: SegmentComparison) -> list[Pictured]:
        """Draw the rows of a case that are among the worst so far, and return them. ``number``: of the case."""
        if self._measure is None:  # nothing that was measured has a better and a worse side
            return []
        for index, (key, row) in enumerate(zip(comparison, rows, strict=True)):
            new = Pictured((number, index), row)
            if new in self._worst([*self._kept, new]) and (picture := self._picture(case, key, row, comparison)):
                self.take([replace(new, picture=picture)])
        return [kept for kept in self._kept if kept.place[0] == number]

    def take(self, pictured: Iterable[Pictured]):
        """Rows that another process has drawn: those that are the worst of its own cases."""
        self._kept = self._worst([*self._kept, *pictured])

    @property
    def pictures(self) -> list[Picture]:
        return [kept.picture for kept in self._kept]

    def _worst(self, pictured: list[Pictured]) -> list[Pictured]:
        from MedSegAIMetricsLib.tables import worst_first

        ordered = sorted(pictured, key=lambda one: one.place)
        by_row = {id(one.row): one for one in ordered}
        return [by_row[id(row)] for row in worst_first([one.row for one in ordered], self._measure)[:PICTURES]]

    def _picture(self, case: str, key: str, row: Row, comparison: SegmentComparison) -> Picture | None:
        from MedSegAIMetricsLib.overlays import overlay_png
        from MedSegAIMetricsLib.report import Picture

        reference, test = comparison.masks(key)
        if not reference.any() and not test.any():
            return None
        png, caption = overlay_png(reference, test, comparison.grid, self._image(case, comparison))
        value = row.values.get(self._measure.name, math.nan)
        return Picture(f"{case}, {row.segment}", png, f"{self._measure.title} {value:.3f}. {caption}")

    def _image(self, case: str, comparison: SegmentComparison):
        """The case's intensities if they lie on the grid of the comparison; else the picture is drawn without them."""
        from MedSegAIMetricsLib.cohort import find_image

        path = find_image(self._images, case) if self._images else None
        if path is None:
            return None
        try:
            image = read_image(path)
        except MedSegAIError as error:
            self._say(f"{case}: drawn without its image: {error}")
            return None
        if not image.grid.matches(comparison.grid):
            self._say(f"{case}: drawn without its image, which lies on {image.grid}.")
            return None
        return image.array[0]
