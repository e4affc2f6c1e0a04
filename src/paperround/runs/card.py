"""A paper's card: what a runnable paper declares of itself, read from `card.toml`.

Data only: listing fifty papers imports no paper's code. Unknown keys, claims without bars and bars
that cannot fail are refused here, with the claim's name, so that the claims board stays true.
"""

import hashlib
import json
import tomllib
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError, model_validator

from paperround.errors import CardError

Slug = Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=60)]


class Scale(StrEnum):
    """How large a reproduction is; `full` is the paper's own setting."""

    QUICK = "quick"
    STANDARD = "standard"
    FULL = "full"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)


class Bar(_Strict):
    """What must hold here, at one scale, for the claim's shape to count as reproduced.

    Either a limit (`at_least`, `at_most` or both) on the aggregate over the seeds, or
    `not_measured` with the reason why this scale says nothing of the claim.
    """

    at_least: FiniteFloat | None = None
    at_most: FiniteFloat | None = None
    # Over the seeds: "min" with `at_least` means that the bar holds in every seed.
    aggregate: Literal["mean", "median", "min", "max"] = "mean"
    not_measured: str | None = Field(default=None, min_length=1)
    why: str = ""

    @model_validator(mode="after")
    def _has_a_direction(self) -> Self:
        limits = self.at_least is not None or self.at_most is not None
        if limits == (self.not_measured is not None):
            raise ValueError("write at_least or at_most, or not_measured with the reason")
        if self.at_least is not None and self.at_most is not None and self.at_least > self.at_most:
            raise ValueError("at_least is above at_most: nothing can meet this bar")
        return self

    def __str__(self) -> str:
        """The limit as a person reads it, such as `≥ 1.6 in every seed`."""
        if self.not_measured is not None:
            return "–"
        limits = []
        if self.at_least is not None:
            limits.append(f"≥ {self.at_least:g}")
        if self.at_most is not None:
            limits.append(f"≤ {self.at_most:g}")
        every = (self.aggregate == "min" and self.at_most is None) or (
            self.aggregate == "max" and self.at_least is None
        )
        suffix = (
            " in every seed"
            if every
            else ""
            if self.aggregate == "mean"
            else f" ({self.aggregate})"
        )
        return " and ".join(limits) + suffix


class Claim(_Strict):
    """One number that the paper reports, and the bars that it has to meet here."""

    id: Slug
    says: str = Field(min_length=1)
    metric: str = Field(min_length=1)
    # A number where the paper gives one, else its words; absent where it could not be read.
    reported: FiniteFloat | str | None = None
    baseline: str = Field(min_length=1)
    where: str = Field(min_length=1)
    higher_is_better: bool = True
    bars: dict[Scale, Bar]

    @model_validator(mode="after")
    def _has_bars(self) -> Self:
        for scale in (Scale.QUICK, Scale.STANDARD):
            if scale not in self.bars:
                raise ValueError(
                    f"claim '{self.id}' has no bar at {scale}; "
                    f"write [claims.bars.{scale}] with at_least, at_most or not_measured"
                )
        return self


class ScaleNotes(_Strict):
    """What a scale does, what it needs, and the limits within which it is run."""

    about: str = Field(min_length=1)
    seeds: tuple[int, ...] = (0, 1, 2)
    time_limit_s: int = Field(default=60, gt=0)
    memory_limit_mb: int = Field(default=6_000, gt=0)
    assets: tuple[str, ...] = ()
    # `full` is a configuration only, as long as nobody has run it.
    runs_here: bool = True

    @model_validator(mode="after")
    def _has_distinct_seeds(self) -> Self:
        if not self.seeds or len(set(self.seeds)) != len(self.seeds):
            raise ValueError("seeds must be given once each, at least one")
        return self


class Card(_Strict):
    """What `card.toml` says. `use` is a few lines of Python that work as they stand."""

    slug: Slug
    paper: str = Field(min_length=1, description="the paper's key in the catalogue: its arXiv id")
    title: str = Field(min_length=1)
    family: str = Field(min_length=1)
    summary: str = Field(min_length=1)
    names: tuple[str, ...] = Field(min_length=1, description="the public names to import")
    use: str = Field(min_length=1)
    scales: dict[Scale, ScaleNotes]
    claims: tuple[Claim, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        for scale in Scale:
            if scale not in self.scales:
                raise ValueError(f"no [scales.{scale}]; every card says what each scale does")
        if self.scales[Scale.QUICK].time_limit_s > 60:
            raise ValueError("the quick scale's time_limit_s is above 60")
        if self.scales[Scale.STANDARD].time_limit_s > 900:
            raise ValueError("the standard scale's time_limit_s is above 900")
        ids = [claim.id for claim in self.claims]
        if doubled := {i for i in ids if ids.count(i) > 1}:
            raise ValueError(f"claims with the same id: {', '.join(sorted(doubled))}")
        return self

    def claim(self, claim_id: str) -> Claim:
        """The claim of that id; raises CardError when the card does not know it."""
        for claim in self.claims:
            if claim.id == claim_id:
                return claim
        known = ", ".join(claim.id for claim in self.claims)
        raise CardError(f"{self.slug}: the card has no claim '{claim_id}'; it has {known}")


def read_card(path: Path) -> Card:
    """The card in a `card.toml`. Raises CardError with every fault, each with its place."""
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise CardError(f"{path}: {error}") from error
    try:
        return Card.model_validate(data)
    except ValidationError as error:
        faults = "; ".join(
            f"{_place(fault['loc'], data)}: {fault['msg']}" for fault in error.errors()
        )
        raise CardError(f"{path}: {faults}") from error


def _place(location: tuple[int | str, ...], data: dict[str, Any]) -> str:
    """Where in the card a fault is: `claim 'faster' bars.quick`, and not `claims.0.bars.quick`."""
    match location:
        case ("claims", int(place), *rest):
            claim = data["claims"][place]
            name = claim.get("id") if isinstance(claim, dict) else None
            start = [f"claim '{name}'" if name else f"claim number {place + 1}"]
            return " ".join([*start, ".".join(map(str, rest))]).strip()
    return ".".join(map(str, location)) or "card"


def card_sha256(card: Card) -> str:
    """The checksum of what a card measures, which a result keeps: a result belongs to one card.

    It covers the claims' ids, metrics, baselines and bars and the seeds, and not the wording: a
    mended sentence leaves old results valid, a moved bar does not.
    """
    measured = {
        "paper": card.paper,
        "slug": card.slug,
        "seeds": {scale: notes.seeds for scale, notes in card.scales.items()},
        "claims": [
            {
                "id": claim.id,
                "metric": claim.metric,
                "baseline": claim.baseline,
                "bars": {
                    scale: [bar.at_least, bar.at_most, bar.aggregate]
                    for scale, bar in claim.bars.items()
                },
            }
            for claim in card.claims
        ],
    }
    return hashlib.sha256(json.dumps(measured, sort_keys=True).encode()).hexdigest()
