"""Which DICOM files a volume node was loaded from."""

from __future__ import annotations

from pathlib import Path

from MedSegAICore.errors import InputError

INSTANCES = "DICOM.instanceUIDs"  # attribute that Slicer's DICOM module gives to volumes: UIDs with blanks between


def dicom_files_of_volume(volumeNode) -> list[Path]:
    """The files of a volume that Slicer loaded from its DICOM database.

    Raises InputError if the volume did not come from DICOM, there is no database (outside the Slicer application), or
    its files are not in it any more.
    """
    import slicer

    name, uids = volumeNode.GetName(), _instances(volumeNode)
    if not uids:
        raise InputError(
            f"The volume {name!r} was not loaded from DICOM, but DICOM SEG refers to the images that were segmented. "
            "Load them with the DICOM module, or give the folder of the series."
        )
    database = getattr(slicer, "dicomDatabase", None)
    if database is None or not database.isOpen:
        raise InputError(f"There is no DICOM database to find the files of {name!r} in. Give the folder of the series.")
    files = [database.fileForInstance(uid) for uid in uids]
    gone = sum(not (file and Path(file).is_file()) for file in files)
    if gone:
        raise InputError(
            f"{gone} of the {len(uids)} DICOM files of {name!r} are not in Slicer's DICOM database any more. Import "
            "them again, or give the folder of the series."
        )
    return [Path(file) for file in files]


def is_from_dicom(volumeNode) -> bool:
    """Whether Slicer loaded the volume from DICOM."""
    return bool(_instances(volumeNode))


def _instances(volumeNode) -> list[str]:
    return (volumeNode.GetAttribute(INSTANCES) or "").split()
