"""Requirements get the hashes of the lock where it is what is installed, and else none at all."""

from importlib import metadata
from pathlib import Path

from helpers import locked
from tests.conftest import ROOT

LOCK = ROOT / "requirements.lock"


def requirements(tmp_path: Path, *lines: str) -> Path:
    (tmp_path / "requirements.txt").write_text("\n".join(lines))
    return tmp_path / "requirements.txt"


def pin(name: str) -> str:
    return f"{name}=={metadata.version(name)}"


def test_what_the_lock_does_not_hold_as_installed_takes_the_hashes_from_all(tmp_path):
    wanted, lock = requirements(tmp_path, pin("threadpoolctl")), tmp_path / "requirements.lock"
    for text in ("", "threadpoolctl==0.1 --hash=sha256:00\n", f"{pin('threadpoolctl')}\n"):
        lock.write_text(text)
        lines, said = locked.with_hashes(wanted, lock)
        assert lines == [pin("threadpoolctl")]
        assert said.startswith("The requirements have no hashes: requirements.lock does not hold what is installed")
        assert "of threadpoolctl. " in said
    lock.unlink()
    assert locked.with_hashes(wanted, lock) == (lines, said)
    lock.write_text(f"{pin('threadpoolctl')} --hash=sha256:00\n")
    assert locked.with_hashes(wanted, lock) == ([f"{pin('threadpoolctl')} --hash=sha256:00"], "")


def test_a_version_that_is_locked_for_another_platform_is_not_taken_for_ours(tmp_path):
    wanted, lock = requirements(tmp_path, pin("threadpoolctl")), tmp_path / "requirements.lock"
    lock.write_text(f"{pin('threadpoolctl')} ; sys_platform == 'amiga' \\\n    --hash=sha256:00\n")
    assert locked.with_hashes(wanted, lock)[0] == [pin("threadpoolctl")]


def test_a_build_of_a_package_is_pinned_by_the_version_that_everybody_has(tmp_path, monkeypatch):
    monkeypatch.setattr(locked.metadata, "version", lambda name: "2.0.0+cpu")
    monkeypatch.setattr(locked.metadata, "requires", lambda name: ["Another_One>=1"] if name == "torch" else None)
    lock = tmp_path / "requirements.lock"
    lock.write_text("torch==2.0.0 --hash=sha256:00\nanother-one==2.0.0 --hash=sha256:00\n")
    lines, said = locked.with_hashes(requirements(tmp_path, "torch==2.0.0"), lock)
    assert lines == ["another-one==2.0.0", "torch==2.0.0"]
    assert "another-one, torch" in said


def test_where_a_package_of_the_model_is_not_there_as_pinned_only_its_own_pins_are_known(tmp_path):
    for other in ("threadpoolctl==0.1", "no-such-package==1"):
        lines, said = locked.with_hashes(requirements(tmp_path, pin("scikit-learn"), other), LOCK)
        assert lines == sorted([pin("scikit-learn"), other])
        assert other.partition("=")[0] in said


def test_extras_are_followed_and_those_that_nobody_wants_are_not(tmp_path, monkeypatch):
    needs = {"one": ["Two[fast]; python_version > '3'"], "two": ["three; extra == 'fast'", "four; extra == 'slow'"]}
    monkeypatch.setattr(locked.metadata, "version", lambda name: "1")
    monkeypatch.setattr(locked.metadata, "requires", needs.get)
    lock = tmp_path / "requirements.lock"
    lock.write_text("".join(f"{name}==1 \\\n    --hash=sha256:00\n" for name in ("one", "two", "three", "four")))
    lines, said = locked.with_hashes(requirements(tmp_path, "one==1"), lock)
    assert said == ""
    assert [line.split("=")[0] for line in lines] == ["one", "three", "two"]
