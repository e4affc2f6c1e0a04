"""The ways to decode that this site offers: what rooms declare, with none of their code."""

from paperround.kit.language_models.declarations import Declaration, declared_methods
from paperround.log import get_logger
from paperround.web.site import Site


def declared_here(site: Site) -> dict[str, Declaration]:
    """By name: transformers' own, then those of the rooms as they are installed now."""
    declared, broken = declared_methods((slug, room.folder) for slug, room in site.rooms.items())
    for slug, reason in broken.items():
        get_logger().warning("generators.broken", slug=slug, reason=reason)
    return declared
