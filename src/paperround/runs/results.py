"""The record of one run: measurements, verdicts, environment, and what it showed, as one JSON file.

A result is written by the program that measured it and is never changed afterwards. Its address is
a checksum of what was measured, so that two places that hold it call it the same. Shipped results
stand in a room's `results/<scale>.json`; all that a place knows of, in its database (`records.py`).
"""

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from paperround.errors import CardError
from paperround.runs.card import Bar, Card, Scale
from paperround.runs.reproduction import Event
from paperround.runs.rooms import Room
from paperround.runs.verdicts import ClaimResult, Measurement, Verdict, judge

FORMAT = 1


@dataclass(frozen=True)
class Result:
    """One ended run. `status` is `finished`, `failed`, `cancelled` or `lost`; `reason` says why."""

    paper: str
    slug: str
    scale: Scale
    status: str
    reason: str
    started_at: datetime
    seconds: float
    seeds: tuple[int, ...]
    claims: tuple[ClaimResult, ...]
    environment: dict[str, Any]
    card_sha256: str
    measurements: tuple[Measurement, ...] = ()
    tables: tuple[Event, ...] = ()
    series: tuple[Event, ...] = ()
    samples: tuple[Event, ...] = ()
    notes: tuple[str, ...] = ()
    stages: tuple[Event, ...] = ()
    assets: dict[str, str] = field(default_factory=dict)
    # The card as it was, JSON-ready; None in records from before it was kept.
    card: dict[str, Any] | None = None
    format: int = FORMAT

    @classmethod
    def from_events(
        cls,
        card: Card,
        scale: Scale,
        events: Iterable[Event],
        *,
        status: str,
        reason: str,
        started_at: datetime,
        seconds: float,
        seeds: Sequence[int],
        environment: dict[str, Any],
        card_sha256: str,
    ) -> Self:
        """The record made of what a reproduction emitted; verdicts are computed here, once."""
        by_kind: dict[str, list[Event]] = {}
        for event in events:
            rest = {key: value for key, value in event.items() if key != "kind"}
            by_kind.setdefault(event["kind"], []).append(rest)
        measurements = tuple(Measurement(**event) for event in by_kind.get("measure", []))
        interrupted = "" if status == "finished" else reason or status
        return cls(
            paper=card.paper,
            slug=card.slug,
            scale=scale,
            status=status,
            reason=reason,
            started_at=started_at,
            seconds=round(seconds, 2),
            seeds=tuple(seeds),
            claims=judge(card, scale, measurements, interrupted),
            environment=environment,
            card_sha256=card_sha256,
            measurements=measurements,
            tables=tuple(by_kind.get("table", [])),
            series=tuple(by_kind.get("series", [])),
            samples=tuple(by_kind.get("sample", [])),
            notes=tuple(event["text"] for event in by_kind.get("note", [])),
            stages=tuple(by_kind.get("stage-end", [])),
            assets={event["name"]: event["sha256"] for event in by_kind.get("asset", [])},
            card=card.model_dump(mode="json", exclude_none=True),
        )

    @cached_property
    def id(self) -> str:
        """The SHA-256 of what was measured: the result's address, wherever it is kept.

        Verdicts are left out, since they follow from the card and the measurements: whoever edits
        one in a file changes nothing, for it is computed again where the file is imported.
        """
        measured = self.to_json()
        del measured["claims"]
        # Keys that came later are left out where they say nothing: old records keep their address.
        if measured["card"] is None:
            del measured["card"]
        return hashlib.sha256(json.dumps(measured, sort_keys=True).encode()).hexdigest()

    @property
    def holds(self) -> bool:
        """Whether the run ended well and every bar that was measured holds."""
        return self.status == "finished" and not any(
            claim.verdict is Verdict.FALLS_SHORT for claim in self.claims
        )

    @property
    def verdicts(self) -> dict[str, str]:
        """The verdict of every claim, by the claim's id."""
        return {claim.id: claim.verdict.value for claim in self.claims}

    def to_json(self) -> dict[str, Any]:
        """The record as JSON-ready data; `from_json` reads it back, equal."""
        data = dataclasses.asdict(self)
        data["scale"] = self.scale.value
        data["started_at"] = self.started_at.isoformat()
        for claim, claim_result in zip(data["claims"], self.claims, strict=True):
            claim["bar"] = claim_result.bar.model_dump(exclude_defaults=True)
            claim["verdict"] = claim_result.verdict.value
        return data

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """The record from `to_json`'s data, its verdicts as they were given then.

        Raises CardError where it is of another format. A file from elsewhere is read by
        `exchange.read_foreign`, which believes less.
        """
        found = data.get("format") if isinstance(data, dict) else None
        if found != FORMAT:
            raise CardError(f"a result of format {found!r}; this program reads {FORMAT}")
        data = {key: value for key, value in data.items() if key != "id"}
        claims = tuple(
            ClaimResult(
                **{
                    **claim,
                    "bar": Bar(**claim["bar"]),
                    "verdict": Verdict(claim["verdict"]),
                    "measured": tuple(claim["measured"]),
                    "seeds": tuple(claim["seeds"]),
                }
            )
            for claim in data["claims"]
        )
        return cls(
            **{
                **data,
                "scale": Scale(data["scale"]),
                "started_at": datetime.fromisoformat(data["started_at"]),
                "claims": claims,
                "measurements": tuple(Measurement(**m) for m in data["measurements"]),
                **{key: tuple(data[key]) for key in _TUPLES},
            }
        )

    def line(self) -> dict[str, Any]:
        """What `paperround run --json` prints of it, on one line: DESIGN's contract."""
        data = self.to_json()
        keys = ("paper", "slug", "scale", "status", "reason", "seconds", "claims", "environment")
        return {key: data[key] for key in keys} | {"result": self.id}

    def write(self, path: Path) -> None:
        """Writes the record as a JSON file, whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        text = json.dumps(self.to_json(), ensure_ascii=False, indent=1)
        draft.write_text(text + "\n", encoding="utf-8")
        draft.replace(path)


_TUPLES = ("seeds", "tables", "series", "samples", "notes", "stages")


def read_result(path: Path) -> Result:
    """The record in a file that `Result.write` wrote. Raises CardError when it is not one."""
    try:
        return Result.from_json(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, CardError) as error:
        raise CardError(f"{path}: not a result: {error}") from error


def shipped_results(room: Room) -> dict[Scale, Result]:
    """The results that ship with a room, by scale; a scale that nobody has run is absent."""
    return {
        scale: read_result(path)
        for scale in Scale
        if (path := room.results_dir / f"{scale}.json").is_file()
    }
