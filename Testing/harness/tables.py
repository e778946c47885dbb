"""Stand-ins for qMRMLSegmentsTableView and qMRMLTableView: tables that follow a node of the scene."""

from __future__ import annotations

import vtk
from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtCore import Property, Signal

from harness.mrml_widgets import qMRMLWidget
from harness.pythonqt import Strict
from harness.widget_parts import Observers, declared, with_setters

ID_ROLE = QtCore.Qt.UserRole + 1
VISIBILITY, COLOR, OPACITY, NAME, STATUS, LAYER = range(6)  # columns of the segments


@with_setters(
    "selectionMode", "headerVisible", "visibilityColumnVisible", "colorColumnVisible", "opacityColumnVisible",
    "statusColumnVisible", "layerColumnVisible", "readOnly", "filterBarVisible", "textFilter",
    "jumpToSelectedSegmentEnabled",
)  # fmt: skip
class qMRMLSegmentsTableView(qMRMLWidget):
    """Segments with visibility, color, opacity and name. A click on the eye shows or hides, a double click renames."""

    _is_cpp = True
    selectionChanged = Signal(object, object)
    segmentAboutToBeModified = Signal(str)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._node, self._observers, self._hidden_ids, self._filling = None, Observers(), [], False
        layout = QtWidgets.QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self._filter = QtWidgets.QLineEdit()
        self._filter.setPlaceholderText("Filter segments")
        self._filter.textChanged.connect(lambda text: setattr(self, "textFilter", text))
        layout.addWidget(self._filter)
        self._table = _SegmentsTable()
        self._model = QtGui.QStandardItemModel(0, 6, self)
        self._model.setHorizontalHeaderLabels(["", "", "Opacity", "Name", "", "Layer"])
        self._table.setModel(self._model)
        self._table._arrange()
        layout.addWidget(self._table)
        self._table.clicked.connect(self._clicked)
        self._model.itemChanged.connect(self._edited)
        self._table.selectionModel().selectionChanged.connect(self._selected)
        self._show_columns()

    def setSegmentationNode(self, node):
        import slicer

        self._node = node
        kind = slicer.vtkSegmentation
        events = [kind.SegmentAdded, kind.SegmentRemoved, kind.SegmentModified, kind.SegmentsOrderModified]
        events += [slicer.vtkMRMLDisplayableNode.DisplayModifiedEvent]
        self._observers.replace(node, events, self._fill)
        if node is not None:
            self._observers.add(slicer.mrmlScene, [slicer.vtkMRMLScene.NodeRemovedEvent], self._node_removed)
        self._fill()

    def segmentationNode(self):
        return self._node

    def tableWidget(self):
        return self._table

    def model(self):
        return self._model

    def selectedSegmentIDs(self) -> tuple:
        rows = sorted({index.row() for index in self._table.selectionModel().selectedIndexes})
        return tuple(self.segmentIDForRow(row) for row in rows)

    def setSelectedSegmentIDs(self, segmentIDs):
        wanted = QtCore.QItemSelection()
        for segment_id in segmentIDs:
            row = self.rowForSegmentID(segment_id)
            if row >= 0:
                wanted.select(self._model.index(row, 0), self._model.index(row, 5))
        self._table.selectionModel().select(wanted, QtCore.QItemSelectionModel.ClearAndSelect)

    def clearSelection(self):
        self._table.clearSelection()

    def displayedSegmentIDs(self) -> tuple:
        return tuple(self.segmentIDForRow(row) for row in range(self._model.rowCount()))

    def setHideSegments(self, segmentIDs):
        self._hidden_ids = list(segmentIDs)
        self._fill()

    def hideSegments(self) -> tuple:
        return tuple(self._hidden_ids)

    def rowForSegmentID(self, segmentID) -> int:
        ids = self.displayedSegmentIDs()
        return ids.index(segmentID) if segmentID in ids else -1

    def segmentIDForRow(self, row: int) -> str:
        item = self._model.item(row, NAME)
        return item.data(ID_ROLE) if item is not None else ""

    def toggleSelectedSegmentsVisibility(self):
        for segment_id in self.selectedSegmentIDs():
            self._toggle(segment_id)

    def showOnlySelectedSegments(self):
        chosen = self.selectedSegmentIDs()
        for segment_id in self._node.GetSegmentation().GetSegmentIDs():
            self._node.GetDisplayNode().SetSegmentVisibility(segment_id, segment_id in chosen)

    def jumpSlices(self):
        """Let all slice views show the center of the first selected segment."""
        import slicer

        chosen = self.selectedSegmentIDs()
        center = self._node.GetSegmentCenterRAS(chosen[0]) if chosen else None
        if center:
            slicer.vtkMRMLSliceNode.JumpAllSlices(slicer.mrmlScene, *center)

    def _node_removed(self):
        import slicer

        if self._node is not None and slicer.mrmlScene.GetNodeByID(self._node.GetID() or "") is not self._node:
            self.setSegmentationNode(None)

    def _fill(self):
        if self.__dict__.get("_model") is None or self._filling:
            return
        self._filling = True
        chosen, blocked = self.selectedSegmentIDs(), self.blockSignals(True)
        try:
            self._model.setRowCount(0)
            for segment_id in self._shown_ids():
                self._model.appendRow(self._row(segment_id))
            self.setSelectedSegmentIDs(chosen)
        finally:
            self.blockSignals(blocked)
            self._filling = False
        if self.selectedSegmentIDs() != chosen:
            self.selectionChanged.emit(QtCore.QItemSelection(), QtCore.QItemSelection())

    def _shown_ids(self) -> list[str]:
        if self._node is None:
            return []
        segmentation = self._node.GetSegmentation()
        words = self.textFilter.lower()
        return [
            one
            for one in segmentation.GetSegmentIDs()
            if one not in self._hidden_ids and words in segmentation.GetSegment(one).GetName().lower()
        ]

    def _row(self, segment_id: str) -> list:
        segment, display = self._node.GetSegmentation().GetSegment(segment_id), self._node.GetDisplayNode()
        items = [QtGui.QStandardItem() for _ in range(6)]
        for item in items:
            item.setEditable(False)
        visible = display is None or display.GetSegmentVisibility(segment_id)
        items[VISIBILITY].setIcon(_eye(bool(visible), self.palette.color(QtGui.QPalette.WindowText)))
        color = display.GetSegmentColor(segment_id) if display else segment.GetColor()
        items[COLOR].setIcon(_swatch(QtGui.QColor.fromRgbF(*color)))
        items[COLOR].setToolTip(segment.GetName())
        items[OPACITY].setText(f"{display.GetSegmentOpacity3D(segment_id) if display else 1:.2f}")
        items[NAME].setText(segment.GetName())
        items[NAME].setData(segment_id, ID_ROLE)
        items[NAME].setEditable(not self.readOnly)
        items[LAYER].setText(str(self._node.GetSegmentation().GetLayerIndex(segment_id)))
        return items

    def _clicked(self, index):
        if index.column() == VISIBILITY:
            self._toggle(self.segmentIDForRow(index.row()))

    def _toggle(self, segment_id: str):
        display = self._node.GetDisplayNode()
        display.SetSegmentVisibility(segment_id, not display.GetSegmentVisibility(segment_id))

    def _edited(self, item):
        if self._filling or item.column() != NAME:
            return
        segment_id = item.data(ID_ROLE)
        self.segmentAboutToBeModified.emit(segment_id)
        self._node.GetSegmentation().GetSegment(segment_id).SetName(item.text())

    def _selected(self, selected, deselected):
        if self._filling:
            return
        self.selectionChanged.emit(selected, deselected)
        if self.jumpToSelectedSegmentEnabled:
            self.jumpSlices()

    def _show_columns(self):
        if self.__dict__.get("_model") is None:
            return
        shown = {
            VISIBILITY: self.visibilityColumnVisible, COLOR: self.colorColumnVisible,
            OPACITY: self.opacityColumnVisible, STATUS: self.statusColumnVisible,
            LAYER: self.layerColumnVisible,
        }  # fmt: skip
        for column, visible in shown.items():
            self._table.setColumnHidden(column, not visible)
        self._table.horizontalHeader().setVisible(self.headerVisible)
        self._filter.setVisible(self.filterBarVisible)
        self._table.setSelectionMode(QtWidgets.QAbstractItemView.SelectionMode(self.selectionMode))

    selectionMode = declared(int, "selectionMode", 3, "_show_columns")
    headerVisible = declared(bool, "headerVisible", True, "_show_columns")
    visibilityColumnVisible = declared(bool, "visibilityColumnVisible", True, "_show_columns")
    colorColumnVisible = declared(bool, "colorColumnVisible", True, "_show_columns")
    opacityColumnVisible = declared(bool, "opacityColumnVisible", True, "_show_columns")
    statusColumnVisible = declared(bool, "statusColumnVisible", True, "_show_columns")
    layerColumnVisible = declared(bool, "layerColumnVisible", False, "_show_columns")
    filterBarVisible = declared(bool, "filterBarVisible", False, "_show_columns")
    readOnly = declared(bool, "readOnly", False, "_fill")
    textFilter = declared(str, "textFilter", "", "_fill")
    jumpToSelectedSegmentEnabled = declared(bool, "jumpToSelectedSegmentEnabled", False)
    segmentCount = Property(int, lambda self: self._model.rowCount())


