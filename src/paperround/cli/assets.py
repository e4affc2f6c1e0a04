"""Data sets and models, by name."""

from typing import Annotated, Any

import typer

from paperround.cli.console import Json, app, say, say_json
from paperround.terminal import Progress

asset_app = typer.Typer(help="Data sets and models, by name.", no_args_is_help=True)
app.add_typer(asset_app, name="asset")


@asset_app.command(name="list")
def asset_list(as_json: Json = False) -> None:
    """List every asset: what it is, its licence, its size, whether it is here.

    Example: paperround asset list
    """
    from paperround.kit.assets import declared_assets, is_here

    rows: list[dict[str, Any]] = [
        {
            "name": name,
            "what": asset.what,
            "licence": asset.licence,
            "size_bytes": asset.size_bytes,
            "here": is_here(name),
        }
        for name, asset in sorted(declared_assets().items())
    ]
    if as_json:
        say_json(rows)
        return
    for row in rows:
        here = "here" if row["here"] else "not here"
        say(f"{row['name']:<20} {row['size_bytes'] / 1e6:>8.1f} MB  {here:<9} {row['what']}")


@asset_app.command(name="get")
def asset_get(
    names: Annotated[list[str] | None, typer.Argument(help="Which assets.")] = None,
    scale: Annotated[str | None, typer.Option(help="All that this scale needs.")] = None,
) -> None:
    """Fetch assets, verify their checksums, and print where they lie.

    Example: paperround asset get smollm2-135m
    """
    from paperround.discovery.embedding import ASSETS as SEARCH_ASSETS
    from paperround.errors import UsageError
    from paperround.kit.assets import find_asset
    from paperround.runs.card import Scale
    from paperround.runs.rooms import find_rooms

    wanted = dict.fromkeys(names or [])
    if scale is not None:
        if scale not in set(Scale):
            raise UsageError(f"no scale '{scale}'; there are {', '.join(Scale)}")
        wanted |= dict.fromkeys(SEARCH_ASSETS)
        for room in find_rooms()[0].values():
            wanted |= dict.fromkeys(room.card.scales[Scale(scale)].assets)
    if not wanted:
        raise UsageError("name an asset, or say --scale quick for all that a quick run needs")
    with Progress("Fetching assets", total=len(wanted), unit="assets") as progress:
        for number, name in enumerate(wanted, start=1):
            found = find_asset(name)
            progress.advance_to(number)
            if names and name in names:
                say(str(found.folder))
