"""How does `minillm serve` hold up under many clients, and does it lose or leak anything?

The server runs as a user would start it, in a process of its own. Clients (the `openai` package, in this
process) ask again as soon as they are answered: completions and chats, whole and streamed, with logprobs,
with several samples. Beside them, some requests are wrong and some clients hang up in the middle.

    python -m benchmarks.serve                                # 64 clients for 60 s
    python -m benchmarks.serve --clients 8 --seconds 10 --precision bf16
    python -m benchmarks.serve --turns 5 --seconds 10         # the cost of structured outputs and tools

With `--turns` every client asks for the same chats, of one length, as plain text, as JSON of a schema, with a
call that must be made and with one that may be, in turns of `--seconds` each.

Exit status 1 where a request was lost, a wrong one was not refused as it should be, or anything is left
running or held in the KV cache at the end.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from rich.console import Console

from benchmarks import record
from minillm import MinillmError
from minillm.checkpoint.hub import DEMO_MODEL

try:
    import openai
    from prometheus_client.parser import text_string_to_metric_families
except ImportError:
    raise SystemExit("error: this needs openai and the server: pip install -e '.[serve]' openai") from None

# Seconds for the server to load its model, and for its last requests to be cleared away.
START, END = 120, 30
NAME = "served"
WORDS = (
    "grid",
    "cell",
    "red",
    "square",
    "the",
    "rest",
    "is",
    "black",
    "count",
    "rows",
    "and",
    "then",
    "columns",
)


@dataclass(frozen=True)
class Config:
    """Options of the benchmark.

    Attributes:
        model: a folder, a Hugging Face hub id, or the packaged demo model.
        precision: that the server runs in.
        clients: that ask at a time.
        seconds: that each goes on asking.
        max_tokens: the most tokens that an answer has.
        disturbers: clients beside those, that send what is wrong and hang up.
        turns: rounds in which plain chats, structured outputs and tools take turns; 0 for the mixed load.
        seed: of what is asked.
        save: keep the result in benchmarks/results/.
    """

    model: str = DEMO_MODEL
    precision: str = "fp32"
    clients: int = 64
    seconds: float = 60.0
    max_tokens: int = 24
    disturbers: int = 4
    turns: int = 0
    seed: int = 0
    save: bool = True


@dataclass
class Seen:
    """What the clients saw; times in seconds."""

    latencies: list[float] = field(default_factory=list)
    first_tokens: list[float] = field(default_factory=list)
    per_tokens: list[float] = field(default_factory=list)  # of each stream, the mean after the first
    tokens: int = 0
    refused: int = 0
    hung_up: int = 0
    lost: list[str] = field(default_factory=list)


def _prompt(rng: random.Random) -> str:
    return " ".join(rng.choices(WORDS, k=rng.randint(1, 60)))


async def _completion(client: openai.AsyncOpenAI, rng: random.Random, most: int, seen: Seen) -> None:
    n = rng.choice((1, 1, 1, 2, 4))
    answer = await client.completions.create(
        model=NAME, prompt=_prompt(rng), n=n, max_tokens=most, logprobs=2, temperature=0.8
    )
    if [choice.index for choice in answer.choices] != list(range(n)) or answer.usage is None:
        raise MinillmError(f"{n} samples were asked for, {len(answer.choices)} came")
    for choice in answer.choices:
        assert choice.logprobs is not None and choice.logprobs.token_logprobs
    seen.tokens += answer.usage.completion_tokens


async def _chat(client: openai.AsyncOpenAI, rng: random.Random, most: int, seen: Seen) -> None:
    message = {"role": "user", "content": _prompt(rng)}
    answer = await client.chat.completions.create(
        model=NAME,
        messages=[message],
        max_tokens=most,
        stop=["\n\n"],  # type: ignore[list-item]
    )
    assert answer.usage is not None and answer.choices[0].finish_reason in ("stop", "length")
    seen.tokens += answer.usage.completion_tokens


async def _stream(client: openai.AsyncOpenAI, rng: random.Random, most: int, seen: Seen) -> None:
    await _read(seen, client.completions.create, {"prompt": _prompt(rng), "max_tokens": most})


async def _read(seen: Seen, create: Callable[..., Awaitable[Any]], asked: dict[str, Any]) -> None:
    """Read a stream to its end, and note when its tokens came."""
    begin, first, finished, tokens = time.perf_counter(), None, False, 0
    stream = await create(model=NAME, stream=True, stream_options={"include_usage": True}, **asked)
    async for chunk in stream:
        last = time.perf_counter()
        first = first or last
        finished |= any(choice.finish_reason for choice in chunk.choices)
        tokens = chunk.usage.completion_tokens if chunk.usage else tokens
    if not finished or first is None or not tokens:
        raise MinillmError("a stream ended before its answer did")
    seen.first_tokens.append(first - begin)
    if tokens > 1:
        seen.per_tokens.append((last - first) / (tokens - 1))
    seen.tokens += tokens


KINDS: tuple[Callable[..., Awaitable[None]], ...] = (_completion, _chat, _stream)


async def _ask(client: openai.AsyncOpenAI, config: Config, index: int, until: float, seen: Seen) -> None:
    """One client: the next request as soon as the last one is answered."""
    rng = random.Random(config.seed * 1000 + index)
    while (begin := time.perf_counter()) < until:
        try:
            await rng.choice(KINDS)(client, rng, config.max_tokens, seen)
            seen.latencies.append(time.perf_counter() - begin)
        except (openai.OpenAIError, MinillmError, AssertionError) as error:
            seen.lost.append(f"{type(error).__name__}: {error}")


# Bodies that are wrong, and the status that says so.
WRONG: tuple[tuple[bytes, int], ...] = (
    (b'{"model": "served", "prompt": "a"', 400),
    (b'{"model": "served", "prompt": "a", "max_tokens": "many"}', 400),
    (b'{"model": "served", "prompt": "a", "temperature": -1}', 400),
    (b'{"model": "served", "prompt": [1, 99999999]}', 400),
    (b'{"model": "another", "prompt": "a"}', 404),
    (b'{"model": "served", "prompt": "' + b"a" * (9 << 20) + b'"}', 413),
    (b"\xff\xfe", 400),
)


@asynccontextmanager
async def _call(url: str, method: str, path: str, body: bytes = b"") -> AsyncIterator[asyncio.StreamReader]:
    """Open the answer to one request, to be read or left; no client of OpenAI's would send such bodies."""
    place = urlsplit(url)
    reader, writer = await asyncio.open_connection(place.hostname, place.port)
    head = f"{method} {path} HTTP/1.1\r\nHost: {place.netloc}\r\nConnection: close\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    try:
        writer.write(head.encode() + body)
        yield reader
    finally:
        writer.close()


