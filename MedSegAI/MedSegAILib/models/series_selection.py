"""Choosing the DICOM series that a model is for, out of those of a study; by rule, and never by a guess."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from MedSegAICore.dicom import DicomSeries
from MedSegAICore.errors import InputError
from MedSegAILib.models.card import Difference, ModelCard


@dataclass(frozen=True)
class Choice:
    """The chosen series and a sentence that says why."""

    series: DicomSeries
    reason: str


def choose_series(found: Sequence[DicomSeries], card: ModelCard | None, where: str) -> Choice:
    """The one series of a study that fits the model card.

    A series fits by modality, spacing and extent. If several fit, the card's patterns for series descriptions decide.
    The only image series of a study is taken in any case; ``ModelCard.check`` then says what is wrong with it.
    ``where``: what to call the study at the beginning of a message.
    Raises InputError that lists every series with what speaks against it, if none or several fit.
    """
    usable = [series for series in found if not series.unusable]
    if len(usable) == 1:
        return Choice(usable[0], "it is the only image series there")
    if not usable:
        listed = "".join(f"\n  {series}" for series in found)
        raise InputError(f"{where} holds no DICOM series that can be used as an image:{listed}")
    if card is None:
        raise InputError(
            f"{where} holds {len(usable)} image series, and the model has no card that says which one it is for. "
            f"Give the folder of one series:{_listed(usable, {})}"
        )
    objections = {series.uid + series.part: card.differences(series.grid, series.modality) for series in usable}
    fitting = [series for series in usable if not objections[series.uid + series.part]]
    rule = "modality, spacing and extent"
    if len(fitting) > 1:
        named = [series for series in fitting if _description_fits(series, card)]
        if named:
            fitting, rule = named, f"{rule}, and by its description {named[0].description!r}"
    if len(fitting) == 1:
        return Choice(fitting[0], f"of {len(usable)} image series only it fits {card.title} by {rule}")
    verdict = f"{len(fitting)} series fit" if fitting else "no series fits"
    expected = {d.what: d.expected for differences in objections.values() for d in differences}
    wanted = "; ".join(f"{what} {value}" for what, value in expected.items())
    raise InputError(
        f"{where} holds {len(usable)} image series, but {verdict} what {card.title} is for"
        f"{f' ({wanted})' if wanted else ''}. Give the folder of the right one:{_listed(usable, objections)}"
    )


def _description_fits(series: DicomSeries, card: ModelCard) -> bool:
    return any(re.search(pattern, series.description, re.IGNORECASE) for pattern in card.input.series_descriptions)


def _listed(usable: Sequence[DicomSeries], objections: dict[str, list[Difference]]) -> str:
    """One line a series: what it is, and what of it does not fit."""
    lines = []
    for series in usable:
        against = ", ".join(f"{d.what} {d.found}" for d in objections.get(series.uid + series.part, ()))
        lines.append(f"\n  {series}" + (f"  does not fit: {against}" if against else ""))
    return "".join(lines)
