"""minillm as a model of EleutherAI's evaluation harness, `lm_eval`; needs the extra `eval`.

    lm_eval.simple_evaluate(model=MinillmLM("smollm2-135m-instruct"), tasks=[...])
    lm_eval.simple_evaluate(model="minillm", model_args={"pretrained": "smollm2-135m-instruct"}, tasks=[...])
    python -m minillm.harness --model minillm --model_args pretrained=smollm2-135m-instruct --tasks ...

Importing this module registers the name. Scores are those of the model's one forward over packed tokens, so
that they are the same bits whatever the batch size; texts come from `LLM`.
"""

from __future__ import annotations

import hashlib
import math
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import torch

from minillm import LLM, MinillmError, RequestOutputKind, SamplingParams, Transformer
from minillm.errors import install_hint, logger, note
from minillm.model.batch import Batch
from minillm.model.logprobs import Rows, nested
from minillm.tokenizer.chat_templates import DEFAULT

try:
    from lm_eval.api.instance import Instance
    from lm_eval.api.model import TemplateLM
    from lm_eval.api.registry import register_model
    from lm_eval.models.utils import handle_stop_sequences, normalize_gen_kwargs, postprocess_generated_text
    from lm_eval.utils import get_rolling_token_windows, make_disjoint_window
    from tqdm import tqdm
except ImportError as error:
    raise ImportError(f"minillm.harness needs lm-eval ({error}); {install_hint('eval')}") from error

# Tokens of one forward where `batch_size` is "auto".
TOKENS = 4096
# Rows of logits that are held at a time.
ROWS = 128

Answer = tuple[float, bool]
# What the harness keeps an answer under, then the token ids of a context and of what follows it.
Scored = tuple[tuple[str, str] | None, list[int], list[int]]


class _Job(NamedTuple):
    """One text to generate."""

    prompt: list[int]
    params: SamplingParams
    until: list[str]
    skips_special_tokens: bool
    excess: int  # tokens that were cut off at the left of the prompt