class _SegmentsTable(QtWidgets.QTableView):
    """The table inside, laid out as Slicer's: narrow columns, and the name over the rest."""

    def _arrange(self):
        self.setSelectionBehavior(QtWidgets.QAbstractItemView.SelectRows)
        self.verticalHeader().setVisible(False)
        self.verticalHeader().setDefaultSectionSize(self.fontMetrics().height() + 10)
        header = self.horizontalHeader()
        header.setMinimumSectionSize(28)
        header.setSectionResizeMode(QtWidgets.QHeaderView.ResizeToContents)
        header.setSectionResizeMode(NAME, QtWidgets.QHeaderView.Stretch)


@with_setters("transposed", "firstRowLocked", "firstColumnLocked")
class qMRMLTableView(Strict, QtWidgets.QTableView):
    """The cells of a vtkMRMLTableNode. Column titles with units are the header, descriptions its tool tips."""

    _is_cpp = True
    mrmlSceneChanged = Signal(object)
    selectionChanged = Signal()

    def __init__(self, parent=None):
        super().__init__(parent)
        self._scene, self._node, self._observers, self._filling = None, None, Observers(), False
        self._model = QtGui.QStandardItemModel(self)
        self._proxy = QtCore.QSortFilterProxyModel(self)
        self._proxy.setSourceModel(self._model)
        self.setModel(self._proxy)
        self._model.itemChanged.connect(self._edited)
        self.selectionModel().selectionChanged.connect(lambda *_: self.selectionChanged.emit())

    def setMRMLScene(self, scene):
        self._scene = scene
        self.mrmlSceneChanged.emit(scene)

    def mrmlScene(self):
        return self._scene

    def setMRMLTableNode(self, node):
        self._node = node
        self._observers.replace(node, [vtk.vtkCommand.ModifiedEvent], self._fill)
        self._fill()
        self.selectionChanged.emit()

    def mrmlTableNode(self):
        return self._node

    def tableModel(self):
        return self._model

    def sortFilterProxyModel(self):
        return self._proxy

    def copySelection(self):
        """The selected cells as text with tabs, in the clipboard."""
        places = sorted((index.row(), index.column()) for index in self.selectionModel().selectedIndexes)
        lines: dict[int, list[str]] = {}
        for row, column in places:
            lines.setdefault(row, []).append(self._proxy.index(row, column).data() or "")
        QtWidgets.QApplication.clipboard().setText("\n".join("\t".join(cells) for cells in lines.values()))

    def _fill(self):
        if self.__dict__.get("_model") is None or self._filling:
            return
        self._filling = True
        try:
            self._model.clear()
            if self._node is not None and self._node.GetTable() is not None:
                self._fill_from(self._node, self._node.GetTable())
        finally:
            self._filling = False

    def _fill_from(self, node, table):
        """As in Slicer: without titles as header, the columns' names are the first row."""
        skipped, titled = int(node.GetUseFirstColumnAsRowHeader()), node.GetUseColumnTitleAsColumnHeader()
        for column in range(skipped, table.GetNumberOfColumns()):
            items = [self._item(node, table, row, column) for row in range(table.GetNumberOfRows())]
            self._model.appendColumn(items if titled else [QtGui.QStandardItem(table.GetColumnName(column)), *items])
            header = QtGui.QStandardItem(self._title(node, table, column) if titled else _letters(column - skipped))
            header.setToolTip(self._tool_tip(node, table, column))
            self._model.setHorizontalHeaderItem(column - skipped, header)
        if skipped and table.GetNumberOfColumns():
            names = [table.GetValue(row, 0).ToString() for row in range(table.GetNumberOfRows())]
            self._model.setVerticalHeaderLabels(names if titled else [table.GetColumnName(0), *names])

    def _item(self, node, table, row: int, column: int):
        item = QtGui.QStandardItem()
        item.setEditable(not node.GetLocked())
        if isinstance(table.GetColumn(column), vtk.vtkBitArray):
            item.setCheckable(not node.GetLocked())
            item.setCheckState(QtCore.Qt.Checked if table.GetValue(row, column).ToInt() else QtCore.Qt.Unchecked)
        else:
            item.setText(table.GetValue(row, column).ToString())
        return item

    @staticmethod
    def _title(node, table, column: int) -> str:
        name = table.GetColumnName(column)
        units = node.GetColumnUnitLabel(name)
        return (node.GetColumnTitle(name) or name) + (f" [{units}]" if units else "")

    @staticmethod
    def _tool_tip(node, table, column: int) -> str:
        name = table.GetColumnName(column)
        title, units = node.GetColumnTitle(name), node.GetColumnUnitLabel(name)
        lines = [f"<b>{name}</b>" if title in ("", name) else f"<b>{title}</b> <code>&lt;{name}&gt;</code>"]
        lines += [f"Unit: {units}"] if units else []
        lines += [node.GetColumnDescription(name)] if node.GetColumnDescription(name) else []
        return "<p>" + "</p><p>".join(lines) + "</p>"

    def _edited(self, item):
        if not self._filling and self._node is not None:
            column = item.column() + int(self._node.GetUseFirstColumnAsRowHeader())
            row = item.row() - int(not self._node.GetUseColumnTitleAsColumnHeader())
            if row >= 0:
                self._node.SetCellText(row, column, item.text())
            else:
                self._node.RenameColumn(column, item.text())

    transposed = declared(bool, "transposed", False)
    firstRowLocked = declared(bool, "firstRowLocked", False)
    firstColumnLocked = declared(bool, "firstColumnLocked", False)


