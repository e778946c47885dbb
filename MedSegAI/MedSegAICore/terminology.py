"""What a segment is, in codes: Slicer's seven-part string and the code sequences of DICOM."""

from __future__ import annotations

from dataclasses import dataclass

# What Slicer names its own list of DICOM's codes (Segmentations module, terminologies).
_CONTEXT = "Segmentation category and type - DICOM master list"
_REGIONS = "Anatomic codes - DICOM master list"


@dataclass(frozen=True)
class Code:
    """A coded concept: coding scheme (``SCT`` for SNOMED CT), code value and meaning."""

    scheme: str
    value: str
    meaning: str


# Slicer's own default for a segment that says nothing about itself; DICOM requires a category and a type.
TISSUE = Code("SCT", "85756007", "Tissue")


@dataclass(frozen=True)
class Terms:
    """Category, type and anatomic region of a segment, with modifiers (PS3.3 C.8.20.4)."""

    category: Code = TISSUE
    type: Code = TISSUE
    type_modifier: Code | None = None
    region: Code | None = None
    region_modifier: Code | None = None

    @classmethod
    def parse(cls, text: str) -> Terms:
        """The codes of Slicer's string ``context~category~type~modifier~context~region~modifier``.

        Codes are ``scheme^value^meaning``. A segment without a type is of its category's code, one without any codes
        is SCT 85756007 "Tissue".
        """
        parts = [_code(part) for part in text.split("~")]
        parts += [None] * (7 - len(parts))
        category = parts[1] or parts[2] or TISSUE
        return cls(category, parts[2] or category, parts[3], parts[5], parts[6] if parts[5] else None)

    def __str__(self) -> str:
        """Slicer's string; empty if nothing is said, because Slicer gives the default to segments without one."""
        if self == Terms():
            return ""
        parts = [self.category, self.type, self.type_modifier, _REGIONS, self.region, self.region_modifier]
        return "~".join([_CONTEXT, *(part if isinstance(part, str) else _text(part) for part in parts)])


def _code(text: str) -> Code | None:
    parts = text.split("^")
    return (
        Code(*(part.strip() for part in parts)) if len(parts) == 3 and parts[0].strip() and parts[1].strip() else None
    )


def _text(code: Code | None) -> str:
    if code is None:
        return "^^"
    return "^".join(part.replace("~", " ").replace("^", " ") for part in (code.scheme, code.value, code.meaning))