async def _disturb(url: str, config: Config, index: int, until: float, seen: Seen) -> None:
    """One client that sends what is wrong, or asks for a long stream and hangs up."""
    rng = random.Random(-1 - config.seed * 1000 - index)
    while time.perf_counter() < until:
        if rng.random() < 0.5:
            body, status = rng.choice(WRONG)
            async with _call(url, "POST", "/v1/completions", body) as reader:
                answer = (await reader.read()).decode()
            if f" {status} " not in answer.partition("\r\n")[0] or '"message"' not in answer:
                seen.lost.append(f"{status} expected for {body[:60]!r}, got {answer[:300]}")
            seen.refused += 1
        else:
            asked = {"model": NAME, "prompt": _prompt(rng), "max_tokens": 500, "stream": True}
            async with _call(url, "POST", "/v1/completions", json.dumps(asked).encode()) as reader:
                while await reader.readline() and rng.random() < 0.9:
                    pass
            seen.hung_up += 1
        await asyncio.sleep(rng.random())


async def _gauges(url: str) -> dict[str, float]:
    async with _call(url, "GET", "/metrics") as reader:
        text = (await reader.read()).decode().partition("\r\n\r\n")[2]
    families = text_string_to_metric_families(text)
    return {sample.name: sample.value for family in families for sample in family.samples}


LEFT = ("vllm:num_requests_running", "vllm:num_requests_waiting", "vllm:kv_cache_usage_perc")


async def load(url: str, config: Config) -> tuple[Seen, dict[str, float]]:
    """All clients against a running server; what they saw, and the server's gauges once they are gone."""
    seen = Seen()
    until = time.perf_counter() + config.seconds
    # No retries: what is lost shall be seen.
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=600) as client:
        await asyncio.gather(
            *(_ask(client, config, i, until, seen) for i in range(config.clients)),
            *(_disturb(url, config, i, until, seen) for i in range(config.disturbers)),
        )
    deadline = time.perf_counter() + END
    gauges = await _gauges(url)
    while any(gauges[name] for name in LEFT) and time.perf_counter() < deadline:
        await asyncio.sleep(0.2)
        gauges = await _gauges(url)
    return seen, gauges


# ---------------------------------------------------------------- what it costs, in turns

# Longer than any answer: each goes on to its most tokens.
SCHEMA = {
    "type": "object",
    "properties": {"words": {"type": "array", "items": {"type": "string"}, "minItems": 1000}},
    "required": ["words"],
    "additionalProperties": False,
}
TOOL = {"type": "function", "function": {"name": "list_words", "description": "Lists.", "parameters": SCHEMA}}
# What one and the same chat is asked for; the cost of each is over that of the first.
TURNS: dict[str, dict[str, Any]] = {
    "plain": {"tool_choice": "none"},
    "structured": {
        "tool_choice": "none",
        "response_format": {"type": "json_schema", "json_schema": {"name": "words", "schema": SCHEMA}},
    },
    "tools required": {"tool_choice": "required"},
    "tools auto": {"tool_choice": "auto"},
}