@register_model("minillm")
class MinillmLM(TemplateLM):
    """A model that the harness can score texts with and generate from.

    Args:
        pretrained: what `LLM` takes as its model, or an `LLM`, whose live weights are then evaluated.
        batch_size: requests of one forward, and sequences of one step while generating; "auto" is as many as
            have 4,096 tokens. No result depends on it.
        max_batch_size: most requests of one forward where `batch_size` is "auto".
        max_length: most tokens of a sequence; by default what the `LLM` has.
        max_gen_toks: most tokens to generate where a task does not say.
        add_bos_token: whether a text begins with the BOS token; by default as the tokenizer has it. One that
            is written out at the start of a text is never doubled.
        prefix_token_id: what a text without a context comes after; by default BOS, or else the end token.
        chat_template: a name of the model's templates, or Jinja text, as `LLM.chat` takes.
        chat_template_args: further variables of the template.
        enable_thinking: the variable of this name; where it is true, `think_end_token` must be there, and
            only tasks that generate can be evaluated.
        think_end_token: the text or id of the token after which an answer begins. What stands before it is
            left out, and no stop string of a task ends it.
        device: where it runs. The command line says "cuda:0" if nobody says otherwise: without a GPU, that is
            the CPU, as with the harness's own models.
        **options: those of `LLM`, where it is not given: `dtype`, `precision`, `tokenizer`, ...

    Raises:
        MinillmError: options for an `LLM` that is there already, or as `LLM` does.
    """

    def __init__(
        self,
        pretrained: str | Path | Transformer | LLM,
        batch_size: int | str = "auto",
        max_batch_size: int | None = None,
        max_length: int | None = None,
        max_gen_toks: int = 256,
        add_bos_token: bool | None = None,
        prefix_token_id: int | None = None,
        chat_template: str | None = None,
        chat_template_args: Mapping[str, Any] | None = None,
        enable_thinking: bool | None = None,
        think_end_token: str | int | None = None,
        device: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__()
        auto = str(batch_size).startswith("auto")
        if not auto and not (str(batch_size).isdecimal() and int(batch_size)):
            raise MinillmError(f"batch_size must be 'auto' or a whole number above 0, got {batch_size!r}")
        self._most_requests: float = (max_batch_size or math.inf) if auto else int(batch_size)
        self._most_tokens = TOKENS if auto else math.inf
        if isinstance(pretrained, LLM):
            if given := {name for name, value in options.items() if value is not None}:
                raise MinillmError(f"{min(given)}: the LLM that was given has its own; leave it out")
            self.llm = pretrained
        else:
            if device is not None:
                if str(device).startswith("cuda") and not torch.cuda.is_available():
                    note("harness.device", f"device={device}: there is no GPU, the model runs on the CPU")
                    device = "cpu"
                options["device"] = device
            if not auto:
                options.setdefault("max_num_seqs", int(batch_size))
            if max_length is not None:
                options.setdefault("max_model_len", int(max_length))
            self.llm = LLM(pretrained, **options)
        self.tokenizer = self.llm.get_tokenizer()
        self.max_length = int(max_length or self.llm.max_model_len)
        if not 1 < self.max_length <= self.llm.max_model_len:
            raise MinillmError(f"max_length must be 2 to {self.llm.max_model_len}, got {max_length}")
        self.max_gen_toks = int(max_gen_toks)
        self._add_bos, self._chat_template = add_bos_token, self._checked_template(chat_template)
        if add_bos_token and self.tokenizer.bos_token_id is None:
            raise MinillmError("add_bos_token=True: this tokenizer has no BOS token; leave it out")
        thinking = {} if enable_thinking is None else {"enable_thinking": enable_thinking}
        self._chat_template_args = {**(chat_template_args or {}), **thinking}
        if self._chat_template_args.get("enable_thinking") and think_end_token is None:
            raise MinillmError("enable_thinking=True needs think_end_token, after which the answer begins")
        self._think_end = self._token_or_text(think_end_token)
        own = (prefix_token_id, self.tokenizer.bos_token_id, self.tokenizer.eos_token_id)
        if (prefix := next((token for token in own if token is not None), None)) is None:
            raise MinillmError("this tokenizer has neither a BOS nor an end token; give prefix_token_id")
        self._prefix_id = int(prefix)
        # Where a text begins with one of these, the tokenizer adds nothing before it.
        begins = {self._prefix_id, self.tokenizer.bos_token_id} - {None}
        texts = (self.tokenizer.decode([token], skip_special_tokens=False) for token in begins)
        self._begins = tuple(text for text in texts if text)

    @property
    def eot_token_id(self) -> int | None:
        """The end-of-sequence token."""
        return self.tokenizer.eos_token_id

    @property
    def prefix_token_id(self) -> int:
        """What a text without a context comes after."""
        return self._prefix_id

    def _token_or_text(self, end: str | int | None) -> str | int | None:
        """Return the id of a text that is one token, since a special one is not in the answer's text."""
        if isinstance(end, str) and len(ids := self.tokenizer.encode(end, False)) == 1:
            return ids[0]
        return end

    # ---------------------------------------------------------------- text

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **kwargs: Any) -> list[int]:
        """Encode a text; without `add_special_tokens`, as the tokenizer does or `add_bos_token` says."""
        encode = self.tokenizer.encode
        if add_special_tokens is not None:
            return encode(string, add_special_tokens)
        if string.startswith(self._begins):
            return encode(string, False)
        if self._add_bos is None:
            return encode(string)
        bos = self.tokenizer.bos_token_id if self._add_bos else None
        return [*([] if bos is None else [bos]), *encode(string, False)]

    def apply_chat_template(
        self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True
    ) -> str:
        """Lay out a chat; without `add_generation_prompt` its last message is left open.

        As with the harness's own model, a system message that the template refuses is left out.
        """
        template = (self._chat_template, add_generation_prompt, not add_generation_prompt)
        try:
            return self.tokenizer.chat_text(chat_history, *template, **self._chat_template_args)
        except MinillmError:
            others = [message for message in chat_history if message["role"] != "system"]
            if len(others) == len(chat_history):
                raise
            text = self.tokenizer.chat_text(others, *template, **self._chat_template_args)
            note("harness.system", "the chat template refuses system messages: they are left out")
            return text

    def chat_template(self, chat_template: bool | str = False) -> str:
        """Return the chat template, for the record; from now on the one that is named, or given as Jinja.

        Raises:
            MinillmError: what is given is neither Jinja nor the name of one.
        """
        if isinstance(chat_template, str):
            self._chat_template = self._checked_template(chat_template)
        asked = self._chat_template or DEFAULT
        return self.tokenizer.chat_templates.get(asked, self._chat_template or "")

    def _checked_template(self, asked: str | None) -> str | None:
        names = self.tokenizer.chat_templates
        if asked is not None and asked not in names and "{" not in asked:
            known = ", ".join(map(repr, sorted(names))) or "no templates"
            raise MinillmError(f"there is no chat template {asked!r}: this model has {known}")
        return asked

    @property
    def tokenizer_name(self) -> str:
        """What the harness keeps requests of chats under: all that their text depends on, as a digest."""
        parts = repr((self.chat_template(), sorted(self._chat_template_args.items())))
        return f"minillm-{hashlib.sha256(parts.encode()).hexdigest()[:16]}"

    # ---------------------------------------------------------------- scores

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> list[Answer]:
        """Score each continuation after its context; raise `MinillmError` where thinking comes between."""
        if self._chat_template_args.get("enable_thinking"):
            raise MinillmError(
                "enable_thinking=True goes with tasks that generate; leave it out to score texts"
            )
        answers: list[Answer] = super().loglikelihood(requests, disable_tqdm=disable_tqdm)
        return answers

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> list[float]:
        """Score whole texts, each token once, in windows of the longest context, as the harness cuts them."""
        windows: list[list[Scored]] = []
        for request in requests:
            cuts = get_rolling_token_windows(
                self.tok_encode(request.args[0]), self.prefix_token_id, self.max_length, context_len=1
            )
            windows.append([(None, *make_disjoint_window(cut)) for cut in cuts])
        flat = [window for several in windows for window in several]
        answers = iter(self._loglikelihood_tokens(flat, disable_tqdm))
        totals = []
        for request, several in zip(requests, windows, strict=True):
            totals.append(math.fsum(score for score, _ in islice(answers, len(several))))
            self.cache_hook.add_partial("loglikelihood_rolling", request.args, totals[-1])
        return totals

    def _loglikelihood_tokens(
        self, requests: Sequence[Scored], disable_tqdm: bool = False, **kwargs: Any
    ) -> list[Answer]:
        """Give each continuation's summed logprob, and whether greedy decoding would have written it."""
        self._warn_of_cuts(len(context) + len(rest) - self.max_length - 1 for _, context, rest in requests)
        answers: list[Answer] = []
        with tqdm(total=len(requests), disable=disable_tqdm, desc="scoring") as bar:
            for batch in self._batches(requests):
                answers += (scored := self._scores([(context, rest) for _, context, rest in batch]))
                for (key, _, _), answer in zip(batch, scored, strict=True):
                    if key is not None:  # windows of a longer text have none
                        self.cache_hook.add_partial("loglikelihood", key, answer)
                bar.update(len(batch))
        return answers

    def _batches(self, requests: Sequence[Scored]) -> Iterator[list[Scored]]:
        """Cut requests into those of one forward; in their order, in which one document's are neighbours."""
        batch: list[Scored] = []
        tokens = 0
        for request in requests:
            length = len(request[1]) + len(request[2])
            if batch and (len(batch) >= self._most_requests or tokens + length > self._most_tokens):
                yield batch
                batch, tokens = [], 0
            batch.append(request)
            tokens += length
        if batch:
            yield batch

    def _warn_of_cuts(self, excess: Iterable[int]) -> None:
        """Say in the log how many requests are how much too long, with what is generated after them."""
        excess = list(excess)
        if cut := [tokens for tokens in excess if tokens > 0]:
            said = "%d of %d requests exceed max_length = %d: up to %d tokens are cut off at their left"
            logger.warning(said, len(cut), len(excess), self.max_length, max(cut))

    @torch.no_grad()
    def _scores(self, pairs: Sequence[tuple[list[int], list[int]]]) -> list[Answer]:
        """Score continuations after their contexts in one forward.

        Those that a longer one begins with, as the letters of one question's answers do, cost nothing.
        """
        model = self.llm.model
        for context, rest in pairs:
            if not context or not 1 <= len(rest) <= self.max_length:
                raise MinillmError(
                    f"a context of {len(context)} tokens and a continuation of {len(rest)}: there must be at "
                    f"least 1 of each, and at most max_length = {self.max_length} in a continuation"
                )
        # Of what is too long the beginning is left out; the last token is not read.
        inputs = [[*context, *rest][-(self.max_length + 1) : -1] for context, rest in pairs]
        for token_ids in inputs:
            model.check_tokens(token_ids)
        sequences, places = nested(inputs)
        device = model.head.device
        tokens_T = torch.tensor([token for sequence in sequences for token in sequence], device=device)
        hidden_TC = model(tokens_T, Batch.packed([len(sequence) for sequence in sequences], device))
        lengths = [len(rest) for _, rest in pairs]
        ends = zip(places, lengths, strict=True)
        rows = [row for place, length in ends for row in range(place - length + 1, place + 1)]
        row_R = torch.tensor(rows, device=device)
        token_R = torch.tensor([token for _, rest in pairs for token in rest], device=device)
        logprobs: list[float] = []
        likeliest: list[bool] = []
        for some_R, wanted_R in zip(row_R.split(ROWS), token_R.split(ROWS), strict=True):
            logits_RV = model.logits(hidden_TC[some_R])
            made = Rows(logits_RV, logits_RV.new_ones(len(some_R)))
            logprobs += made.at(wanted_R.unsqueeze(1)).squeeze(1).tolist()
            likeliest += (made.likeliest() == wanted_R).tolist()
        # Summed exactly, so that no order of a sum is in it.
        values, greedy = iter(logprobs), iter(likeliest)
        return [(math.fsum(islice(values, n)), all(list(islice(greedy, n)))) for n in lengths]

    # ---------------------------------------------------------------- generation

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """Continue each context to one of its stop strings, the end token or its number of tokens."""
        jobs = [self._job(*request.args) for request in requests]
        self._warn_of_cuts(job.excess for job in jobs)
        texts: dict[int, str] = {}
        with tqdm(total=len(requests), disable=disable_tqdm, desc="generating") as bar:
            for output in self.llm.stream([job.prompt for job in jobs], [job.params for job in jobs]):
                i, (sample,) = int(output.request_id), output.outputs
                if sample.finish_reason == "error":
                    raise MinillmError(f"request {i}: {sample.stop_reason}")
                texts[i] = self._answer(sample.token_ids, jobs[i])
                self.cache_hook.add_partial("generate_until", requests[i].args, texts[i])
                bar.update()
        return [texts[i] for i in range(len(requests))]

    def _answer(self, token_ids: list[int], job: _Job) -> str:
        """Decode what follows the thinking, if there is any, up to a stop string."""
        end = self._think_end
        thinks = end in token_ids
        if thinks:
            token_ids = token_ids[len(token_ids) - token_ids[::-1].index(end) :]  # type: ignore[arg-type]
        text = self.tokenizer.decode(token_ids, job.skips_special_tokens)
        split = end if isinstance(end, str) else None
        answer: str = postprocess_generated_text(text.lstrip() if thinks else text, job.until, split)
        return answer

    def _job(self, context: str, gen_kwargs: Mapping[str, Any]) -> _Job:
        """Read a request of the harness."""
        options: dict[str, Any] = dict(normalize_gen_kwargs(dict(gen_kwargs), self.max_gen_toks))
        max_tokens, samples = options.pop("max_gen_toks"), options.pop("do_sample")
        end = self.eot_token_id
        end_text = None if end is None else self.tokenizer.decode([end], skip_special_tokens=False)
        until = [text for text in handle_stop_sequences(options.pop("until"), end_text) if text]
        skips = bool(options.pop("skip_special_tokens", True))
        if options.get("num_beams") == 1:
            del options["num_beams"]  # which asks for nothing
        options.setdefault("temperature", 1.0 if samples else 0.0)
        known = {field.name for field in fields(SamplingParams)} - {"n", "output_kind", "stop"}
        if unknown := options.keys() - known:
            remedy = "give until" if min(unknown) == "stop" else "leave it out"
            raise MinillmError(f"generation_kwargs: {min(unknown)!r} is not supported; {remedy}")
        if not 0 < max_tokens < self.max_length:
            raise MinillmError(
                f"max_gen_toks = {max_tokens} must be at least 1 and leave room for a context in "
                f"max_length = {self.max_length}"
            )
        # With special tokens in sight, since a stop string may be one of their names.
        options |= {"skip_special_tokens": False, "output_kind": RequestOutputKind.FINAL_ONLY}
        # The end token ends by itself; as in the harness's model of vLLM, stop strings wait for the answer.
        stop = until if self._think_end is None else []
        params = SamplingParams(**options, stop=stop, max_tokens=max_tokens)
        room, token_ids = self.max_length - max_tokens, self.tok_encode(context) or [self._prefix_id]
        return _Job(token_ids[-room:], params, until, skips, len(token_ids) - room)


def main() -> int:
    """Run the harness's command line, which knows the model "minillm" now; return the exit status."""
    from lm_eval.__main__ import cli_evaluate

    try:
        cli_evaluate()
    except MinillmError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
