"""Connections by PythonQt's rules: which arguments a slot gets, who keeps it, and ``w.connect("clicked()", f)``.

A Python function gets as many arguments as it has positional parameters, also those with a default; anything else that
can be called, such as functools.partial, gets all (so a partial on ``clicked`` gets the button's state). The connection
keeps the slot and its object alive until it is disconnected. PySide6 differs in both.
"""

from __future__ import annotations

import contextlib
import re
import types
import warnings
import weakref

from PySide6 import QtCore

from harness import members, qt_names
from harness.strictness import is_harness

_pyside_connect, _pyside_disconnect = QtCore.SignalInstance.connect, QtCore.SignalInstance.disconnect
# The functions that were connected in place of slots, by the signal's name. Qt keeps them alive.
_connected: dict[str, weakref.WeakSet] = {}
# Signals with an argument that has a default: PySide6 connects the shorter form, PythonQt the longer one.
_WITH_DEFAULT = {"clicked": bool, "triggered": bool}


def install():
    """Give all signals PythonQt's connect and disconnect, and Python subclasses of Qt classes the old style."""
    QtCore.SignalInstance.connect, QtCore.SignalInstance.disconnect = _connect, _disconnect
    QtCore.QObject.__init_subclass__ = classmethod(_give_old_style)


def _give_old_style(cls, **_):
    """PySide6 finds another connect() than its own only in the class of the object itself."""
    for name, function in (("connect", connect_by_name), ("disconnect", disconnect_by_name)):
        if name not in cls.__dict__:
            setattr(cls, name, function)


def _connect(signal, slot, *kind):
    if is_harness() or isinstance(slot, (QtCore.SignalInstance, QtCore.QMetaMethod)):
        return _pyside_connect(signal, slot, *kind)
    if not callable(slot):
        raise TypeError(f"{signal} cannot be connected to {slot!r}, which cannot be called")
    name, count = _name_and_count(signal)
    if name in qt_names.SIGNALS_ONLY_IN_QT6:
        raise AttributeError(f"The signal {name} does not exist in Qt 5.15, which Slicer may be built with")
    if name in _WITH_DEFAULT and count == 0:
        with contextlib.suppress(KeyError, IndexError, TypeError):  # a stand-in's clicked() may have no argument
            signal, count = signal[_WITH_DEFAULT[name]], 1
    wrapper = _with_arguments(slot, count)
    _connected.setdefault(name, weakref.WeakSet()).add(wrapper)
    return _pyside_connect(signal, wrapper, *kind)


def _disconnect(signal, *slot):
    if not slot or is_harness():
        return _pyside_disconnect(signal, *slot)
    return _disconnect_slot(signal, slot[0])


def _disconnect_slot(signal, slot) -> bool:
    name, _ = _name_and_count(signal)
    signals = [signal]
    if name in _WITH_DEFAULT:
        signals.append(signal[_WITH_DEFAULT[name]])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for one in signals:
            for wrapper in list(_connected.get(name, ())):
                if wrapper.slot == slot and _pyside_disconnect(one, wrapper):
                    return True
    return _pyside_disconnect(signal, slot)


def _name_and_count(signal) -> tuple[str, int]:
    """The signal's name and the number of its arguments, from its text, which ends in ``clicked(bool) at 0x...>``."""
    name, arguments = re.search(r" (\w+)\((.*)\) at ", repr(signal)).groups()
    return name, len(_split(arguments))


def _split(arguments: str) -> list[str]:
    """The types between the commas that are not inside a template."""
    return [one for one in re.split(r",(?![^<]*>)", arguments) if one.strip()]


def _with_arguments(slot, count: int):
    """A function of that many arguments that calls the slot with those that it takes."""
    function = slot.__func__ if isinstance(slot, types.MethodType) else slot
    taken = count
    if isinstance(function, types.FunctionType) and not function.__code__.co_flags & 0x04:  # no *args
        taken = min(count, function.__code__.co_argcount - isinstance(slot, types.MethodType))

    def call(*arguments):
        slot(*arguments[:taken])

    wrappers = {
        0: lambda: call(),
        1: lambda a: call(a),
        2: lambda a, b: call(a, b),
        3: lambda a, b, c: call(a, b, c),
        4: lambda a, b, c, d: call(a, b, c, d),
        5: lambda a, b, c, d, e: call(a, b, c, d, e),
    }
    wrapper = wrappers[count]
    wrapper.slot = slot
    return wrapper


def connect_by_name(self, signal: str, slot) -> bool:
    check(self, signal)
    name, count = signal.split("(")[0], len(_split(signal[signal.index("(") + 1 : -1]))
    found = getattr(self, name)
    if not callable(slot):
        raise TypeError(f"{signal} cannot be connected to {slot!r}, which cannot be called")
    if name in _WITH_DEFAULT and count:
        found = found[_WITH_DEFAULT[name]]
    wrapper = _with_arguments(slot, count)
    if count < _name_and_count(found)[1]:
        wrapper = _cut(wrapper, _name_and_count(found)[1], count)
    _connected.setdefault(name, weakref.WeakSet()).add(wrapper)
    return bool(_pyside_connect(found, wrapper))


def _cut(wrapper, given: int, count: int):
    cut = _with_arguments(lambda *arguments: wrapper(*arguments[:count]), given)
    cut.slot = wrapper.slot
    return cut


def disconnect_by_name(self, signal: str, *slot) -> bool:
    check(self, signal)
    found = getattr(self, signal.split("(")[0])
    return bool(_disconnect_slot(found, slot[0]) if slot else _pyside_disconnect(found))


def check(sender, signal: str):
    """Raise AttributeError if the sender has no signal of this name and these types of arguments."""
    wanted = bytes(QtCore.QMetaObject.normalizedSignature(signal).data()).decode()
    class_name = type(sender).__name__
    # A stand-in declares its signals with Python's types; the true ones are in members.json.
    known = next((cls.__name__ for cls in type(sender).__mro__ if members.is_known(cls.__name__)), "")
    if wanted in members.signals(known) or sender.metaObject().indexOfSignal(wanted) >= 0:
        return
    name = wanted.split("(")[0]
    close = sorted(one for one in members.signals(known) if one.split("(")[0] == name)
    raise AttributeError(f"{class_name} has no signal {signal}" + (f", but {', '.join(close)}" if close else ""))
