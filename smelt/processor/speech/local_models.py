"""The models on this machine: the bundled one, folders, and those in the cache of the Hugging Face hub.

Nothing here loads a model. `fetch_model` downloads one, and `copy_model` puts a folder into the cache, so that a name
such as `base` is found there without a network.
"""

import hashlib
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx
from faster_whisper.utils import _MODELS, disabled_tqdm
from huggingface_hub import CacheNotFound, constants, get_token, scan_cache_dir, snapshot_download
from huggingface_hub.file_download import repo_folder_name

from smelt.errors import SettingsError, Unavailable
from smelt.processor.speech.demo_model_card import DEMO, demo_folder

HUB_TIMEOUT_S: Final = 5.0
"""The timeout of the first request to the hub, after which it counts as unreachable."""

_REPOSITORIES: Final[Mapping[str, str]] = _MODELS
_HUB_NAME: Final = re.compile(r"\w[\w.-]*/\w[\w.-]*")
# Without a tokenizer, faster-whisper downloads one, which is wrong for the newest models.
_NEEDED: Final = ("model.bin", "config.json", "tokenizer.json")
# The files that faster-whisper downloads.
_PATTERNS: Final = [*_NEEDED, "preprocessor_config.json", "vocabulary.*"]
_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_LFS_POINTER: Final = b"version https://git-lfs"


@dataclass(frozen=True)
class LocalModel:
    """A model on this machine: its value for `SMELT_MODEL`, and its folder.

    `revision` is the commit of a model in the cache of the hub, or the start of the hash of one that was copied there;
    None for any other.
    """

    name: str
    folder: Path
    revision: str | None = None

    @property
    def fault(self) -> str | None:
        """The reason why the files are not those of a model; None if they are."""
        for name in _NEEDED:
            if not (self.folder / name).is_file():
                return f"{name} is missing"
        if not any(self.folder.glob("vocabulary.*")):
            return "vocabulary.json or vocabulary.txt is missing"
        with (self.folder / "model.bin").open("rb") as weights:
            if weights.read(len(_LFS_POINTER)) == _LFS_POINTER:
                return "model.bin is a pointer of Git LFS, not the weights: run `git lfs pull` in its repository"
        return None

    @property
    def size_bytes(self) -> int:
        """The size of all files in bytes."""
        return sum(path.stat().st_size for path in self.folder.iterdir() if path.is_file())

    def sha256(self) -> str:
        """Return the SHA-256 of `model.bin`, which the hub shows as well; it reads the whole file."""
        with (self.folder / "model.bin").open("rb") as weights:
            return hashlib.file_digest(weights, "sha256").hexdigest()


def find_models() -> list[LocalModel]:
    """Return the bundled model and those in the cache of the hub, by name."""
    return [_bundled(), *sorted(_cached(), key=lambda model: model.name)]


def find_model(name: str) -> LocalModel | None:
    """Return the model that `SMELT_MODEL` with this name takes without a network; None if there is none."""
    if name == DEMO:
        return _bundled()
    if Path(name).is_dir():
        return LocalModel(name, Path(name))
    repository = _REPOSITORIES.get(name, name)
    cached = (model for model in _cached() if _REPOSITORIES.get(model.name, model.name) == repository)
    return next((LocalModel(name, model.folder, model.revision) for model in cached), None)


def fetch_model(name: str, *, bars: bool) -> LocalModel:
    """Download a model into the cache, or what is missing of it there.

    Args:
        name: A size that faster-whisper knows, or `owner/name` on the hub.
        bars: Show progress bars on stderr.

    Raises:
        SettingsError: The hub has no model of this name, or its files are incomplete or damaged.
        Unavailable: The hub does not respond.
    """
    repository = _repository(name)
    _check_hub(name, repository)
    shown = {} if bars else {"tqdm_class": disabled_tqdm}
    try:
        folder = Path(snapshot_download(repository, allow_patterns=_PATTERNS, **shown))
    except Exception as exc:  # The errors of its HTTP library, which depends on its version.
        raise Unavailable(
            f"the model {name} could not be downloaded ({_line(exc)}): run the command again to continue"
        ) from exc
    model = _checked(LocalModel(name, folder, folder.name))
    expected = (folder / "model.bin").resolve().name  # The cache names weights by their hash.
    if _SHA256.fullmatch(expected) and model.sha256() != expected:
        raise SettingsError(f"model.bin of {name} is damaged: delete {folder.parents[1]} and fetch it again")
    return model


