"""The dashboard in a real browser: a run that is recorded here, a hostile one, and one that grows."""

from __future__ import annotations

import json
import re
import shutil
import zipfile
from collections.abc import Callable, Iterator, Sequence
from math import exp
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from minillm import LLM, Tokenizer, load_model
from rl.atlas import AtlasConfig, AtlasEntry, Likely, ProblemAtlas, write_problem
from rl.dashboard.site import Dashboard
from rl.intervals import exact_interval
from rl.journal import Journal, read_records
from rl.pages.chunks import zip_pages
from rl.pages.server import PageServer
from rl.reference import Reference
from rl.run import Settings
from rl.single_token import MethodConfig
from rl.trainer import Trainer
from tests.rl.browser import (
    Visitor,
    axe_faults,
    chromium,
    file_url,
    needs_axe,
    needs_browser,
    wait_for_class,
    wait_for_text,
)
from tests.rl.large_run import WORDS, write_large_run

pytestmark = needs_browser
GRID = [[1, 2], [3, 4]]
METHOD = MethodConfig(
    k=2, states=2, actions=4, max_rollouts=12, extra_tokens=2, learning_rate=3e-3, max_drift=1e9, seed=5
)


class Even:
    """Reward for four even ids; it shows a grid of what was wrong."""

    stop = ("#",)

    def __init__(self, name: str, golden: Sequence[int]) -> None:
        self.id, self.golden_ids = name, list(golden)
        self.prompt_ids = [2 + ord(letter) % 18 for letter in name]

    def rewards(self, completions: Sequence[Sequence[int]]) -> list[float]:
        return [float(len(c) >= 4 and all(t > 1 and t % 2 == 0 for t in c[:4])) for c in completions]

    def cases(self) -> list[tuple[str, Any, Any]]:
        return [("train 1", GRID, GRID[::-1])]

    def failure(self, completion: Sequence[int]) -> tuple[int, Any, str | None]:
        return (0, [[9, 9], [1, 2]], None) if len(completion) % 2 else (0, None, "an odd <b>error</b>")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def recorded(letters_folder: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two problems, with a reference, and an audit of each update."""
    folder, path = letters_folder(18), tmp_path_factory.mktemp("runs") / "even"
    llm = LLM(load_model(folder, "fp32"), Tokenizer.from_folder(folder), kv_cache_memory_bytes=1 << 22)
    problems = [Even("even", (2, 4, 6, 8, 0)), Even("other", (6, 6, 2, 4, 0))]
    trainer = Trainer(
        llm,
        problems,
        METHOD,
        folder,
        reference=Reference.copy_of(llm.model, "fp32"),
        probe=([2, 3, 4, 5, 6], [7, 8, 9]),
        settings=Settings(audit_every=1, evaluate_rollouts=4),
    )
    with Journal.open(path, {"model": "letters", "algorithm": "single-token"}) as journal:
        trainer.run(journal, 4)
    return path


@pytest.fixture(scope="module")
def drawn(letters_folder: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_large_run(tmp_path_factory.mktemp("runs") / "drawn", 24, 2400, 3, letters_folder(18))


@pytest.fixture(scope="module")
def url(recorded: Path, drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("pages")
    Dashboard([recorded, drawn, write_atlas(folder / "atlas")], folder / "all").update()
    with PageServer(folder / "all").running() as server:
        yield server.url


def write_atlas(folder: Path) -> Path:
    """An atlas of one problem, whose five last states are worth 0.5 to 1."""
    write_config(folder)
    likely = [Likely(3, "d", -0.5), Likely(4, "e", -1.0)]
    entries = [
        AtlasEntry(k, 3, "d", -0.5, 1, 0.7, likely, 16, 16, 4.0 * (4 - k // 2)) for k in range(5, 0, -1)
    ]
    atlas = ProblemAtlas("even", [2, 3], [3] * 6, "d", 0, entries)
    atlas.conclude(AtlasConfig())
    write_problem(folder, atlas)
    return folder


def write_config(folder: Path) -> None:
    folder.mkdir()
    (folder / "config.json").write_text('{"format": "atlas 1", "config": {}}')


@pytest.fixture
def visitor(browser: Any, url: str) -> Iterator[Visitor]:
    visitor = Visitor(browser, url)
    yield visitor
    visitor.close()


def training(path: Path, problem: str, k: int) -> dict[str, Any]:
    found = [r for r in read_records(path) if r["kind"] == "training"]
    return next(r for r in found if r["state"]["problem_id"] == problem and r["state"]["k"] == k)


VIEWS = {
    "": "Heat map",
    "?problem=even": "Heat map",
    "?problem=even&redacted=2": "Golden solution",
    "?view=moves": "Moves",
    "?view=audit": "Audit of one update",
    "?view=compare": "Curves of both runs",
    "?view=compare&with=even&problem=even&redacted=2": "One prefix",
    "?run=drawn": "Curves",
    "?run=drawn&view=solution": "Rollouts",
    "?view=audit&by=kind&measure=update": "Audit by layer over time",
    "?run=atlas": "Value along the solution",
    "?run=atlas&view=overview": "Problems",
}


def test_every_view_opens_and_a_phone_has_no_sideways_scroll(visitor: Visitor) -> None:
    for query, name in VIEWS.items():
        page = visitor.open(query)
        assert page.locator(f'section[aria-label="{name}"]').is_visible(), query
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), query
        turn = page.locator("main").get_attribute("data-ready")
        page.set_viewport_size({"width": 390, "height": 844})
        page.wait_for_selector(f'main:not([data-ready="{turn}"])')
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), query
        page.set_viewport_size({"width": 1280, "height": 900})


@needs_axe
def test_axe_finds_no_serious_fault(browser: Any, url: str) -> None:
    visitor = Visitor(browser, url, bypass_csp=True)
    faults: dict[str, list[str]] = {}
    for query in VIEWS:
        page = visitor.open(query)
        faults[query] = axe_faults(page)
        turn = page.locator("main").get_attribute("data-ready")
        page.emulate_media(color_scheme="dark")
        page.wait_for_selector(f'main:not([data-ready="{turn}"])')
        faults[query] += axe_faults(page, only="color-contrast")  # nothing else differs
        page.emulate_media(color_scheme="light")
    visitor.close()
    assert {query: found for query, found in faults.items() if found} == {}


def test_a_finger_reads_what_a_mouse_hovers_over(browser: Any, url: str, recorded: Path) -> None:
    visitor = Visitor(browser, url, has_touch=True)
    page = visitor.open("?problem=even")
    box = page.locator("canvas.heat").bounding_box()
    assert box is not None
    for column in range(6):  # to the first iteration in which the largest k was seen
        place = box["x"] + box["width"] * (0.25 + column / 8), box["y"] + 10
        page.touchscreen.tap(*place)
        if page.locator("#tip").is_visible():
            break
    wait_for_text(page, "#tip", "state reward")
    page.touchscreen.tap(*place)
    page.wait_for_selector("a.token.here")
    page.locator("a.token").nth(1).tap()
    page.wait_for_selector('section[aria-label="Chosen token"]')
    record = training(recorded, "even", int(parse_qs(urlsplit(page.url).query)["redacted"][0]))
    chosen = page.locator('section[aria-label="Chosen token"]').inner_text()
    assert "likeliest then" in chosen and "entropy" in chosen
    page.locator("a.action").nth(1).tap()
    wait_for_class(page, "a.action", 1, "here")
    stopped = {a["stopped"] for a in record["actions"]}
    assert "Sampling stopped" in page.locator(".chosen").inner_text() or stopped == {None}
    visitor.close()


def test_values_along_a_solution_lead_to_tokens(visitor: Visitor) -> None:
    page = visitor.open("?run=atlas")
    plot = page.locator('section[aria-label="Value along the solution"] svg.plot')
    plot.focus()
    page.keyboard.press("ArrowRight")
    assert "k 5" in page.locator("#tip").inner_text() and "0.50" in page.locator("#tip").inner_text()
    page.keyboard.press("Enter")
    page.wait_for_url("**redacted=5*")
    text = page.locator('section[aria-label="Chosen token"]').inner_text()
    low, high = exact_interval(8, 16)
    assert f"{low:.2f} to {high:.2f}" in text and re.search(r"rollouts\s+16\b", text)


def test_an_audit_is_a_map_of_layers_over_time(visitor: Visitor) -> None:
    page = visitor.open("?view=audit")
    card = page.locator('section[aria-label="Audit by layer over time"]')
    card.get_by_role("button", name="by kind").click()
    page.wait_for_url("**by=kind*")
    card.get_by_role("button", name="weight norm", exact=True).click()
    page.wait_for_url("**measure=norm*")
    card.locator("canvas.heat").focus()
    page.keyboard.press("ArrowRight")
    assert "weight norm" in page.locator("#tip").inner_text()
    page.keyboard.press("Enter")
    page.wait_for_url("**iteration=*")


def test_hovers_show_the_journals_numbers(visitor: Visitor, recorded: Path) -> None:
    record = training(recorded, "even", 2)
    golden = next(action for action in record["actions"] if action["golden"])
    page = visitor.open(f"?problem=even&redacted=2&iteration={record['iteration']}")

    def number(value: float, digits: int) -> str:
        return f"{value:.{digits}f}".replace("-", "\u2212")

    page.locator("a.token.here").hover()
    tip = page.locator("#tip").inner_text()
    for value in (golden["logprob"], golden["logprob_after"], golden["logprob_reference"]):
        assert number(value, 4) in tip
    assert re.search(rf"rank\s+{golden['rank']}\b", tip)
    assert number(record["entropy"], 2) in tip
    likely = page.locator("#tip .like")
    assert likely.count() == len(record["likeliest"]) == 5
    chance = 100 * exp(record["likeliest"][0][1])
    assert f"{chance:.{int(chance < 9.95)}f}%" in likely.first.inner_text()
    for place, action in enumerate(
        sorted(record["actions"], key=lambda a: -sum(r["reward"] for r in a["rollouts"]) / len(a["rollouts"]))
    ):
        row = page.locator("a.action").nth(place)
        row.hover()
        mean = sum(r["reward"] for r in action["rollouts"]) / len(action["rollouts"])
        assert f"mean reward\n{mean:.3f}" in page.locator("#tip").inner_text()
    rails = page.locator(".rail-row")
    assert rails.count() == len(record["actions"])
    trained = sum(a["logprob_trained"] == a["logprob_after"] for a in record["actions"])
    assert page.get_by_text("bits equal", exact=True).count() == trained > 0


def test_filters_and_links_and_the_way_back(visitor: Visitor, recorded: Path) -> None:
    records = list(read_records(recorded))
    page = visitor.open()
    page.get_by_label("k", exact=True).select_option("2")
    page.wait_for_url("**redacted=2")
    count = sum(r["state"]["k"] == 2 for r in records)
    assert f"{count} of {len(records)}" in page.locator('section[aria-label="States"] header').inner_text()
    page.get_by_label("iterations").fill("2-3")
    page.keyboard.press("Enter")
    page.wait_for_url("**iterations=2-3*")
    count = sum(r["state"]["k"] == 2 and 2 <= r["iteration"] <= 3 for r in records)
    assert f"{count} of {len(records)}" in page.locator('section[aria-label="States"] header').inner_text()
    page.locator("a.state-row").first.click()
    page.wait_for_selector("a.action.here")
    address = page.url
    page.locator("a.action").nth(1).click()
    wait_for_class(page, "a.action", 1, "here")
    assert "action=" in page.url and page.url != address
    page.go_back()
    wait_for_class(page, "a.action", 0, "here")
    page.go_back()
    page.wait_for_selector("canvas.heat")
    page.go_forward()
    page.wait_for_selector("a.action.here")
    # A link shows a colleague the same thing.
    other = visitor.context.new_page()
    other.goto(page.url)
    other.wait_for_selector("a.action.here")
    assert other.locator("main").inner_text() == page.locator("main").inner_text()


def test_colours_verdicts_and_prompt(visitor: Visitor, recorded: Path) -> None:
    page = visitor.open("?problem=even&redacted=2")
    seen = set()
    for mode in ("jump", "logprob", "tuned \u2212 reference", "entropy", "drift", "value"):
        page.get_by_role("button", name=mode, exact=True).click()
        page.wait_for_selector(f'button[aria-pressed="true"]:text-is("{mode}")')
        seen.add(page.locator("a.token.here").evaluate("e => e.style.background"))
    assert len(seen) >= 3
    page.locator("summary", has_text="Prompt").click()
    wait_for_text(page, ".prompt", ".{4,}")
    page.get_by_role("button", name="token ids").click()
    page.wait_for_selector(".with-id")
    assert page.locator(".with-id").count() == len("even")
    page.locator("summary", has_text="The same token elsewhere").click()
    page.wait_for_selector("a.move-row")
    page = visitor.open("?view=moves")
    button = page.locator('section[aria-label="Moves"] .segments button').first
    flag, count = button.inner_text().rsplit(" ", 1)
    button.click()
    page.wait_for_url("**verdict=*")
    page.wait_for_selector("a.move-row")
    assert page.locator('[role="listitem"]').first.get_attribute("aria-setsize") == count
    assert set(page.locator("a.move-row .tag").all_inner_texts()) == {flag}


def test_the_keyboard_reaches_all(visitor: Visitor) -> None:
    page = visitor.open()
    page.locator("canvas.heat").focus()
    page.keyboard.press("ArrowRight")
    assert "reward" in page.locator("#status").inner_text()
    page.keyboard.press("Enter")
    page.wait_for_selector("a.token.here")
    page.locator("a.token").first.focus()
    assert page.locator("#tip").is_visible()
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement === document.querySelectorAll('a.token')[1]")
    page.locator("a.action").first.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    wait_for_class(page, "a.action", 1, "here")
    assert page.evaluate("document.activeElement === document.querySelectorAll('a.action')[1]")
    assert page.locator("a.action").nth(1).evaluate("e => getComputedStyle(e).outlineStyle") == "solid"


def test_rollouts_against_the_golden_solution(visitor: Visitor, recorded: Path) -> None:
    record = training(recorded, "even", 2)
    page = visitor.open(f"?problem=even&redacted=2&iteration={record['iteration']}&action=0")
    rollouts = record["actions"][0]["rollouts"]
    counts = [
        int(text.split("\u00d7")[0])
        for text in page.locator(".group header .tag:first-child").all_inner_texts()
    ]
    assert sum(counts) == len(rollouts) and counts == sorted(counts, reverse=True)
    for i in range(len(record["actions"])):
        page = visitor.open(f"?problem=even&redacted=2&iteration={record['iteration']}&action={i}&reward=0")
        if page.get_by_text("produced", exact=True).count():
            break
    assert page.get_by_text("produced", exact=True).count()
    label = page.locator('canvas.grid[aria-label^="difference"]').first.get_attribute("aria-label")
    assert label == "difference: 2 of 4 cells differ"


# ---------------------------------------------------------------- hostile, torn, other, growing


EVIL = (
    "<script>window.hacked = 1</script>",
    '<img src=x onerror="window.hacked = 2">',
    "</pre></main><h1>gone</h1>",
    "\u202eabc\u2066d\u200b",
    "\x00\x07\x1b[31m\x7f",
    "javascript:alert(1)",
    "__proto__",
)


def hostile(folder: Path, letters: Path) -> Path:
    """A run whose tokens, names and errors are out to break the page, and one of 100 kB on a line."""
    model = folder / "model"
    model.mkdir(parents=True)
    names = [f"{EVIL[i % len(EVIL)]}{i}" for i in range(WORDS)]
    names[:3] = ["<eos>", "#", "A" * 100_000]
    tokenizer = json.loads((letters / "tokenizer.json").read_text())
    tokenizer["model"]["vocab"] = {name: i for i, name in enumerate(names)}
    (model / "tokenizer.json").write_text(json.dumps(tokenizer))
    run = write_large_run(folder / "hostile", 6, 600, 2, model)
    journal, looks = ((run / name).read_text() for name in ("journal.jsonl", "looks.jsonl"))
    lines = [json.loads(line) for line in journal.splitlines()]
    name = lines[0]["state"]["problem_id"]
    for line in lines:
        for action in line["actions"]:
            for rollout in action["rollouts"][:3]:
                rollout["token_ids"], rollout["logprobs"], rollout["reward"] = [2], [-1.0], 0.0
    text = "".join(json.dumps(line) + "\n" for line in lines).replace(name, "<script>alert(1)</script>")
    (run / "journal.jsonl").write_text(text)
    (run / "state.json").write_text(json.dumps({"iteration": 3, "journal_bytes": len(text), "state": {}}))
    evil = json.dumps("".join(EVIL))
    looks = looks.replace(name, "<script>alert(1)</script>").replace('"error": null', f'"error": {evil}')
    (run / "looks.jsonl").write_text(looks)
    return run


def test_hostile_text_is_text(browser: Any, letters_folder: Callable[..., Path], tmp_path: Path) -> None:
    run = hostile(tmp_path / "runs", letters_folder(18))
    Dashboard([run], tmp_path / "pages").update()
    with PageServer(tmp_path / "pages").running() as server:
        visitor = Visitor(browser, server.url)
        page = visitor.open("?view=solution&reward=0&action=0")
        page.wait_for_selector(".group")
        assert page.locator("main").evaluate("e => e.querySelectorAll('script, img, h1').length") == 0
        text = page.locator("main").text_content()
        assert "<script>window.hacked = 1</script>" in text and "</pre></main><h1>gone</h1>" in text
        assert "\u2039U+202E\u203aabc\u2039U+2066\u203ad\u2039U+200B\u203a" in text and "␀␇␛[31m␡" in text
        assert not re.search("[\u202e\u2066\u200b\x00\x07\x1b]", text)
        page.get_by_role("button", name=re.compile("show all 100,000 characters")).first.click()
        assert "A" * 100_000 in page.locator("main").text_content()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        for query in VIEWS:
            page = visitor.open(query.replace("run=drawn", ""))
        assert page.evaluate("window.hacked === undefined && ({}).polluted === undefined")
        visitor.close()


def test_a_run_that_writes_is_shown_live(browser: Any, drawn: Path, tmp_path: Path) -> None:
    lines = (drawn / "journal.jsonl").read_bytes().splitlines(keepends=True)
    growing = tmp_path / "drawn"
    shutil.copytree(drawn, growing)

    def write(end: int, torn: bytes = b"") -> None:
        data = b"".join(lines[:end])
        (growing / "journal.jsonl").write_bytes(data + torn)
        state = {"iteration": 1, "journal_bytes": len(data + torn), "state": {}}
        (growing / "state.json").write_text(json.dumps(state))

    write(6)
    dashboard = Dashboard([growing], tmp_path / "pages", live=True)
    dashboard.update()
    with PageServer(tmp_path / "pages").running() as server:
        visitor = Visitor(browser, server.url)
        visitor.page.clock.install()
        page = visitor.open()
        assert page.get_by_text("6 of 6, the latest first").is_visible()
        assert page.get_by_text("live", exact=True).is_visible()
        page.evaluate("window.same = true")

        def see(text: str) -> None:
            dashboard.update()
            page.clock.fast_forward(2000)  # to its next look
            page.wait_for_selector(f"text={text}")

        write(9)
        see("9 of 9, the latest first")
        write(9, lines[9][:100])
        see("is torn after 100 bytes")
        write(12)
        see("12 of 12, the latest first")
        assert page.get_by_text("is torn").count() == 0
        (growing / "journal.jsonl").unlink()
        see("journal.jsonl is missing")
        config = json.loads((growing / "config.json").read_text())
        (growing / "config.json").write_text(json.dumps({**config, "format": 99}))
        see("is of journal format 99")
        assert page.evaluate("window.same") and visitor.faults == []
        page.route("**/data/index.js*", lambda route: route.abort())
        page.clock.fast_forward(2000)
        page.wait_for_selector("text=not answering")
        page.unroute("**/data/index.js*")
        page.clock.fast_forward(2000)
        page.wait_for_selector(".live.good")
        assert all("ERR_FAILED" in fault for fault in visitor.faults)
        visitor.faults.clear()
        visitor.close()


def test_a_zip_opens_from_a_file(browser: Any, recorded: Path, tmp_path: Path) -> None:
    Dashboard([recorded], tmp_path / "pages").update()
    zip_pages(tmp_path / "pages", tmp_path / "run.zip")
    with zipfile.ZipFile(tmp_path / "run.zip") as archive:
        archive.extractall(tmp_path / "sent")
    visitor = Visitor(browser, file_url(tmp_path / "sent/run/index.html"))
    visitor.base = file_url(tmp_path / "sent/run/index.html")
    visitor.faults.clear()
    visitor.page.remove_listener("request", visitor._request)
    page = visitor.open("?problem=even&redacted=2")
    page.locator("a.action").nth(1).click()
    wait_for_class(page, "a.action", 1, "here")
    page.get_by_role("link", name="Audit").click()
    page.wait_for_selector('section[aria-label="Audit of one update"]')
    page.go_back()
    page.wait_for_selector("a.action.here")
    visitor.close()
