"""Measures the claims of all four parts, each in its own file: `part_a.py` to `part_d.py`.

Every part loads or trains what it needs and lets it go; C and D share two languages and a
translator between them. What a seed is differs and is said there.
"""

import gc

from paperround.errors import UsageError
from paperround.kit.language_models import use_threads
from paperround.papers.making_the_most.part_a import measure_a
from paperround.papers.making_the_most.part_b import measure_b
from paperround.papers.making_the_most.part_c import measure_c
from paperround.papers.making_the_most.part_d import measure_d
from paperround.papers.making_the_most.translation_task import translation
from paperround.runs.card import Scale
from paperround.runs.reproduction import Run


def reproduce(run: Run) -> None:
    """Measures every claim of the card that this scale can; raises UsageError at full."""
    if run.scale is Scale.FULL:
        raise UsageError(
            "making-the-most's full scale is a configuration nobody has run: GPT-2 on PG-19 and "
            "larger models; see the room's README. Use quick or standard"
        )
    quick = run.scale is Scale.QUICK
    # Two threads wait for each other longer than the quick scale's own small models compute.
    use_threads(1 if quick else run.threads)
    measure_a(run)
    # A part's models go before the next part loads its own.
    gc.collect()
    use_threads(run.threads)
    measure_b(run)
    gc.collect()
    use_threads(1 if quick else run.threads)
    task, translator = translation(run)
    measure_c(run, task, translator)
    measure_d(run, task, translator)
