"""Names that Qt 5.15 and Qt 6 do not share, or that PySide6 has and PythonQt has not."""

from __future__ import annotations

# Classes that came with Qt 6 (or belong to PySide6), by how their names begin.
_BEGINNINGS = (
    "QBluetoothPermission", "QCalendarPermission", "QCameraPermission", "QContactsPermission", "QDirListing", "QEnum",
    "QEventPoint", "QFlag", "QFontVariableAxis", "QFutureInterface", "QHashSeed", "QIODeviceBase", "QIOPipe",
    "QInputDevice", "QIntList", "QKeyCombination", "QLocationPermission", "QMicrophonePermission", "QModelRoleData",
    "QNativeInterface", "QNativeIpcKey", "QOperatingSystemVersionBase", "QOverrideCursorGuard", "QPageRanges",
    "QPainterStateGuard", "QPdfOutputIntent", "QPermission", "QPointFList", "QPointList", "QPointerEvent",
    "QPointingDevice", "QPyTextObject", "QRangeModel", "QRhi", "QShader", "QSinglePointEvent", "QStringConverter",
    "QStringDecoder", "QStringEncoder", "QStyleOptionHeaderV2", "QStyleOptionMenuItemV2", "QT_", "QVector2DList",
    "QVector3DList", "QVector4DList", "Q_", "QtMsgType", "QAccessibilityHints", "QAccessibleAnnouncement",
    "QAccessibleAttributes", "QAccessibleSelection",
)  # fmt: skip

# Members that came with Qt 6.
ONLY_IN_QT6 = {
    "QAbstractItemView": ("setUpdateThreshold", "updateThreshold", "keyboardSearchFlags", "setKeyboardSearchFlags"),
    "QColor": ("fromString", "isValidColorName"),
    "QComboBox": ("labelDrawingMode", "setLabelDrawingMode"),
    "QDateTimeEdit": ("setTimeZone", "timeZone"),
    "QDropEvent": ("position",),
    "QEnterEvent": ("globalPosition", "position", "scenePosition"),
    "QImage": ("deviceIndependentSize", "flip", "flipped"),
    "QLayout": ("unsetContentsMargins",),
    "QMessageBox": ("options", "setOption", "setOptions", "testOption"),
    "QMouseEvent": ("globalPosition", "position", "scenePosition"),
    "QPixmap": ("deviceIndependentSize",),
    "QProcess": ("failChildProcessModifier", "setUnixProcessParameters", "startCommand"),
    "QShortcut": ("keys", "setKeys"),
    "QSortFilterProxyModel": ("beginFilterChange", "endFilterChange"),
    "QStyleHints": ("accessibility", "colorScheme", "setColorScheme", "unsetColorScheme"),
    "QWidget": ("setScreen",),
}

# Signals that came with Qt 6; PySide6 finds them past the attributes of a class.
SIGNALS_ONLY_IN_QT6 = {"checkStateChanged"}


def is_offered(name: str) -> bool:
    """Whether PythonQt's module ``qt`` has the name, whichever Qt Slicer is built with."""
    return name.startswith("Q") and not name.startswith(_BEGINNINGS)
