"""Descriptions of users and items by a language model: the prompts, and answers that are kept.

The paper asks DeepSeek-V3 (temperature 0) for a user's preference and for an item, and embeds the
answers. Any function from a prompt to an answer does here: a hosted model, a local one, or none
(`user_vectors` needs no description). All prompts are written from the log that is given: give the
training log. The wording is ours; what goes in is the paper's (Section 3.2).
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from paperround.errors import UsageError
from paperround.kit.recommendation.interactions import InteractionLog
from paperround.kit.recommendation.item_text import ItemText

LanguageModel = Callable[[str], str]

USER_TEMPLATE = (
    "These are the products that one person chose, oldest first:\n{products}\n"
    "In at most 100 words, summarise what this person prefers and is likely to look for. "
    "Do not list product names."
)
ITEM_TEMPLATE = (
    "This is a product:\n{product}\n{contexts}"
    "In at most 100 words, describe what it is and who chooses it."
)
_CONTEXT = "Somebody who chose it chose, oldest first: {products}\n"


@dataclass(frozen=True)
class Description:
    """An answer and what it answers: the prompt's SHA-256, the model's name, its temperature."""

    prompt_sha256: str
    model: str
    temperature: float
    answer: str


def user_prompts(
    log: InteractionLog,
    text: ItemText,
    *,
    template: str = USER_TEMPLATE,
    newest: int | None = None,
) -> list[str]:
    """A prompt per user, from the texts of their items in order (the `newest` of them, or all).

    "" for a user of whom no item has a text: there is nothing to summarise.
    """
    titles = ["", *text.texts(log.item_ids)]
    prompts = []
    for user in range(log.n_users):
        items = log.sequence(user)[-newest:] if newest else log.sequence(user)
        said = [titles[item] for item in items if titles[item]]
        prompts.append(template.format(products=_listed(said)) if said else "")
    return prompts


def item_prompts(
    log: InteractionLog,
    text: ItemText,
    *,
    template: str = ITEM_TEMPLATE,
    contexts: int = 10,
    around: int = 5,
    seed: int = 0,
) -> list[str]:
    """A prompt per item code (0 is padding's, ""), with histories that the item stands in.

    Up to `contexts` users who took it are drawn, and the `around` items before and after it in
    their histories are given (the paper gives up to 10 whole histories, its code 5). "" for an item
    without a text.
    """
    titles = ["", *text.texts(log.item_ids)]
    rng = np.random.default_rng(seed)
    events = np.argsort(log.item, kind="stable")
    first = np.concatenate([[0], np.cumsum(log.item_counts)])
    prompts = [""]
    for item in range(1, log.n_items + 1):
        own = events[first[item] : first[item + 1]]
        drawn = own if len(own) <= contexts else rng.choice(own, size=contexts, replace=False)
        said = []
        for event in np.sort(drawn):
            start, stop = log.offsets[log.user[event]], log.offsets[log.user[event] + 1]
            near = log.item[max(start, event - around) : min(stop, event + around + 1)]
            named = [titles[code] for code in near if titles[code]]
            said.append(_CONTEXT.format(products="; ".join(named)))
        prompts.append(
            template.format(product=titles[item], contexts="".join(said)) if titles[item] else ""
        )
    return prompts


def describe(
    prompts: Sequence[str],
    llm: LanguageModel,
    *,
    model: str,
    temperature: float = 0.0,
    store: Path | None = None,
) -> list[str]:
    """An answer per prompt, each prompt asked once; "" for "".

    `model` and `temperature` say what `llm` is. With `store`, a file of JSON lines, answers are
    written as they come, and asked for again only where prompt, model or temperature are new: a run
    that was interrupted goes on, and the vectors that are made of them can be made again.
    """
    known = _resumed(store) if store is not None else {}
    answers = []
    for prompt in prompts:
        key = (
            hashlib.sha256(prompt.encode("utf-8", "surrogatepass")).hexdigest(),
            model,
            temperature,
        )
        if prompt and key not in known:
            known[key] = llm(prompt)
            if store is not None:
                store.parent.mkdir(parents=True, exist_ok=True)
                with store.open("a", encoding="utf-8") as file:
                    line = json.dumps(asdict(Description(*key, known[key])))
                    file.write(line + "\n")
        answers.append(known[key] if prompt else "")
    return answers


def describe_users(
    log: InteractionLog,
    text: ItemText,
    llm: LanguageModel,
    *,
    model: str,
    template: str = USER_TEMPLATE,
    temperature: float = 0.0,
    store: Path | None = None,
) -> list[str]:
    """What `llm` makes of each user of the (training) log; embed it for `user_text`."""
    prompts = user_prompts(log, text, template=template)
    return describe(prompts, llm, model=model, temperature=temperature, store=store)


def describe_items(
    log: InteractionLog,
    text: ItemText,
    llm: LanguageModel,
    *,
    model: str,
    template: str = ITEM_TEMPLATE,
    temperature: float = 0.0,
    store: Path | None = None,
) -> list[str]:
    """What `llm` makes of each item code of the (training) log; embed it for `item_text`."""
    prompts = item_prompts(log, text, template=template)
    return describe(prompts, llm, model=model, temperature=temperature, store=store)


def _listed(titles: Sequence[str]) -> str:
    return "\n".join(f"{place}. {title}" for place, title in enumerate(titles, start=1))


def _resumed(path: Path) -> dict[tuple[str, str, float], str]:
    """The answers of a store; a line that an interruption left half-written is cut off."""
    if not path.is_file():
        return {}
    written = path.read_bytes()
    whole = written[: written.rfind(b"\n") + 1]
    if len(whole) < len(written):
        with path.open("r+b") as file:
            file.truncate(len(whole))
    known = {}
    for number, line in enumerate(whole.decode("utf-8").splitlines(), start=1):
        try:
            said: Mapping[str, object] = json.loads(line)
            kept = Description(**said)  # type: ignore[arg-type]
        except (json.JSONDecodeError, TypeError) as error:
            raise UsageError(f"{path}, line {number}: no description: {error}") from error
        known[kept.prompt_sha256, kept.model, float(kept.temperature)] = kept.answer
    return known
