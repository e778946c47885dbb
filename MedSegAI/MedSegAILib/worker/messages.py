"""What parent and worker say to each other: one JSON object per line.

Every message has ``version``, ``type`` and ``id``, the number of the request that it belongs to (None for the process).

To the worker: ``load`` (model, options, folder), ``segment`` (image, options), ``cancel`` and ``quit``.
From the worker: ``ready`` (pid), ``device`` (name: of the one that auto takes), ``progress`` (fraction, stage,
message), ``result`` (result, and alignment of several volumes) and ``error`` (error: its class in
``MedSegAICore.errors``, message, and a traceback if nobody foresaw it).
"""

from __future__ import annotations

import json
from typing import Any

from MedSegAICore.errors import WorkerError

VERSION = 1
FOLDER_PREFIX = "medsegai-worker-"  # of the temporary folders for arrays; the worker deletes no other
SHOWN_CHARACTERS = 80


def encode(type: str, id: int | None = None, **content: Any) -> bytes:
    """One line. Raises TypeError if the content is not JSON-able."""
    message = {"version": VERSION, "type": type, "id": id, **content}
    # ASCII is UTF-8 too, and its escapes also carry those names of files that are not valid text.
    return json.dumps(message, ensure_ascii=True).encode() + b"\n"


def decode(line: bytes) -> dict[str, Any]:
    """The message in a line, whatever its line end. Raises WorkerError if it is none of this version."""
    try:
        message = json.loads(line)  # UTF-8 is assumed for bytes
    except (ValueError, RecursionError):
        message = None
    if not isinstance(message, dict) or not isinstance(message.get("type"), str) or "version" not in message:
        shown = line.decode(errors="replace").strip()
        shown = shown if len(shown) <= SHOWN_CHARACTERS else shown[:SHOWN_CHARACTERS] + "…"
        raise WorkerError(f"{shown!r} is not a message, expected a JSON object with version, type and id.")
    if message["version"] != VERSION:
        raise WorkerError(
            f"The message {message['type']!r} has version {message['version']}, expected {VERSION}: two versions of "
            "this program were mixed. Restart the application."
        )
    return message
