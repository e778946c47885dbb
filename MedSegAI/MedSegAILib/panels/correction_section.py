"""The section in which a draft is corrected."""

from __future__ import annotations

from MedSegAICore.panels.section import Section


class CorrectionSection(Section):
    """Connects the widgets of Correction.ui with the segmentation that is corrected."""
