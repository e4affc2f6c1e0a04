"""docs/generate.md: its examples run, and it names every method."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from paperround.kit.language_models import Request, known_methods, timed
from paperround.kit.language_models.declarations import read_declarations
from paperround.kit.language_models.families import byte_tokenizer, random_model
from paperround.settings import TextGeneration

PAGE = (Path(__file__).parents[2] / "docs" / "generate.md").read_text(encoding="utf-8")
CONFIGURED, DECLARED = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
METHOD, SEAM = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def test_the_method_of_the_page_can_be_used() -> None:
    names: dict[str, Any] = {}
    exec(METHOD, names)
    [method] = names["GENERATORS"].values()
    request = Request(random_model("gpt2"), byte_tokenizer(), "quiet", 12)
    [candidate] = timed(method, request).generated.candidates
    assert candidate.text == candidate.text.upper()
    assert candidate.n_tokens == 12


def test_what_the_page_declares_and_configures_is_read_as_it_stands(tmp_path: Path) -> None:
    tmp_path.joinpath("generators.toml").write_text(DECLARED, encoding="utf-8")
    assert set(read_declarations(tmp_path)) == {"shout"}
    configured = TextGeneration.model_validate(tomllib.loads(CONFIGURED)["generation"])
    assert configured == TextGeneration(models=configured.models), "these are the defaults"
    assert next(iter(configured.models)) == next(iter(TextGeneration().models))


def test_the_seam_of_the_page_works() -> None:
    names: dict[str, Any] = {}
    exec(SEAM, names)
    assert names["score"].log_prob < 0


@pytest.mark.parametrize("name", sorted(known_methods()))
def test_every_method_stands_on_the_page(name: str) -> None:
    assert f"| `{name}` |" in PAGE
