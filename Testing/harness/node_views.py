"""Stand-ins for the table view and the plot view of a layout: they show what their view nodes refer to."""

from __future__ import annotations

import slicer
import vtk
from PySide6 import QtGui, QtWidgets

from harness.mrml_widgets import qMRMLWidget
from harness.pythonqt import Strict
from harness.tables import qMRMLTableView
from harness.view_widgets import stack_with_bar
from harness.widget_parts import Observers
from MedSegAICore.headless_stage import _capture


class qMRMLTableWidget(qMRMLWidget):
    """The table that the layout shows: the application's active one."""

    _is_cpp = True

    def __init__(self, node):
        super().__init__()
        self._node, self._observers = node, Observers()
        self._view = qMRMLTableView()
        self._view.setMRMLScene(slicer.mrmlScene)
        stack_with_bar(self, node, self._view)
        self._observers.add(node, [vtk.vtkCommand.ModifiedEvent], self._show)
        self._show()

    def mrmlTableViewNode(self):
        return self._node

    def tableView(self):
        return self._view

    def _show(self):
        if self._view.mrmlTableNode() is not self._node.GetTableNode():
            self._view.setMRMLTableNode(self._node.GetTableNode())

    def _view_node(self):
        return self._node

    def _close(self):
        self._observers.clear()
        self._view.setMRMLTableNode(None)


class qMRMLPlotView(Strict, QtWidgets.QWidget):
    """A chart that VTK draws from a plot chart node. As in Slicer, bars stand at the numbers of their rows."""

    _is_cpp = True

    def __init__(self, node):
        super().__init__()
        self._node, self._observers, self._charted = node, Observers(), Observers()
        self.setSizePolicy(QtWidgets.QSizePolicy.Expanding, QtWidgets.QSizePolicy.Expanding)
        self._observers.add(node, [vtk.vtkCommand.ModifiedEvent], self._node_changed)
        self._node_changed()

    def fitToContent(self):
        self.update()

    def _node_changed(self):
        chart = self._node.GetPlotChartNode()
        self._charted.replace(chart, [vtk.vtkCommand.ModifiedEvent], self.fitToContent)
        self.update()

    def paintEvent(self, event):
        painter = QtGui.QPainter(self)
        chart = self._node.GetPlotChartNode()
        if chart is None:
            painter.fillRect(self.rect, QtGui.QColor("white"))
        else:
            pixels = _draw_chart(chart, (max(self.rect.width(), 50), max(self.rect.height(), 50)))
            height, width, _ = pixels.shape
            image = QtGui.QImage(pixels.tobytes(), width, height, 3 * width, QtGui.QImage.Format_RGB888)
            painter.drawImage(self.rect, image.copy())
        painter.end()


class qMRMLPlotWidget(qMRMLWidget):
    """The plot that the layout shows."""

    _is_cpp = True

    def __init__(self, node):
        super().__init__()
        self._node, self._view = node, qMRMLPlotView(node)
        stack_with_bar(self, node, self._view)

    def mrmlPlotViewNode(self):
        return self._node

    def plotView(self):
        return self._view

    def _view_node(self):
        return self._node

    def _close(self):
        self._view._observers.clear()
        self._view._charted.clear()


def _draw_chart(chart_node, size: tuple[int, int]):
    """An RGB picture (height, width, 3) of the chart."""
    view = vtk.vtkContextView()
    window = view.GetRenderWindow()
    window.SetOffScreenRendering(1)
    window.SetSize(*size)
    view.GetRenderer().SetBackground(1, 1, 1)
    chart = vtk.vtkChartXY()
    view.GetScene().AddItem(chart)
    for number in range(chart_node.GetNumberOfPlotSeriesNodes()):
        _add_series(chart, chart_node.GetNthPlotSeriesNode(number))
    chart.SetTitle((chart_node.GetTitle() or "") if chart_node.GetTitleVisibility() else "")
    chart.GetTitleProperties().SetFontSize(chart_node.GetTitleFontSize())
    chart.SetShowLegend(chart_node.GetLegendVisibility())
    axes = (
        (vtk.vtkAxis.BOTTOM, chart_node.GetXAxisTitle(), chart_node.GetXAxisRangeAuto(), chart_node.GetXAxisRange()),
        (vtk.vtkAxis.LEFT, chart_node.GetYAxisTitle(), chart_node.GetYAxisRangeAuto(), chart_node.GetYAxisRange()),
    )
    for place, title, automatic, limits in axes:
        axis = chart.GetAxis(place)
        axis.SetTitle(title or "")
        axis.SetGridVisible(chart_node.GetGridVisibility())
        axis.GetTitleProperties().SetFontSize(chart_node.GetAxisTitleFontSize())
        axis.GetLabelProperties().SetFontSize(chart_node.GetAxisLabelFontSize())
        if not automatic:
            axis.SetBehavior(vtk.vtkAxis.FIXED)
            axis.SetRange(*limits)
    return _capture(window)


def _add_series(chart, series):
    kind = slicer.vtkMRMLPlotSeriesNode
    table = series.GetTableNode().GetTable() if series is not None and series.GetTableNode() else None
    y_name, x_name = series.GetYColumnName(), series.GetXColumnName()
    if table is None or table.GetColumnByName(y_name) is None:
        return
    is_bar = series.GetPlotType() in (kind.PlotTypeBar, kind.PlotTypeScatterBar)
    plot = vtk.vtkPlotBar() if is_bar else vtk.vtkPlotLine()
    plot.SetColorF(*series.GetColor())
    plot.SetOpacity(series.GetOpacity())
    plot.SetWidth(series.GetLineWidth())
    if not is_bar:
        plot.SetMarkerStyle(series.GetMarkerStyle())
        plot.SetMarkerSize(series.GetMarkerSize())
        if series.GetLineStyle() == kind.LineStyleNone:
            plot.GetPen().SetLineType(vtk.vtkPen.NO_PEN)
    needs_x = series.IsXColumnRequired()
    plot.SetUseIndexForXSeries(not needs_x)
    plot.SetInputData(table, x_name if needs_x else y_name, y_name)
    plot.SetLabel(series.GetName() or "")
    chart.AddPlot(plot)
