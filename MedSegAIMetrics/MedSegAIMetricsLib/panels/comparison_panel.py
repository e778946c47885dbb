"""The panel of the module MedSegAIMetrics: choose a reference and a test, compare them, see and keep the result."""

from __future__ import annotations

import logging
import math
import re

import qt
import slicer
import vtk
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from MedSegAICore.errors import Cancelled, InputError, MedSegAIError
from MedSegAIMetricsLib.measures import Measure

# The values of the entries of combo boxes, whose texts are in the .ui file.
CHOICES = {
    "surface": ("face", "surfel", "voxelcenter", "smooth"),
    "region": ("image", "union"),
    "grid": ("reference", "test"),
}


class ComparisonPanel(VTKObservationMixin):
    """Connects the widgets of MedSegAIMetrics.ui with the logic. It computes nothing.

    ``ui``: the named widgets; ``logic``: a MedSegAIMetricsLogic.
    """

    def __init__(self, ui, logic):
        VTKObservationMixin.__init__(self)
        self.ui, self.logic = ui, logic
        self._parameterNode = None
        self._running = self._cancelled = False
        self._nodes = {"reference": None, "test": None}  # whose segments the combo boxes list
        self._segments = {"reference": [], "test": []}
        self._settings = {}
        self._result = _Result(ui, logic, self._say)
        self._combos = {
            "referenceSegmentId": ui.referenceSegmentComboBox,
            "testSegmentId": ui.testSegmentComboBox,
            "surface": ui.surfaceComboBox,
            "region": ui.regionComboBox,
            "grid": ui.gridComboBox,
        }
        self._edits = {"percentiles": ui.percentilesLineEdit, "tolerancesMm": ui.tolerancesLineEdit}
        for parameter, values in CHOICES.items():
            for index, value in enumerate(values):
                self._combos[parameter].setItemData(index, value)
        self._listSegments()
        for parameter, combo in self._combos.items():
            self._connect(combo.currentIndexChanged, parameter, lambda box=combo: box.itemData(box.currentIndex))
        for parameter, edit in self._edits.items():
            self._connect(edit.textChanged, parameter, lambda line=edit: line.text)
        ui.applyButton.clicked.connect(self.onApplyButton)
        ui.cancelButton.clicked.connect(self.onCancelButton)
        self._setRunning(False)
        self._result.clear()

    def setParameterNode(self, parameterNode):
        """Show another set of choices; None while the panel is left or the scene is closed."""
        self._parameterNode = parameterNode
        if parameterNode is None:
            self._follow({"reference": None, "test": None})
        else:
            self.update()

    def reset(self):
        """The scene is going to be closed: stop a run, and forget its result."""
        self._cancelled = True
        self._result.clear()
        self._say("")

    def update(self, *_event):
        """Follow the parameter node: what is chosen, and whether and why not Apply can be pressed."""
        chosen = self._parameterNode
        if chosen is None or slicer.mrmlScene.IsImporting():  # nodes that come with a scene get their segments last
            return
        self._follow({"reference": chosen.referenceNode, "test": chosen.testNode})
        for parameter, combo in self._combos.items():
            combo.setCurrentIndex(combo.findData(getattr(chosen, parameter)))
        for parameter, edit in self._edits.items():
            if edit.text != getattr(chosen, parameter):  # setting the text moves the cursor
                edit.text = getattr(chosen, parameter)
        for widget in (self.ui.percentilesLineEdit, self.ui.tolerancesLineEdit, self.ui.surfaceComboBox):
            widget.enabled = chosen.measureSurface
        self.ui.marginSpinBox.enabled = chosen.region == "union"
        self._updateApply()

    def _updateApply(self):
        try:
            self._settings, wrong = self.logic.settings(self._parameterNode), ""
        except InputError as error:
            wrong = str(error)
        self.ui.settingsMessageLabel.text = wrong
        reason = self._reasonNotToApply() or wrong
        self.ui.applyButton.enabled = not reason and not self._running
        self.ui.applyButton.toolTip = reason or _("Compare the test with the reference.")

    def _reasonNotToApply(self) -> str:
        chosen = self._parameterNode
        if chosen.referenceNode is None:
            return _("Choose the reference.")
        if chosen.testNode is None:
            return _("Choose the test.")
        for side, node in self._nodes.items():
            if not self._segments[side]:
                return _("{name} has no segments.").format(name=node.GetName())
        if bool(chosen.referenceSegmentId) != bool(chosen.testSegmentId):
            return _("Choose a segment on both sides, or on none.")
        if chosen.referenceNode is chosen.testNode and chosen.referenceSegmentId == chosen.testSegmentId:
            return _("Reference and test are the same. Choose another test, or two segments.")
        return ""

    def _connect(self, signal, parameter: str, read):
        """Keep what the user chooses in a widget that the parameter node does not know."""

        def onChanged(*_value):
            if self._parameterNode is not None and read() not in (None, getattr(self._parameterNode, parameter)):
                setattr(self._parameterNode, parameter, read())

        signal.connect(onChanged)

    def _follow(self, nodes: dict):
        """List the segments of these nodes, and keep the lists up to date."""
        if all(self._nodes[side] is node for side, node in nodes.items()):
            return
        self.removeObservers()
        self._nodes = dict(nodes)
        for node in {id(node): node for node in nodes.values() if node is not None}.values():
            events = [vtk.vtkCommand.ModifiedEvent]
            if node.IsA("vtkMRMLSegmentationNode"):
                kinds = slicer.vtkSegmentation
                events += [kinds.SegmentAdded, kinds.SegmentRemoved, kinds.SegmentModified]
            elif node.IsA("vtkMRMLLabelMapVolumeNode"):
                events.append(slicer.vtkMRMLVolumeNode.ImageDataModifiedEvent)
            for event in events:
                self.addObserver(node, event, self._onNodeModified)
        self._listSegments()

    def _onNodeModified(self, *_event):
        if not self._running and not slicer.mrmlScene.IsImporting():
            self._listSegments()
            self.update()

    def _listSegments(self):
        """Fill both combo boxes. A segment that is no longer there is no longer chosen."""
        for side, node in self._nodes.items():
            segments = self.logic.listSegments(node)
            combo = self._combos[f"{side}SegmentId"]
            if segments != self._segments[side] or not combo.count:
                self._segments[side] = segments
                combo.blockSignals(True)
                combo.clear()
                for identifier, name in [("", _("(all matching segments)")), *segments]:
                    combo.addItem(name, identifier)
                combo.blockSignals(False)
            chosen = getattr(self._parameterNode, f"{side}SegmentId", "")
            if chosen and chosen not in [identifier for identifier, _name in segments]:
                setattr(self._parameterNode, f"{side}SegmentId", "")

    def onCancelButton(self):
        self._cancelled = True
        self.ui.cancelButton.enabled = False
        self._say(_("Canceling…"))

    def onApplyButton(self):
        """Compare. Errors that a user can mend are shown in the panel; nothing is written then."""
        if self._running or self._parameterNode is None:
            return
        self._setRunning(True)
        try:
            self._compare(self._parameterNode)
        except Cancelled as error:
            self._say(str(error))
        except MedSegAIError as error:
            logging.error(str(error))
            self._say(str(error))
        except Exception:
            self._say(_("The comparison failed for a reason we did not foresee. See the error log."))
            raise
        finally:
            self._setRunning(False)

    def _compare(self, chosen):
        comparison = self.logic.compare(
            chosen.referenceNode,
            chosen.testNode,
            referenceSegmentId=chosen.referenceSegmentId or None,
            testSegmentId=chosen.testSegmentId or None,
            progress=self._onProgress,
            cancelled=lambda: self._cancelled,
            **self._settings,
        )
        if self._cancelled:  # during the last segment
            raise Cancelled("Cancelled: the comparison was not finished.")
        self._result.show(comparison, chosen.outputTable)

    def _onProgress(self, fraction, message):
        """Let the window live between segments. Everything may happen in here: the scene may even be closed."""
        self.ui.progressBar.value = round(fraction * self.ui.progressBar.maximum)
        if not self._cancelled:
            self._say(_("Comparing {name}…").format(name=message))
        slicer.app.processEvents()

    def _setRunning(self, running):
        self._running, self._cancelled = running, False
        ui = self.ui
        for section in (ui.inputsCollapsibleButton, ui.outputsCollapsibleButton, ui.settingsCollapsibleButton):
            section.enabled = not running
        ui.resultsCollapsibleButton.enabled = not running
        ui.cancelButton.enabled = running
        ui.progressBar.visible = running
        ui.progressBar.value = 0
        if running:
            ui.applyButton.enabled = False
            self._say(_("Preparing…"))
            slicer.app.processEvents()
        else:
            self.update()

    def _say(self, text: str):
        self.ui.statusLabel.text = text


