"""Two results side by side: what two machines, or two versions, measured for the same card.

Results of one card at one scale are compared: difference, ratio, verdict against verdict. Those of
different cards are not, as a moved bar or a changed metric makes other numbers of the same name;
what may be said of them is which claims they measured differently.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from paperround.errors import UsageError
from paperround.runs.results import Result
from paperround.runs.verdicts import ClaimResult, Verdict


@dataclass(frozen=True)
class ClaimPair:
    """One claim in two results; a side is None where its card does not have the claim.

    `ratio` is b's value over a's, `overlap` whether the values' ranges over the seeds meet. Both
    are None unless the results are comparable and both measured it.
    """

    id: str
    says: str
    a: ClaimResult | None
    b: ClaimResult | None
    ratio: float | None
    overlap: bool | None

    @property
    def agrees(self) -> bool | None:
        """Whether both verdicts are the same; None where one of them was not measured."""
        sides = (self.a, self.b)
        if any(side is None or side.verdict is Verdict.NOT_MEASURED for side in sides):
            return None
        return self.a is not None and self.b is not None and self.a.verdict is self.b.verdict


@dataclass(frozen=True)
class Fact:
    """Something of the circumstances, in both results."""

    name: str
    a: str
    b: str

    @property
    def differs(self) -> bool:
        """Whether it is another in b than in a."""
        return self.a != self.b


@dataclass(frozen=True)
class Comparison:
    """Two results. `why_not` is why their numbers are not compared, empty where they are."""

    a: Result
    b: Result
    why_not: tuple[str, ...]
    claims: tuple[ClaimPair, ...]
    facts: tuple[Fact, ...]

    @property
    def is_comparable(self) -> bool:
        """Whether both measured the same card at the same scale."""
        return not self.why_not

    @property
    def disagreements(self) -> tuple[ClaimPair, ...]:
        """The claims on which two comparable results have different verdicts."""
        if not self.is_comparable:
            return ()
        return tuple(pair for pair in self.claims if pair.agrees is False)

    def to_json(self) -> dict[str, Any]:
        """The comparison as JSON-ready data."""
        return {
            "a": self.a.id,
            "b": self.b.id,
            "comparable": self.is_comparable,
            "why_not": list(self.why_not),
            "claims": [
                {
                    "id": pair.id,
                    "says": pair.says,
                    "a": _side(pair.a),
                    "b": _side(pair.b),
                    "ratio": pair.ratio,
                    "overlap": pair.overlap,
                    "agrees": pair.agrees if self.is_comparable else None,
                }
                for pair in self.claims
            ],
            "facts": [{**asdict(fact), "differs": fact.differs} for fact in self.facts],
        }


def compare_results(a: Result, b: Result) -> Comparison:
    """The comparison of two results of one paper. Raises UsageError for two papers."""
    if a.slug != b.slug:
        raise UsageError(f"{a.slug} and {b.slug} are two papers; nothing of them compares")
    why_not = []
    if a.card_sha256 != b.card_sha256:
        why_not.append(
            "they were measured with different cards "
            f"({a.card_sha256[:12]}… and {b.card_sha256[:12]}…)"
        )
    if a.scale != b.scale:
        why_not.append(f"they were measured at different scales ({a.scale} and {b.scale})")
    for name, result in (("first", a), ("second", b)):
        if result.status != "finished":
            why_not.append(f"the {name} run did not end well ({result.status})")
    in_a = {claim.id: claim for claim in a.claims}
    in_b = {claim.id: claim for claim in b.claims}
    return Comparison(
        a=a,
        b=b,
        why_not=tuple(why_not),
        claims=tuple(
            _pair(in_a.get(claim_id), in_b.get(claim_id), comparable=not why_not)
            for claim_id in dict.fromkeys([*in_a, *in_b])
        ),
        facts=tuple(_facts(a, b)),
    )


def _pair(a: ClaimResult | None, b: ClaimResult | None, *, comparable: bool) -> ClaimPair:
    either = a or b
    assert either is not None
    ratio = overlap = None
    if comparable and a and b and a.value is not None and b.value is not None:
        ratio = b.value / a.value if a.value else None
        # Of a value next to nothing.
        ratio = None if ratio is None or not math.isfinite(ratio) else ratio
        overlap = max(min(a.measured), min(b.measured)) <= min(max(a.measured), max(b.measured))
    return ClaimPair(either.id, either.says, a, b, ratio, overlap)


def _facts(a: Result, b: Result) -> list[Fact]:
    of_a, of_b = _circumstances(a), _circumstances(b)
    return [
        Fact(name, of_a.get(name, "–"), of_b.get(name, "–"))
        for name in dict.fromkeys([*of_a, *of_b])
    ]


def _circumstances(result: Result) -> dict[str, str]:
    """What a result was measured with, by name, in words."""
    facts: dict[str, object] = {
        "card": result.card_sha256[:12],
        "scale": result.scale.value,
        "seeds": ", ".join(map(str, result.seeds)),
        "seconds": f"{result.seconds:g}",
    }
    environment: Mapping[str, Any] = result.environment
    facts |= {name: value for name, value in environment.items() if not isinstance(value, dict)}
    versions = environment.get("versions")
    facts |= dict(versions) if isinstance(versions, dict) else {}
    facts |= {f"asset {name}": sha256[:12] for name, sha256 in result.assets.items()}
    return {name: "–" if value is None else str(value) for name, value in facts.items()}


def _side(claim: ClaimResult | None) -> dict[str, Any] | None:
    if claim is None:
        return None
    return {
        "value": claim.value,
        "measured": list(claim.measured),
        "baseline": claim.baseline,
        "bar": str(claim.bar),
        "verdict": claim.verdict.value,
        "reason": claim.reason,
    }
