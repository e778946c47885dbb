"""UIDs of what we write, and leaving the patient out of it (DICOM PS3.15 Annex E)."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import uuid

# Everything that a segmentation needs to know of its source. It is a list of what is let through, so a private or a
# new attribute cannot slip past it, as it can past the table of attributes to remove (PS3.15 Table E.1-1).
_LET_THROUGH = (
    *("SOPClassUID", "Modality", "Rows", "Columns", "NumberOfFrames", "InstanceNumber", "SeriesNumber"),
    *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "SpacingBetweenSlices"),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
    *("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod"),
)
_GEOMETRY = ("PlanePositionSequence", "PlaneOrientationSequence", "PixelMeasuresSequence")
_UIDS = ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")
# Dates are part of the profile. The type 1 attribute of SEG gets a dummy value (action D), the others go (X, Z).
_DUMMY_DATES = {"ContentDate": "19000101", "ContentTime": "000000"}
_NO_DATES = ("InstanceCreationDate", "InstanceCreationTime", "SeriesDate", "SeriesTime")
_EMPTY_DATES = ("StudyDate", "StudyTime", "StructureSetDate", "StructureSetTime")


def new_uid(seed: str | None = None, role: str = "") -> str:
    """A UID of the root 2.25 (PS3.5 B.2): a new one, or with a ``seed`` always the same one for each ``role``."""
    return _uid(seed.encode(), role) if seed is not None else f"2.25.{uuid.uuid4().int}"


def _uid(key: bytes, text: str) -> str:
    return f"2.25.{int.from_bytes(hmac.new(key, text.encode(), hashlib.sha256).digest()[:16], 'big')}"


class Deidentifier:
    """Writes for a source without its patient, by the Basic Application Level Confidentiality Profile.

    Of the source only geometry and classes are copied. Name, ID, birth date, sex, accession number, study id, dates
    and the referring physician are replaced or left empty. **UIDs are replaced too, those of the source images and
    their frame of reference included** (the profile's action U; its Retain UIDs Option is not used): what is written
    no longer refers to the identified images. UIDs and the patient's pseudonym are keyed hashes (HMAC-SHA-256), so all
    files that one key wrote refer to the same study, series and patient. ``key``: keep it secret and give it again to
    add files later, or to de-identify the images themselves consistently; without one, a random key is used and
    forgotten, and nobody can tell which source belongs to the files.

    Our own texts stay (segment names, names and versions of models, descriptions): do not put a person into them.
    """

    def __init__(self, key: str | None = None):
        self._key = key.encode() if key else secrets.token_bytes(32)

    def uid(self, uid: str) -> str:
        """What replaces a UID of the source."""
        return _uid(self._key, f"uid {uid}")

    def patient(self, patient_id: str) -> str:
        """A pseudonym for a patient ID; not empty, because databases refuse patients without one."""
        return f"ANON-{hmac.new(self._key, f'patient {patient_id}'.encode(), hashlib.sha256).hexdigest()[:12]}"

    def header(self, header):
        """A copy of a source's header (pydicom Dataset) with nothing that identifies the patient."""
        from pydicom.dataset import Dataset

        kept = Dataset()
        for name in _LET_THROUGH:
            if name in header:
                kept[name] = header[name]
        for name in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
            if name in kept:
                setattr(kept, name, [_only(group, _GEOMETRY) for group in kept[name].value])
        for name in _UIDS:
            if header.get(name):
                setattr(kept, name, self.uid(str(header[name].value)))
        kept.PatientID = self.patient(str(header.get("PatientID") or ""))
        kept.PatientName = f"{kept.PatientID}^"
        return kept

    def mark(self, dataset) -> None:
        """Take the dates out of an object that was made from such headers, and say by which rule it was done."""
        from pydicom.dataset import Dataset

        for name in (*_NO_DATES, "ContributingEquipmentSequence"):
            if name in dataset:
                delattr(dataset, name)
        for name in _EMPTY_DATES:
            if name in dataset:
                setattr(dataset, name, "")
        for name, dummy in _DUMMY_DATES.items():
            if name in dataset:
                setattr(dataset, name, dummy)
        profile = Dataset()
        profile.CodeValue, profile.CodingSchemeDesignator = "113100", "DCM"
        profile.CodeMeaning = "Basic Application Confidentiality Profile"
        dataset.PatientIdentityRemoved = "YES"
        dataset.DeidentificationMethod = "MedSegAI copied geometry only; UIDs replaced"
        dataset.DeidentificationMethodCodeSequence = [profile]
        dataset.LongitudinalTemporalInformationModified = "REMOVED"


def _only(group, names: tuple[str, ...]):
    from pydicom.dataset import Dataset

    kept = Dataset()
    for name in names:
        if name in group:
            kept[name] = group[name]
    return kept
