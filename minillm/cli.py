"""Sample from open-weight models: over HTTP, from prompts, in a conversation, or only read their logprobs.

    minillm serve MODEL                       # an HTTP server with OpenAI's API
    minillm generate MODEL "Once upon a time"
    minillm chat MODEL
    minillm logprobs MODEL "Paris is in France."

MODEL is a folder, a Hugging Face hub id, or the packaged demo model, smollm2-135m-instruct.
"""

from __future__ import annotations

import json
import math
import os
import signal
import sys
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from minillm.api.outputs import Logprob, RequestOutput
from minillm.api.sampling_params import RequestOutputKind, SamplingParams
from minillm.cli_options import File, Model, Name, arg, offering, options
from minillm.cli_serve import Serve
from minillm.errors import MinillmError
from minillm.progress import progress_bar
from minillm.serve.flags import own_flags

if TYPE_CHECKING:
    from minillm.inputs import Prompt
    from minillm.llm import LLM


class Sampling(Model):
    """How to sample; what is left out is the model's own default."""

    def params(self, llm: LLM, **more: Any) -> SamplingParams:
        """Return the model's defaults with this command's options, and `more`."""
        chosen = {n: x for n in options(SamplingParams) if (x := getattr(self, n, None)) is not None}
        return replace(llm.get_default_sampling_params(), **{"max_tokens": None, **chosen, **more})


@dataclass(frozen=True)
@offering(SamplingParams)
class Generate(Sampling):
    """Continue prompts: those given, or those of a file, or of standard input, one a line.

    Texts go to standard output in the order of the prompts; where there are several, each has a headline.

    Attributes:
        prompts: texts to continue.
        file: has a prompt in each line that is not blank.
        jsonl: lines are JSON: a text, a list of token ids, or an object with prompt or prompt_token_ids. So
            they are in a file whose name ends in .jsonl.
        json: print the full output as JSON, an object for each prompt, one a line.
        max_tokens: most tokens of a sample.
    """

    prompts: Annotated[tuple[str, ...], tyro.conf.Positional, arg(metavar="PROMPT ...")] = ()
    file: File = None
    jsonl: bool = False
    json: bool = False
    max_tokens: int = 128

    def run(self) -> None:
        """Print a sample of each prompt as soon as those of the prompts before it are there."""
        prompts = self._prompts()
        if not prompts:
            raise MinillmError("there are no prompts; give them as arguments, in --file or on standard input")
        llm = self.load()
        params = self.params(llm, output_kind=RequestOutputKind.FINAL_ONLY)
        waiting: dict[int, RequestOutput] = {}
        shown, failures = 0, []
        # Of a pipe or a file, texts that are redirected would go to stderr.
        with progress_bar(redirect_stdout=sys.stdout.isatty()) as bar:
            task = bar.add_task("sampling", total=len(prompts))
            for output in llm.stream(prompts, params):
                waiting[int(output.request_id)] = output
                bar.advance(task)
                while finished := waiting.pop(shown, None):
                    shown += 1
                    errors = [s.stop_reason for s in finished.outputs if s.finish_reason == "error"]
                    failures += [f"prompt {shown}: {error}" for error in errors]
                    self._show(finished, headlines=len(prompts) * params.n > 1)
        if failures:
            raise MinillmError("; ".join(failures))

    def _show(self, output: RequestOutput, headlines: bool) -> None:
        if self.json:
            print(_json(asdict(output)), flush=True)
            return
        for sample in output.outputs:
            if headlines:
                number = f", sample {sample.index + 1}" if len(output.outputs) > 1 else ""
                print(f"==> prompt {int(output.request_id) + 1}{number} <==")
            print(sample.text, flush=True)

    def _prompts(self) -> Sequence[Prompt]:
        if self.prompts and (self.file is not None or self.jsonl):
            raise MinillmError("give prompts as arguments or as lines, not both")
        if self.prompts:
            return self.prompts
        lines = [(i, line) for i, line in enumerate(_read(self.file).splitlines(), start=1) if line.strip()]
        is_json = self.jsonl or (self.file is not None and self.file.suffix == ".jsonl")
        return [_parsed(line, i) if is_json else line for i, line in lines]


@dataclass(frozen=True)
@offering(SamplingParams, without=("n", "logprobs", "prompt_logprobs"))  # it writes one text
class Chat(Sampling):
    """Talk with a model: a line is a message. Of a pipe or a file, every line is answered.

    /reset forgets the conversation, /quit or the end of input ends it, Ctrl-C ends an answer.

    Attributes:
        system: the system message that the conversation begins with.
    """

    system: Name = None

    def run(self) -> None:
        """Answer until the input ends."""
        llm = self.load()
        if llm.get_tokenizer().chat_template is None:
            raise MinillmError(f"{self.model} has no chat template; use `minillm generate`")
        params = self.params(llm, output_kind=RequestOutputKind.DELTA)
        start = [] if self.system is None else [{"role": "system", "content": self.system}]
        messages = list(start)
        talks = sys.stdin.isatty()
        if talks:
            import readline  # noqa: F401 (input() then edits lines)

            print("/reset forgets the conversation, /quit ends it", file=sys.stderr)
        while True:
            try:
                line = input("> " if talks else "")
            except EOFError:
                return
            except UnicodeDecodeError as error:
                raise MinillmError("cannot read standard input: it is not UTF-8") from error
            match line.strip():
                case "/quit":
                    return
                case "/reset":
                    messages = list(start)
                case _ if line.startswith("/"):
                    print("there are only /reset and /quit", file=sys.stderr)
                case text if text:
                    messages.append({"role": "user", "content": line})
                    try:
                        messages.append({"role": "assistant", "content": _answer(llm, messages, params)})
                    except MinillmError as error:
                        if not talks:
                            raise
                        messages.pop()
                        print(f"error: {error}; or /reset", file=sys.stderr)


