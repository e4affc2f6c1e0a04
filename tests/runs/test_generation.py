"""A generation in a process of its own: what it gives, and how it is ended."""

import json
import shlex
from pathlib import Path

import pytest

from paperround.errors import CardError, NotFoundError
from paperround.kit.language_models.families import byte_tokenizer, random_model
from paperround.runs.confinement import landlock_version
from paperround.runs.generation import Asked, Report, _Listener, generate
from paperround.settings import Settings, TextGeneration

PROMPT = "the cat sat on the mat, and the cat sat on the"

# A room whose methods do what no method should.
GENERATOR = """
import os
from pathlib import Path

from paperround.kit.language_models import Candidate, Generated, GenerationMethod

def writes(request):
    Path(os.environ["PAPERROUND_HOME"], "spoilt").write_text("x")
    return Generated((Candidate("x", 1),), "It wrote.")

def many(request):
    return Generated(tuple(Candidate("x", 1) for _ in range(40)), "Many.")

def ends(request):
    os._exit(3)

GENERATORS = {
    each.__name__: GenerationMethod(each.__name__, "x", each) for each in (writes, many, ends)
}
"""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small model that never ends a text by itself."""
    folder = tmp_path_factory.mktemp("tiny")
    random_model("qwen2", eos_token_id=None).save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture
def offering(settings: Settings, tiny: Path) -> Settings:
    """Settings that offer that model."""
    models = {"tiny": str(tiny), "gone": str(tiny / "gone")}
    # A busy machine may take minutes to import what decodes.
    generation = TextGeneration(models=models, time_limit_s=280)
    return settings.model_copy(update={"generation": generation})


def limited(settings: Settings, **limits: object) -> Settings:
    generation = settings.generation.model_copy(update=limits)
    return settings.model_copy(update={"generation": generation})


def test_it_gives_the_text_its_speed_and_greedy_decoding_beside_it(
    offering: Settings, tmp_path: Path
) -> None:
    folder = tmp_path / "generation"
    asked = Asked(PROMPT, "copyspec", {"gamma": 2}, "tiny", False, 20, 0)
    outcome, report = generate(asked, folder, cancelled=lambda: False, settings=offering)
    assert (outcome.status, outcome.reason) == ("finished", "")
    assert report is not None
    assert report.options == {"gamma": 2, "max_copy": 10}
    assert report.texts[0].tokens == 20
    assert report.greedy is not None
    assert report.greedy.same_text
    assert report.greedy.passes == 20
    assert not folder.exists()


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (Asked("é" * 20_000, model="tiny"), "leaves no room"),
        (Asked(PROMPT, model="gone"), "gone is no folder with a model"),
    ],
    ids=["longer than the context", "a model that is gone"],
)
def test_what_cannot_be_decoded_says_why_and_names_no_folder(
    offering: Settings, tmp_path: Path, asked: Asked, says: str
) -> None:
    folder = tmp_path / "generation"
    outcome, report = generate(asked, folder, cancelled=lambda: False, settings=offering)
    assert (outcome.status, report) == ("failed", None)
    assert says in outcome.reason
    assert offering.generation.models["tiny"] not in outcome.reason


@pytest.mark.parametrize(
    ("method", "says"),
    [
        ("writes", "PermissionError"),
        ("many", "many gave 40 texts; at most 32"),
        ("ends", "ended with exit status 3 before it had a text"),
    ],
)
def test_a_room_s_code_is_confined_and_its_end_is_told(
    make_room, offering: Settings, tmp_path: Path, method: str, says: str
) -> None:
    if method == "writes" and not landlock_version():
        pytest.skip("this kernel has no Landlock")
    make_room().folder.joinpath("generator.py").write_text(GENERATOR, encoding="utf-8")
    offering.home.mkdir()
    asked = Asked(PROMPT, method, model="tiny")
    outcome, report = generate(
        asked, tmp_path / "generation", cancelled=lambda: False, settings=offering
    )
    assert (outcome.status, report) == ("failed", None)
    assert says in outcome.reason
    assert not (offering.home / "spoilt").exists()


def test_it_ends_with_its_time_its_memory_or_when_it_is_told(
    offering: Settings, tmp_path: Path
) -> None:
    asked, folder = Asked(PROMPT, model="tiny"), tmp_path / "generation"
    hasty = limited(offering, time_limit_s=0.3)
    outcome, _ = generate(asked, folder, cancelled=lambda: False, settings=hasty)
    assert (outcome.status, outcome.reason) == ("failed", "took longer than 0.3 s")
    small = limited(offering, memory_limit_mb=60)
    outcome, _ = generate(asked, folder, cancelled=lambda: False, settings=small)
    assert (outcome.status, outcome.reason) == ("failed", "used more than 60 MB of memory")
    outcome, _ = generate(asked, folder, cancelled=lambda: True, settings=offering)
    assert outcome.status == "cancelled"
    assert not folder.exists()


def test_a_model_that_is_not_offered_any_more_is_named(offering: Settings, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="does not offer the model 'old'"):
        generate(Asked("x", model="old"), tmp_path, cancelled=lambda: False, settings=offering)


def test_the_command_line_is_what_a_shell_reads_back() -> None:
    asked = Asked("x", "mine", {"name": "a b; rm -rf /", "on": True, "n": 2}, "our-qwen", True)
    words = shlex.split(asked.command)
    assert words[words.index("--method") + 1] == "mine"
    assert [words[n + 1] for n, word in enumerate(words) if word == "--set"] == [
        "name=a b; rm -rf /",
        "on=true",
        "n=2",
    ]
    assert words[-2:] == ["--chat", "--compare"]


REPORT = {
    "prompt": "the prompt",
    "method": "mine",
    "options": {"on": True},
    "texts": [{"text": "x", "tokens": 1, "log_prob": None}],
    "passes": 1,
    "seconds": 0.5,
    "tokens_per_second": 2.0,
    "changed": "Nothing.",
    "figures": {"word": "a", "n": 1, "share": 0.5, "none": None},
    "greedy": None,
    "says": ["It is said."],
}


def test_a_report_is_taken_as_it_is() -> None:
    listener = _Listener()
    assert listener.take(json.dumps({"kind": "generated", "report": REPORT}).encode()) is None
    assert listener.report == Report(**REPORT)
    assert listener.take(b'{"kind": "end", "reason": ""}') == ""


@pytest.mark.parametrize(
    "change",
    [
        {"texts": [{"text": "x" * 50_001, "tokens": 1, "log_prob": None}]},
        {"texts": [{"text": "x", "tokens": -1, "log_prob": None}]},
        {"texts": "x"},
        {"seconds": "1"},
        {"figures": {"a": [1]}},
        {"changed": "x" * 2_001},
        {"more": 1},
    ],
)
def test_a_report_that_is_none_is_refused(change: dict[str, object]) -> None:
    line = json.dumps({"kind": "generated", "report": {**REPORT, **change}}).encode()
    with pytest.raises(CardError, match=r"the method's report is wrong at generated\.report"):
        _Listener().take(line)
    for junk in (b"", b"{", b"[]", b'{"kind": "measure"}', b"\xff"):
        with pytest.raises(CardError):
            _Listener().take(junk)
