"""One generation: a text by a method of a paper, in a process of its own, confined and watched.

The process is that of a run (`child_process.py`, `child.py`): a room's code decodes. What it
reports is checked here before anything is stored or shown.
"""

import json
import shlex
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from paperround.errors import CardError, NotFoundError
from paperround.kit.assets import declared_assets
from paperround.runs.bounded_log import BoundedLog
from paperround.runs.child_process import FETCH_LIMITS, Outcome, run_child
from paperround.runs.processes import Family
from paperround.runs.supervision import Limits
from paperround.settings import Settings

# How many texts of one prompt are kept: a beam of a thousand is no page.
MAX_TEXTS = 32
ASKED_NAME = "asked.json"
# Beside the generations' folders: what the latest one has printed, for the operator.
LOG_NAME = "log.txt"

Scalar = bool | int | float | str | None


@dataclass(frozen=True)
class Asked:
    """What is asked of a model; `model` is a name of the configuration."""

    prompt: str
    method: str = "greedy"
    options: Mapping[str, Any] = field(default_factory=dict)
    model: str = ""
    is_chat: bool = False
    max_new_tokens: int = 64
    seed: int = 0

    @property
    def command(self) -> str:
        """The command line that does the same at home, with the prompt in a file."""
        words = ["paperround", "generate", "--model", self.model, "--prompt", "prompt.txt"]
        words += ["--method", self.method]
        for name, value in self.options.items():
            text = value if isinstance(value, str) else json.dumps(value)
            words += ["--set", f"{name}={text}"]
        words += ["--max-new-tokens", str(self.max_new_tokens), "--seed", str(self.seed)]
        words += ["--chat"] if self.is_chat else []
        return shlex.join([*words, "--compare"])


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, strict=True)


_Text = Annotated[str, Field(max_length=50_000)]
_Count = Annotated[int, Field(ge=0)]
_Figure = Annotated[str, Field(max_length=1_000)] | bool | int | float | None


class GeneratedText(_Strict):
    """One text; `log_prob` is the model's own log-probability of it, where it is known."""

    text: _Text
    tokens: _Count
    log_prob: float | None


class GreedyText(_Strict):
    """Greedy decoding's text; `times_as_fast` is the method's speed over its."""

    text: _Text
    tokens: _Count
    same_text: bool
    passes: _Count | None
    seconds: float
    tokens_per_second: float | None
    times_as_fast: float | None


class Report(_Strict):
    """What came of a generation: the texts, best first, and what the method changed.

    `passes` are forward passes of the model. `greedy` is null where the method is greedy decoding.
    `says` is all of it in sentences.
    """

    prompt: str
    method: str
    options: dict[str, _Figure]
    texts: Annotated[list[GeneratedText], Field(max_length=MAX_TEXTS)]
    passes: _Count | None
    seconds: float
    tokens_per_second: float | None
    changed: Annotated[str, Field(max_length=2_000)]
    figures: Annotated[dict[str, _Figure], Field(max_length=60)]
    greedy: GreedyText | None = None
    says: Annotated[list[Annotated[str, Field(max_length=2_200)]], Field(max_length=10)]


class _Generated(_Strict):
    kind: Literal["generated"]
    report: Report


class _End(_Strict):
    kind: Literal["end"]
    reason: str


_LINE: TypeAdapter[_Generated | _End] = TypeAdapter(
    Annotated[_Generated | _End, Field(discriminator="kind")]
)


def generate(
    asked: Asked, folder: Path, *, cancelled: Callable[[], bool], settings: Settings
) -> tuple[Outcome, Report | None]:
    """How it ended, once nothing of it runs any more, and the report where it finished.

    `folder` is this generation's own: made, and removed again; what it prints goes to a log beside
    it. What an earlier attempt in it has left running is ended first. An asset that is not here yet
    is fetched, which does not count against the time limit. `cancelled` is asked ten times a
    second.
    """
    where = settings.generation.models.get(asked.model)
    if where is None:
        raise NotFoundError(f"this place does not offer the model '{asked.model}' any more")
    mark = f"generation {folder}"
    Family(None, mark).kill()
    shutil.rmtree(folder, ignore_errors=True)
    scratch = folder / "scratch"
    scratch.mkdir(parents=True)
    # Beside the scratch folder: a prompt is longer than an argument may be, and nobody's business.
    (folder / ASKED_NAME).write_text(json.dumps(asdict(asked)), encoding="utf-8")
    listener = _Listener()

    def run(job: Mapping[str, Any], limits: Limits) -> Outcome:
        return run_child(
            job,
            scratch=scratch,
            log=log,
            limits=limits,
            mark=mark,
            take=listener.take,
            until="it had a text",
            cancelled=cancelled,
            settings=settings,
        )

    try:
        with BoundedLog(folder.parent / LOG_NAME) as log:
            if where in declared_assets():
                outcome = run({"do": "fetch-model", "asset": where}, FETCH_LIMITS)
                if outcome.status != "finished":
                    return outcome, None
            limits = settings.generation
            job = {"do": "generate", "where": where, "asked": str(folder / ASKED_NAME)}
            outcome = run(job, Limits(limits.time_limit_s, limits.memory_limit_mb))
            if outcome.status == "finished" and listener.report is None:
                return Outcome("failed", "it ended without a text", outcome.seconds), None
            # The folder is the operator's to know.
            reason = outcome.reason.replace(where, asked.model)
            outcome = Outcome(outcome.status, reason, outcome.seconds)
            return outcome, listener.report if outcome.status == "finished" else None
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@dataclass
class _Listener:
    """What the process has reported so far."""

    report: Report | None = None

    def take(self, line: bytes) -> str | None:
        """The end's reason, None for a report. Raises CardError for what is neither."""
        try:
            event = _LINE.validate_json(line)
        except ValidationError as error:
            fault = error.errors(include_url=False, include_context=False, include_input=False)[0]
            place = ".".join(map(str, fault["loc"]))
            raise CardError(f"the method's report is wrong at {place}: {fault['msg']}") from error
        if isinstance(event, _End):
            return event.reason
        self.report = event.report
        return None
