"""What is known of items in words: titles, and attributes such as genres, brand and categories.

`load_item_text("amazon-beauty")` reads what our data sets have; for your own make an `ItemText`.
text.py turns it into vectors.
"""

import json
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field

from paperround.errors import UsageError
from paperround.kit.recommendation.reading import asset_lines, movielens_100k_titles

# The brand of a product without one in the Amazon files; it would make strangers alike.
_NO_BRAND = "Unknown"


@dataclass(frozen=True)
class ItemText:
    """A title per item, and attributes where there are any, both by the caller's ids."""

    titles: Mapping[Hashable, str]
    attributes: Mapping[Hashable, Sequence[str]] = field(default_factory=dict)

    def of(self, item: Hashable, *, with_attributes: bool = True) -> str:
        """Title and attributes in one text: "GoldenEye (1995). Action, Adventure, Thriller"."""
        title = self.titles.get(item, "").strip()
        attributes = ", ".join(self.attributes.get(item, ())) if with_attributes else ""
        return ". ".join(part for part in (title, attributes) if part)

    def texts(self, items: Sequence[Hashable], *, with_attributes: bool = True) -> list[str]:
        """One text per item, in their order; "" for an item of which nothing is known."""
        return [self.of(item, with_attributes=with_attributes) for item in items]


def load_item_text(name: str) -> ItemText:
    """Titles and attributes of a data set, by the ids that its log has.

    `name` is ml-100k or ml-1m (titles with years, genres) or amazon-beauty (titles, brands and
    categories). Raises UsageError for others: of Amazon Toys only numbers of attributes are known.
    """
    if name == "ml-100k":
        films = movielens_100k_titles()
        return ItemText(
            {item: title for item, (title, _) in films.items()},
            {item: tuple(genres.split()) for item, (_, genres) in films.items()},
        )
    if name == "ml-1m":
        rows = [line.split("\t") for line in asset_lines("ml-1m", "movies.tsv")]
        return ItemText(
            {row[0]: row[1] for row in rows}, {row[0]: tuple(row[2].split("|")) for row in rows}
        )
    if name == "amazon-beauty":
        products = [json.loads(line) for line in asset_lines(name, "items.jsonl.xz")]
        return ItemText(
            {str(product["id"]): product["title"] or "" for product in products},
            {
                str(product["id"]): tuple(a for a in product["attributes"] if a != _NO_BRAND)
                for product in products
            },
        )
    raise UsageError(f"no item texts of '{name}'; there are ml-100k, ml-1m, amazon-beauty")
