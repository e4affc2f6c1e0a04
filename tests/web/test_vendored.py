"""The vendored scripts are what their README says."""

import hashlib
import re

from paperround.web.rendering import STATIC


def test_vendored_scripts_have_the_checksums_that_are_written_down() -> None:
    readme = STATIC.joinpath("vendor/README.md").read_text(encoding="utf-8")
    written = dict(re.findall(r"\| `([\w.]+\.js)` .*\| `([0-9a-f]{64})` \|", readme))
    found = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in STATIC.joinpath("vendor").glob("*.js")
    }
    assert found == written


def test_own_scripts_and_styles_name_no_foreign_address() -> None:
    for path in (STATIC / "site.css", STATIC / "reading.js"):
        assert not re.search(r"(https?:)?//[a-z]", path.read_text(encoding="utf-8"))
