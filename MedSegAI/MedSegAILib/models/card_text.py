"""A model's card as a page to read: what it is for and not for, how good it is, and on whom that was measured."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from html import escape
from typing import Any

from MedSegAILib.models.card import PATIENT_AXES, ExpectedInput, ModelCard, Performance
from MedSegAILib.models.model import Model


def card_html(model: Model, _: Callable[[str], str] = str) -> str:
    """HTML for a text browser; all of the card's own text is escaped. ``_`` translates the headings."""
    head = f"<h2>{escape(model.title)}</h2>"
    about = f"{model.id}, {_('version')} {model.version}, {model.format}, {model.configuration_name}"
    parts = [head, f"<p>{escape(about)}</p>", *_facts(model, _)]
    if model.card is None:
        missing = _("This model has no model card: what it is for and how good it is is unknown.")
        parts.insert(2, f"<p><b>{escape(missing)}</b></p>")
    return "\n".join(parts)


def _facts(model: Model, _) -> list[str]:
    card = model.card
    parts = []
    if card is not None:
        parts += _section(_("What it is for"), [card.intended_use])
        parts += _section(_("What it is not for"), card.not_for)
    parts += _section(_("Segments"), [label.name for label in model.labels])
    parts += _section(_("What it expects"), [*_expected(card.input if card else None, _), *_channels(model, _)])
    if card is not None:
        parts += _performance(card.performance, _)
        parts += _section(_("Where it does badly"), card.limitations)
        parts += _section(_("How it was trained"), [f"{_word(key)}: {value}" for key, value in card.training.items()])
        parts += _section(_("Please cite"), card.citation)
        parts += _section(_("License"), [card.license])
    return [*parts, *_sums(card, _)]


def _section(title: str, texts: Iterable[str]) -> list[str]:
    texts = [escape(str(text)) for text in texts if str(text).strip()]
    if not texts:
        return []
    content = f"<p>{texts[0]}</p>" if len(texts) == 1 else "<ul>" + "".join(f"<li>{t}</li>" for t in texts) + "</ul>"
    return [f"<h3>{escape(title)}</h3>", content]


def _expected(expected: ExpectedInput | None, _) -> list[str]:
    if expected is None:
        return []
    lines = [expected.protocol]
    if expected.modality:
        lines.append(f"{_('Modality')}: {', '.join(expected.modality)}")
    for title, ranges in ((_("Voxel spacing"), expected.spacing_mm), (_("Extent"), expected.extent_mm)):
        if ranges:
            axes = ", ".join(f"{a} {low:g}-{high:g}" for a, (low, high) in zip(PATIENT_AXES, ranges, strict=True))
            lines.append(f"{title} (mm): {axes}")
    return lines


def _channels(model: Model, _) -> list[str]:
    names = model.channel_names
    return [f"{_('Volumes')}: {', '.join(names)}"] if len(names) > 1 else []


def channel_hint(model: Model, number: int) -> str:
    """In a few words, what the volume of a channel should be; empty if the card does not say."""
    expected = model.card.input if model.card else ExpectedInput()
    name = model.channel_names[number]
    rule = next((rule for rule in expected.channels if rule.name == name), None)
    several = len(model.channel_names) > 1
    modality = (rule.modality if rule and rule.modality else expected.modality) or ()
    words = [" or ".join(modality)] if modality else []
    if expected.spacing_mm and number == 0:
        words.append(_spacing(expected.spacing_mm))
    return ", ".join(words) if several or not expected.protocol else expected.protocol


def _spacing(ranges: Sequence[tuple[float, float]]) -> str:
    low, high = min(pair[0] for pair in ranges), max(pair[1] for pair in ranges)
    return f"{low:g} mm" if low == high else f"{low:g}-{high:g} mm"


def _performance(measured: Sequence[Performance], _) -> list[str]:
    if not measured:
        return _section(_("How good it is"), [_("Nothing was measured.")])
    rows = "".join(
        f"<tr><td>{escape(p.structure)}</td><td>{escape(p.measure)}</td>"
        f"<td align='right'><b>{p.value:.3g}</b><br>{p.ci95[0]:.3g}-{p.ci95[1]:.3g}</td>"
        f"<td align='right'>{p.n}</td></tr>"
        for p in measured
    )
    titles = (_("Segment"), _("Measure"), _("Mean, 95 % interval"), _("Cases"))
    header = "".join(f"<th align='left'>{escape(title)}</th>" for title in titles)
    table = f"<table border='0' cellspacing='0' cellpadding='4'><tr>{header}</tr>{rows}</table>"
    on_whom = dict.fromkeys(p.cases for p in measured if p.cases)
    about = f"<p>{escape(_('Measured on'))}: {escape('; '.join(on_whom))}</p>" if on_whom else ""
    return [f"<h3>{escape(_('How good it is'))}</h3>", table, about]


def _sums(card: ModelCard | None, _) -> list[str]:
    if card is None or not card.weights_sha256:
        return []
    rows = "".join(
        f"<tr><td>{escape(name)}</td><td><tt>{escape(value)}</tt></td></tr>"
        for name, value in card.weights_sha256.items()
    )
    return [f"<h3>{escape(_('Files (SHA-256)'))}</h3>", f"<table border='0' cellpadding='2'>{rows}</table>"]


def _word(key: Any) -> str:
    return str(key).replace("_", " ").capitalize()
