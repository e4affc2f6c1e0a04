"""Generating text with a language model, by any paper's way to decode."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from paperround.cli.console import Json, app, say, say_json, tell
from paperround.terminal import Progress


@app.command()
def generate(
    model: Annotated[
        str, typer.Option(help="A folder that transformers reads, or an asset's name.")
    ] = "smollm2-135m",
    prompt: Annotated[
        Path | None,
        typer.Option(
            help="A text, or .jsonl with a prompt or messages a line; - is standard input."
        ),
    ] = None,
    method: Annotated[str, typer.Option(help="How to decode; --methods lists them.")] = "greedy",
    setting: Annotated[
        list[str] | None, typer.Option("--set", help="An option of the method, as gamma=4.")
    ] = None,
    max_new_tokens: Annotated[int, typer.Option(min=0, help="Of each text.")] = 128,
    chat: Annotated[
        bool, typer.Option("--chat", help="Take a text as what a user says to the model.")
    ] = False,
    seed: Annotated[int, typer.Option(help="All the randomness.")] = 0,
    compare: Annotated[
        bool, typer.Option("--compare", help="Also decode greedily, and say what differs.")
    ] = False,
    methods: Annotated[bool, typer.Option("--methods", help="List the methods and stop.")] = False,
    as_json: Json = False,
) -> None:
    """Generate text on this machine: the text, tokens a second, what the method changed.

    Example: paperround generate --model smollm2-135m --prompt letter.txt --method copyspec
    """
    from paperround.errors import UsageError
    from paperround.kit.language_models import (
        Request,
        find_method,
        known_methods,
        open_model,
        report,
        timed,
        use_threads,
        warm_up,
    )
    from paperround.kit.offers import options_from_texts
    from paperround.settings import get_settings

    if methods:
        for one in known_methods().values():
            listed = " ".join(f"{name}={json.dumps(value)}" for name, value in one.options.items())
            say(f"{one.name:<22} {one.about}" + (f" ({listed})" if listed else ""))
        return
    if prompt is None:
        raise UsageError("--prompt names the file with the text to go on with; - is standard input")
    chosen, greedy = find_method(method), find_method("greedy")
    options = chosen.complete(options_from_texts(setting or []))
    prompts = list(_prompts(prompt, chat))
    if not prompts:
        raise UsageError(f"{prompt} has no prompts; write one a line")
    use_threads(get_settings().run_threads)
    with Progress(f"Loading {model}"):
        plain_model, tokenizer = open_model(model)
        prepared = chosen.prepared(plain_model, tokenizer, options)
    parts_from_greedy = False
    with Progress(f"Decoding by {method}", total=len(prompts)) as progress:
        for number, (place, text) in enumerate(prompts, start=1):
            try:
                asked = {"tokenizer": tokenizer, "prompt": text, "max_new_tokens": max_new_tokens}
                request = Request(model=prepared, seed=seed, options=options, **asked)
                plainly = Request(model=plain_model, **asked)
                if number == 1:
                    warm_up(chosen, request)
                    if compare:
                        warm_up(greedy, plainly)
                done = timed(chosen, request)
                beside = timed(greedy, plainly) if compare else None
            except UsageError as error:
                raise UsageError(f"{place}: {error}") from error
            said = report(place, method, options, done, beside)
            if beside is not None and chosen.is_greedy and not said["greedy"]["same_text"]:
                parts_from_greedy = True
            if as_json:
                say_json(said)
            else:
                _show(place if len(prompts) > 1 else "", said)
            progress.advance_to(number)
    if parts_from_greedy:
        tell(
            f"{method} promises greedy decoding's text and gave another one. In float32 that "
            "happens where two tokens are equally probable but for rounding."
        )
        raise typer.Exit(1)


def _prompts(file: Path, chat: bool) -> Iterator[tuple[str, Any]]:
    """Where each prompt stands, and the prompt: a text, or a conversation."""
    from paperround.errors import UsageError

    try:
        raw = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
        text = raw.decode()
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{file} is no text in UTF-8") from error
    if file.suffix != ".jsonl":
        # The newline that editors put at the end of a file is none of the text.
        text = text.removesuffix("\n").removesuffix("\r")
        yield str(file), [{"role": "user", "content": text}] if chat and text else text
        return
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        place = f"{file}, line {number}"
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise UsageError(f"{place}: no JSON ({error.msg})") from error
        found = record.get("messages", record.get("prompt")) if isinstance(record, dict) else None
        if isinstance(found, list) and all(_is_message(message) for message in found):
            yield place, found
        elif isinstance(found, str):
            yield place, [{"role": "user", "content": found}] if chat and found else found
        else:
            raise UsageError(f'{place}: write {{"prompt": TEXT}} or {{"messages": [...]}}')


def _is_message(message: object) -> bool:
    return isinstance(message, dict) and all(
        isinstance(message.get(name), str) for name in ("role", "content")
    )


def _show(place: str, said: dict[str, Any]) -> None:
    if place:
        say(f"— {place}")
    for number, text in enumerate(said["texts"], start=1):
        if len(said["texts"]) > 1:
            score = "" if text["log_prob"] is None else f" (log p {text['log_prob']:.2f})"
            say(f"{number}.{score}")
        say(text["text"])
    say()
    for line in said["says"]:
        say(line)
