"""How numbers are written for people."""

import pytest

from MedSegAICore.text import format_volume


@pytest.mark.parametrize(
    ("volume_ml", "text"),
    [(1.6234, "1.62 ml"), (0.03127, "0.0313 ml"), (1240.4, "1240 ml"), (12.0, "12.0 ml"), (0, "empty")],
)
def test_volumes_are_written_with_three_significant_digits(volume_ml, text):
    assert format_volume(volume_ml) == text
