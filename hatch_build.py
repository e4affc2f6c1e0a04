"""Writes the `paperround.papers` entry points from the rooms' folders when the package is built."""

import tomllib
from pathlib import Path

from hatchling.metadata.plugin.interface import MetadataHookInterface


class RoomEntryPoints(MetadataHookInterface):
    """One entry point per `papers/*/card.toml`: its slug, and the package that is the room."""

    def update(self, metadata: dict) -> None:
        """Adds `entry-points`; a card without a slug stops the build."""
        rooms = {}
        for card in sorted(Path(self.root, "src/paperround/papers").glob("*/card.toml")):
            slug = tomllib.loads(card.read_text(encoding="utf-8"))["slug"]
            rooms[slug] = f"paperround.papers.{card.parent.name}"
        metadata["entry-points"] = {"paperround.papers": rooms}