def _letters(column: int) -> str:
    return (_letters(column // 26 - 1) if column >= 26 else "") + chr(ord("A") + column % 26)


def _picture(draw) -> QtGui.QIcon:
    pixmap = QtGui.QPixmap(32, 32)
    pixmap.fill(QtCore.Qt.transparent)
    painter = QtGui.QPainter(pixmap)
    painter.setRenderHint(QtGui.QPainter.Antialiasing)
    draw(painter)
    painter.end()
    return QtGui.QIcon(pixmap)


def _eye(opened: bool, color: QtGui.QColor) -> QtGui.QIcon:
    def draw(painter):
        painter.setPen(QtGui.QPen(color, 2.4))
        path = QtGui.QPainterPath(QtCore.QPointF(3, 16))
        path.quadTo(16, 2 if opened else 26, 29, 16)
        if opened:
            path.quadTo(16, 30, 3, 16)
        painter.drawPath(path)
        if opened:
            painter.setBrush(color)
            painter.drawEllipse(QtCore.QPointF(16, 16), 4.5, 4.5)

    return _picture(draw)


def _swatch(color: QtGui.QColor) -> QtGui.QIcon:
    def draw(painter):
        painter.setPen(QtGui.QPen(color.darker(150), 1.5))
        painter.setBrush(color)
        painter.drawRect(4, 4, 24, 24)

    return _picture(draw)
