"""Slicer's own Python files in place of the stand-ins, for those who have Slicer.

``SLICER_PYTHON_DIR=/path/to/Slicer/bin/Python python -m pytest Testing/panels`` runs the tests on the installed
Slicer's ScriptedLoadableModule, parameterNodeWrapper and i18n. The module ``slicer`` itself stays slicer-core's.
"""

from __future__ import annotations

import importlib
import os
import sys
import types
from pathlib import Path

STAND_INS = ("i18n", "packaging", "ScriptedLoadableModule", "parameterNodeWrapper")


def folder() -> Path | None:
    """The folder that SLICER_PYTHON_DIR names; it holds the folder ``slicer``. Raises FileNotFoundError without it."""
    named = os.environ.get("SLICER_PYTHON_DIR", "")
    if not named:
        return None
    if not (Path(named) / "slicer" / "ScriptedLoadableModule.py").is_file():
        raise FileNotFoundError(
            f"SLICER_PYTHON_DIR={named} has no slicer/ScriptedLoadableModule.py. It should name the folder bin/Python "
            "of an installed Slicer."
        )
    return Path(named)


def install():
    """Make the modules importable: Slicer's where SLICER_PYTHON_DIR is set, the stand-ins otherwise."""
    import slicer

    from harness import packaging_tools, parameters, scripted

    makers = {
        "i18n": scripted.make_i18n,
        "packaging": packaging_tools.make_module,
        "ScriptedLoadableModule": scripted.make_module,
        "parameterNodeWrapper": parameters.make_module,
    }
    real = folder()
    if real is not None:
        _add_missing_names(slicer)
        slicer.__path__.append(str(real / "slicer"))
    for name in STAND_INS:
        # Installing packages is the one thing that no test should really do.
        if real is not None and name != "packaging":
            module = importlib.import_module(f"slicer.{name}")
        else:
            module = makers[name]()
            sys.modules[f"slicer.{name}"] = module
        setattr(slicer, name, module)


def _add_missing_names(slicer):
    """Slicer's files compare the types of widgets with these names, which need not exist in the harness."""
    names = {
        "ctk": (
            "ctkCheckBox ctkCheckablePushButton ctkCollapsibleButton ctkColorPickerButton ctkComboBox "
            "ctkDirectoryButton ctkDoubleRangeSlider ctkDoubleSlider ctkDoubleSpinBox ctkPathLineEdit ctkRangeWidget "
            "ctkSliderWidget"
        ),
        "slicer": "qMRMLNodeComboBox qMRMLRangeWidget qMRMLSliderWidget qMRMLSpinBox qMRMLWidget",
    }
    for module, text in names.items():
        for name in text.split():
            if not hasattr(sys.modules[module], name):
                setattr(sys.modules[module], name, type(name, (types.SimpleNamespace,), {}))
