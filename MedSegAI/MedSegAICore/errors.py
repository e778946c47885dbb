"""Every error a user can meet: what was wrong (with the value), what was expected, what to do.

Commands print ``str(error)`` as one line, panels show it as it is; so a message is complete sentences without a
traceback. Programming mistakes are not wrapped: they stay ordinary exceptions.
"""


class MedSegAIError(Exception):
    """Base of all errors that a user can cause and mend."""


class InputError(MedSegAIError):
    """An image or label file, folder or node cannot be used: missing, unreadable, empty, wrong shape, NaN."""


class GeometryError(InputError):
    """A grid is not usable: singular or non-finite matrix, zero spacing, shapes or grids that do not match."""


class ModelError(MedSegAIError):
    """A model folder, plan, card or checkpoint cannot be used: missing, damaged, unsafe or of an unknown kind."""


class ProtocolError(MedSegAIError):
    """The input differs from what the model card asks for, and the caller asked to be strict about it."""


class DeviceError(MedSegAIError):
    """The requested device does not exist here or cannot run the model."""


class OutputError(MedSegAIError):
    """A result cannot be written: folder missing or read-only, disk full, file exists and must not be replaced."""


class TrainingError(MedSegAIError):
    """A training data set, setting or checkpoint cannot be used."""


class DependencyError(MedSegAIError):
    """A Python package that this action needs is not installed."""


class WorkerError(MedSegAIError):
    """The worker process cannot be started, ended too early, is busy, or failed for a reason nobody foresaw."""


class ClusterError(MedSegAIError):
    """A Dask cluster cannot be reached or used, or its workers are gone."""


class Cancelled(MedSegAIError):
    """The user stopped the run. Nothing was written."""

    def __init__(self, message: str = "Cancelled: nothing was written."):
        super().__init__(message)
