"""Open the panel of a module beside Slicer's views, or write a picture of it: ``python -m harness MedSegAI --help``."""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NOTE = "Test harness: Slicer's own scene and views, with stand-ins for its widgets. This is not 3D Slicer."
WINDOW_SIZE = (1280, 800)
PANEL_MARGIN = 24  # the scroll bar and the frame beside the panel


def main(arguments: list[str] | None = None) -> int:
    options = _parse(arguments)
    if not options.screenshot:
        os.environ.setdefault("QT_QPA_PLATFORM", "xcb" if os.environ.get("DISPLAY") else "offscreen")
    sys.path[:0] = [str(ROOT / name) for name in ("MedSegAI", "MedSegAIMetrics", "Testing")]
    from harness import application

    qt_application = application.install()
    application.set_style(options.style)
    from harness.views import open_views

    with open_views() as layout_manager:
        _load(options, layout_manager)
        module = application.load_module(ROOT / options.module / f"{options.module}.py")
        widget, panel = application.open_panel(module)
        window = _window(panel, options)
        try:
            if options.script:
                _run_script(options.script, widget)
            if options.screenshot:
                return _write(window, panel, options)
            return qt_application.exec()
        finally:
            application.close_panel(widget, panel)


def _parse(arguments):
    parser = argparse.ArgumentParser(prog="python -m harness", description=__doc__)
    parser.add_argument("module", choices=["MedSegAI", "MedSegAIMetrics"])
    parser.add_argument("--volume", type=Path, action="append", default=[], help="image to load (several: repeat)")
    parser.add_argument("--segmentation", type=Path, action="append", default=[], help="segmentation to load")
    parser.add_argument("--script", type=Path, help="Python file run with widget, slicer and wait before the picture")
    parser.add_argument("--style", choices=["light", "dark"], default="light")
    parser.add_argument("--width", type=int, default=400, help="of the panel in pixels (default: 400)")
    parser.add_argument("--height", type=int, default=WINDOW_SIZE[1], help="of the window in pixels")
    parser.add_argument("--panel-only", action="store_true", help="a picture of the whole panel without the views")
    parser.add_argument("--screenshot", type=Path, help="write this PNG and end; else the window stays open")
    return parser.parse_args(arguments)


def _load(options, layout_manager):
    """Load the files as Slicer does, and show the first volume in all slice views."""
    import slicer

    volumes = [slicer.util.loadVolume(str(path)) for path in options.volume]
    for path in options.segmentation:
        node = slicer.util.loadSegmentation(str(path))
        node.CreateClosedSurfaceRepresentation()
        if volumes:
            node.SetReferenceImageGeometryParameterFromVolumeNode(volumes[0])
    if volumes:
        slicer.util.setSliceViewerLayers(background=volumes[0], fit=True)
    for index in range(layout_manager.threeDViewCount):
        layout_manager.threeDWidget(index).threeDView().resetCamera()


def _window(panel, options):
    """The main window as Slicer's: the panel at the left in a scroll area, the views at the right."""
    import slicer
    from PySide6 import QtCore, QtWidgets

    window = slicer.util.mainWindow()
    window.setWindowTitle(f"{options.module} - {NOTE}")
    area = QtWidgets.QScrollArea()
    area.setWidgetResizable(True)
    area.setHorizontalScrollBarPolicy(QtCore.Qt.ScrollBarAlwaysOff)
    area.setFrameShape(QtWidgets.QFrame.NoFrame)
    if not options.panel_only:
        area.setWidget(panel)
    title = QtWidgets.QLabel(f"Module:  {options.module}")
    title.setMargin(6)
    side = QtWidgets.QWidget()
    side.setFixedWidth(options.width + PANEL_MARGIN)
    layout = QtWidgets.QVBoxLayout(side)
    layout.setContentsMargins(0, 0, 0, 0)
    layout.setSpacing(0)
    layout.addWidget(title)
    layout.addWidget(area, 1)
    dock = QtWidgets.QDockWidget()
    dock.setTitleBarWidget(QtWidgets.QWidget())
    dock.setFeatures(QtWidgets.QDockWidget.NoDockWidgetFeatures)
    dock.setWidget(side)
    window.addDockWidget(QtCore.Qt.LeftDockWidgetArea, dock)
    window.statusBar().addWidget(QtWidgets.QLabel(NOTE))
    window.resize(max(WINDOW_SIZE[0], options.width + 700), options.height)
    if options.screenshot:
        window.setAttribute(QtCore.Qt.WA_DontShowOnScreen, True)
    window.show()
    _settle()
    _fit_views()
    return window


def _fit_views():
    import slicer

    layout_manager = slicer.app.layoutManager()
    layout_manager.resetSliceViews()
    _settle()


def _settle():
    from PySide6 import QtWidgets

    for _ in range(5):
        QtWidgets.QApplication.processEvents()


def wait(condition, seconds: float = 300.0):
    """Let the event loop run until ``condition()`` is true; an error if that takes longer than ``seconds``."""
    from PySide6 import QtWidgets

    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"The script waited for {seconds:g} s in vain.")
        QtWidgets.QApplication.processEvents()
        time.sleep(0.01)


def _run_script(path: Path, widget):
    import slicer

    code = compile(path.read_text(encoding="utf-8"), str(path), "exec")
    exec(code, {"widget": widget, "slicer": slicer, "wait": wait, "__name__": "__main__"})
    _settle()


def _write(window, panel, options) -> int:
    """Write the picture; texts that are cut are printed, and errors in slots make the exit status 1."""
    from harness import application, picture

    if options.panel_only:
        complaints = picture.save(panel, options.screenshot, options.width)
    else:
        _settle()
        options.screenshot.parent.mkdir(parents=True, exist_ok=True)
        if not window.grab().save(str(options.screenshot), "PNG"):
            print(f"The picture could not be written to {options.screenshot}.", file=sys.stderr)
            return 1
        complaints = picture.cut_texts(panel)
    for line in complaints:
        print("cut:", line)
    return 1 if application.failures else 0


if __name__ == "__main__":
    sys.exit(main())