@dataclass(frozen=True)
class Logprobs(Model):
    """Show how likely a text is to a model: the logprob and the rank of each token after those before it.

    The first token comes after nothing, so it has none.

    Attributes:
        text: the text; otherwise that of a file, or of standard input, as it is, its last newline too.
        file: has the text.
        temperature: divides the logits.
        json: print one object: tokens, sum, perplexity.
    """

    text: Annotated[str | None, tyro.conf.Positional, arg(metavar="TEXT")] = None
    file: File = None
    temperature: float = 1.0
    json: bool = False

    def run(self) -> None:
        """Print a table, or JSON."""
        if self.text is not None and self.file is not None:
            raise MinillmError("give a text or --file, not both")
        if self.logprobs_mode.endswith("_logits"):
            raise MinillmError(f"{self.logprobs_mode} are no logprobs; choose another --logprobs-mode")
        prompt = _read(self.file) if self.text is None else self.text
        params = SamplingParams(temperature=self.temperature, max_tokens=1, prompt_logprobs=0)
        (output,) = (llm := self.load()).generate([prompt], params)
        rows: list[dict[str, Any]] = []
        for token, entry in zip(output.prompt_token_ids, output.prompt_logprobs or [], strict=True):
            logprob = Logprob(math.nan) if entry is None else entry[token]
            text = llm.get_tokenizer().decode([token], skip_special_tokens=False)
            rows.append({"token_id": token, "token": text, "logprob": logprob.logprob, "rank": logprob.rank})
        if len(rows) < 2:
            raise MinillmError("the text is a single token, which comes after nothing; give a longer one")
        total = sum(row["logprob"] for row in rows[1:])
        perplexity = math.exp(-total / (len(rows) - 1))
        if self.json:
            print(_json({"tokens": rows, "sum": total, "perplexity": perplexity}))
            return
        table = Table("token", *(Column(name, justify="right") for name in ("id", "logprob", "rank")))
        for i, row in enumerate(rows):
            numbers = (f"{row['logprob']:.4f}", str(row["rank"])) if i else ("", "")
            table.add_row(Text(repr(row["token"])), str(row["token_id"]), *numbers)
        # Of no terminal, tables would be cut to 80 columns.
        Console(width=None if sys.stdout.isatty() else 160).print(table)
        print(f"sum {total:.4f}, perplexity {perplexity:.4f}")


def _answer(llm: LLM, messages: Sequence[dict[str, str]], params: SamplingParams) -> str:
    """Print the answer as it comes; Ctrl-C ends it."""
    from minillm.inputs import chat_prompt  # loads torch, for which help is not to wait

    answer, stop = "", threading.Event()
    # Not KeyboardInterrupt, which could come in the middle of a step.
    before = signal.signal(signal.SIGINT, lambda *_: stop.set())
    try:
        for output in llm.stream([chat_prompt(llm.get_tokenizer(), messages)], params):
            (sample,) = output.outputs
            if sample.finish_reason == "error":
                raise MinillmError(f"sampling failed: {sample.stop_reason}")
            answer += sample.text
            print(sample.text, end="", flush=True)
            if stop.is_set():
                break
    finally:
        signal.signal(signal.SIGINT, before)
        print()
    return answer


def _parsed(line: str, number: int) -> Prompt:
    try:
        prompt: Prompt = json.loads(line)
    except ValueError as error:
        raise MinillmError(f"line {number} of the prompts is not JSON ({error})") from error
    if isinstance(prompt, dict) and (unknown := prompt.keys() - {"prompt", "prompt_token_ids"}):
        raise MinillmError(f"line {number} of the prompts: {min(unknown)!r} is not supported")
    return prompt


def _read(file: Path | None) -> str:
    """Read the text of a file, or of standard input."""
    try:
        if file is None:
            if sys.stdin.isatty():
                print("reading standard input; Ctrl-D ends it", file=sys.stderr)
            return sys.stdin.read()
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise MinillmError(f"cannot read {file or 'standard input'}: {reason}") from error


def _json(content: Any) -> str:
    """Write JSON, with null for infinite numbers, which it does not have."""
    return json.dumps(json.loads(json.dumps(content), parse_constant=lambda _: None))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        if arguments[:1] == ["serve"]:
            arguments = ["serve", *own_flags(arguments[1:], Serve)]
    except MinillmError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    command: Serve | Generate | Chat | Logprobs = tyro.cli(
        Serve | Generate | Chat | Logprobs,
        prog="minillm",
        description=__doc__,
        args=arguments,
        config=(tyro.conf.FlagCreatePairsOff,),
    )
    try:
        command.run()
        sys.stdout.flush()
    except MinillmError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever read our output has gone; nothing is left to be written at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return 0
