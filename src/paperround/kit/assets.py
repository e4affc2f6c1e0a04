"""Assets: data sets and models by name, each with licence, size, checksums, and where to have it.

`assets.toml` beside this file declares what several rooms share; a room declares its own in its own
`assets.toml`. Places are tried in this order: the cache in `PAPERROUND_HOME`, the folder
`PAPERROUND_ASSETS` (where a file may lie compressed, as NAME.xz), the package itself, a wheel that
carries it (fetched with pip, unpacked, never imported). What cannot be fetched by a program says
where a person gets it.
"""

import hashlib
import importlib.util
import lzma
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path

from filelock import FileLock
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from paperround.errors import AssetError, NotFoundError
from paperround.settings import Settings, get_settings

_CHUNK_BYTES = 1 << 20
_FETCH_TIMEOUT_S = 1_800


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class AssetFile(_Strict):
    """A file of an asset, by its name inside the asset's folder."""

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    size_bytes: int = Field(gt=0)


class Wheel(_Strict):
    """A wheel that carries the asset: `requirement` as pip takes it, `folder` inside the wheel."""

    requirement: str
    folder: str = ""


class Asset(_Strict):
    """One declaration of `assets.toml`."""

    what: str
    licence: str
    get: str = Field(description="where a person gets it, in one line")
    files: dict[str, AssetFile]
    # Its folder under PAPERROUND_ASSETS.
    folder: str | None = None
    # `package.name:folder` where the package itself carries the files.
    package: str | None = None
    wheel: Wheel | None = None

    @property
    def size_bytes(self) -> int:
        """The size of all files."""
        return sum(file.size_bytes for file in self.files.values())


@dataclass(frozen=True)
class FoundAsset:
    """Where an asset lies here. `sha256` is one checksum over all its files' checksums."""

    name: str
    folder: Path
    sha256: str


def declared_assets() -> dict[str, Asset]:
    """Every asset that the kit and the rooms declare, by name. Raises AssetError on a bad file."""
    declared: dict[str, Asset] = {}
    for path in _declarations():
        try:
            for name, fields in tomllib.loads(path.read_text(encoding="utf-8")).items():
                if name in declared:
                    raise AssetError(f"{path}: the asset '{name}' is declared twice")
                declared[name] = Asset.model_validate(fields)
        except (tomllib.TOMLDecodeError, ValidationError) as error:
            raise AssetError(f"{path}: {error}") from error
    return declared


def find_asset(name: str, settings: Settings | None = None) -> FoundAsset:
    """The asset's folder, every file's checksum verified; fetches it where a program can.

    Raises NotFoundError for a name that nothing declares, AssetError where it cannot be had.
    """
    settings = settings or get_settings()
    declared = declared_assets()
    if name not in declared:
        raise NotFoundError(f"no asset '{name}'; `paperround asset list` names them")
    asset = declared[name]
    cached = settings.cache_dir / "assets" / name
    tried: list[str] = []
    for place in _places(asset, cached, settings):
        fault = _fault(asset, place)
        if fault is None:
            return FoundAsset(name, place, _sha256_of_all(asset))
        tried.append(f"{place}: {fault}")
    if compressed := _compressed(asset, settings):
        return FoundAsset(
            name, _decompressed(name, asset, compressed, cached), _sha256_of_all(asset)
        )
    if asset.wheel is not None:
        cached.parent.mkdir(parents=True, exist_ok=True)
        # Two runs that need the same asset fetch it once: the second finds what the first left.
        with FileLock(cached.parent / f".{name}.lock"):
            if _fault(asset, cached) is not None:
                _fetch_wheel(name, asset, asset.wheel, cached)
        if (fault := _fault(asset, cached)) is None:
            return FoundAsset(name, cached, _sha256_of_all(asset))
        tried.append(f"{asset.wheel.requirement}: {fault}")
    raise AssetError(f"the asset '{name}' is not here ({'; '.join(tried)}). {asset.get}")


def is_here(name: str, settings: Settings | None = None) -> bool:
    """Whether an asset's files lie on this machine already, by name and size; fetches nothing."""
    settings = settings or get_settings()
    asset = declared_assets()[name]
    return any(
        all(
            (place / file).is_file() and (place / file).stat().st_size == declared.size_bytes
            for file, declared in asset.files.items()
        )
        for place in _places(asset, settings.cache_dir / "assets" / name, settings)
    )


