"""What the pages of tasks are made of: highlighted code, steps, findings, records, files."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from arc.check import check_solution
from arc.errors import ArcError
from arc.sandbox import Limits
from arc.site.__main__ import main
from arc.site.build import Site
from arc.site.findings import NAME, digest, find, read_findings, write_findings
from arc.site.highlight import highlight
from arc.site.records import PICTURES, Tokens, cells, pictures
from arc.site.solution import read_solution
from arc.tasks import golden_ids, golden_source, load_task, read_tasks
from minillm.errors import MinillmError

TOKENS = Tokens("letters", len, lambda task: len(task.id))
IDS = ("007bbfb7", "6773b310")


def loaded(path: Path) -> object:
    """The data that a chunk hands over."""
    text = path.read_text()
    quoted = text[text.index(",'") + 2 : text.rindex("'")]
    return json.loads(quoted.replace("\\'", "'").replace("\\\\", "\\"))


def test_every_golden_solution_is_cut_into_its_own_text_and_steps() -> None:
    for task_id in golden_ids():
        source = golden_source(task_id)
        solution = read_solution(source)
        lines = ["".join(text for _, text in line) for line in solution.lines]
        assert "\n".join(lines) + "\n" == source
        assert solution.observations and solution.procedure
        assert {step for step, _, _ in solution.steps} == set(range(len(solution.procedure))), task_id
        for step, begin, _ in solution.steps:
            assert lines[begin].strip().startswith(f"# {step + 1}. ")
        assert all(a[2] <= b[1] for a, b in zip(solution.steps, solution.steps[1:], strict=False))


def test_highlight() -> None:
    (line,) = highlight("def f(x): return max(x, 1.5, None)  # why")
    assert [piece for piece in line if piece[0]] == [
        ("k", "def"),
        ("f", "f"),
        ("k", "return"),
        ("b", "max"),
        ("n", "1.5"),
        ("n", "None"),
        ("c", "# why"),
    ]
    # A text over several lines, an attribute that has a builtin's name, and what is no Python.
    assert highlight('x = """a\n  b"""') == [[("", "x = "), ("s", '"""a')], [("", "  "), ("s", 'b"""')]]
    assert highlight("a.max") == [[("", "a.max")]]
    assert highlight("def (((\n'")[1] == [("", "'")]
    assert read_solution("x = (").steps == []


def test_steps_end_with_their_block() -> None:
    solution = read_solution(golden_source("6773b310"))
    assert solution.docstring == (1, 16)
    assert solution.steps == [(0, 18, 32), (1, 32, 42), (2, 42, 48), (3, 48, 51)]
    assert (
        solution.procedure[1] == "Find the most common color of the cells outside the lines, the background."
    )


def test_findings_are_of_one_text(tmp_path: Path) -> None:
    task, source = load_task(IDS[0]), golden_source(IDS[0])
    (tmp_path / f"{task.id}.py").write_text(source)
    finding = find(task, source, tmp_path)
    report = check_solution(task, source, source)
    assert (finding.right, finding.hidden_right, finding.kept) == (6, report.hidden_right, report.kept)
    assert len(finding.siblings) == 4 and all(sibling in report.siblings for sibling in finding.siblings)
    assert len({sibling.how for sibling in finding.siblings}) > 1
    write_findings([finding], tmp_path)
    assert read_findings(tmp_path) == {task.id: finding}
    assert digest(task, source) == finding.digest != digest(task, source + " ")
    (tmp_path / NAME).write_text('{"task_id": 1}\n')
    with pytest.raises(ArcError, match="line 1 is no finding"):
        read_findings(tmp_path)


def test_the_findings_that_ship_are_of_todays_solutions() -> None:
    findings = read_findings()
    stale = [
        i
        for i in golden_ids()
        if i not in findings or findings[i].digest != digest(load_task(i), golden_source(i))
    ]
    assert stale == [], "run python -m arc.site --check"
    assert [i for i, finding in findings.items() if finding.problems] == []


def test_pictures_and_cells() -> None:
    tasks = read_tasks(["arc2-evaluation"])
    parts = pictures(tasks)
    assert [len(part) for part in parts] == [PICTURES, PICTURES, len(tasks) - 2 * PICTURES]
    assert parts[1][0] == [cells(tasks[PICTURES].train[0].input), cells(tasks[PICTURES].train[0].output)]
    assert cells([[1, 2], [3, 4]]) == "12/34" and cells([]) == ""


def test_a_folder_of_pages(tmp_path: Path) -> None:
    folder = tmp_path / "pages"
    site = Site(folder, [load_task(i) for i in IDS])
    finding = read_findings()[IDS[0]]
    site.write({IDS[0]: finding}, TOKENS, Limits())
    assert [task.id for task in site.unchecked()] == [IDS[1]]
    index = loaded(folder / "data/index.js")
    assert isinstance(index, dict) and [row[0] for row in index["tasks"]] == [*IDS]
    task = load_task(IDS[0])
    record = loaded(folder / "data/task/0.js")
    assert isinstance(record, dict)
    assert record["train"] == [[cells(e.input), cells(e.output)] for e in task.train]
    assert record["golden"]["outputs"] == [True] * 6 and record["golden"]["finding"]["hidden_right"] == 20
    assert record["tokens"] == {"of": "letters", "prompt": 8}
    site.add(load_task(IDS[1]), read_findings()[IDS[1]])
    assert site.unchecked() == []
    # Written again with fewer tasks, and into a folder of something else.
    Site(folder, [load_task(IDS[0])]).write({}, TOKENS, Limits())
    assert [path.name for path in (folder / "data/task").iterdir()] == ["0.js"]
    (tmp_path / "other.txt").touch()
    with pytest.raises(MinillmError, match="something else"):
        Site(tmp_path, [load_task(IDS[0])]).write({}, TOKENS, Limits())


def test_the_command_says_what_it_did(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    golden = tmp_path / "mine"
    golden.mkdir()
    (golden / f"{IDS[0]}.py").write_text(golden_source(IDS[0]))
    arguments = [IDS[0], "--out", str(tmp_path / "out"), "--golden", str(golden)]
    assert main(arguments) == 0
    said = capsys.readouterr().err
    assert (
        "1 tasks, 1 with a golden solution" in said
        and "1 solutions were not checked; --check does it" in said
    )
    assert main([*arguments, "--check"]) == 0 and read_findings(golden)[IDS[0]].problems == ()
    assert main([*arguments, "--zip", str(tmp_path / "sent.zip")]) == 0
    assert "sent.zip: unpack it, and open index.html" in capsys.readouterr().err
    with zipfile.ZipFile(tmp_path / "sent.zip") as archive:
        assert {"sent/index.html", "sent/data/index.js", "sent/data/task/0.js"} <= set(archive.namelist())
        assert archive.read("sent/index.html") == (tmp_path / "out/index.html").read_bytes()
    assert main([*arguments, "--zip", str(tmp_path)]) == 1
    assert "cannot write" in capsys.readouterr().err
    assert main(["nothing"]) == 1
    assert "no ARC task has the id 'nothing'" in capsys.readouterr().err
