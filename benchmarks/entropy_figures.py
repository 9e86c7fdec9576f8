# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Pictures and table of what `benchmarks/entropy_ablation.py` measured.

./run python benchmarks/entropy_figures.py --results ablation --out docs/images
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from eloss_perception.interrupts import run_script
from eloss_perception.network.network import NetworkConfig
from eloss_perception.plots.charts import Curve, Panel, render_curves

_COLOURS = {"off": (139, 150, 166), "published": (255, 166, 48), "ours": (78, 196, 190)}
_METRICS = {
    "Car_bev_0.5": "Car BEV 0.5",
    "Car_bev_0.7": "Car BEV 0.7",
    "Car_3d_0.5": "Car 3D 0.5",
    "Car_3d_0.7": "Car 3D 0.7",
}


def read_rows(folder: Path) -> list[dict[str, Any]]:
    """All rows of all seeds."""
    rows = []
    for path in sorted(folder.glob("seed_*.json")):
        rows += json.loads(path.read_text())["rows"]
    return rows


def score(row: dict[str, Any], source: str, metric: str) -> float:
    """AP of a row [%]; the splits of the real frames are averaged, each counting alike."""
    names = [name for name in row["ap"] if name.startswith(source)]
    return float(np.mean([row["ap"][name][metric] for name in names])) if names else float("nan")


def statistics(values: Iterable[Iterable[float]]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation (n - 1) over seeds, (N,) each, of rows of (seeds,) values."""
    table = np.array([list(v) for v in values], float)  # (N, seeds)
    spread = table.std(axis=1, ddof=1) if table.shape[1] > 1 else np.zeros(len(table))
    return table.mean(axis=1), spread


def curves_over_steps(rows: list[dict[str, Any]], source: str, metric: str) -> list[Curve]:
    """One curve a variant."""
    curves = []
    for variant in dict.fromkeys(row["variant"] for row in rows):
        own = [row for row in rows if row["variant"] == variant and row["ap"]]
        steps = sorted({row["step"] for row in own})
        mean, spread = statistics(
            [score(r, source, metric) for r in own if r["step"] == step] for step in steps
        )
        curves.append(Curve(variant, np.array(steps, float), mean, spread))
    return curves


def profile_panels(rows: list[dict[str, Any]]) -> list[Panel]:
    """Entropy by layer before, in the middle of and after training."""
    steps = sorted({row["step"] for row in rows})
    moments = {"before": steps[0], "during": steps[len(steps) // 2], "after": steps[-1]}
    layers = [
        f"{stage}.{layer}"
        for stage, number in enumerate(NetworkConfig().stage_layers, 1)
        for layer in range(1, number + 1)
    ]
    panels = []
    for moment, step in moments.items():
        curves = []
        for variant in dict.fromkeys(row["variant"] for row in rows):
            own = [r["profile"] for r in rows if r["variant"] == variant and r["step"] == step]
            mean, spread = statistics(zip(*own, strict=True))
            curves.append(Curve(variant, np.arange(len(mean), dtype=float), mean, spread))
        title = f"normalised Renyi-2 entropy {moment} training (step {step})"
        panels.append(Panel(title, "stage.layer", curves, layers))
    return panels


def mean_and_spread(values: np.ndarray, style: str) -> str:
    """Mean ± standard deviation over seeds; one seed has no deviation."""
    mean, spread = statistics([values])
    return f"{mean[0]:{style}} ± {spread[0]:.1f}" if len(values) > 1 else f"{mean[0]:{style}}"


def table(rows: list[dict[str, Any]]) -> str:
    """AP at the end of training as Markdown: mean ± sd, and paired differences from `off`."""
    last = max(row["step"] for row in rows)
    end = {(r["variant"], r["seed"]): r for r in rows if r["step"] == last}
    seeds = sorted({seed for _, seed in end})
    sources = [s for s in ("simulated", "real") if any(n.startswith(s) for n in rows[-1]["ap"])]
    lines = ["| AP R40 moderate | " + " | ".join(_COLOURS) + " | published - off | ours - off |"]
    lines.append("|---|" + "---|" * 5)
    for source in sources:
        for metric, name in _METRICS.items():
            values = {
                v: np.array([score(end[v, s], source, metric) for s in seeds]) for v in _COLOURS
            }
            gaps = [values[variant] - values["off"] for variant in ("published", "ours")]
            cells = [mean_and_spread(v, ".1f") for v in values.values()]
            cells += [mean_and_spread(gap, "+.1f") for gap in gaps]
            lines.append(f"| {source}, {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Draws the pictures and prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--results", type=Path, required=True, help="folder of seed_*.json")
    parser.add_argument("--out", type=Path, required=True, help="folder of the pictures")
    arguments = parser.parse_args()
    rows = read_rows(arguments.results)
    arguments.out.mkdir(parents=True, exist_ok=True)
    sources = dict.fromkeys(name.split()[0] for row in rows for name in row["ap"])
    panels = [
        Panel(f"{name}, {source} scans, AP R40 [%]", "training steps", curves)
        for source in sources
        for metric, name in _METRICS.items()
        for curves in [curves_over_steps(rows, source, metric)]
    ]
    picture = render_curves(panels, _COLOURS, num_columns=4, panel_size=(400, 270))
    Image.fromarray(picture).save(arguments.out / "entropy_ablation.webp", quality=90)
    picture = render_curves(profile_panels(rows), _COLOURS, num_columns=3, panel_size=(470, 300))
    Image.fromarray(picture).save(arguments.out / "entropy_profiles.webp", quality=90)
    print(table(rows))


if __name__ == "__main__":
    sys.exit(run_script(main))
