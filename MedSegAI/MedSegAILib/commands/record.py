"""The files of one case in the output folder, and what may be done with those that are there already.

The record (``<case>.json``) holds the checksum of the segmentation that was written with it. A segmentation that
differs from it was changed by somebody, most likely an annotator who corrected it in place, and is never overwritten.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from MedSegAICore.errors import OutputError
from MedSegAICore.files import read_label_map, write_image, write_json, write_label_nifti, write_segmentation
from MedSegAICore.mrml import PROVENANCE
from MedSegAICore.registration import write_transform
from MedSegAILib.inference.result import MAPS
from MedSegAILib.segmentation_export import describe_segments

if TYPE_CHECKING:
    from MedSegAILib.inference.result import Result

EDITED = "It was changed after it was written and is left as it is."
STAGED = ".staged-"  # begins the names of files that are not complete yet


@dataclass(frozen=True)
class CaseFiles:
    """Where the results of a case go: ``<name>.<format>``, ``<name>.json``, ``<name>_<kind>.nrrd`` for MAPS,
    and of registered channels ``<name>_0001_to_first.tfm``.

    ``staging``: a folder on the same disk for files that are not complete yet, by default ``folder`` itself. Processes
    that could write the same case at the same time need one each.
    """

    folder: Path
    name: str
    format: str
    staging: Path | None = None

    @property
    def output(self) -> Path:
        return self.folder / f"{self.name}.{self.format}"

    @property
    def record(self) -> Path:
        return self.folder / f"{self.name}.json"

    def finished(self, request: str, others: Sequence[Path] = ()) -> dict[str, Any] | None:
        """Volumes and warnings of a result that was written for the same request, or None if there is none.

        ``request``: a checksum of everything that the result depends on. ``others``: further files that belong to it.
        """
        content = self._content()
        if content is None or content["request"] != request or not all(f.is_file() for f in (self.output, *others)):
            return None
        if _sha256(self.output) == content["output_sha256"]:
            return {"volumes_ml": content["volumes_ml"], "warnings": content["warnings"]}
        return {"volumes_ml": read_label_map(self.output).volumes_ml(), "warnings": [*content["warnings"], EDITED]}

    def check_may_write(self, others: Sequence[Path] = ()):
        """Raises OutputError if the output, or another file, exists and is not to the byte what this program wrote."""
        content = self._content()
        known = {} if content is None else {self.output.name: content["output_sha256"], **content.get("others", {})}
        for path in (self.output, *others):
            if path.exists() and _sha256(path) != known.get(path.name):
                reason = "was changed since" if path.name in known else "has no record of having been written by it"
                raise OutputError(
                    f"{path.name} exists and {reason}; it may be somebody's work and is not overwritten. "
                    "Move it away, or choose another output folder."
                )

    def write(
        self,
        result: Result,
        request: str,
        warnings: list[str],
        others: Mapping[Path, Callable[[Path], None]] | None = None,
    ):
        """Write results and record. All are complete on the disk before the first of them gets its name.

        The segmentation gets it last: until then the case is not finished, whenever the program dies. ``others``:
        further files, each with a function that writes it to a path.
        Raises OutputError; then nothing new of this case is left, and what was there before stays.
        """
        maps = {self.folder / f"{self.name}_{kind}.nrrd": getattr(result, kind) for kind in MAPS}
        maps = {path: image for path, image in maps.items() if image is not None}
        staging, others = self.staging or self.folder, others or {}
        transforms = self._transforms(result)
        finals = (*maps, *transforms, *others, self.record, self.output)
        staged = {path: staging / f"{STAGED}{path.name}" for path in finals}
        try:
            if self.format == "seg.nrrd":
                write_segmentation(staged[self.output], result.label_map, {PROVENANCE: json.dumps(result.provenance)})
            else:
                write_label_nifti(staged[self.output], result.label_map)
            for path, image in maps.items():
                write_image(staged[path], image)
            for path, matrix in transforms.items():
                write_transform(staged[path], matrix)
            for path, write in others.items():
                write(staged[path])
            sums = {path.name: _sha256(staged[path]) for path in (self.output, *others)}
            write_json(staged[self.record], self._describe(result, request, warnings, sums))
            # An earlier output beside the new record would look like somebody's corrections of it.
            self.output.unlink(missing_ok=True)
            for final, temporary in staged.items():
                os.replace(temporary, final)
        except OutputError as error:
            raise OutputError(str(error).replace(str(staging), str(self.folder)).replace(STAGED, "")) from error
        except OSError as error:
            raise OutputError(f"{self.output} cannot be written: {error.strerror or error}.") from error
        finally:
            for temporary in staged.values():
                with suppress(OSError):
                    temporary.unlink()

    def _transforms(self, result: Result) -> dict[Path, np.ndarray]:
        """Where the matrix of each registered channel goes: numbered as the channels' files are."""
        facts = enumerate(result.provenance.get("channels", ()))
        matrices = {n: fact["registration"]["moving_to_first_ras"] for n, fact in facts if "registration" in fact}
        return {self.folder / f"{self.name}_{n:04d}_to_first.tfm": np.array(matrix) for n, matrix in matrices.items()}

    def _describe(self, result: Result, request: str, warnings: list[str], sums: dict[str, str]) -> dict[str, Any]:
        segments = describe_segments(result.label_map)
        return {
            "output": self.output.name,
            "output_sha256": sums.pop(self.output.name),
            **({"others": sums} if sums else {}),
            "volumes_ml": {segment["id"]: segment["volume_ml"] for segment in segments},
            "segments": segments,
            "warnings": warnings,
            "provenance": result.provenance,
            "request": request,
        }

    def _content(self) -> Mapping[str, Any] | None:
        """The record, if it is there, whole, and about this output."""
        try:
            content = json.loads(self.record.read_text(encoding="utf-8"))
            complete = {"request", "output", "output_sha256", "volumes_ml", "warnings"} <= set(content)
            return content if complete and content["output"] == self.output.name else None
        except (OSError, ValueError, TypeError):
            return None


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
