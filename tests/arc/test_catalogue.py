from __future__ import annotations

from pathlib import Path

import pytest

from arc import catalogue as module
from arc.catalogue import BEGIN, END, KINDS, catalogue, golden_kinds, main
from arc.tasks import golden_ids, load_tasks


def test_every_golden_solution_has_kinds() -> None:
    kinds = golden_kinds()
    assert list(kinds) == golden_ids()
    assert all(1 <= len(names) <= 3 and len(set(names)) == len(names) for names in kinds.values())


def test_the_spread() -> None:
    kinds = golden_kinds()
    assert all(sum(kind in names for names in kinds.values()) >= 10 for kind in KINDS)
    evaluation = {task.id for task in load_tasks("arc2-evaluation")}
    training = {task.id for task in load_tasks("arc2-training")}
    assert len(set(kinds) & evaluation) >= 12 and len(set(kinds) & training) >= 200


def test_the_readme_has_the_tables_of_today() -> None:
    readme = (Path(module.__file__).parent / "README.md").read_text("utf-8")
    assert readme.split(BEGIN)[1].split(END)[0].strip() == catalogue().strip()


def test_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    readme = tmp_path / "README.md"
    monkeypatch.setattr(module, "__file__", str(tmp_path / "catalogue.py"))
    monkeypatch.setattr(module, "catalogue", lambda: "a table\n")
    readme.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    assert main(["--write"]) == 0
    assert readme.read_text() == f"before\n{BEGIN}\na table\n{END}\nafter\n"
    readme.write_text("none\n")
    assert main(["--write"]) == 1
    assert "between which the tables stand" in capsys.readouterr().err
    assert readme.read_text() == "none\n" and [p.name for p in tmp_path.iterdir()] == ["README.md"]
