"""The code that a paper names in its abstract or comment."""

import re

# Two path segments after the host. Gists, issues, profiles and GitHub's own pages are not code.
_GITHUB = re.compile(
    r"(?<![\w.@-])(?:https?://)?(?:www\.)?github\.com/"
    r"(?P<owner>[A-Za-z0-9](?:[A-Za-z0-9-]{0,38}))/(?P<name>(?:[A-Za-z0-9._-]|\\[_-])+)"
    r"(?P<rest>/[A-Za-z-]+)?",
    re.IGNORECASE,
)
_NOT_OWNERS = {"about", "apps", "features", "marketplace", "orgs", "sponsors", "topics", "users"}
_NOT_CODE = {"/issues", "/pull", "/discussions", "/wiki", "/actions"}


def github_url(*texts: str | None) -> str | None:
    """The first GitHub repository that the texts name, as an address; None when they name none.

    LaTeX's escapes and a sentence's full stop do not belong to it; a path inside is cut off.
    """
    for text in texts:
        if text is None or "github" not in text.lower():
            continue
        # An address is sometimes broken by the line; only what follows a slash can be its rest.
        for found in _GITHUB.finditer(re.sub(r"(?<=github\.com/)\s+|(?<=[\w-]/)\n", "", text)):
            name = found["name"].replace("\\", "").rstrip(".-_,")
            name = name.removesuffix(".git")
            if not name or found["owner"].lower() in _NOT_OWNERS:
                continue
            if found["rest"] and found["rest"].lower() in _NOT_CODE:
                continue
            return f"https://github.com/{found['owner']}/{name}"
    return None
