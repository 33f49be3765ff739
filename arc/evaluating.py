"""The work of `arc.evaluate`: programs sampled in phases, run, kept in a log, and voted on.

All that was sampled is in `candidates.jsonl`, with the time spent so far. A process killed at any moment
loses what was being sampled and some ten seconds of the count of time; the next one goes on from there.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import ceil

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from arc.augment import Guise, guises
from arc.candidates import Candidate, Draft, best, run_drafts
from arc.errors import ArcError
from arc.evaluate_options import Config
from arc.pace import Pace
from arc.prompt import ASSISTANT_PREFIX, STOP, golden_docstring, messages, program, refinement
from arc.report import GIVEN, Report, make_report
from arc.sandbox import run_many
from arc.submission import write_submission
from arc.tasks import Task, golden_ids, golden_source, read_tasks
from arc.vote import attempts
from minillm import LLM, MinillmError, RequestOutput, SamplingParams
from minillm.checkpoint import hub
from minillm.engine.metrics import Counter as Count
from rl.line_log import LineLog
from rl.rollout import seed_of

VERSION = "evaluation 1"
SAMPLED = "sampled"
# Most samples of a request, which share the reading of their prompt; and wrong programs that are refined.
_MOST, _PARENTS = 8, 4
# Programs that are run at a time, seconds after which fewer are, and after which the log tells the time.
_BATCH, _PATIENCE = 16, 10.0
# Seconds kept for the vote and the report.
_LAST = 3.0


@dataclass(frozen=True)
class Variant:
    """A way to ask for a program: the guise of the task, the prompt, and how the program begins."""

    guise: Guise
    prompt_ids: list[int]
    given: str = ""


@dataclass(frozen=True)
class Ask:
    """A request of some samples of a task, of which it has `number` already."""

    task_id: str
    phase: str
    variant: Variant
    number: int
    count: int


def _begun(flying: dict[str, Ask]) -> int:
    """Count the programs that are being sampled."""
    return sum(ask.count for ask in flying.values())


class Evaluation:
    """One evaluation: its tasks, its candidates, and the time that it has.

    Args:
        config: its options, checked.
        log: open, with the records of earlier processes.
        tasks: what is evaluated.
        begin: when this process began, by `time.monotonic`.
    """

    def __init__(self, config: Config, log: LineLog, tasks: Sequence[Task], begin: float) -> None:
        self.config, self.tasks = config, {task.id: task for task in tasks}
        self._log, self._begin = log, begin
        self._before = max((record["seconds"] for record in log.records), default=0.0)
        found = [record["candidate"] for record in log.records if "candidate" in record]
        self.candidates: list[Candidate] = []
        self._fit: set[str] = set()
        self._add([Candidate.from_record(record) for record in found])
        self.notes: dict[str, str] = {r["note"][0]: r["note"][1] for r in log.records if "note" in r}
        self._logged = self._wrote = self._measured = time.monotonic()
        # Seconds that a program takes in the sandbox; what is measured takes its place.
        self._run_seconds = 0.1

    @property
    def spent(self) -> float:
        """Seconds spent so far, those of earlier processes included."""
        return self._before + time.monotonic() - self._begin

    @property
    def phases(self) -> list[tuple[str, int]]:
        """What is sampled one after the other, and how many programs of each task."""
        config = self.config
        refined = [(f"refined {i + 1}", config.samples) for i in range(config.refinements)]
        given = [(GIVEN, config.given_docstring)] if config.given_docstring else []
        return [(SAMPLED, config.samples), *refined, *given]

    @cached_property
    def llm(self) -> LLM:
        """The sampler, loaded when it is first needed."""
        config = self.config
        folder = hub.resolve(config.model)
        options = {
            "precision": config.precision,
            "device": config.device,
            "max_num_seqs": config.max_num_seqs,
        }
        llm = LLM(folder, **options)  # type: ignore[arg-type]
        self._append([{}])
        return llm

    def run(self, progress: Progress) -> Report:
        """Sample all phases, each within its share of the time; vote, write, report."""
        bar = progress.add_task("", total=60 * self.config.minutes, completed=int(self.spent))
        whole = max(0.0, 60 * self.config.minutes - _LAST)
        self._write()
        for number, (phase, wanted) in enumerate(self.phases, 1):
            # What a phase leaves of its time, the next ones have.
            end = whole * number / len(self.phases)
            for _ in self._sample(phase, wanted, end):
                found = f"{len(self.candidates)} programs, of {len(self._fit)} tasks one that fits"
                progress.update(bar, completed=self.spent, description=f"{phase}: {found}")
        report = self._write()
        (self._log.folder / "report.json").write_text(json.dumps(report.data(), indent=1) + "\n")
        return report

    # ---------------------------------------------------------------- sampling

    def _sample(self, phase: str, wanted: int, end: float) -> Iterator[None]:
        """Sample a phase until its end in seconds; yield after each step."""
        flying: dict[str, Ask] = {}
        drafts: list[Draft] = []
        pace = Pace(self.config.max_tokens)
        asks = self._asks(phase, wanted, end, flying, pace)
        while True:
            to_run = self.config.limits.seconds + self._run_seconds * len(drafts)
            if self.spent >= end - to_run * bool(drafts):
                break
            while (begun := _begun(flying)) < self.config.max_num_seqs and pace.room(end - self.spent, begun):
                if (ask := next(asks, None)) is None:
                    break
                flying[self._start(ask)] = ask
            if not flying:
                break
            ended = [draft for output in self.llm.step() for draft in self._ended(output, flying)]
            drafts += ended
            self._measure(pace, ended)
            since = time.monotonic() - self._logged
            if len(drafts) >= _BATCH or since > _PATIENCE:
                self._finish(drafts, end)
                drafts = []
            yield
        if flying:
            aborted = self.llm.abort_request(list(flying))
            drafts += [draft for output in aborted for draft in self._ended(output, flying)]
        self._finish(drafts, end)

    def _measure(self, pace: Pace, ended: Sequence[Draft]) -> None:
        """Tell the pace how long programs were, and once a second how many tokens have come."""
        for draft in ended:
            pace.ended(draft.tokens)
        if time.monotonic() - self._measured >= 1.0:
            self._measured = time.monotonic()
            counts = {metric.name: metric for metric in self.llm.get_metrics()}
            tokens = counts["vllm:generation_tokens"]
            assert isinstance(tokens, Count)
            pace.note(self.spent, tokens.value)

    def _asks(self, phase: str, wanted: int, end: float, flying: dict[str, Ask], pace: Pace) -> Iterator[Ask]:
        """Ask for samples of all tasks by turns, as many at a time as the measured speed has room for."""
        asked = Counter(candidate.task_id for candidate in self.candidates if candidate.phase == phase)
        pending = [task for task in self._tasks_of(phase) if asked[task.id] < wanted]
        variants: dict[str, list[Variant]] = {}
        while pending := [t for t in pending if asked[t.id] < wanted and variants.get(t.id) != []]:
            for place, task in enumerate(pending):
                if task.id not in variants:
                    variants[task.id] = self._variants(phase, task)
                if not (ways := variants[task.id]):
                    continue
                share = ceil(wanted / len(ways))
                way, offset = divmod(asked[task.id], share)
                room = pace.room(end - self.spent, _begun(flying)) // (len(pending) - place)
                count = min(max(1, room), _MOST, share - offset, wanted - asked[task.id])
                yield Ask(task.id, phase, ways[way], asked[task.id], count)
                asked[task.id] += count

    def _tasks_of(self, phase: str) -> list[Task]:
        """List the tasks that a phase is for: all, those with a golden solution, or those without success."""
        if phase == SAMPLED:
            return list(self.tasks.values())
        if phase == GIVEN:
            solved = set(golden_ids(self.config.golden))
            return [task for task in self.tasks.values() if task.id in solved]
        return [task for task in self.tasks.values() if task.id not in self._fit]

    def _variants(self, phase: str, task: Task) -> list[Variant]:
        """Make the prompts of a phase that fit in the model; where none does, note why."""
        tokenizer, options = self.llm.get_tokenizer(), self.config.prompt

        def encode(text: str) -> list[int]:
            return tokenizer.encode(text, add_special_tokens=False)

        def variant(guise: Guise, chat: list[dict[str, str]], given: str = "") -> Variant:
            return Variant(
                guise, [*tokenizer.encode_chat(chat), *encode(ASSISTANT_PREFIX), *encode(given)], given
            )

        if phase == SAMPLED:
            found = guises(self.config.guises, self.config.seed)
            made = [variant(guise, messages(guise.of(task), options)) for guise in found]
        elif phase == GIVEN:
            given = golden_docstring(golden_source(task.id, self.config.golden))
            made = [variant(Guise(), messages(task, options), given)]
        else:
            made = [variant(c.guise, self._refinement(c, task)) for c in self._parents(task)]
        fits = [v for v in made if len(v.prompt_ids) + self.config.max_tokens <= self.llm.max_model_len]
        if made and not fits and task.id not in self.notes:
            shortest = min(len(v.prompt_ids) for v in made)
            text = (
                f"{phase}: its prompt of {shortest} tokens and {self.config.max_tokens} to sample do not "
                f"fit in the model's {self.llm.max_model_len}"
            )
            self.notes[task.id] = text
            self._append([{"note": [task.id, text]}])
        return fits

    def _parents(self, task: Task) -> list[Candidate]:
        """Choose the wrong programs of a task that are shown to the model."""
        own = [c for c in self.candidates if c.task_id == task.id and c.phase != GIVEN]
        return best(own, _PARENTS)

    def _refinement(self, parent: Candidate, task: Task) -> list[dict[str, str]]:
        """Write the conversation after a wrong program, with what it made of the train inputs."""
        dressed = parent.guise.of(task)
        inputs = [example.input for example in dressed.train]
        (result,) = run_many([(parent.source, inputs)], self.config.limits)
        return refinement(dressed, parent.source, result.outputs, result.error, self.config.prompt)

    def _start(self, ask: Ask) -> str:
        """Queue a request; return its id."""
        config, ids = self.config, ask.variant.prompt_ids
        # Who goes on after a kill draws anew: what was lost is not known.
        place = ask.task_id, ask.phase, ask.number, self._before
        params = SamplingParams(
            n=ask.count,
            max_tokens=config.max_tokens,
            temperature=config.temperature,
            seed=seed_of(config.seed, *place),
            stop=STOP,
        )
        return self.llm.add_request(None, {"prompt_token_ids": ids}, params)

    def _ended(self, output: RequestOutput, flying: dict[str, Ask]) -> Iterator[Draft]:
        """Make drafts of what a request sampled to its end."""
        if not output.finished:
            return
        ask = flying.pop(output.request_id)
        tokenizer = self.llm.get_tokenizer()
        for completion in output.outputs:
            if completion.finish_reason == "error":
                raise MinillmError(f"task {ask.task_id}: sampling failed: {completion.stop_reason}")
            if completion.finish_reason in ("stop", "length"):
                source = program(ask.variant.given + tokenizer.decode(completion.token_ids))
                tokens = len(completion.token_ids)
                place = ask.task_id, ask.phase, ask.variant.guise
                yield Draft(*place, source, tokens, completion.finish_reason)

    # ---------------------------------------------------------------- running, writing

    def _finish(self, drafts: Sequence[Draft], end: float) -> None:
        """Run programs and log them; those that could outlast the end are dropped."""
        begin, left, made = self.spent, list(drafts), list[Candidate]()
        workers, seconds = os.cpu_count() or 1, self.config.limits.seconds
        while left and (rounds := int((end + _LAST / 2 - self.spent) / seconds)) > 0:
            now, left = left[: rounds * workers], left[rounds * workers :]
            made += run_drafts(now, self.tasks, self.config.limits)
        if made:
            self._run_seconds = (self.spent - begin) / len(made)
        self._add(made)
        self._append([{"candidate": candidate.record()} for candidate in made] or [{}])
        if time.monotonic() - self._wrote > 60:
            self._write()

    def _add(self, candidates: Sequence[Candidate]) -> None:
        self.candidates += candidates
        self._fit |= {c.task_id for c in candidates if c.fits and c.phase != GIVEN}

    def _append(self, records: Sequence[dict[str, object]]) -> None:
        self._log.append([{"seconds": round(self.spent, 3), **record} for record in records])
        self._logged = time.monotonic()

    def _write(self) -> Report:
        """Vote, and write the submission, so that there is a valid one at any time; report on it."""
        by_task: dict[str, list[Candidate]] = {task_id: [] for task_id in self.tasks}
        for candidate in self.candidates:
            if candidate.phase != GIVEN:
                by_task[candidate.task_id].append(candidate)
        chosen = {task_id: attempts(self.tasks[task_id], found) for task_id, found in by_task.items()}
        write_submission(self._log.folder / "submission.json", chosen)
        self._wrote = time.monotonic()
        tasks = list(self.tasks.values())
        return make_report(tasks, self.candidates, chosen, self.notes, self.spent)


def evaluate(config: Config, console: Console, begin: float) -> Report:
    """Run or resume an evaluation, showing progress on `console`.

    Raises `MinillmError` or `ArcError` for what the user can mend.
    """
    tasks = read_tasks(config.tasks, config.golden)
    digest = hashlib.blake2b(repr(tasks).encode(), digest_size=8).hexdigest()
    if config.given_docstring and not {task.id for task in tasks} & set(golden_ids(config.golden)):
        raise ArcError("none of the tasks has a golden solution whose docstring could be given")
    fixed = {**config.fixed(), "digest_of_tasks": digest}
    columns = BarColumn(), TimeElapsedColumn(), TextColumn("{task.description}")
    with (
        LineLog.open(config.run, fixed, VERSION, "candidates.jsonl") as log,
        Progress(*columns, console=console) as progress,
    ):
        evaluation = Evaluation(config, log, tasks, begin)
        phases = ", ".join(f"{wanted} {phase}" for phase, wanted in evaluation.phases)
        had = f", of which {evaluation.spent / 60:.1f} are spent" if log.records else ""
        console.print(
            f"{len(tasks)} tasks, up to so many programs each: {phases}; {config.minutes:g} minutes{had}"
        )
        return evaluation.run(progress)
