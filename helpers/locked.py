"""What some requirements need in all, with the hashes of the lock file that this environment was installed from."""

import re
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name


def with_hashes(requirements: Path, lock: Path) -> tuple[list[str], str]:
    """All that a model's requirements need, as lines of a requirements file with hashes, and "".

    The hashes are those of the lock file, whose markers stay, so that they hold on its other platforms too. Where this
    environment is not the one that is locked, or the lock file is not there, the lines are exact versions without
    hashes, and a sentence says so: pip takes hashes for all packages or for none.
    """
    own = {canonicalize_name(Requirement(line).name): line for line in requirements.read_text().splitlines()}
    needed, lines = _needed(own.values()), _lines(lock)
    installed = {name: found for name in needed if (found := _installed(name))}
    others = [name for name, line in own.items() if not _read(line).specifier.contains(installed.get(name, "0"))]
    wrong = sorted({*others, *(name for name, found in installed.items() if not _locks(lines.get(name, []), found))})
    if not wrong:
        return [line for name in sorted(needed) for line in lines.get(name, [])], ""
    pins = {} if others else {name: f"{name}=={found.partition('+')[0]}" for name, found in installed.items()}
    return sorted({**pins, **own}.values()), (
        f"The requirements have no hashes: {lock.name} does not hold what is installed here of {', '.join(wrong[:5])}. "
        f"With a package index at hand, uv pip compile --generate-hashes {requirements.name} finds them."
    )


def _lines(lock: Path) -> dict[str, list[str]]:
    """The requirements of a lock file by their package, each with its hashes: a package may have one a platform."""
    lines: dict[str, list[str]] = {}
    text = lock.read_text() if lock.exists() else ""
    for line in re.findall(r"(?m)^\w.*(?:\n[ \t]+.*)*", text):
        lines.setdefault(canonicalize_name(_read(line).name), []).append(line)
    return lines


def _read(line: str) -> Requirement:
    return Requirement(re.split(r"\\|\s--hash", line)[0])


def _locks(lines: list[str], installed: str) -> bool:
    """Whether the line that holds here is of the installed version, with hashes; its build, as +cpu, counts."""
    here = [line for line in lines if not _read(line).marker or _read(line).marker.evaluate()]
    wanted = SpecifierSet(f"=={installed}")
    return bool(here) and all(_read(line).specifier == wanted and "--hash=" in line for line in here)


def _installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _needed(wanted: Iterable[str]) -> set[str]:
    """The packages that requirements name, and what those need, as far as they are installed, on whatever platform."""
    todo, seen = [*map(Requirement, wanted)], {}
    while todo:
        one = todo.pop()
        name = canonicalize_name(one.name)
        if name in seen and one.extras <= seen[name]:
            continue
        seen[name] = seen.get(name, {""}) | one.extras
        if _installed(name):
            needs = map(Requirement, metadata.requires(name) or [])
            todo += [need for need in needs if _is_wanted(need, seen[name])]
    return set(seen)


def _is_wanted(need: Requirement, extras: set[str]) -> bool:
    """Whether a package with these extras needs it; what another platform needs is kept out by the lock's markers."""
    if need.marker is None or "extra" not in str(need.marker):
        return True
    return any(need.marker.evaluate({"extra": extra}) for extra in extras)
