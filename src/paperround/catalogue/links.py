"""The code, models and data sets that a paper names in its abstract or comment."""

import re
from collections.abc import Iterator

_SEGMENT = r"(?:[A-Za-z0-9._-]|\\[_-])+"
# From the host on. A path follows it, and what stands before it decides whether it is one.
_GITHUB = re.compile(
    rf"github\.com/(?P<owner>[A-Za-z0-9](?:[A-Za-z0-9-]{{0,38}}))/(?P<name>{_SEGMENT})"
    r"(?P<rest>/[A-Za-z-]+)?",
    re.IGNORECASE,
)
_HUGGING_FACE = re.compile(
    r"(?:huggingface\.co|hf\.co)/"
    rf"(?P<kind>(?:datasets|spaces|collections)/)?(?P<owner>{_SEGMENT})(?:/(?P<name>{_SEGMENT}))?",
    re.IGNORECASE,
)
_BEFORE = re.compile(r"(?:^|[^\w.@-])(?:https?://)?(?:www\.)?$", re.IGNORECASE)
_LONGEST_BEFORE = len(" https://www.")
_ON_GITHUB = "https://github.com/"
_ON_HUB = "https://huggingface.co/"
_NOT_OWNERS = {"about", "apps", "features", "marketplace", "orgs", "sponsors", "topics", "users"}
_NOT_CODE = {"/issues", "/pull", "/discussions", "/wiki", "/actions"}
# First segments that are the site's own.
_THE_SITES_OWN = (
    "api blog chat docs enterprise join learn login models organizations papers posts pricing"
    " settings tasks datasets spaces collections"
)
_NOT_MODELS = frozenset(_THE_SITES_OWN.split())
_BROKEN = re.compile(r"/(?:(?<=github\.com/)\s+|(?<=huggingface\.co/)\s+|(?<=[\w-]/)\n)")


def links_in(*texts: str | None) -> list[str]:
    """The repositories, models, data sets and Spaces that the texts name, in order, each once.

    LaTeX's escapes and a sentence's full stop do not belong to them; a path inside is cut off.
    """
    found: dict[str | None, None] = {}
    for text in texts:
        if not text:
            continue
        lowered = text.lower()
        on_github, on_hub = "github.com/" in lowered, "huggingface.co/" in lowered
        on_hub = on_hub or "hf.co/" in lowered
        if not (on_github or on_hub):
            continue
        # An address is sometimes broken by the line; only what follows a slash can be its rest.
        whole = _BROKEN.sub("/", text)
        if on_github:
            found |= dict.fromkeys(map(_repository, _addresses(whole, "github.com/", _GITHUB)))
        if on_hub:
            for host in ("huggingface.co/", "hf.co/"):
                found |= dict.fromkeys(map(_on_the_hub, _addresses(whole, host, _HUGGING_FACE)))
    return [link for link in found if link]


def github_url(*texts: str | None) -> str | None:
    """The first GitHub repository that the texts name, as an address; None when they name none."""
    return next(filter(is_repository, links_in(*texts)), None)


def is_repository(link: str) -> bool:
    """Whether a link of `links_in` is a repository of code."""
    return link.startswith(_ON_GITHUB)


def is_dataset(link: str) -> bool:
    """Whether a link of `links_in` is a data set on the Hub."""
    return link.startswith(f"{_ON_HUB}datasets/")


def is_model(link: str) -> bool:
    """Whether a link of `links_in` is a model on the Hub."""
    kind = link.removeprefix(_ON_HUB).partition("/")[0]
    return link.startswith(_ON_HUB) and kind not in ("datasets", "spaces", "collections")


def _addresses(text: str, host: str, pattern: re.Pattern[str]) -> Iterator[re.Match[str]]:
    # Searching for the host is many times faster than for all that may stand before it.
    lowered = text.lower()
    if len(lowered) != len(text):
        # A few letters become two when they are lowered.
        lowered = text
    at = lowered.find(host)
    while at >= 0:
        before = text[max(0, at - _LONGEST_BEFORE) : at]
        found = pattern.match(text, at)
        if found and _BEFORE.search(before):
            yield found
        at = lowered.find(host, at + 1)


def _repository(found: re.Match[str]) -> str | None:
    name = _name(found["name"]).removesuffix(".git")
    if not name or found["owner"].lower() in _NOT_OWNERS:
        return None
    if found["rest"] and found["rest"].lower() in _NOT_CODE:
        return None
    return f"https://github.com/{found['owner']}/{name}"


def _on_the_hub(found: re.Match[str]) -> str | None:
    kind, owner, name = found["kind"] or "", _name(found["owner"]), _name(found["name"] or "")
    # One segment names an organisation, and "/papers/…" a paper; neither is a thing to use.
    if not owner or not name or owner.lower() in _NOT_MODELS:
        return None
    return f"{_ON_HUB}{kind.lower()}{owner}/{name}"


def _name(segment: str) -> str:
    return segment.replace("\\", "").rstrip(".-_,")
