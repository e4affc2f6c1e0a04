"""What a reader sees beside the claims: a row per arm, growth over the source, and streams."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from statistics import fmean

from paperround.kit.translation import Pair, bootstrap_difference
from paperround.papers.fretna.comparison import BIASED, FRETNA, RETA, Outcome, one
from paperround.papers.fretna.evaluation import by_position, mean_from
from paperround.runs.reproduction import Run

_DRAWS = 200
_COLUMNS = (
    "BLEU",
    "chrF",
    "lag (source words)",
    "words taken back (NE)",
    "clicks and edits (NCNE)",
    "decoder passes an update",
)


def show_arms(
    run: Run,
    title: str,
    outcomes: Sequence[Outcome],
    seconds: Mapping[str, Sequence[Sequence[float]]],
    test: Sequence[Pair],
) -> None:
    """A row per way, means over its seeds, and how sure its difference from ReTA is."""
    rows = []
    for way, group in groupby(outcomes, key=lambda outcome: outcome.way):
        found = [outcome.scores for outcome in group]
        timed = seconds.get(way.name)
        rows.append(
            (
                way.name,
                len(found),
                fmean(s.bleu for s in found),
                fmean(s.chrf for s in found),
                fmean(s.lag for s in found),
                fmean(s.erasure for s in found),
                fmean(s.click_n_edit for s in found),
                fmean(s.passes for s in found),
                None if timed is None else 1e3 * fmean(s for row in timed for s in row),
            )
        )
    run.table(
        f"Re-translation side by side: {title}",
        ("way", "seeds", *_COLUMNS, "ms an update"),
        rows,
        note=f"{len(test)} test sentences, streamed word by word; NE and NCNE for each word of the "
        "last translation. Times are of single updates on one thread, the encoder included.",
    )
    first = min(outcome.seed for outcome in outcomes)
    references = [pair.target for pair in test]
    reta, *others = [outcome for outcome in outcomes if outcome.seed == first]
    theirs = [stream.final for stream in reta.streams]
    intervals = []
    for outcome in others:
        ours = [stream.final for stream in outcome.streams]
        if ours != theirs:
            low, high = bootstrap_difference(ours, theirs, references, draws=_DRAWS, seed=first)
            intervals.append((outcome.way.name, outcome.scores.bleu - reta.scores.bleu, low, high))
    if intervals:
        run.table(
            f"How sure the differences from {reta.way.name} are: {title}",
            ("way", "BLEU, difference", "from (2.5 %)", "to (97.5 %)"),
            intervals,
            note=f"Paired bootstrap over the test sentences, {_DRAWS} draws; the first seed.",
        )


def show_growth(
    run: Run,
    title: str,
    outcomes: Sequence[Outcome],
    seconds: Mapping[str, Sequence[Sequence[float]]],
) -> None:
    """Passes and milliseconds of an update by source position, one line a way."""
    first: dict[str, Outcome] = {}
    for outcome in outcomes:
        first.setdefault(outcome.way.name, outcome)
    shown = [name for name in seconds if name in first]
    run.series(
        f"Decoder passes of an update: {title}",
        {name: by_position([stream.passes for stream in first[name].streams]) for name in shown},
        x_label="source words read",
        y_label="decoder passes",
        note="Means over the test sentences that are as long.",
    )
    few = min(len(rows) for rows in seconds.values())
    run.series(
        f"Time of an update: {title}",
        {
            name: [(n, 1e3 * s) for n, s in by_position(rows, at_least=min(5, few))]
            for name, rows in seconds.items()
        },
        x_label="source words read",
        y_label="milliseconds",
        note=f"{few} sentences, one thread, the encoder computed again at every update.",
    )
    reta = seconds[next(iter(seconds))]
    run.table(
        f"How much faster at which length: {title}",
        ("way", "updates from word 4", "from word 8", "from word 12"),
        [
            (name, *(mean_from(reta, n) / mean_from(rows, n) for n in (4, 8, 12)))
            for name, rows in seconds.items()
        ],
        note="Time of ReTA's updates over this way's.",
    )


def show_streams(run: Run, outcomes: Sequence[Outcome], test: Sequence[Pair]) -> None:
    """What three ways show after each source word, of two sentences."""
    ways = [one(outcomes, way) for way in (RETA, FRETNA, BIASED)]
    # Not too long to be read.
    places = [i for i, pair in enumerate(test) if 6 <= len(pair.source.split()) <= 12]
    for i in places[:2]:
        run.sample(
            f"Word by word: {test[i].source}",
            {
                outcome.way.name: "\n".join(
                    f"{n:2d}  {' '.join(words)}"
                    for n, words in enumerate(outcome.streams[i].outputs, start=1)
                )
                for outcome in ways
            },
            note=f"The reference: {test[i].target}",
        )
