"""The pages of tasks in a real browser: every view, filter and key, over all tasks and golden solutions."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("playwright")
from playwright.sync_api import Browser, Page, sync_playwright

from arc.catalogue import golden_kinds
from arc.prompt import ASSISTANT_PREFIX, user_message
from arc.sandbox import Limits
from arc.site.build import Site
from arc.site.findings import read_findings
from arc.site.records import PICTURES, Tokens
from arc.tasks import Grid, Task, golden_ids, golden_source, load_task, load_tasks, read_tasks
from rl.pages.chunks import zip_pages
from rl.pages.server import PageServer

CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
OPTIONS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
)
TOKENS = Tokens("letters", len, lambda task: 1234)
SOLVED, UNSOLVED = "6773b310", "00576224"
# A solution as a model may write it: markup, a script, an escape, marks of direction, one very long line.
HOSTILE = '''def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. <img src=x onerror="document.title='taken'"> \u202egnorw\u202c \x1b[31m
    2. LONG
    Procedure:
    1. </script><script>document.title = 'taken'</script>
    """
    # 1. </script><script>document.title = 'taken'</script>
    text = "LONG"
    result = [[cell if cell else 1 for cell in row] for row in grid]
    return result
'''.replace("LONG", "&lt;b&gt;" * 11_000)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*OPTIONS])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def tasks() -> list[Task]:
    return sorted(read_tasks(["all"]), key=lambda task: task.id)


@pytest.fixture(scope="module")
def folder(tasks: list[Task], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site") / "pages"
    Site(folder, tasks).write(read_findings(), TOKENS, Limits())
    return folder


@pytest.fixture(scope="module")
def url(folder: Path) -> Iterator[str]:
    with PageServer(folder).running() as server:
        yield server.url


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page of which nothing may go wrong: no error, no message, no request that leaves the machine."""
    context = browser.new_context(viewport={"width": 1440, "height": 900}, reduced_motion="reduce")
    page = context.new_page()
    page.set_default_timeout(10_000)
    wrong: list[str] = []
    page.on("console", lambda message: wrong.append(message.text))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on(
        "request",
        lambda r: (
            None if r.url.startswith(("http://127.0.0.1:", "file://", "data:")) else wrong.append(r.url)
        ),
    )
    yield page
    context.close()
    assert wrong == []


def until(page: Page, condition: str) -> None:
    """Wait for a condition in JavaScript; Playwright's own way needs `eval`, which the pages forbid."""
    for _ in range(500):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(20)
    raise AssertionError(condition)


def visit(page: Page, query: str) -> None:
    """Go to another address of the pages without loading them again, as a link does."""
    page.evaluate(
        """async (query) => {
          page.go(Object.fromEntries(new URLSearchParams(query)), {whole: true});
          await site.shown;
        }""",
        query,
    )


def ids(page: Page) -> list[str]:
    """The tasks of the list, of which those near the screen are there."""
    listed: list[str] = page.evaluate("cards.tasks.map(({id}) => id)")
    there = page.locator(".cards code").all_text_contents()
    first = int(page.locator(".cards li").first.get_attribute("aria-posinset") or 0) - 1 if there else 0
    assert there == listed[first : first + len(there)] and len(there) >= min(len(listed), 15)
    return listed


def count(page: Page) -> int:
    return int(page.locator(".count strong").inner_text().replace(",", ""))


def rays() -> list[str]:
    return [name for name, kinds in golden_kinds().items() if "rays" in kinds]


def colors(task: Task) -> set[int]:
    return {cell for e in task.examples for grid in (e.input, e.output) for row in grid for cell in row}


def test_the_list_shows_all_tasks_and_draws_those_in_sight(page: Page, url: str, tasks: list[Task]) -> None:
    page.goto(url)
    page.locator(".cards li").first.wait_for()
    assert ids(page) == [task.id for task in tasks] and count(page) == len(tasks)
    until(page, "[...document.querySelectorAll('.cards canvas')].every((c) => c.width > 0)")
    assert 30 <= page.locator(".cards li").count() < 120
    assert page.locator(".cards li").first.get_attribute("aria-setsize") == str(len(tasks))
    # The picture has the colors of its grid.
    painted = """() => {
      const canvas = document.querySelector('.cards canvas');
      const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
      const found = new Set();
      for (let i = 0; i < data.length; i += 4) found.add([data[i], data[i + 1], data[i + 2]].join());
      return [...found];
    }"""
    palette = {3: "46,204,64", 4: "255,220,0", 7: "255,133,27", 9: "135,12,37"}
    shown = {cell for row in tasks[0].train[0].input for cell in row}
    assert {palette[color] for color in shown} <= set(page.evaluate(painted))
    # What is scrolled to is there and drawn, what is left behind is not, and the page is as long as before.
    height = page.evaluate("document.documentElement.scrollHeight")
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    page.locator(".cards li", has_text=tasks[-1].id).wait_for()
    until(page, "[...document.querySelectorAll('.cards canvas')].every((c) => c.width > 0)")
    assert ids(page) and page.locator(".cards li").count() < 120
    assert page.evaluate("document.documentElement.scrollHeight") == height
    # A narrow window has fewer columns, and all the tasks still.
    page.set_viewport_size({"width": 700, "height": 900})
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    page.locator(".cards li", has_text=tasks[-1].id).wait_for()
    assert page.evaluate("document.documentElement.scrollHeight") > height


def test_filters_leave_what_they_say(page: Page, url: str, tasks: list[Task]) -> None:
    kinds = golden_kinds()
    page.goto(url)
    facet = page.locator("[data-facet='kind rays']")
    expected = [task for task in tasks if "rays" in kinds.get(task.id, ())]
    assert facet.locator(".amount").inner_text() == str(len(expected))
    facet.click()
    assert page.url.endswith("?kind=rays") and ids(page) == [task.id for task in expected]
    page.locator("[data-facet='set arc2-evaluation']").click()
    evaluation = {task.id for task in load_tasks("arc2-evaluation")}
    expected = [task for task in expected if task.id in evaluation]
    assert ids(page) == [task.id for task in expected]
    for color in (8, 2):
        page.locator(f"[data-facet='colors {color}']").click()
    assert "colors=28" in page.url
    assert ids(page) == [task.id for task in expected if {2, 8} <= colors(task)]
    # Each click was a step to go back by; what is chosen is taken off by another click, or all of it.
    page.go_back()
    page.go_back()
    assert ids(page) == [task.id for task in expected]
    page.locator("[data-facet='kind rays']").click()
    assert count(page) == len(evaluation)
    # Each filter in use is said above the list, and taken off there.
    visit(page, "kind=rays&colors=28&q=a")
    used = page.locator(".chip")
    assert [text.split("\n")[0] for text in used.all_inner_texts()] == [
        "\u201ca\u201d",
        "rays and lines",
        "red",
        "light blue",
    ]
    used.nth(2).click()
    assert page.url.endswith("?kind=rays&colors=8&q=a")
    page.get_by_text("Drop all").click()
    assert count(page) == len(tasks) and used.count() == 0


def test_each_facet_by_its_address(page: Page, url: str, tasks: list[Task]) -> None:
    solved = set(golden_ids())
    first = {task.id for task in load_tasks("arc1-training")}

    def cells(task: Task) -> int:
        return max(len(g) * len(g[0]) for e in task.examples for g in (e.input, e.output))

    rules: dict[str, Callable[[Task], bool]] = {
        "solution=yes": lambda task: task.id in solved,
        "solution=no": lambda task: task.id not in solved,
        "size=1-48": lambda task: cells(task) <= 48,
        "size=500-900": lambda task: cells(task) >= 500,
        "set=arc1-training": lambda task: task.id in first,
    }
    page.goto(url)
    page.locator(".cards li").first.wait_for()
    for query, rule in rules.items():
        visit(page, query)
        assert page.url.endswith(f"?{query}")
        assert ids(page) == [task.id for task in tasks if rule(task)], query


def test_search_sorting_and_what_cannot_be(page: Page, url: str, tasks: list[Task]) -> None:
    page.goto(url)
    page.keyboard.press("/")
    page.keyboard.type("6773B")
    assert ids(page) == [task.id for task in tasks if "6773b" in task.id]
    page.keyboard.press("Enter")
    page.locator("h1 code", has_text=SOLVED).wait_for()
    page.keyboard.press("Escape")
    assert SOLVED in ids(page) and page.evaluate("document.activeElement.closest('.cards') !== null")
    # Nothing found: what is near, and what to drop.
    visit(page, "q=6773b319&kind=rays")
    assert "No task is like this" in page.locator(".nothing").inner_text() and count(page) == 0
    assert SOLVED in ids(page) and "Near it by id" in page.locator(".nothing").inner_text()
    ways = page.locator(".nothing li")
    assert ways.all_inner_texts() == [f"Without \u201c6773b319\u201d\n{len(rays())} tasks"]
    ways.get_by_role("link").click()
    assert page.url.endswith("?kind=rays") and count(page) == len(rays())
    visit(page, "solution=yes")
    page.get_by_label("Sort by").select_option("lines")
    assert "sort=lines" in page.url
    lines = page.evaluate("cards.tasks.map(({lines}) => lines)")
    assert lines == sorted(lines) and len(lines) == len(golden_ids())
    shown = [int(text.split()[-2]) for text in page.locator(".solved").all_text_contents()]
    assert shown == lines[: len(shown)]
    page.goto(f"{url}?kind=magic&colors=x&sort=luck")
    said = page.locator(".message").inner_text()
    assert "There is no kind \u201cmagic\u201d; there are objects" in said
    assert "Colors are digits" in said and "not by \u201cluck\u201d" in said
    assert page.locator(".chip").all_inner_texts() == ["kind magic\n\u00d7", "color x\n\u00d7"]


def test_keys_walk_through_the_list_and_the_tasks(page: Page, url: str, tasks: list[Task]) -> None:
    page.goto(f"{url}?kind=gravity")
    shown = ids(page)
    for key in ("j", "j", "ArrowRight", "k"):
        page.keyboard.press(key)
    assert page.evaluate("document.activeElement.querySelector('code').textContent") == shown[1]
    page.keyboard.press("ArrowDown")
    assert page.evaluate("document.activeElement.querySelector('code').textContent") in shown[3:10]
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    page.locator("h1 code", has_text=shown[1]).wait_for()
    assert page.locator(".place").inner_text() == f"2 of {len(shown)}"
    page.keyboard.press("j")
    page.locator("h1 code", has_text=shown[2]).wait_for()
    page.keyboard.press("ArrowLeft")
    page.locator("h1 code", has_text=shown[1]).wait_for()
    page.get_by_label("Next task").click()
    page.locator("h1 code", has_text=shown[2]).wait_for()
    page.keyboard.press("?")
    assert page.get_by_role("dialog").get_by_text("previous task").is_visible()
    page.keyboard.press("Escape")
    assert not page.get_by_role("dialog").is_visible()
    page.keyboard.press("Escape")
    assert ids(page) == shown and "task=" not in page.url


def test_a_solved_task(page: Page, url: str) -> None:
    task, source = load_task(SOLVED), golden_source(SOLVED)
    finding = read_findings()[SOLVED]
    page.goto(f"{url}?task={SOLVED}")
    page.locator(".code").wait_for()
    assert page.title() == f"{SOLVED} \u00b7 ARC tasks"
    assert page.locator(".tag.good", has_text="solution right").count() == len(task.examples)
    numbers = dict(
        zip(
            page.locator(".numbers dt").all_inner_texts(),
            page.locator(".numbers dd").all_inner_texts(),
            strict=True,
        )
    )
    assert numbers["Pairs"] == f"{len(task.train)} train, {len(task.test)} test"
    assert numbers["Prompt"] == "1,234 tokens"
    assert numbers["Pairs right"] == f"{len(task.examples)} of {len(task.examples)}"
    assert numbers["Hidden right"] == f"{finding.hidden_right} of {finding.hidden}"
    assert numbers["Check"] == "passed"
    assert page.locator(".small figure").count() == len(finding.siblings)
    # The code, whole when its docstring is unfolded.
    page.get_by_text("docstring, 15 lines").click()
    lines = page.evaluate("""[...document.querySelectorAll('.line[data-line]')].map((line) => {
      const copy = line.cloneNode(true); copy.querySelector('.at').remove(); return copy.textContent; })""")
    assert "".join(lines) == source
    page.get_by_text("fold the docstring").click()
    assert page.locator(".line[data-line]").count() == len(source.splitlines()) - 15
    # A step marks its lines under the pointer, and chooses them with a click, which the address keeps.
    step = page.locator("a.step[data-step='2']")
    step.hover()
    assert page.locator(".line.marked").count() == 10
    step.click()
    assert "step=2" in page.url and page.locator(".line.chosen").count() == 10
    assert page.locator(".line.chosen").first.inner_text().strip().endswith("the background.")
    page.locator(".line[data-line='44']").hover()
    assert page.locator("a.step.marked[data-step='3']").count() == 1


def test_grids_say_their_cells(page: Page, url: str) -> None:
    task = load_task(SOLVED)
    page.goto(f"{url}?task={SOLVED}")
    grids = page.locator(".left section").first.locator("canvas")
    grids.first.wait_for()
    assert grids.count() == 2 * len(task.train)
    blue = sum(cell == 1 for row in task.train[0].output for cell in row)
    words = f"Train 1, output, 3 by 3: {9 - blue} black, {blue} blue"
    assert grids.nth(1).get_attribute("aria-label") == words
    box = grids.first.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 3.5 * box["width"] / 11, box["y"] + 0.5 * box["height"] / 11)
    tip = page.locator(".tip")
    tip.wait_for()
    assert tip.inner_text() == "row 0, column 3: 8 light blue" and task.train[0].input[0][3] == 8
    page.get_by_role("button", name="Solution\u2019s outputs").click()
    assert grids.count() == 3 * len(task.train) and "outputs=1" in page.url
    page.keyboard.press("d")
    assert "digits=1" in page.url
    page.keyboard.press("j")
    until(page, f"!location.search.includes('{SOLVED}')")
    assert "outputs=1" in page.url and "digits=1" in page.url


def test_what_is_no_grid_is_not_drawn(page: Page, url: str) -> None:
    page.goto(url)
    values = "[[[1, 2]], [], [[10]], [['<b>']], [[1], [2, 3]], Array(65).fill([1]), 'text']"
    drawn = page.evaluate(f"{values}.map(page.grid.isGrid)")
    assert drawn == [True, False, False, False, True, False, False]
    # Cells that one of two grids lacks differ, too.
    difference = "(({wrong, cells}) => [wrong, cells])(page.grid.difference([[1, 2], [3, 4]], [[1], [5]]))"
    assert page.evaluate(difference) == [3, 4]
    assert page.evaluate("page.grid.wrong([[1, 2]], [[1, 3]])") == 1
    assert page.evaluate("page.grid.wrong([[1, 2]], [[1], [3]])") == -1


def test_what_is_copied(page: Page, url: str) -> None:
    task = load_task(SOLVED)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.goto(f"{url}?task={SOLVED}")

    def copied(label: str) -> str:
        page.get_by_label(label, exact=True).click()
        page.locator("#said.on", has_text="Copied " + label.removeprefix("Copy ")).wait_for()
        return str(page.evaluate("navigator.clipboard.readText()"))

    raw = json.loads(copied("Copy the task as JSON"))
    assert raw == {
        part: [{"input": e.input, "output": e.output} for e in getattr(task, part)]
        for part in ("train", "test")
    }
    assert copied("Copy the prompt") == f"{user_message(task)}\n\n{ASSISTANT_PREFIX}"
    assert copied("Copy the code") == golden_source(SOLVED)
    program = copied("Copy the task as Python")
    said: list[bool] = []
    names: dict[str, Any] = {"print": said.append}
    exec(program, names)
    pairs: list[tuple[Grid, Grid]] = names["train"] + names["test"]
    assert pairs == [(e.input, e.output) for e in task.examples] and said == [True] * len(pairs)


def test_an_unsolved_and_an_unknown_task(page: Page, url: str) -> None:
    page.goto(f"{url}?task={UNSOLVED}")
    page.get_by_text("none yet").wait_for()
    assert page.locator(".code").count() == 0
    page.goto(f"{url}?task=6773b319&kind=objects")
    message = page.locator("#task .nothing")
    message.wait_for()
    assert message.inner_text() == "There is no task 6773b319\nNear it by id"
    until(page, "document.querySelector('#task .cards canvas').width > 0")
    page.locator("#task .cards a", has_text=SOLVED).click()
    page.locator(".code").wait_for()
    assert "kind=objects" in page.url
    page.goto(f"{url}?task=%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E%E2%80%AE")
    message.wait_for()
    assert "<img src=x onerror=alert(1)>\u2039U+202E\u203a" in message.inner_text()


def test_back_returns_to_the_same_place(page: Page, url: str) -> None:
    page.goto(url)
    page.evaluate("scrollTo(0, 12000)")
    card = page.locator(".cards a:has-text('5')").nth(20)
    card.wait_for()
    name = card.locator("code").text_content()
    card.scroll_into_view_if_needed()
    before = page.evaluate("scrollY")
    assert before > 5000
    card.click()
    page.locator("h1 code", has_text=name or "").wait_for()
    assert page.evaluate("scrollY") == 0
    page.go_back()
    page.locator(".cards").wait_for()
    until(page, f"Math.abs(scrollY - {before}) < 5")
    assert page.evaluate("document.activeElement.querySelector('code')?.textContent") == name


def test_it_works_from_a_folder_that_came_in_a_zip(page: Page, folder: Path, tmp_path: Path) -> None:
    zip_pages(folder, tmp_path / "sent.zip")
    shutil.unpack_archive(tmp_path / "sent.zip", tmp_path)
    page.goto((tmp_path / "sent/index.html").as_uri() + "?kind=objects")
    page.locator(".cards a").first.click()
    page.locator(".code").wait_for()
    assert "kind=objects" in page.url and "task=" in page.url
    page.keyboard.press("j")
    page.keyboard.press("Escape")
    page.locator(".cards a").first.wait_for()
    page.go_back()
    page.locator(".code").wait_for()


def test_hostile_tasks_are_text(page: Page, tmp_path: Path) -> None:
    pair = {"input": [[1, 2]], "output": [[2, 1]]}
    ids = [
        "../../../escaped",
        "<img src=x onerror=\"document.title='taken'\">",
        "\u202egnorw\x1b\nimport os  # ",
        "__proto__",
        "a" * 100_000,
        "\ud800'];",
    ]
    file = tmp_path / "mine.json"
    file.write_text(json.dumps({name: {"train": [pair], "test": [pair]} for name in ids}))
    Site(tmp_path / "a/pages", read_tasks([str(file)])).write({}, TOKENS, Limits())
    assert sorted(p.name for p in tmp_path.rglob("*") if p.is_file() and "escaped" in p.name) == []
    assert sorted(p.name for p in (tmp_path / "a/pages/data/task").iterdir()) == [f"{i}.js" for i in range(6)]
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    with PageServer(tmp_path / "a/pages").running() as server:
        page.goto(server.url)
        page.locator(".cards li").nth(5).wait_for()
        shown = page.locator(".cards code").all_text_contents()
        assert {ids[0], ids[1], "__proto__", ids[4], "\u2039U+D800\u203a'];"} < set(shown)
        assert "\u2039U+202E\u203agnorw\u241b\nimport os  # " in shown
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        for i in range(6):
            page.locator(".cards a").nth(i).click()
            page.locator("#task h1").wait_for()
            if "\ud800" in sorted(ids)[i]:  # which no address can hold
                assert "There is no task" in page.locator("#task .nothing").inner_text()
            else:
                page.locator(".grids canvas").first.wait_for()
            if "import os" in sorted(ids)[i]:
                page.get_by_label("Copy the task as Python").click()
                page.locator("#said.on").wait_for()
                program = page.evaluate("navigator.clipboard.readText()")
                names: dict[str, Any] = {}
                exec(program, names)
                assert names["train"] == [([[1, 2]], [[2, 1]])] and "os" not in names
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
            assert page.locator("#task img, #task script").count() == 0 and page.title() != "taken"
            page.keyboard.press("Escape")
            page.locator(".cards li").nth(5).wait_for()


def test_hostile_solutions_are_text(page: Page, tmp_path: Path) -> None:
    golden = tmp_path / "golden"
    golden.mkdir()
    (golden / f"{SOLVED}.py").write_text(HOSTILE)
    (golden / f"{UNSOLVED}.py").write_text("def solve(grid):\n    return grid[9]\n")
    folder = tmp_path / "pages"
    Site(folder, [load_task(SOLVED), load_task(UNSOLVED)], golden).write({}, TOKENS, Limits())
    with PageServer(folder).running() as server:
        page.goto(f"{server.url}?task={SOLVED}")
        page.locator(".code").wait_for()
        observation = page.locator(".lists li").first.inner_text()
        shown = "\u2039U+202E\u203agnorw\u2039U+202C\u203a \u241b[31m"
        assert observation == f"""<img src=x onerror="document.title='taken'"> {shown}"""
        assert (
            page.title() == f"{SOLVED} \u00b7 ARC tasks"
            and page.locator("#task img, #task script").count() == 0
        )
        assert "&lt;b&gt;" * 11_000 in page.locator(".code").inner_text()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        # Its outputs are of another size, and shown though nobody asked.
        assert page.locator(".tag.bad", has_text="another size").count() == 5
        assert page.locator(".left section").first.locator("canvas").count() == 3 * 4
        page.goto(f"{server.url}?task={UNSOLVED}")
        page.get_by_text("solution: no output").first.wait_for()
        assert "IndexError" in page.locator("#task .message").inner_text()


def test_wrong_cells_are_ringed_and_counted(page: Page, tmp_path: Path) -> None:
    task = load_task("00d62c1b")
    (tmp_path / f"{task.id}.py").write_text("def solve(grid):\n    return grid\n")
    Site(tmp_path / "pages", [task], tmp_path).write({}, TOKENS, Limits())
    page.goto((tmp_path / "pages/index.html").as_uri() + f"?task={task.id}")
    page.locator(".tag.bad").first.wait_for()
    pairs = zip(task.train[0].input, task.train[0].output, strict=True)
    places = [
        (r, c) for r, rows in enumerate(pairs) for c, (a, b) in enumerate(zip(*rows, strict=True)) if a != b
    ]
    assert page.locator(".tag.bad").first.inner_text() == f"solution: {len(places)} cells wrong"
    row, column = places[0]
    canvas = page.locator("canvas").nth(2)
    box = canvas.bounding_box()
    assert box is not None
    height, width = len(task.train[0].input), len(task.train[0].input[0])
    page.mouse.move(
        box["x"] + (column + 0.5) * box["width"] / width, box["y"] + (row + 0.5) * box["height"] / height
    )
    page.locator(".tip").wait_for()
    assert page.locator(".tip").inner_text() == f"row {row}, column {column}: 0 black, expected 4 yellow"


def test_a_missing_file_is_a_sentence(
    browser: Browser, folder: Path, tasks: list[Task], tmp_path: Path
) -> None:
    broken = tmp_path / "pages"
    shutil.copytree(folder, broken)
    number = [task.id for task in tasks].index(SOLVED)
    (broken / f"data/task/{number}.js").unlink()
    (broken / f"data/pictures-{number // PICTURES}.js").write_text("chunk('torn', '[[\"1")
    page = browser.new_page()
    page.goto((broken / "index.html").as_uri() + f"?task={SOLVED}")
    page.get_by_text(f"The file of task {SOLVED} is missing").wait_for()
    page.keyboard.press("Escape")
    page.locator(".cards .missing").first.wait_for()
    (broken / "data/index.js").unlink()
    page.reload()
    page.get_by_text("The list of tasks is missing").wait_for()
    page.close()


VIEWS = [
    "?kind=sequences",
    "?kind=objects&colors=38",
    "?q=6773b319&kind=rays",
    f"?task={SOLVED}&step=2&outputs=1",
    f"?task={UNSOLVED}",
    "?task=6773b319",
]
FORMS = [(1440, 900), (390, 844)]


def test_every_view_fits_and_has_no_serious_fault(page: Page, url: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page.goto(url)
    page.locator(".cards li").first.wait_for()
    page.evaluate(axe.axe_script)
    for view in VIEWS:
        visit(page, view)
        page.locator(".cards li, .grids canvas").locator("visible=true").first.wait_for()
        for width, height in FORMS:
            page.set_viewport_size({"width": width, "height": height})
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), view
            # Dark differs by its colors alone.
            for scheme, rules in (("light", {}), ("dark", {"runOnly": ["color-contrast"]})):
                page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
                options = {"resultTypes": ["violations"], **rules}
                found = page.evaluate("async (o) => (await axe.run(document, o)).violations", options)
                faults = [
                    (fault["id"], fault["nodes"][0]["html"][:200])
                    for fault in found
                    if fault["impact"] in ("serious", "critical")
                ]
                assert faults == [], (view, width, scheme)
