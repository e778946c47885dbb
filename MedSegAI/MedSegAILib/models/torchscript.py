"""Opening a TorchScript network without giving the code in it a hand on files.

A TorchScript archive holds code of its own language. It can compute with tensors, loop and raise errors; it can import
no Python, start no process and open no connection. Two of its functions reach files all the same: ``torch.save``
writes a tensor to any path, and ``torch.from_file`` reads one or creates it. Code may run while an archive is loaded,
so the text of the code is searched for them before; and what is loaded is exactly what was searched.
"""

from __future__ import annotations

import io
import re
import warnings
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from MedSegAICore.errors import ModelError

if TYPE_CHECKING:
    import torch

GAP = r"(?:[\s\\]|#[^\n]*\n)*"  # what TorchScript's grammar allows between a name and what follows
FILE_FUNCTIONS = re.compile(rf"\b(save|from_file){GAP}\(")
# Functions beside torch's own are called ops.<namespace>.<name>; prim are those of the language itself.
FOREIGN_FUNCTIONS = re.compile(rf"\bops{GAP}\.{GAP}(?!(?:prim|aten)\b)(\w+){GAP}\.{GAP}(\w+)")
FOREIGN_PRIMITIVES = re.compile(rf"\bprim{GAP}\.{GAP}(PythonOp|IgnoredPythonOp|rpc_\w+)")


def is_torchscript(path: Path) -> bool:
    """Whether a file is a TorchScript archive, which has code in it, and not one with weights only."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any("/code/" in name for name in archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return False


def load_torchscript(path: Path, device: torch.device | str) -> torch.jit.ScriptModule:
    """Raises ModelError if the file is damaged, holds weights only, or code that reaches files."""
    import torch

    checked = _checked_copy(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch announces that TorchScript will not be developed further
            return torch.jit.load(checked, map_location=device).eval()
    except Exception as error:  # its reader and compiler raise whatever they come across
        raise ModelError(_damaged(path, str(error).strip().splitlines()[-1])) from error


def _checked_copy(path: Path) -> io.BytesIO:
    """The archive packed again, so that no second reading of the file can find other code than what was searched."""
    copy, has_code = io.BytesIO(), False
    try:
        with zipfile.ZipFile(path) as archive, zipfile.ZipFile(copy, "w") as packed:
            for entry in archive.infolist():
                content = archive.read(entry)
                if "/code/" in entry.filename:
                    has_code = True
                    _check_code(content.decode("utf-8", "replace"), path)
                packed.writestr(entry.filename, content)
    except ModelError:
        raise
    except Exception as error:  # zipfile lets through what its decompressors raise, each of them its own
        raise ModelError(_damaged(path, str(error))) from error
    if not has_code:
        raise ModelError(
            f"{path.name} holds weights without a network. Save the network with torch.jit.script and torch.jit.save, "
            "or give the folder of the program that it was trained with."
        )
    copy.seek(0)
    return copy


def _check_code(text: str, path: Path) -> None:
    found = FILE_FUNCTIONS.search(text) or FOREIGN_FUNCTIONS.search(text) or FOREIGN_PRIMITIVES.search(text)
    if found:
        raise ModelError(
            f"The network {path.name} was refused and nothing of it was run: its code calls "
            f"{'.'.join(found.groups())}, which can reach beyond the network. Ask its author for a network without it."
        )


def _damaged(path: Path, reason: str) -> str:
    return f"{path.name} is damaged or not a TorchScript network ({reason}). Copy it again."
