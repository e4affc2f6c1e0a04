"""Set-based prompting for `paperround generate`: the prompt's text has the markers in it."""

from collections.abc import Mapping
from pathlib import Path

from paperround.kit.language_models.declarations import read_declarations
from paperround.kit.language_models.methods import (
    PLAIN_SETTINGS,
    Candidate,
    Generated,
    GenerationMethod,
    Request,
)
from paperround.kit.language_models.timing import counted_passes
from paperround.papers.set_based_prompting.encoding import FORMS, SET_BASED
from paperround.papers.set_based_prompting.generation import set_generate
from paperround.papers.set_based_prompting.models import require_support
from paperround.papers.set_based_prompting.prompts import END, SPLIT, START, SetPrompt


def _generate(request: Request) -> Generated:
    form = request.options["form"]
    if form not in FORMS:
        raise ValueError(f"no form {form!r}; there are {', '.join(FORMS)}")
    is_chat = not isinstance(request.prompt, str)
    text = request.prompt if isinstance(request.prompt, str) else _templated(request)
    prompt = SetPrompt.parse(text)
    # Before the passes are counted: it makes a few of its own with a model that it has not seen.
    require_support(request.model)
    with counted_passes(request.model) as count:
        found = set_generate(
            request.model,
            request.tokenizer,
            prompt,
            form=FORMS[form],
            # A chat template brings its own special tokens.
            add_bos=not is_chat,
            sort_members=request.options["sort_members"],
            max_new_tokens=request.max_new_tokens,
            num_beams=1,
            **PLAIN_SETTINGS,
        )
    sizes = [len(one.members) for one in prompt.sets]
    return Generated(
        (Candidate(found.texts[0], int(found.lengths[0])),),
        _changed(form, sizes),
        count.passes,
        {"sets": len(sizes), "members": sum(sizes), "passes": count.passes},
    )


def _templated(request: Request) -> str:
    """The conversation as the model's template writes it, the markers where they were."""
    text: str = request.tokenizer.apply_chat_template(
        list(request.prompt), add_generation_prompt=True, tokenize=False
    )
    return text


def _changed(form: str, sizes: list[int]) -> str:
    if not sizes:
        return f"Nothing: the prompt has no set; {START}one{SPLIT}another{END} is one."
    members = " and ".join(map(str, sizes))
    if FORMS[form] != SET_BASED:
        return f"Set of {members} members, {form}: the text depends on their order."
    return f"Set of {members} members without an order: another order gives the same text."


_DECLARED = read_declarations(Path(__file__).parent, "set-based-prompting")
GENERATORS: Mapping[str, GenerationMethod] = {
    "set-based-prompting": GenerationMethod.declared(_DECLARED["set-based-prompting"], _generate)
}
