"""The manual's table of the fine-tuning example, made from both reports in assets/evaluation/fine-tuning."""

import csv
import json
from pathlib import Path

REPORTS = Path(__file__).resolve().parent.parent / "assets" / "evaluation" / "fine-tuning"
ROWS = ("PQ", "PQ things", "PQ stuff", "boundary F", "mIoU", "pixel accuracy", "calibration error")


def _figures(name: str) -> dict[str, str]:
    """A report's figures with their intervals, as text."""
    with (REPORTS / name / "summary.csv").open(encoding="utf-8", newline="") as file:
        rows = {row["metric"]: row for row in csv.DictReader(file)}
    return {
        name: f"{float(row['value']):.1f} [{float(row['low']):.1f}, {float(row['high']):.1f}]"
        for name, row in rows.items()
        if row["value"] and row["low"]
    }


def _classes(name: str) -> dict[str, str]:
    """The PQ of each class of a report, as text."""
    with (REPORTS / name / "per_class.csv").open(encoding="utf-8", newline="") as file:
        return {row["class"]: f"{float(row['PQ']):.1f}" for row in csv.DictReader(file) if row["PQ"]}


def table() -> str:
    """Before and after in Markdown; a sentence where the reports are not there."""
    if not (REPORTS / "after" / "summary.csv").is_file():
        return "This checkout has no reports of the example; the commands above write them.\n"
    before, after = _figures("before"), _figures("after")
    lines = ["| 33 photos, percent with 95 % intervals | XS as shipped | after fine-tuning |", "| --- | --- | --- |"]
    lines += [f"| {name} | {before[name]} | {after[name]} |" for name in ROWS]
    first, then = _classes("before"), _classes("after")
    lines += [f"| PQ of *{name}* | {first[name]} | {then[name]} |" for name in first]
    steps = json.loads((REPORTS / "training.json").read_text(encoding="utf-8"))
    lines += ["", f"The run made {steps['steps']} steps of {steps['batch']} photos, {steps['sentence']}", ""]
    return "\n".join(lines)


def write(path: Path) -> None:
    """Writes the table to `path`."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(table(), encoding="utf-8")
