"""Pictures of panels, and the texts in them that do not fit."""

from __future__ import annotations

import pytest

LONG = "A sentence that is certainly wider than a hundred pixels"


@pytest.fixture
def panel(medsegai):
    import qt

    widget = qt.QWidget()
    qt.QVBoxLayout(widget)
    return widget


def test_a_picture_has_the_width_asked_for(panel, tmp_path):
    import qt

    from harness import picture

    panel.layout().addWidget(qt.QLabel("short"))
    assert picture.save(panel, tmp_path / "panel.png", width=400) == []
    assert qt.QImage(str(tmp_path / "panel.png")).width() == 400


def test_a_label_that_wraps_gets_the_height_it_needs(panel, tmp_path):
    import qt

    from harness import picture

    label = qt.QLabel(LONG)
    label.wordWrap = True
    panel.layout().addWidget(label)
    assert picture.save(panel, tmp_path / "panel.png", width=200) == []
    assert qt.QImage(str(tmp_path / "panel.png")).height() > 2 * label.fontMetrics().height()


@pytest.mark.parametrize("name", ["QLabel", "QPushButton", "QCheckBox", "QToolButton", "QRadioButton", "QGroupBox"])
def test_a_text_in_too_little_room_is_reported(panel, name):
    import qt

    from harness import picture

    widget = getattr(qt, name)(panel)
    setattr(widget, "title" if name == "QGroupBox" else "text", LONG)
    widget.setFixedWidth(100)
    panel.layout().addWidget(widget)
    picture.lay_out(panel, 400)
    (line,) = picture.cut_texts(panel)
    assert LONG in line


def test_a_panel_that_is_wider_than_the_picture_is_reported(panel, tmp_path):
    import qt

    from harness import picture

    panel.layout().addWidget(qt.QPushButton(LONG))
    lines = picture.save(panel, tmp_path / "panel.png", width=150)
    assert "needs a width of" in lines[0]


def test_a_label_too_low_for_its_lines_is_reported(panel):
    import qt

    from harness import picture

    label = qt.QLabel(LONG)
    label.wordWrap = True
    label.setFixedHeight(label.fontMetrics().height())
    panel.layout().addWidget(label)
    picture.lay_out(panel, 150)
    assert any(LONG in line for line in picture.cut_texts(panel))


def test_hidden_widgets_and_node_names_are_not_reported(panel):
    import qt
    import slicer

    from harness import picture

    hidden = qt.QLabel(LONG)
    panel.layout().addWidget(hidden)
    hidden.hide()
    selector = slicer.qMRMLNodeComboBox()
    selector.nodeTypes, selector.noneEnabled, selector.noneDisplay = ["vtkMRMLModelNode"], True, LONG
    selector.setMRMLScene(slicer.mrmlScene)
    selector.setFixedWidth(80)
    panel.layout().addWidget(selector)
    picture.lay_out(panel, 400)
    assert picture.cut_texts(panel) == []


def test_a_cut_title_of_a_column_is_reported(panel):
    import qt

    from harness import picture

    table = qt.QTableWidget(1, 2)
    table.setHorizontalHeaderLabels(["Dice", LONG])
    table.setColumnWidth(1, 60)
    panel.layout().addWidget(table)
    picture.lay_out(panel, 400)
    (line,) = picture.cut_texts(panel)
    assert LONG in line


def test_what_is_folded_away_stays_hidden_when_it_was(panel):
    """The collapsible button shows again only what it hid."""
    import ctk
    import qt

    from harness import picture

    button = ctk.ctkCollapsibleButton()
    button.text = "Advanced"
    qt.QVBoxLayout(button)
    shown, hidden = qt.QLabel("shown"), qt.QLabel("hidden")
    for label in (shown, hidden):
        button.layout().addWidget(label)
    panel.layout().addWidget(button)
    picture.lay_out(panel, 400)
    hidden.hide()
    opened = panel.sizeHint().height()
    states = []
    button.contentsCollapsed.connect(states.append)
    button.collapsed = True
    assert not shown.isVisible()
    picture.lay_out(panel, 400)
    assert panel.sizeHint().height() < opened
    button.click()
    assert (shown.isVisible(), hidden.isVisible()) == (True, False)
    assert states == [True, False]