class _Result:
    """The section that shows a comparison, and its buttons. ``say``: a function that shows a sentence."""

    def __init__(self, ui, logic, say):
        self.ui, self.logic, self._say = ui, logic, say
        self._comparison, self._tableId, self._charts = None, "", {}
        self._columns: list[Measure] = []
        self._keys: list[str] = []  # of the rows, from the top
        actions = {
            ui.showTableButton: self.showTable,
            ui.plotButton: self.showPlot,
            ui.saveCsvButton: self.saveCsv,
            ui.errorSegmentsButton: self.createErrorSegments,
            ui.distanceModelButton: self.createDistanceModel,
        }
        for button, action in actions.items():
            self._connect(button, action)
        ui.resultsTable.horizontalHeader().sortIndicatorChanged.connect(self._fillRows)

    def _connect(self, button, action):
        """Do the action on a click; what it returns, or why it failed, is shown."""

        def onClicked(*_checked):
            try:
                text = action()
            except MedSegAIError as error:
                logging.error(str(error))
                text = str(error)
            if text:
                self._say(text)

        button.clicked.connect(onClicked)

    def clear(self):
        """Forget the comparison and hide the section."""
        self._comparison, self._tableId, self._charts, self._keys = None, "", {}, []
        self.ui.resultsTable.setRowCount(0)
        self.ui.resultsCollapsibleButton.visible = False

    def show(self, comparison, tableNode):
        """Write the table node (None makes a new one) and show the comparison."""
        self._comparison, self._charts = comparison, {}
        node = self.logic.createTable(comparison, tableNode=tableNode)
        self._tableId = node.GetID()
        self._columns = self.logic.summaryMeasures(comparison)
        table = self.ui.resultsTable
        table.setColumnCount(1 + len(self._columns))
        headers = [(_("Segment"), _("Click a header to sort. How the segments were matched is in the tool tips."))]
        headers += [(_header(measure), _definition(measure)) for measure in self._columns]
        for column, (text, tip) in enumerate(headers):
            item = qt.QTableWidgetItem(text)
            item.setToolTip(tip)
            table.setHorizontalHeaderItem(column, item)
            mode = qt.QHeaderView.ResizeToContents if column else qt.QHeaderView.Stretch
            table.horizontalHeader().setSectionResizeMode(column, mode)
        table.horizontalHeader().setSortIndicator(-1, qt.Qt.AscendingOrder)
        self._fillRows(-1, qt.Qt.AscendingOrder)
        self.ui.notesLabel.text = "\n".join([*self.logic.matchSentences(comparison), *comparison.notes])
        self.ui.resultsCollapsibleButton.visible = True
        reference, test = comparison.names
        done = _("Done: {test} compared with {reference}. All measures are in the table {table}.")
        self._say(done.format(test=test, reference=reference, table=node.GetName()))

    def _fillRows(self, column, order):
        """Fill the rows, sorted by a column (-1: as compared). What is not defined comes last."""
        if self._comparison is None:
            return
        table, selected = self.ui.resultsTable, self._selected()
        self._keys = self._sorted(column, order == qt.Qt.DescendingOrder)
        table.setRowCount(len(self._keys))
        for row, key in enumerate(self._keys):
            match = self._comparison.matches[key]
            name = qt.QTableWidgetItem(match.label.name)
            name.setData(qt.Qt.DecorationRole, qt.QColor.fromRgbF(*match.label.color))
            name.setToolTip(str(match))
            table.setItem(row, 0, name)
            for number, measure in enumerate(self._columns, start=1):
                item = qt.QTableWidgetItem(_text(self._comparison[key][measure.name], measure))
                item.setTextAlignment(qt.Qt.AlignRight | qt.Qt.AlignVCenter)
                item.setToolTip(self._comparison.reasons[key].get(measure.name, ""))
                table.setItem(row, number, item)
        if self._keys:
            table.selectRow(self._keys.index(selected) if selected in self._keys else 0)

    def _sorted(self, column: int, descending: bool) -> list[str]:
        keys = list(self._comparison)
        if column == 0:
            return sorted(keys, key=lambda key: self._comparison.matches[key].label.name.casefold(), reverse=descending)
        if not 0 < column <= len(self._columns):
            return keys
        values = {key: self._comparison[key][self._columns[column - 1].name] for key in keys}
        defined = [key for key in keys if not math.isnan(values[key])]
        return sorted(defined, key=values.get, reverse=descending) + [key for key in keys if math.isnan(values[key])]

    def _selected(self) -> str:
        """The id of the selected row's segment."""
        row = self.ui.resultsTable.currentRow()
        return self._keys[row] if 0 <= row < len(self._keys) else ""

    def _table(self):
        """The table node; it is written again if somebody has deleted it."""
        node = slicer.mrmlScene.GetNodeByID(self._tableId)
        if node is None:
            node = self.logic.createTable(self._comparison)
            self._tableId, self._charts = node.GetID(), {}
        return node

    def showTable(self) -> str:
        table, layoutManager = self._table(), slicer.app.layoutManager()
        if layoutManager is not None:
            layoutManager.setLayout(slicer.modules.tables.logic().GetLayoutWithTable(layoutManager.layout))
            slicer.app.applicationLogic().GetSelectionNode().SetActiveTableID(table.GetID())
            slicer.app.applicationLogic().PropagateTableSelection()
        return _("All measures are in the table {table}.").format(table=table.GetName())

    def showPlot(self) -> str:
        table, column = self._table(), self.ui.resultsTable.currentColumn()
        measure = self._columns[max(column, 1) - 1]
        chart = slicer.mrmlScene.GetNodeByID(self._charts.get(measure.name, ""))
        if chart is None:
            chart = self.logic.createPlot(table, measure.name)
            self._charts[measure.name] = chart.GetID()
        if slicer.app.layoutManager() is not None:
            slicer.modules.plots.logic().ShowChartInLayout(chart)
        return _("Plotted: {chart}.").format(chart=chart.GetName())

    def saveCsv(self) -> str:
        name = re.sub(r"[^\w. -]", "_", self._table().GetName()) + ".csv"
        path = qt.QFileDialog.getSaveFileName(slicer.util.mainWindow(), _("Save CSV"), name, "CSV (*.csv)")
        if not path:
            return ""
        written = self.logic.writeCsv(self._comparison, path if "." in path.split("/")[-1] else path + ".csv")
        return _("Saved: {path}").format(path=written)

    def createErrorSegments(self) -> str:
        node = self.logic.createErrorSegments(self._comparison, [self._selected()])
        return _("Created the segmentation {name}.").format(name=node.GetName())

    def createDistanceModel(self) -> str:
        node = self.logic.createDistanceModel(self._comparison, self._selected())
        if slicer.app.layoutManager() is not None:
            slicer.util.resetThreeDViews()
        return _("Created the model {name}.").format(name=node.GetName())


def _header(measure: Measure) -> str:
    """The short name that people use, and the unit or tolerance in a second line."""
    short = re.match(r"(dice|hd[\d.]+|assd|nsd)(?=_|$)", measure.name)
    if not short:
        return measure.title.replace(" ", "\n", 1)
    name = "Dice" if short[0] == "dice" else short[0].upper()
    detail = f"{measure.value:g} mm" if measure.parameter == "tolerance_mm" else measure.unit
    return f"{name}\n{detail}".strip()


def _definition(measure: Measure) -> str:
    unit = f" ({measure.unit})" if measure.unit else ""
    return f"{measure.title}{unit}: {measure.description}"


def _text(value: float, measure: Measure) -> str:
    if math.isnan(value):
        return "–"
    digits = {"": 3, "voxels": 0, "lesions": 0}.get(measure.unit, 2)
    return f"{value:.{digits}f}"