async def _turn(url: str, config: Config, number: int, wanted: dict[str, Any]) -> tuple[Seen, float]:
    """All clients for some seconds; what they saw, and the server's mean time from a token to the next."""
    seen, until = Seen(), time.perf_counter() + config.seconds

    async def ask(client: openai.AsyncOpenAI, index: int) -> None:
        rng = random.Random((config.seed * 1000 + number) * 1000 + index)
        while time.perf_counter() < until:
            asked: dict[str, Any] = {
                "messages": [{"role": "user", "content": _prompt(rng)}],
                "tools": [TOOL],
                "max_tokens": config.max_tokens,
                "extra_body": {"ignore_eos": True},
            }
            try:
                await _read(seen, client.chat.completions.create, asked | wanted)
            except (openai.OpenAIError, MinillmError) as error:
                seen.lost.append(f"{type(error).__name__}: {error}")

    before = await _gauges(url)
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=600) as client:
        await asyncio.gather(*(ask(client, i) for i in range(config.clients)))
    after = await _gauges(url)
    grown = {name: after[name] - before[name] for name in (f"{STEP}_sum", f"{STEP}_count")}
    return seen, grown[f"{STEP}_sum"] / max(1, grown[f"{STEP}_count"])


STEP = "vllm:inter_token_latency_seconds"


def compare(config: Config) -> dict[str, Any]:
    """Compute what each of `TURNS` costs, over the first of them in the same round."""
    seen: dict[str, list[Seen]] = {name: [] for name in TURNS}
    steps: dict[str, list[float]] = {name: [] for name in TURNS}
    with serve(config) as (process, url):
        for number in range(config.turns + 1):
            first = number % len(TURNS)
            for name in [*TURNS][first:] + [*TURNS][:first]:
                found, step = asyncio.run(_turn(url, config, number, TURNS[name]))
                if number:  # the first round warms up
                    seen[name].append(found)
                    steps[name].append(step)
    (_, plain), *_ = steps.items()
    figures: dict[str, Any] = {"lost": [lost for one in seen.values() for each in one for lost in each.lost]}
    for name, rounds in seen.items():
        ratios = [step / base for step, base in zip(steps[name], plain, strict=True)]
        figures[name] = {
            "step": statistics.median(steps[name]),
            "over_plain": statistics.median(ratios),
            "over_plain_spread": [min(ratios), max(ratios)],
            "first_token": spread([x for one in rounds for x in one.first_tokens]),
            "per_token": spread([x for one in rounds for x in one.per_tokens]),
        }
    return figures | {"left": {}, "exit_status": process.returncode}


# ---------------------------------------------------------------- the process


@contextmanager
def serve(config: Config) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """`minillm serve` in a process of its own, on a free port, once it answers; and its address."""
    command = [sys.executable, "-m", "minillm", "serve", config.model, "--port", "0"]
    command += ["--precision", config.precision, "--served-model-name", NAME]
    if (
        config.turns
    ):  # whatever model it is; and what the first of a round computes, it does not for the others
        command += ["--tool-call-parser", "hermes", "--no-enable-prefix-caching"]
    # Into a file, since nobody empties a pipe while the clients run.
    with tempfile.NamedTemporaryFile() as said:
        process = subprocess.Popen(command, stdout=said, stderr=said)
        try:
            deadline = time.monotonic() + START
            while not (found := re.search(r"http://[\w.:]+", text := Path(said.name).read_text())):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise MinillmError(f"the server did not start: {text}")
                time.sleep(0.1)
            yield process, found[0]
        finally:
            process.terminate()
            process.wait(END)


def spread(times: list[float]) -> dict[str, float]:
    """Compute percentiles of times."""
    ordered = sorted(times) or [float("nan")]
    shown = {f"p{p}": ordered[int(p / 100 * (len(ordered) - 1))] for p in (90, 95, 99)}
    return {"median": statistics.median(ordered), **shown}


def measure(config: Config) -> dict[str, Any]:
    """Compute the figures of one run."""
    with serve(config) as (process, url):
        begin = time.perf_counter()
        seen, gauges = asyncio.run(load(url, config))
        seconds = time.perf_counter() - begin
    if not seen.latencies:
        raise MinillmError(f"no request was answered: {seen.lost[:3]}")

    return {
        "answered": len(seen.latencies),
        "lost": seen.lost,
        "refused": seen.refused,
        "hung_up": seen.hung_up,
        "tokens": seen.tokens,
        "tokens_per_second": seen.tokens / seconds,
        "latency": spread(seen.latencies),
        "first_token": spread(seen.first_tokens),
        "per_token": spread(seen.per_tokens),
        "left": {name: gauges[name] for name in LEFT},
        "exit_status": process.returncode,
    }


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _rounded(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_rounded(inner) for inner in value]
    return round(value, 4) if isinstance(value, float) else value


def run(config: Config, console: Console) -> int:
    """Measure, print and save; returns the exit status: 1 where something was lost or left behind."""
    figures = compare(config) if config.turns else measure(config)
    title = f"{config.clients} clients, {config.seconds:g} s, {config.precision}"
    rows = [(k, f"{v:.2f}" if isinstance(v, float) else json.dumps(_rounded(v))) for k, v in figures.items()]
    console.print(record.table(title, ("", ""), rows, left=2))
    record.finish(console, "serve", config, **figures)
    return 1 if figures["lost"] or any(figures["left"].values()) or figures["exit_status"] else 0


if __name__ == "__main__":
    sys.exit(record.main(run, Config, __doc__))
