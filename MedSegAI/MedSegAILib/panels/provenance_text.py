"""One line on where a segmentation came from, for people."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

from slicer.i18n import tr as _

from MedSegAICore.mrml_segments import SegmentRow


def provenanceText(provenance: Mapping[str, Any], rows: Sequence[SegmentRow], modelTitle: Callable[[str], str]) -> str:
    """ "Hippocampus 1.0.0, standard, CPU, 2026-11-21 10:20 UTC. Draft: not reviewed." """
    if not provenance:
        return ""
    model, run = provenance.get("model") or {}, provenance.get("run") or {}
    name = modelTitle(str(model.get("id", ""))) or _("Unknown model")
    parts = (f"{name} {model.get('version') or ''}", run.get("quality"), _device(run), _time(provenance))
    return ", ".join(str(part).strip() for part in parts if part) + ". " + _review(rows)


def _device(run: Mapping[str, Any]) -> str:
    """The product's name of a graphics card, else CPU or MPS: "cuda (NVIDIA H100, 80 GiB)" is more than needed."""
    kind, _blank, details = str(run.get("device") or "").partition(" (")
    return details.split(",")[0].rstrip(")") if kind == "cuda" and details else kind.upper()


def _time(provenance: Mapping[str, Any]) -> str:
    try:
        time = datetime.fromisoformat(str(provenance.get("time_utc")))
    except ValueError:
        return ""
    return time.astimezone(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")


def _review(rows: Sequence[SegmentRow]) -> str:
    """From the status that Slicer keeps with each segment."""
    done = sum(row.status == "completed" for row in rows)
    if rows and done == len(rows):
        return _("Reviewed.")
    if done:
        return _("Draft: {done} of {count} segments reviewed.").format(done=done, count=len(rows))
    return _("Draft: not reviewed.")
