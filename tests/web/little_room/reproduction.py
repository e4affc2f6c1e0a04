"""Measures the little claims: known values, a second or so, and everything a run can show."""

import time
from pathlib import Path

# A test that watches or cancels a run makes it last.
STEP_S = float(Path(__file__).with_name("step_s.txt").read_text())


def reproduce(run):
    with run.stage("count", total=4 * len(run.seeds)) as stage:
        for seed in run.seeds:
            for _ in range(4):
                time.sleep(STEP_S)
                stage.advance()
            run.measure("faster", 2.0 + seed / 10, baseline=10.0, seed=seed)
            run.measure("smaller", 0.95, baseline=100.0, seed=seed)
    run.table("Where the time goes", ["what", "seconds"], [["ones", 1.5], ["<b>twos</b>", 0.75]])
    run.series(
        "Speed by length",
        {"ones": [(1, 1.0), (2, 1.0)], "twos": [(1, 1.0), (2, 2.0)]},
        x_label="numbers",
        y_label="numbers per second",
    )
    run.sample("What it says", {"ones": "1 2 3 4", "twos": "2 <i>4</i>"})
    run.note("Counting was done by heart.")
