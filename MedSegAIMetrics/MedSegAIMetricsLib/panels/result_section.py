"""The second section of the panel: all comparisons of the scene, their numbers, and where the segments differ."""

from __future__ import annotations

import logging
import re

import qt
import slicer
import vtk
from slicer.i18n import tr as _

from MedSegAICore.errors import MedSegAIError
from MedSegAICore.panels.section import Section
from MedSegAIMetricsLib.panels.result_table import ResultTable


class ResultSection(Section):
    """Connects the widgets of Results.ui with the logic. It computes nothing.

    What it shows is read from the chosen table node, so a saved and loaded scene shows it again.
    """

    def __init__(self, path, logic):
        super().__init__(path, logic)
        ui = self.ui
        self.table = ResultTable(ui.resultsTable)
        self._comparison, self._shown, self._charts = None, None, {}
        self._observed = []
        self._historyTip = ui.historyComboBox.toolTip
        actions = {
            ui.useAgainButton: self.useAgain,
            ui.worstSliceButton: self.showWorstSlices,
            ui.errorSegmentsButton: self.createErrorSegments,
            ui.distanceModelButton: self.createDistanceModel,
            ui.showTableButton: self.showTable,
            ui.plotButton: self.showPlot,
            ui.copyCsvButton: self.copyCsv,
            ui.saveCsvButton: self.saveCsv,
        }
        for button, action in actions.items():
            self._connect(button, action)
        ui.historyComboBox.currentIndexChanged.connect(self.onHistoryChosen)
        self.say("")
        ui.resultsCollapsibleButton.visible = False

    def _connect(self, button, action):
        """Do the action on a click; what it returns, or why it failed, is shown."""

        def onClicked(*_checked):
            try:
                self.say(action())
            except MedSegAIError as error:
                logging.error("%s in the results.", type(error).__name__)  # the sentence may hold a name
                self.say(str(error))

        button.clicked.connect(onClicked)

    def say(self, text: str):
        self.ui.messageLabel.text = text
        self.ui.messageLabel.visible = bool(text)

    # ---- what is shown ---------------------------------------------------------------------------------------------

    def setParameterNode(self, parameterNode):
        scene = slicer.mrmlScene
        for event in (scene.NodeAddedEvent, scene.NodeRemovedEvent):
            if parameterNode is not None and not self.hasObserver(scene, event, self._onSceneModified):
                self.addObserver(scene, event, self._onSceneModified)
            elif parameterNode is None and self.hasObserver(scene, event, self._onSceneModified):
                self.removeObserver(scene, event, self._onSceneModified)
        super().setParameterNode(parameterNode)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _onSceneModified(self, _caller, _event, node):
        scene = slicer.mrmlScene
        if node.IsA("vtkMRMLTableNode") and not (scene.IsImporting() or scene.IsClosing()):
            self.update()

    def _onTableModified(self, *_event):
        if not slicer.mrmlScene.IsImporting():
            self._shown = None
            self.update()

    def closeScene(self):
        self._charts.clear()  # the next scene uses the same IDs for other charts
        self._show(None)

    def cleanup(self):
        self._show(None)

    def update(self):
        """List the comparisons and show the chosen one, or the newest if none is."""
        if self.parameterNode is None:
            return
        tables = self.logic.listTables()
        self._observe(tables)
        chosen = self.parameterNode.resultTable
        chosen = chosen if chosen in tables else next(iter(tables), None)
        self._list(tables, chosen)
        shown = (chosen, self.parameterNode.allMeasures)
        if shown != self._shown:
            self._show(*shown)

    def _observe(self, tables):
        """Follow the names and the content of these nodes."""
        for node in self._observed:
            if node not in tables:
                self.removeObserver(node, vtk.vtkCommand.ModifiedEvent, self._onTableModified)
        for node in tables:
            if node not in self._observed:
                self.addObserver(node, vtk.vtkCommand.ModifiedEvent, self._onTableModified)
        self._observed = tables

    def _list(self, tables, chosen):
        combo = self.ui.historyComboBox
        combo.blockSignals(True)
        combo.clear()
        for index, (identifier, title) in enumerate([(node.GetID(), self.logic.tableTitle(node)) for node in tables]):
            combo.addItem(title, identifier)
            combo.setItemData(index, title, qt.Qt.ToolTipRole)
        combo.setCurrentIndex(tables.index(chosen) if chosen is not None else -1)
        combo.toolTip = "\n".join(filter(None, [combo.currentText, self._historyTip]))  # a long name is cut
        combo.blockSignals(False)
        self.ui.resultsCollapsibleButton.visible = bool(tables)

    def _show(self, tableNode, all_measures: bool = False):
        """Show a comparison; None clears the section."""
        same, self._shown = bool(self._shown) and self._shown[0] is tableNode, (tableNode, all_measures)
        if not same:
            self._comparison = None
            self.say("")
        wrong = ""
        if tableNode is not None and self._comparison is None:
            try:
                self._comparison = self.logic.readTable(tableNode)
            except MedSegAIError as error:
                wrong = str(error)
        comparison = self._comparison
        measures = [] if comparison is None else self.logic.shownMeasures(comparison, all_measures)
        self.table.show(comparison, measures)
        notes = [] if comparison is None else [*self.logic.matchSentences(comparison), *comparison.notes]
        self.ui.notesLabel.text = wrong or "\n".join(notes)
        rows = (self.ui.worstSliceButton, self.ui.errorSegmentsButton, self.ui.distanceModelButton, self.ui.plotButton)
        for button in (*rows, self.ui.copyCsvButton, self.ui.saveCsvButton, self.ui.useAgainButton):
            button.enabled = comparison is not None and bool(comparison or button not in rows)

    def onHistoryChosen(self, *_index):
        combo = self.ui.historyComboBox  # Qt 5 passes the text or the index, depending on the overload
        node = slicer.mrmlScene.GetNodeByID(combo.itemData(combo.currentIndex) or "")
        if self.parameterNode is not None and node is not None:
            self.parameterNode.resultTable = node

    # ---- actions ---------------------------------------------------------------------------------------------------

    @property
    def _tableNode(self):
        return self._shown[0]

    def useAgain(self) -> str:
        self.logic.useAgain(self.parameterNode, self._tableNode)
        return _("The settings of this comparison are chosen above.")

    def showWorstSlices(self) -> str:
        key = self.table.selectedKey()
        planes = self.logic.showWorstSlices(self._comparison, key)
        name = self._comparison.matches[key].label.name
        if not planes:
            return _("There is no slice view to move.")
        if not any(plane.area_mm2 for plane in planes.values()):
            return _("Reference and test of {name} are equal. The views show where it is largest.").format(name=name)
        areas = ", ".join(f"{view} {plane.area_mm2:.3g} mm²" for view, plane in planes.items())
        return _("The views show where most of {name} differs: {areas}.").format(name=name, areas=areas)

    def createErrorSegments(self) -> str:
        node = self.logic.createErrorSegments(self._comparison, [self.table.selectedKey()])
        return _("Created the segmentation {name}.").format(name=node.GetName())

    def createDistanceModel(self) -> str:
        node = self.logic.createDistanceModel(self._comparison, self.table.selectedKey())
        if slicer.app.layoutManager() is not None:
            slicer.util.resetThreeDViews()
        return _("Created the model {name}.").format(name=node.GetName())

    def showTable(self) -> str:
        node, layoutManager = self._tableNode, slicer.app.layoutManager()
        if layoutManager is not None:
            layoutManager.setLayout(slicer.modules.tables.logic().GetLayoutWithTable(layoutManager.layout))
            slicer.app.applicationLogic().GetSelectionNode().SetActiveTableID(node.GetID())
            slicer.app.applicationLogic().PropagateTableSelection()
        return _("All measures are in the table {table}.").format(table=node.GetName())

    def showPlot(self) -> str:
        measure = self.table.selectedMeasure()
        known = (self._tableNode.GetID(), measure.name)
        chart = slicer.mrmlScene.GetNodeByID(self._charts.get(known, ""))
        if chart is None:
            chart = self.logic.createPlot(self._tableNode, measure.name)
            self._charts[known] = chart.GetID()
        if slicer.app.layoutManager() is not None:
            slicer.modules.plots.logic().ShowChartInLayout(chart)
        return _("Plotted: {chart}.").format(chart=chart.GetName())

    def copyCsv(self) -> str:
        qt.QApplication.clipboard().setText(self.logic.csvText(self._comparison))
        count = len(self._comparison.measures)
        return _("Copied: {count} measures of each segment, as CSV.").format(count=count)

    def saveCsv(self) -> str:
        name = re.sub(r"[^\w. -]", "_", self._tableNode.GetName()) + ".csv"
        path = qt.QFileDialog.getSaveFileName(slicer.util.mainWindow(), _("Save CSV"), name, "CSV (*.csv)")
        if not path:
            return ""
        written = self.logic.writeCsv(self._comparison, path if "." in path.split("/")[-1] else path + ".csv")
        return _("Saved: {path}").format(path=written)
