"""QSettings in a folder of this process: never the user's, and read back as a later session would."""

from __future__ import annotations

import atexit
import shutil
import tempfile

from PySide6 import QtCore


def install(qt):
    """Let every QSettings without a file name write to a temporary folder."""
    folder = tempfile.mkdtemp(prefix="medsegai-settings-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    QtCore.QSettings.setDefaultFormat(QtCore.QSettings.IniFormat)
    for kind in (QtCore.QSettings.IniFormat, QtCore.QSettings.NativeFormat):
        for scope in (QtCore.QSettings.UserScope, QtCore.QSettings.SystemScope):
            QtCore.QSettings.setPath(kind, scope, folder)
    QtCore.QCoreApplication.setOrganizationName("harness")
    QtCore.QCoreApplication.setApplicationName("Slicer")
    qt.QSettings.setValue = _set_value
    qt.QSettings.value = _value


def clear():
    """Forget all settings."""
    QtCore.QSettings().clear()


def _set_value(self, key: str, value):
    """Write as text what an .ini file keeps as text, so that a test meets what the next session of Slicer reads."""
    if isinstance(value, bool):
        value = "true" if value else "false"
    elif isinstance(value, (int, float)):
        value = str(value)
    QtCore.QSettings.setValue(self, key, value)


def _value(self, key: str, default=None):
    value = QtCore.QSettings.value(self, key, default)
    return tuple(value) if isinstance(value, list) else value  # as PythonQt gives a QStringList
