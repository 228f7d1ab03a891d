"""A report as a browser sees it, and runs to report on."""

import html.parser
import json

import numpy as np

from configs import camvid
from rcc_jax.config import method_group
from rcc_jax.reporting import (
    palettes,
    prediction_sheet,
    sheets,
)

HOSTILE = '<script>alert("1")</script>&\'"'


CLASSES = ("road", HOSTILE, "tree")


VOID = {"meta", "img"}


class Page(html.parser.HTMLParser):
    """Elements with their attributes, tables by caption, and the order of tags."""

    def __init__(self, text):
        super().__init__()
        self.open, self.elements, self.tables, self.text = [], [], {}, None
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)
        if tag in ("caption", "th", "td"):
            self.text = ""
        if tag == "tr":
            self.row = []

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_data(self, data):
        if self.text is not None:
            self.text += data

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        if tag == "caption":
            self.rows = self.tables[self.text] = []
        if tag in ("th", "td"):
            self.row.append(self.text)
        if tag == "tr":
            self.rows.append(self.row)
        if tag in ("caption", "th", "td"):
            self.text = None


def write_run(folder, method, seed, scores, *, finished=True):
    folder.mkdir(parents=True)
    config = camvid.get_config(f"1_8,method={method},seed={seed}")
    config.data.class_names, config.data.num_classes = CLASSES, 3
    config.eval.pictures = 2
    (folder / "config.json").write_text(json.dumps(method_group.resolved(config)))
    lines = []
    for step, iou in enumerate(scores, start=1):
        lines.append({"step": step, "loss": 1 / step, "kept_ratio": None})
        known = [value for value in iou if value is not None]
        line = {"miou": sum(known) / len(known), "iou": dict(zip(CLASSES, iou, strict=True))}
        lines.append({"step": step, **line})
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "metrics.jsonl").write_text(text + '{"step": 99, "lo')
    (folder / "data.json").write_text(json.dumps({"val": 2}))
    environment = [{"after_step": 0, "commit": "abc", "packages": {"jax": HOSTILE}}]
    (folder / "environment.json").write_text(json.dumps(environment))
    if finished:
        (folder / "result.json").write_text("{}")
    colors = palettes.of_data(config.data)
    draws = np.random.default_rng(7)
    shown = []
    for number in range(2):
        image, truth = draws.integers(0, 255, (80, 90, 3), np.uint8), draws.integers(0, 3, (80, 90))
        guess = (truth + len(method) + number) % 3
        shown.append([image, truth, guess, draws.random((80, 90))])
    pictures = folder / "pictures"
    pictures.mkdir()
    rows = prediction_sheet.panels(*zip(*shown, strict=True), colors)
    sheet = prediction_sheet.sheet(rows, CLASSES, colors)
    prediction_sheet.save(pictures / "step_0000002.png", rows, sheet)
    for step, grey in ((1, 50), (2, 150)):
        sheet = np.full((600, 1500, 3), grey, np.uint8)
        sheets.save_png(pictures / f"unlabeled_{step:07d}.png", sheet)