def _declarations() -> list[Path]:
    paths = [Path(__file__).with_name("assets.toml")]
    for point in sorted(entry_points(group="paperround.papers"), key=lambda point: point.name):
        spec = importlib.util.find_spec(point.value)
        if spec is not None and spec.origin is not None:
            paths.append(Path(spec.origin).with_name("assets.toml"))
    return [path for path in paths if path.is_file()]


def _places(asset: Asset, cached: Path, settings: Settings) -> list[Path]:
    places = [cached]
    if settings.assets is not None and asset.folder is not None:
        places.append(settings.assets / asset.folder)
    if asset.package is not None:
        package, _, folder = asset.package.partition(":")
        spec = importlib.util.find_spec(package)
        if spec is not None and spec.origin is not None:
            places.append(Path(spec.origin).parent / folder)
    return places


def _compressed(asset: Asset, settings: Settings) -> Path | None:
    """The folder that has every file of the asset, some of them as NAME.xz; None where none has."""
    if settings.assets is None or asset.folder is None:
        return None
    folder = settings.assets / asset.folder
    packed = {name for name in asset.files if (folder / f"{name}.xz").is_file()}
    plain = {name for name in asset.files if (folder / name).is_file()}
    # Without a compressed one it is the plain folder, which was looked at before.
    return folder if packed - plain and packed | plain == set(asset.files) else None


def _decompressed(name: str, asset: Asset, folder: Path, target: Path) -> Path:
    """The cache's folder, filled from compressed files. Raises AssetError on other contents."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with (
        FileLock(target.parent / f".{name}.lock"),
        tempfile.TemporaryDirectory(prefix=f".{name}-", dir=target.parent) as drafts,
    ):
        draft = Path(drafts, "files")
        for file in asset.files:
            path = draft / file
            path.parent.mkdir(parents=True, exist_ok=True)
            if (folder / file).is_file():
                shutil.copyfile(folder / file, path)
                continue
            with lzma.open(folder / f"{file}.xz") as source, path.open("wb") as copy:
                shutil.copyfileobj(source, copy, _CHUNK_BYTES)
        if fault := _fault(asset, draft):
            raise AssetError(f"the asset '{name}' in {folder} is not as declared: {fault}")
        if target.exists():
            shutil.rmtree(target)
        draft.replace(target)
    return target


def _fault(asset: Asset, folder: Path) -> str | None:
    """Why the asset cannot be had from this folder; None when every file is there and right."""
    for name, declared in asset.files.items():
        path = folder / name
        if not path.is_file():
            return f"no {name}"
        if _sha256(path) != declared.sha256:
            return f"{name} has another checksum than the declared one"
    return None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sha256_of_all(asset: Asset) -> str:
    lines = "".join(f"{file.sha256}  {name}\n" for name, file in sorted(asset.files.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def _fetch_wheel(name: str, asset: Asset, wheel: Wheel, target: Path) -> None:
    """Downloads the wheel with pip and unpacks the asset's files; nothing of it is imported."""
    with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=target.parent) as drafts:
        draft = Path(drafts, "files")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        command += ["--disable-pip-version-check", "--only-binary", ":all:", "--dest", drafts]
        try:
            subprocess.run(
                [*command, wheel.requirement],
                check=True,
                capture_output=True,
                text=True,
                timeout=_FETCH_TIMEOUT_S,
                env={**os.environ, "PIP_NO_INPUT": "1"},
            )
        except subprocess.CalledProcessError as error:
            said = (error.stderr or error.stdout or "").strip().splitlines() or ["no reason given"]
            raise AssetError(
                f"the asset '{name}' could not be fetched with `pip download {wheel.requirement}`: "
                f"{said[-1]}. {asset.get}"
            ) from error
        except subprocess.TimeoutExpired as error:
            raise AssetError(
                f"fetching the asset '{name}' took more than {_FETCH_TIMEOUT_S} s; try again"
            ) from error
        for archive in Path(drafts).glob("*.whl"):
            _unpack(asset, wheel, archive, draft)
        if target.exists():
            shutil.rmtree(target)
        draft.replace(target)


def _unpack(asset: Asset, wheel: Wheel, archive: Path, folder: Path) -> None:
    # Only the declared names are read, so no path inside the archive can lead elsewhere.
    with zipfile.ZipFile(archive) as opened:
        held = set(opened.namelist())
        for name in asset.files:
            inside = f"{wheel.folder}/{name}" if wheel.folder else name
            if inside not in held:
                raise AssetError(f"{archive.name} does not hold {inside}")
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with opened.open(inside) as source, path.open("wb") as copy:
                shutil.copyfileobj(source, copy, _CHUNK_BYTES)
