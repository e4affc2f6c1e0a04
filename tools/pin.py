"""Prints the installed versions of everything that Paperround needs, as constraints for pip.

torch is left out on purpose: which build of it is right depends on the machine (see Makefile).
"""

from importlib.metadata import PackageNotFoundError, distribution

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = "paperround"
EXTRAS = ("papers", "dev")


def needed(name: str, extras: tuple[str, ...], seen: dict[str, str]) -> dict[str, str]:
    """The versions of a distribution's requirements and of theirs, by canonical name."""
    for text in distribution(name).requires or []:
        requirement = Requirement(text)
        wanted = requirement.marker is None or any(
            requirement.marker.evaluate({"extra": extra}) for extra in (*extras, "")
        )
        required = canonicalize_name(requirement.name)
        if not wanted or required in seen or required == "torch":
            continue
        try:
            seen[required] = distribution(required).version
        except PackageNotFoundError:
            continue
        needed(required, tuple(requirement.extras), seen)
    return seen


def main() -> None:
    """Writes the constraints to standard output, sorted."""
    print("# Written by `make constraints`. torch is chosen in the Makefile.")
    for name, version in sorted(needed(ROOT, EXTRAS, {}).items()):
        print(f"{name}=={version}")


if __name__ == "__main__":
    main()
