"""Recommending: fit a model to a log, measure it, ask it."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from paperround.cli.console import Json, app, say, say_json, tell
from paperround.terminal import Progress

recommend_app = typer.Typer(
    help="Recommend next items from a log of who took what.", no_args_is_help=True
)
app.add_typer(recommend_app, name="recommend")

Interactions = Annotated[Path, typer.Argument(help="CSV with a header: user, item, maybe time.")]
ModelName = Annotated[
    str, typer.Option("--model", help="A model's name, or a file that fit wrote.")
]
ModelOptions = Annotated[
    list[str] | None, typer.Option("--set", help="An option of the model, as epochs=20.")
]
Columns = Annotated[
    list[str] | None, typer.Option("--column", help="Which column is what, as item=isbn.")
]
Unit = Annotated[Literal["s", "ms", "us", "ns"], typer.Option(help="Unit of numeric times.")]


@recommend_app.command(name="fit")
def recommend_fit(
    file: Interactions,
    out: Annotated[Path, typer.Option(help="Where the fitted model goes.")],
    model: ModelName = "sasrec",
    setting: ModelOptions = None,
    column: Columns = None,
    time_unit: Unit = "s",
    seed: Annotated[int, typer.Option(help="All the randomness.")] = 0,
    as_json: Json = False,
) -> None:
    """Fit a model and write it to one file; run it again to go on after an interruption.

    Example: paperround recommend fit events.csv --model sasrec --out shop.model
    """
    log, recommender = _log_and_recommender(file, model, setting, column, time_unit, seed)
    if recommender.is_fitted:
        from paperround.errors import UsageError

        raise UsageError(f"{model} is fitted already; --model takes a model's name here")
    checkpoint = out.with_name(f".{out.name}.training")
    _fit(recommender, log, checkpoint=checkpoint)
    recommender.save(out)
    checkpoint.unlink(missing_ok=True)
    summary = {**_counts(log), **recommender.summary(), "file": str(out)}
    if as_json:
        say_json(summary)
    else:
        for name, value in summary.items():
            say(f"{name:<24} {value}")
    raise typer.Exit(1 if log.cleaning.rejected else 0)


@recommend_app.command(name="evaluate")
def recommend_evaluate(
    file: Interactions,
    model: ModelName = "sasrec",
    setting: ModelOptions = None,
    column: Columns = None,
    time_unit: Unit = "s",
    seed: Annotated[int, typer.Option(help="All the randomness.")] = 0,
    mask_seen: Annotated[bool, typer.Option("--mask-seen", help="Rank new items only.")] = False,
    as_json: Json = False,
) -> None:
    """Find each user's last item among all: of a fresh fit without it, or of a fitted model.

    Example: paperround recommend evaluate events.csv --model markov-3
    """
    log, recommender = _log_and_recommender(file, model, setting, column, time_unit, seed)
    if recommender.is_fitted:
        found = recommender.evaluate(log, mask_seen=mask_seen)
    else:
        _fit(recommender, log, hold_out=True)
        found = recommender.evaluate(mask_seen=mask_seen)
    if as_json:
        metrics = {name: round(value, 6) for name, value in found.metrics.items()}
        say_json(
            {**_counts(log), "model": model, "cases": len(found), "flags": found.flags, **metrics}
        )
    else:
        for name, value in found.metrics.items():
            say(f"{name:<10} {value:.4f}")
        say(found.flags)
    raise typer.Exit(1 if log.cleaning.rejected else 0)


@recommend_app.command(name="recommend")
def recommend_recommend(
    file: Interactions,
    model: ModelName = "sasrec",
    user: Annotated[list[str] | None, typer.Option(help="Only these users.")] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="How many items each.")] = 10,
    seen: Annotated[bool, typer.Option("--seen", help="Also items that a user had.")] = False,
    setting: ModelOptions = None,
    column: Columns = None,
    time_unit: Unit = "s",
    seed: Annotated[int, typer.Option(help="All the randomness.")] = 0,
    as_json: Json = False,
) -> None:
    """Recommend to the users of a file, by a fitted model or one fitted to that file now.

    Example: paperround recommend recommend events.csv --model shop.model --user ann -k 5
    """
    log, recommender = _log_and_recommender(file, model, setting, column, time_unit, seed)
    if not recommender.is_fitted:
        _fit(recommender, log)
    for name, answer in recommender.answers(log, user or None, k=k, exclude_seen=not seen):
        if as_json:
            # A model fitted in Python may have ids that JSON has no form for.
            plain = [
                item if isinstance(item, str | int | float) else str(item) for item, _ in answer
            ]
            items = [
                {"item": item, "score": round(score, 6)}
                for item, score in zip(plain, answer.scores, strict=True)
            ]
            line = {"user": name, "basis": answer.basis, "skipped": answer.skipped}
            say_json({**line, "items": items})
        else:
            note = "" if answer.basis == "history" else "  (what is popular)"
            items_said = (
                ", ".join(str(item) for item in answer.items) or "nothing that is new to them"
            )
            say(f"{name}: {items_said}{note}")
    raise typer.Exit(1 if log.cleaning.rejected else 0)


def _log_and_recommender(
    file: Path,
    model: str,
    settings: list[str] | None,
    columns: list[str] | None,
    time_unit: Literal["s", "ms", "us", "ns"],
    seed: int,
) -> Any:
    """The log of a file, and the recommender that `--model` means; names what was rejected."""
    from paperround.errors import UsageError
    from paperround.kit.offers import options_from_texts
    from paperround.kit.recommendation import Recommender, read_interactions

    options = options_from_texts(settings or [])
    named = dict(text.partition("=")[::2] for text in columns or [])
    if unknown := sorted(set(named) - {"user", "item", "time"}):
        raise UsageError(f"--column takes user=, item= or time=, not '{unknown[0]}'")
    fitted = Path(model).is_file()
    if fitted and options:
        raise UsageError(f"{model} is fitted already; --set has nothing to say there")
    recommender = Recommender.load(model) if fitted else Recommender(model, seed=seed, **options)
    log = read_interactions(
        file,
        user=named.get("user"),
        item=named.get("item"),
        time=named.get("time"),
        time_unit=time_unit,
    )
    for rejection in log.cleaning.rejections:
        tell(f"{file}: {rejection}")
    return log, recommender


def _fit(recommender: Any, log: Any, **options: Any) -> None:
    from paperround.kit.recommendation import fast_arithmetic

    title = f"Training {recommender.model}"
    with fast_arithmetic(), Progress(title, unit="batches") as progress:

        def show(at: Any) -> None:
            progress.advance_to((at.epoch - 1) * at.batches + at.batch)

        recommender.fit(log, on_progress=show, **options)


def _counts(log: Any) -> dict[str, Any]:
    cleaning = log.cleaning
    return {
        "users": log.n_users,
        "items": log.n_items,
        "events": len(log),
        "rejected": cleaning.rejected,
        "duplicates": cleaning.duplicates,
        "out_of_order": cleaning.out_of_order,
    }
