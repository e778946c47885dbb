"""Keys that work in the whole window while a part of the panel is in use, and are given back afterwards."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import qt
import slicer


class Shortcuts:
    """Keys of the main window. Qt leaves letters to line edits and the like while a user types in them."""

    def __init__(self, actions: Mapping[str, Callable]):
        """``actions``: what each key does, as ``{"S": previousSlice}``."""
        self._actions, self._shortcuts = dict(actions), []

    def install(self):
        """Take the keys; without a main window there are none to take."""
        window = slicer.util.mainWindow()
        if self._shortcuts or window is None:
            return
        for key, action in self._actions.items():
            shortcut = qt.QShortcut(qt.QKeySequence(key), window)
            shortcut.activated.connect(action)
            self._shortcuts.append(shortcut)

    def uninstall(self):
        """Give the keys back."""
        for shortcut in self._shortcuts:
            shortcut.enabled = False
            shortcut.setParent(None)
            shortcut.deleteLater()
        self._shortcuts = []


class HeldKey(qt.QObject):
    """Calls ``released`` when the key that was just pressed is let go.

    Only from ``watch`` on until then does it see the application's events: a filter in Python costs time with each.
    The end of a stroke is waited for, and a key that is let go in another application counts as let go.
    """

    def __init__(self, key: int, released: Callable):
        qt.QObject.__init__(self)
        self._key, self._released, self._watching, self._letGo = key, released, False, False

    @property
    def watching(self) -> bool:
        return self._watching

    def watch(self):
        if not self._watching:
            self._watching, self._letGo = True, False
            qt.QApplication.instance().installEventFilter(self)

    def stop(self):
        """The key counts as let go."""
        if self._watching:
            self._watching = False
            qt.QApplication.instance().removeEventFilter(self)
            self._released()

    def eventFilter(self, _object, event):
        kind = event.type()
        if kind == qt.QEvent.KeyRelease and event.key() == self._key and not event.isAutoRepeat():
            self._letGo = True
            if not isMousePressed():
                self.stop()
        elif kind == qt.QEvent.MouseButtonRelease and self._letGo:
            qt.QTimer.singleShot(0, self.stop)  # the view must get this event first
        elif kind == qt.QEvent.ApplicationDeactivate:
            self.stop()
        return False


def isMousePressed() -> bool:
    """Whether a stroke may be going on."""
    return qt.QApplication.mouseButtons() != qt.Qt.NoButton
