"""Small real widgets in place of CTK's: collapsible button, path, slider, check box, and menus of buttons."""

from __future__ import annotations

import types
from pathlib import Path

from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtCore import Property, Signal

from harness.pythonqt import Strict
from harness.widget_parts import declared


class ctkCollapsibleButton(Strict, QtWidgets.QAbstractButton):
    """A button over the full width, and below it what belongs to it, which a click folds away."""

    _is_cpp = True
    contentsCollapsed = Signal(bool)

    def __init__(self, text="", parent=None):
        super().__init__(text if isinstance(text, QtWidgets.QWidget) else parent)
        self._shown_children, self._forcing, self._open_height = None, False, 16777215
        self.setCheckable(True)
        self.setChecked(True)
        self.setBackgroundRole(QtGui.QPalette.Window)
        self.setSizePolicy(QtWidgets.QSizePolicy.Minimum, QtWidgets.QSizePolicy.Preferred)
        self.setContentsMargins(0, self._header_height(), 0, 0)
        self.toggled.connect(self._on_toggled)
        if isinstance(text, str):
            self.setText(text)

    def _header_height(self) -> int:
        return self.fontMetrics().height() + 8

    def _on_toggled(self, checked: bool):
        if checked:
            self.setMaximumHeight(self._open_height)
        else:
            self._open_height = self.maximumHeight
            self.setMaximumHeight(self._header_height() + self.collapsedHeight)
        self._show_children(checked)
        self.updateGeometry()
        self.contentsCollapsed.emit(not checked)

    def _show_children(self, visible: bool):
        """A child that was hidden before it was folded away stays hidden afterwards."""
        self._forcing = True
        for child in self.children():
            if isinstance(child, QtWidgets.QWidget) and not child.isWindow():
                if not visible and not child.isHidden():
                    child.setProperty("_folded", True)
                    child.hide()
                elif visible and child.property("_folded"):
                    child.setProperty("_folded", False)
                    child.show()
        self._forcing = False

    def childEvent(self, event):
        if event.added() and isinstance(event.child(), QtWidgets.QWidget):
            event.child().installEventFilter(self)
            if self.collapsed and not event.child().isHidden():
                event.child().setProperty("_folded", True)
                event.child().hide()
        super().childEvent(event)

    def eventFilter(self, child, event):
        """While folded away, showing and hiding a child counts for when it is unfolded."""
        if event.type() == QtCore.QEvent.ShowToParent and self.collapsed and not self._forcing:
            child.setProperty("_folded", True)
            self._forcing = True
            child.hide()
            self._forcing = False
        return False

    def hitButton(self, position):
        return position.y() < self._header_height()

    def sizeHint(self):
        option = QtWidgets.QStyleOptionButton()
        option.initFrom(self)
        text = self.fontMetrics().size(QtCore.Qt.TextShowMnemonic, self.text)
        width = text.width() + 30
        height = self._header_height() + (self.collapsedHeight if self.collapsed else 0)
        if self.layout() is not None and not self.collapsed:
            inside = self.layout().totalSizeHint() if hasattr(self.layout(), "totalSizeHint") else QtCore.QSize()
            return inside.expandedTo(QtCore.QSize(width, height))
        return QtCore.QSize(width, height)

    minimumSizeHint = sizeHint

    def paintEvent(self, event):
        painter = QtWidgets.QStylePainter(self)
        option = QtWidgets.QStyleOptionButton()
        option.initFrom(self)
        option.rect.setHeight(self._header_height())
        option.state |= QtWidgets.QStyle.State_Sunken if self.isDown() else QtWidgets.QStyle.State_Raised
        if self.flat:
            option.features |= QtWidgets.QStyleOptionButton.Flat
        painter.drawControl(QtWidgets.QStyle.CE_PushButtonBevel, option)
        arrow = QtWidgets.QStyleOption()
        arrow.initFrom(self)
        arrow.rect = QtCore.QRect(6, (self._header_height() - 10) // 2, 10, 10)
        element = (
            QtWidgets.QStyle.PE_IndicatorArrowDown if not self.collapsed else QtWidgets.QStyle.PE_IndicatorArrowRight
        )
        painter.drawPrimitive(element, arrow)
        rect = QtCore.QRect(22, 0, option.rect.width() - 26, self._header_height())
        painter.drawItemText(
            rect, QtCore.Qt.AlignLeft | QtCore.Qt.AlignVCenter, self.palette, self.isEnabled(), self.text,
            QtGui.QPalette.ButtonText,
        )  # fmt: skip

    def _read_collapsed(self) -> bool:
        return not self.isChecked()

    def _write_collapsed(self, value: bool):
        self.setChecked(not value)

    collapsed = Property(bool, _read_collapsed, _write_collapsed, notify=contentsCollapsed)
    flat = declared(bool, "flat", False, "update")
    collapsedHeight = declared(int, "collapsedHeight", 14, "updateGeometry")
    contentsFrameShape = declared(int, "contentsFrameShape", 0)
    contentsFrameShadow = declared(int, "contentsFrameShadow", 16)
    contentsLineWidth = declared(int, "contentsLineWidth", 1)
    contentsMidLineWidth = declared(int, "contentsMidLineWidth", 0)


class ctkPathLineEdit(Strict, QtWidgets.QWidget):
    """A line for the path of a file or folder, with its history and a button that opens the file dialog."""

    _is_cpp = True
    Dirs, Files, Drives, NoSymLinks, AllEntries = 0x001, 0x002, 0x004, 0x008, 0x007
    Readable, Writable, Executable, Hidden, NoFilter = 0x010, 0x020, 0x040, 0x100, -1
    currentPathChanged = Signal(str)
    validInputChanged = Signal(bool)

    def __init__(self, parent=None):
        super().__init__(parent)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self._combo = QtWidgets.QComboBox()
        self._combo.setEditable(True)
        self._combo.setSizePolicy(QtWidgets.QSizePolicy.Expanding, QtWidgets.QSizePolicy.Fixed)
        self._combo.setMinimumContentsLength(12)
        self._combo.setSizeAdjustPolicy(QtWidgets.QComboBox.AdjustToMinimumContentsLengthWithIcon)
        self._combo.editTextChanged.connect(self._on_text)
        self._button = QtWidgets.QToolButton()
        self._button.setText("...")
        self._button.clicked.connect(self.browse)
        layout.addWidget(self._combo, 1)
        layout.addWidget(self._button)
        self._valid = None

    def comboBox(self):
        return self._combo

    def setCurrentPath(self, path):
        self._combo.setEditText(str(path))

    def browse(self):
        if self.filters & self.Files:
            ask = QtWidgets.QFileDialog.getSaveFileName if self.filters & self.Writable else None
            ask = ask or QtWidgets.QFileDialog.getOpenFileName
            path = ask(self, self.label or "Select a file", self.currentPath, ";;".join(self.nameFilters))[0]
        else:
            path = QtWidgets.QFileDialog.getExistingDirectory(self, self.label or "Select a folder", self.currentPath)
        if path:
            self.setCurrentPath(path)

    def retrieveHistory(self):
        text = self.currentPath
        self._combo.blockSignals(True)
        self._combo.clear()
        self._combo.addItems(_string_list(QtCore.QSettings().value(self._settings_path())))
        self._combo.setEditText(text)
        self._combo.blockSignals(False)

    def addCurrentPathToHistory(self):
        if not self.currentPath:
            return
        history = [self.currentPath] + [self._combo.itemText(n) for n in range(self._combo.count)]
        QtCore.QSettings().setValue(self._settings_path(), list(dict.fromkeys(history))[:10])
        self.retrieveHistory()

    def _settings_path(self) -> str:
        return "ctkPathLineEdit/" + (self.settingKey or self.objectName())

    def _on_text(self, text: str):
        self.currentPathChanged.emit(text)
        path = Path(text).expanduser()
        valid = bool(text) and (path.exists() or bool(self.filters & self.Writable))
        if valid != self._valid:
            self._valid = valid
            self.validInputChanged.emit(valid)

    def _show_buttons(self):
        self._button.setVisible(self.showBrowseButton)

    currentPath = Property(str, lambda self: self._combo.currentText, setCurrentPath, user=True)
    label = declared(str, "label", "")
    filters = declared(int, "filters", 0x007)
    settingKey = declared(str, "settingKey", "", "retrieveHistory")
    nameFilters = declared("QStringList", "nameFilters", [])
    showBrowseButton = declared(bool, "showBrowseButton", True, "_show_buttons")
    showHistoryButton = declared(bool, "showHistoryButton", True)
    sizeAdjustPolicy = declared(int, "sizeAdjustPolicy", 1)
    minimumContentsLength = declared(int, "minimumContentsLength", 0)


def _string_list(value) -> list[str]:
    """QSettings gives a list of one string back as a string, and of none as None."""
    return [] if not value else [value] if isinstance(value, str) else list(value)


class ctkDirectoryButton(Strict, QtWidgets.QWidget):
    """A button that shows a folder and asks for another one."""

    _is_cpp = True
    directoryChanged = Signal(str)
    directorySelected = Signal(str)

    def __init__(self, parent=None):
        super().__init__(parent)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self._button = QtWidgets.QPushButton()
        self._button.setIcon(self.style().standardIcon(QtWidgets.QStyle.SP_DirIcon))
        self._button.clicked.connect(self.browse)
        layout.addWidget(self._button)

    def browse(self):
        path = QtWidgets.QFileDialog.getExistingDirectory(self, self.caption, self.directory)
        if path:
            self.directory = path
            self.directorySelected.emit(path)

    def _shown(self):
        self._button.setText(self.text or self.directory)

    directory = declared(str, "directory", ".", "_shown", "directoryChanged")
    caption = declared(str, "caption", "")
    text = declared(str, "text", "", "_shown")
    acceptMode = declared(int, "acceptMode", 0)


def _of_spin_box(kind, name: str):
    """A property that is the one of the spin box inside."""

    def write(self, value):
        setattr(self._spin, name, value)
        if hasattr(self, "_place_slider"):
            self._place_slider()

    return Property(kind, lambda self: getattr(self._spin, name), write)


class ctkSliderWidget(Strict, QtWidgets.QWidget):
    """A slider and a spin box with one value."""

    _is_cpp = True
    valueChanged = Signal(float)
    valueIsChanging = Signal(float)
    _STEPS = 10000

    def __init__(self, parent=None):
        super().__init__(parent)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self._slider = QtWidgets.QSlider(QtCore.Qt.Horizontal)
        self._slider.setRange(0, self._STEPS)
        self._spin = QtWidgets.QDoubleSpinBox()
        layout.addWidget(self._slider, 1)
        layout.addWidget(self._spin)
        self._spin.valueChanged.connect(self._typed)
        self._slider.valueChanged.connect(self._slid)

    def setValue(self, value):
        self._spin.setValue(value)

    def reset(self):
        self.setValue(0)

    def _typed(self, value):
        self._place_slider()
        self.valueChanged.emit(value)

    def _place_slider(self):
        span = self._spin.maximum - self._spin.minimum
        self._slider.blockSignals(True)
        self._slider.setValue(round(self._STEPS * (self._spin.value - self._spin.minimum) / span) if span else 0)
        self._slider.blockSignals(False)

    def _slid(self, step: int):
        low, high, single = self._spin.minimum, self._spin.maximum, self._spin.singleStep
        value = low + step / self._STEPS * (high - low)
        self._spin.setValue(low + round((value - low) / single) * single if single else value)

    value = _of_spin_box(float, "value")
    minimum = _of_spin_box(float, "minimum")
    maximum = _of_spin_box(float, "maximum")
    singleStep = _of_spin_box(float, "singleStep")
    decimals = _of_spin_box(int, "decimals")
    prefix = _of_spin_box(str, "prefix")
    suffix = _of_spin_box(str, "suffix")
    pageStep = declared(float, "pageStep", 10.0)
    tickInterval = declared(float, "tickInterval", 0.0)
    tracking = declared(bool, "tracking", True)
    spinBoxVisible = Property(
        bool, lambda self: not self._spin.isHidden(), lambda self, value: self._spin.setVisible(value)
    )


class ctkCheckBox(Strict, QtWidgets.QCheckBox):
    _is_cpp = True


class ctkComboBox(Strict, QtWidgets.QComboBox):
    """A combo box that says what to choose while nothing is chosen."""

    _is_cpp = True
    defaultText = declared(str, "defaultText", "", "_show_default")
    forceDefault = declared(bool, "forceDefault", False)
    elideMode = declared(int, "elideMode", 3)

    def _show_default(self):
        self.setPlaceholderText(self.defaultText)


class ctkDoubleSpinBox(Strict, QtWidgets.QWidget):
    """A spin box for numbers; CTK's is a widget with a spin box inside."""

    _is_cpp = True
    valueChanged = Signal(float)
    editingFinished = Signal()

    def __init__(self, parent=None):
        super().__init__(parent)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self._spin = QtWidgets.QDoubleSpinBox()
        self._spin.valueChanged.connect(self.valueChanged)
        self._spin.editingFinished.connect(self.editingFinished)
        layout.addWidget(self._spin)

    def setValue(self, value):
        self._spin.setValue(value)

    def stepUp(self):
        self._spin.stepUp()

    def stepDown(self):
        self._spin.stepDown()

    value = _of_spin_box(float, "value")
    minimum = _of_spin_box(float, "minimum")
    maximum = _of_spin_box(float, "maximum")
    singleStep = _of_spin_box(float, "singleStep")
    decimals = _of_spin_box(int, "decimals")
    prefix = _of_spin_box(str, "prefix")
    suffix = _of_spin_box(str, "suffix")
    readOnly = _of_spin_box(bool, "readOnly")


class ctkMenuButton(Strict, QtWidgets.QPushButton):
    """A button with a small part at its right end that opens its menu."""

    _is_cpp = True


class ctkCollapsibleGroupBox(Strict, QtWidgets.QGroupBox):
    """A group box whose check mark folds it."""

    _is_cpp = True

    def __init__(self, parent=None):
        super().__init__(parent)
        self.setCheckable(True)
        self.toggled.connect(self._fold)

    def _fold(self, opened: bool):
        for child in self.children():
            if isinstance(child, QtWidgets.QWidget):
                child.setVisible(opened)

    collapsed = Property(bool, lambda self: not self.isChecked(), lambda self, value: self.setChecked(not value))


CTK_WIDGETS = (
    ctkCollapsibleButton, ctkPathLineEdit, ctkDirectoryButton, ctkSliderWidget, ctkCheckBox, ctkComboBox,
    ctkDoubleSpinBox, ctkMenuButton, ctkCollapsibleGroupBox,
)  # fmt: skip


def make_ctk() -> types.ModuleType:
    ctk = types.ModuleType("ctk")
    for cls in CTK_WIDGETS:
        setattr(ctk, cls.__name__, cls)
    return ctk