def copy_model(name: str, source: Path) -> LocalModel:
    """Copy the model in a folder into the cache, where it is found by its name; raise `SettingsError`."""
    repository = _repository(name)
    original = _checked(LocalModel(name, source))
    revision = source.name if _COMMIT.fullmatch(source.name) else original.sha256()[:40]
    cached = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=repository, repo_type="model")
    folder, incoming = cached / "snapshots" / revision, cached / "incoming"
    try:
        shutil.rmtree(incoming, ignore_errors=True)
        incoming.mkdir(parents=True)
        for file in _files(source):
            shutil.copyfile(file, incoming / file.name)
        folder.parent.mkdir(exist_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
        incoming.rename(folder)
        (cached / "refs").mkdir(exist_ok=True)
        (cached / "refs" / "main").write_text(revision)
    except OSError as exc:
        raise SettingsError(f"{source} can't be copied to {cached}: {exc.strerror}") from exc
    return _checked(LocalModel(name, folder, revision))


def _bundled() -> LocalModel:
    return LocalModel(DEMO, Path(str(demo_folder())))


def _cached() -> Iterator[LocalModel]:
    sizes = {repository: size for size, repository in reversed([*_REPOSITORIES.items()])}
    try:
        cache = scan_cache_dir()
    except CacheNotFound:
        return
    for repository in cache.repos:
        if repository.repo_type == "model" and "main" in repository.refs:
            commit = repository.refs["main"]
            model = LocalModel(
                sizes.get(repository.repo_id, repository.repo_id), commit.snapshot_path, commit.commit_hash
            )
            if repository.repo_id in sizes or (model.folder / "model.bin").is_file():
                yield model


def _repository(name: str) -> str:
    if name in _REPOSITORIES:
        return _REPOSITORIES[name]
    if _HUB_NAME.fullmatch(name):
        return name
    reason = "is bundled" if name == DEMO else "is neither a known size nor a model of the hub (owner/name)"
    raise SettingsError(f"{name} {reason}. Known sizes: {', '.join(_REPOSITORIES)}")


def _check_hub(name: str, repository: str) -> None:
    """Raise unless the hub has the model and responds in time; its own library retries for longer."""
    if constants.HF_HUB_OFFLINE:
        raise _unreachable(name, "HF_HUB_OFFLINE is set")
    address = f"{constants.ENDPOINT}/api/models/{repository}/revision/main"
    token = get_token()
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    try:
        response = httpx.get(address, headers=headers, timeout=HUB_TIMEOUT_S, follow_redirects=True)
    except httpx.TimeoutException as exc:
        raise _unreachable(name, f"{constants.ENDPOINT} does not respond") from exc
    except (httpx.HTTPError, httpx.InvalidURL) as exc:
        raise _unreachable(name, f"{constants.ENDPOINT}: {_line(exc)}") from exc
    if response.status_code in {401, 403, 404}:
        raise SettingsError(
            f"{constants.ENDPOINT} has no model {repository}, or it needs a token: check the name, or set HF_TOKEN"
        )
    if response.is_error:
        raise _unreachable(name, f"{constants.ENDPOINT} responds with {response.status_code}")


def _unreachable(name: str, reason: str) -> Unavailable:
    return Unavailable(
        f"the model {name} can't be downloaded ({reason}): copy it from another machine with "
        f"`smelt models get {name} --from FOLDER`, or set SMELT_MODEL to a folder with a model"
    )


def _checked(model: LocalModel) -> LocalModel:
    if model.fault is not None:
        raise SettingsError(f"{model.folder} is not a model in the format of CTranslate2: {model.fault}")
    return model


def _files(folder: Path) -> Iterator[Path]:
    for pattern in _PATTERNS:
        yield from folder.glob(pattern)


def _line(exc: BaseException) -> str:
    lines = str(exc).strip().splitlines()
    return lines[0].rstrip(".:") if lines else type(exc).__name__
