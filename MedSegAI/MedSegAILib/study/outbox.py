"""What an annotator made, kept on the own computer until the study folder has it.

Everything is written here first: a share that is gone, slow or full never stops an annotator. Delivering copies files
to the study folder, versions before the log that names them, and removes a file here only when it is there unaltered.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from MedSegAICore.errors import InputError, OutputError
from MedSegAILib.study.documents import file_checksum, force_folder
from MedSegAILib.study.events import LOG_SUFFIX
from MedSegAILib.study.process_lock import try_lock
from MedSegAILib.study.versions import FOLDERS, SUFFIX

LOGS = "logs"
INBOX = "inbox"
_COMPARED = 1 << 16  # bytes at the end of a log that still grows
OWN_FOLDERS = (*FOLDERS.values(), LOGS)  # versions before logs: an event follows the file that it names


@dataclass(frozen=True)
class Delivery:
    """``waiting``: how many files the study folder does not have yet. ``problem``: why, in a sentence; else empty."""

    waiting: int
    problem: str = ""


class Outbox:
    """The folder on this computer for one annotator of one study; each run of the application has its own within.

    ``share``: the annotator's folder in the study. ``folder`` of this run is where it writes.
    """

    def __init__(self, root: Path, share: Path):
        """Raises OutputError if the folder cannot be made, or is within the study folder."""
        self.root, self.share = Path(root), Path(share)
        if self.root.resolve().is_relative_to(self.share.resolve().parents[1]):
            raise OutputError(f"The outbox {root} lies in the study folder. Choose a folder on this computer.")
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            self.folder = self.root / uuid.uuid4().hex[:12]
            self._lock = try_lock(_lock_of(self.folder))  # before the folder, which another run would adopt
            for name in OWN_FOLDERS:
                (self.folder / name).mkdir(parents=True)
        except OSError as error:
            raise OutputError(
                f"The outbox {root} cannot be made: {error.strerror or error}. Choose another folder."
            ) from error

    def deliver(self, current: Path | None = None) -> Delivery:
        """Bring everything to the study folder, also what a run that crashed left behind.

        ``current``: the log that this run still writes, which is kept here. Never raises for a share that is gone or
        full: the problem is in the answer, and the files wait.
        """
        deliveries = [_deliver(self.folder, self.share, current), *self._deliver_of_ended_runs()]
        waiting = sum(delivery.waiting for delivery in deliveries)
        reason = next((delivery.problem for delivery in deliveries if delivery.problem), "")
        if not waiting:
            return Delivery(0)
        if not os.path.isdir(self.share):
            reason = "it cannot be reached"
        return Delivery(
            waiting,
            f"The study folder cannot take {waiting} file{'s' if waiting > 1 else ''} ({reason.rstrip('.')}): nothing "
            f"is lost, they wait in {self.root} and are delivered when the folder is back.",
        )

    def _deliver_of_ended_runs(self) -> Iterator[Delivery]:
        for folder in self._run_folders():
            if folder == self.folder or (lock := try_lock(_lock_of(folder))) is None:
                continue
            try:
                delivery = _deliver(folder, self.share)
                if not delivery.waiting:
                    shutil.rmtree(folder, ignore_errors=True)
            finally:
                lock.close()
            if not delivery.waiting:
                _remove(_lock_of(folder))
            yield delivery

    def waiting_files(self, place: str) -> Iterator[Path]:
        """Files in a sub-folder (``versions``, ``autosave``, ``logs``) of any run, that are still here."""
        for folder in self._run_folders():
            yield from listed(folder / place)

    def _run_folders(self) -> list[Path]:
        return [path for path in listed(self.root) if path.is_dir()]

    def close(self) -> Delivery:
        """End this run; its folder goes if nothing waits in it."""
        delivery = self.deliver()
        self._lock.close()
        if not delivery.waiting:
            shutil.rmtree(self.folder, ignore_errors=True)
            _remove(_lock_of(self.folder))
        return delivery


def _lock_of(folder: Path) -> Path:
    return folder.with_name(folder.name + ".lock")


def _deliver(folder: Path, share: Path, current: Path | None = None) -> Delivery:
    """Bring the files of a run to the share. A file that is another one there is left out; without the share, all."""
    files = [path for name in OWN_FOLDERS for path in sorted(listed(folder / name), key=_order)]
    refused: list[str] = []
    for number, path in enumerate(files):
        target = share / path.relative_to(folder)
        try:
            if path.suffix == LOG_SUFFIX:
                _append_missing(path, target, whole=path != current)
            else:
                _copy(path, target)
            if path != current:
                path.unlink()
        except (InputError, OutputError) as error:
            refused.append(str(error))
        except OSError as error:
            return Delivery(len(refused) + len(files) - number, error.strerror or str(error))
    return Delivery(len(refused), refused[0] if refused else "")


def listed(folder: Path) -> list[Path]:
    """The complete files of a folder, sorted; none if it is gone, as a share may be at any moment."""
    try:
        return sorted(folder / name for name in os.listdir(folder) if not name.startswith("."))
    except OSError:
        return []


def _order(path: Path) -> tuple[bool, str]:
    """A sidecar is delivered before its file, as it is written."""
    return path.name.endswith(SUFFIX), path.name


def _append_missing(path: Path, target: Path, whole: bool) -> None:
    """Make a log in the study folder the same as here; it only ever is a part of this one, from the start.

    ``whole``: compare all that is there; else only its end, because a log that grows is delivered with every save.
    """
    content = path.read_bytes()
    size = target.stat().st_size if target.exists() else 0
    start = 0 if whole else max(0, size - _COMPARED)
    if size:
        with open(target, "rb") as file:
            file.seek(start)
            there = file.read()
        if content[start:size] != there:
            raise OutputError(
                f"{target} was altered: it is not the beginning of {path}. Keep both and ask the coordinator"
            )
    if size == len(content):
        return
    with open(target, "ab", buffering=0) as file:
        if file.write(content[size:]) != len(content) - size:
            raise OSError(f"{target}: the disk is full")
        os.fsync(file.fileno())
    force_folder(target.parent)


def _copy(path: Path, target: Path) -> None:
    """Copy beside and rename. A file that is there already has the same content, or it is a problem."""
    if target.exists():
        if file_checksum(target) != file_checksum(path):
            raise OutputError(f"{target} was altered: {path} has another content. Keep both and ask the coordinator")
        return
    temporary = target.with_name(f".part-{uuid.uuid4().hex[:12]}")
    try:
        with open(path, "rb") as source, open(temporary, "xb") as file:
            shutil.copyfileobj(source, file, 1 << 20)
            file.flush()
            os.fsync(file.fileno())
        if file_checksum(temporary) != file_checksum(path):
            raise OutputError(f"{target.parent} did not keep a file as it was written. Check the disk")
        os.replace(temporary, target)
        force_folder(target.parent)
    finally:
        _remove(temporary)


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:  # the share went away with it
        return
