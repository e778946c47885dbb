"""Frame after frame of a sequence through one loaded model; a frame that fails does not stop the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from MedSegAICore.errors import Cancelled, InputError, MedSegAIError
from MedSegAICore.image import Image
from MedSegAILib.inference.prediction import CancelCheck, Predictor, Progress
from MedSegAILib.inference.result import Result


def segment_frames(
    predictor: Predictor,
    frames: Sequence[tuple[str, Callable[[], Image]]],
    *,
    strict: bool = False,
    progress: Progress | None = None,
    cancelled: CancelCheck | None = None,
) -> list[tuple[str, Result | str]]:
    """For every frame (its name, and how to read it) the name with its result, or with the sentence why it failed.

    Raises Cancelled, also between frames; InputError with the first reason if all frames failed.
    """
    results: list[tuple[str, Result | str]] = []
    for number, (name, read) in enumerate(frames):
        if cancelled is not None and cancelled():
            raise Cancelled
        try:
            part = _part_of(progress, number, len(frames))
            results.append((name, predictor.segment(read(), strict=strict, progress=part, cancelled=cancelled)))
        except Cancelled:
            raise
        except MedSegAIError as error:
            results.append((name, str(error)))
        except Exception as error:  # a mistake of ours must not cost the other frames
            results.append((name, f"Unexpected {type(error).__name__}: {error}. Please report this."))
    if results and all(isinstance(result, str) for _, result in results):
        raise InputError(f"None of the {len(results)} frames could be segmented. The first one: {results[0][1]}")
    if progress is not None:
        progress(1.0, "Done")
    return results


def _part_of(progress: Progress | None, number: int, count: int) -> Progress | None:
    if progress is None:
        return None
    return lambda fraction, message: progress((number + fraction) / count, f"Frame {number + 1} of {count}: {message}")
