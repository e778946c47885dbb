"""The log of a training run: ``progress.csv``, one line a validation, and its plot ``progress.png``."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from MedSegAICore.files import atomic_path


class ProgressLog:
    """Appends lines to ``progress.csv`` and redraws ``progress.png``; ``fresh`` begins a new file."""

    def __init__(self, folder: Path, class_names: Sequence[str], *, fresh: bool):
        self.table, self.picture = Path(folder) / "progress.csv", Path(folder) / "progress.png"
        self.class_names = list(class_names)
        self.columns = ["iteration", "minutes", "learning_rate", "training_loss", *self._dice_columns()]
        if fresh or not self.table.is_file():
            with open(self.table, "w", newline="", encoding="utf-8") as file:
                csv.writer(file).writerow(self.columns)

    def _dice_columns(self) -> list[str]:
        return [f"validation_dice_{name}" for name in self.class_names]

    def append(
        self, iteration: int, seconds: float, learning_rate: float, training_loss: float, dice: Mapping[str, float]
    ):
        """One line; ``dice`` by class name may be empty if the fold has no validation cases."""
        values = [f"{dice[name]:.4f}" if name in dice else "" for name in self.class_names]
        line = [iteration, f"{seconds / 60:.2f}", f"{learning_rate:.3g}", f"{training_loss:.4f}", *values]
        with open(self.table, "a", newline="", encoding="utf-8") as file:
            csv.writer(file).writerow(line)
        self.draw()

    def rows(self) -> list[dict[str, str]]:
        with open(self.table, newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    def draw(self):
        """Loss and validation Dice against minutes. Skipped where matplotlib is not installed: the CSV has it all."""
        try:
            from matplotlib.backends.backend_agg import FigureCanvasAgg
            from matplotlib.figure import Figure
        except ImportError:
            return
        rows = self.rows()
        minutes = [float(row["minutes"]) for row in rows]
        figure = Figure(figsize=(8, 4.5), dpi=120, layout="constrained")
        FigureCanvasAgg(figure)
        loss_axes = figure.subplots()
        loss_axes.plot(minutes, [float(row["training_loss"]) for row in rows], color="0.5", label="training loss")
        loss_axes.set(xlabel="training time (minutes)", ylabel="training loss")
        loss_axes.spines[["top"]].set_visible(False)
        dice_axes = loss_axes.twinx()
        dice_axes.set(ylabel="validation Dice", ylim=(0.5, 1.0))
        dice_axes.spines[["top"]].set_visible(False)
        for number, (name, column) in enumerate(zip(self.class_names, self._dice_columns(), strict=True)):
            points = [(m, float(row[column])) for m, row in zip(minutes, rows, strict=True) if row[column]]
            if points:
                label = f"{name} (last {points[-1][1]:.3f})"
                dice_axes.plot(*zip(*points, strict=True), color=f"C{number}", marker=".", label=label)
        lines = loss_axes.get_lines() + dice_axes.get_lines()
        loss_axes.legend(lines, [line.get_label() for line in lines], loc="upper center", frameon=False, ncols=3)
        with atomic_path(self.picture) as temporary:
            figure.savefig(temporary, format="png")
