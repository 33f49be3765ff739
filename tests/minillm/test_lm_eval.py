"""minillm as a model of lm-eval: the scores of its own Hugging Face model, and the same at any batch size."""

from __future__ import annotations

import json
import logging
import math
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import tokenizers
import torch
import yaml
from tokenizers import AddedToken, decoders, models, pre_tokenizers, processors

from minillm import LLM, MinillmError, SamplingParams, Tokenizer, Transformer, save_model

lm_eval = pytest.importorskip("lm_eval", reason="lm-eval is not installed: pip install -e '.[eval]'")

from lm_eval.api.instance import Instance  # noqa: E402
from lm_eval.config.evaluate_config import EvaluatorConfig  # noqa: E402
from lm_eval.models.huggingface import HFLM  # noqa: E402
from lm_eval.tasks import TaskManager  # noqa: E402

from minillm.harness import MinillmLM, main  # noqa: E402

CHAT = (
    "{{ bos_token }}{% for m in messages %}[{{ m.role }}]{{ m.content }}{% if not loop.last or "
    "add_generation_prompt %}</s>{% endif %}{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}"
)
PAIRS = [
    ("The capital of France is", " Paris"),
    ("The capital of France is", " a"),
    ("The capital of France is", " b"),
    ("The capital of France is a", "b"),
    ("Trailing spaces  ", "go along"),
    ("", "no context at all"),
    ("", "</s>begins with the end token"),
    ("é and 語", " are bytes ü"),
    ("long " * 30, "and more " * 3),
    ("long " * 30, "and more " * 3),
    ("x", "y" * 60),
]
TEXTS = ["One two three.", "x", "", "a longer text, in several windows: " * 7]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tiny_llama: Callable[..., Transformer]) -> Path:
    """A tiny llama over bytes whose context has 64 tokens, as both libraries load it."""
    folder = tmp_path_factory.mktemp("bytes")
    words = [*sorted(pre_tokenizers.ByteLevel.alphabet()), "Ġt", "he", "Ġthe"]
    backend = tokenizers.Tokenizer(
        models.BPE({word: i for i, word in enumerate(words)}, [("Ġ", "t"), ("h", "e"), ("Ġt", "he")])
    )
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_tokens([AddedToken(text, special=True) for text in ("<s>", "</s>")])
    begin = backend.token_to_id("<s>")
    backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", begin)])
    backend.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>"}
    (folder / "tokenizer_config.json").write_text(json.dumps({**settings, "chat_template": CHAT}))
    size = backend.get_vocab_size()
    save_model(tiny_llama(vocab_size=size, max_position_embeddings=64, tie_word_embeddings=False), folder)
    return folder


@pytest.fixture(scope="module")
def theirs(folder: Path) -> HFLM:
    """The harness's own model, in float64."""
    return HFLM(str(folder), dtype="float64", device="cpu", batch_size=1)


def instances(kind: str, arguments: Sequence[tuple[Any, ...]]) -> list[Instance]:
    return [Instance(kind, {}, args, i) for i, args in enumerate(arguments)]


def every(lm: Any) -> tuple[Any, ...]:
    """All that the harness asks of a model, over the texts above."""
    sampled = {"until": ["\n"], "max_gen_toks": 12, "do_sample": True, "temperature": 0.8, "top_p": 0.9}
    greedy = {"until": ["e", "</s>"], "max_gen_toks": 9, "do_sample": False}
    contexts = [text for text, _ in PAIRS if text]
    return (
        lm.loglikelihood(instances("loglikelihood", PAIRS)),
        lm.loglikelihood_rolling(instances("loglikelihood_rolling", [(text,) for text in TEXTS])),
        lm.generate_until(instances("generate_until", [(text, greedy) for text in contexts])),
        lm.generate_until(instances("generate_until", [(text, sampled) for text in contexts])),
    )


@pytest.mark.parametrize(("precision", "tolerance"), [("fp64", 1e-9), ("fp32", 1e-4)])
def test_scores_are_those_of_the_harness_own_model(
    folder: Path, theirs: HFLM, precision: str, tolerance: float
) -> None:
    ours = MinillmLM(folder, precision=precision)
    for text in (*TEXTS, "<s>begins with BOS", *(text for pair in PAIRS for text in pair)):
        assert ours.tok_encode(text) == theirs.tok_encode(text)
        assert ours.tok_encode(text, False) == theirs.tok_encode(text, add_special_tokens=False)
    assert ours.prefix_token_id == theirs.prefix_token_id and ours.eot_token_id == theirs.eot_token_id
    assert ours.max_length == theirs.max_length == 64
    pairs = instances("loglikelihood", PAIRS)
    expected = theirs.loglikelihood(pairs, disable_tqdm=True)
    got = ours.loglikelihood(pairs, disable_tqdm=True)
    assert [score for score, _ in got] == pytest.approx([score for score, _ in expected], rel=tolerance)
    assert [greedy for _, greedy in got] == [greedy for _, greedy in expected]
    texts = instances("loglikelihood_rolling", [(text,) for text in TEXTS])
    whole = ours.loglikelihood_rolling(texts, disable_tqdm=True)
    assert whole == pytest.approx(theirs.loglikelihood_rolling(texts, disable_tqdm=True), rel=tolerance)


def test_what_greedy_decoding_writes_is_greedy(folder: Path) -> None:
    lm = MinillmLM(folder)
    prompts = [lm.tok_encode("Once upon a"), lm.tok_encode("12345")]
    outputs = lm.llm.generate(prompts, SamplingParams(temperature=0, max_tokens=5), use_tqdm=False)
    written = [output.outputs[0].token_ids for output in outputs]
    other = [*written[0][:-1], written[0][-1] ^ 1]
    asked = [(None, *pair) for pair in zip([*prompts, prompts[0]], [*written, other], strict=True)]
    assert [greedy for _, greedy in lm._loglikelihood_tokens(asked, True)] == [True, True, False]


def test_generated_texts_are_those_of_the_harness_own_model(folder: Path, theirs: HFLM) -> None:
    ours = MinillmLM(folder, precision="fp64")
    kwargs: list[dict[str, Any]] = [
        {"until": ["e"], "max_gen_toks": 12},
        {"until": ["</s>"], "max_new_tokens": 20, "do_sample": False},
        {"until": "\n\n", "max_gen_toks": 50},  # the context is cut from the left
        {},
    ]
    kwargs[3] = {"until": [], "max_gen_toks": 8, "temperature": 0.0}
    arguments = [(context, options) for options in kwargs for context in ("The capital of", "A B C")]
    requests = instances("generate_until", arguments)
    assert ours.generate_until(requests, True) == theirs.generate_until(requests, True)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_no_bit_depends_on_the_batch_size(folder: Path, precision: str) -> None:
    alone = every(MinillmLM(folder, batch_size=1, precision=precision))
    for batch_size in (7, "64", "auto", "auto:4"):
        assert every(MinillmLM(folder, batch_size=batch_size, precision=precision)) == alone


def test_what_is_too_long_is_cut_at_the_left_and_said(
    folder: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    lm = MinillmLM(folder)
    words = "long " * 40 + "ago"
    context, rest = lm._encode_pair(words, "end")
    short = lm.tokenizer.decode(context[len(rest) - 65 :])  # 65 tokens and no BOS, of which 64 are read
    pairs = instances("loglikelihood", [(words, "end"), (words, "go")])
    with caplog.at_level(logging.WARNING, "minillm"):
        scored = lm._loglikelihood_tokens([(None, lm.tok_encode(short, False), rest)])
        assert not caplog.messages
        assert lm.loglikelihood(pairs, disable_tqdm=True)[0] == scored[0]
        assert len(context) + len(rest) > 65
        over = len(context) + len(rest) - 65
        said = f"2 of 2 requests exceed max_length = 64: up to {over} tokens are cut off at their left"
        assert caplog.messages == [said]
        kwargs = {"until": [], "max_gen_toks": 20}
        whole = lm.generate_until(instances("generate_until", [(words, kwargs), ("a", kwargs)]), True)
        over = len(context) - (64 - 20)
        assert caplog.messages[1:] == [
            f"1 of 2 requests exceed max_length = 64: up to {over} tokens are cut off at their left"
        ]
    params = SamplingParams(temperature=0, max_tokens=20)
    (output,) = lm.llm.generate([context[-44:]], params, use_tqdm=False)
    assert whole[0] == lm.tokenizer.decode(output.outputs[0].token_ids)
    # How far it is, unless the harness says not to.
    assert "scoring: 100%" in capfd.readouterr().err
    lm.generate_until(instances("generate_until", [("a", kwargs)]))
    assert "generating: 100%" in capfd.readouterr().err


def test_a_text_without_a_context_comes_after_the_prefix_token(folder: Path) -> None:
    lm = MinillmLM(folder, add_bos_token=False)
    kwargs = {"until": [], "max_gen_toks": 5}
    assert lm.tok_encode("") == []
    empty, begun = lm.generate_until(instances("generate_until", [("", kwargs), ("<s>", kwargs)]), True)
    assert empty == begun


def test_live_weights_are_scored(folder: Path) -> None:
    """Whatever a trainer writes, and however, is seen; the masters' rounded copies too."""
    llm = LLM(folder, precision="bf16-master-fp32")
    lm, pairs = MinillmLM(llm), instances("loglikelihood", PAIRS[:3])
    before = lm.loglikelihood(pairs, True)
    with torch.no_grad():
        llm.model.head.data.mul_(0.5)
    after = lm.loglikelihood(pairs, True)
    assert all(a != b for (a, _), (b, _) in zip(before, after, strict=True))
    save_model(llm.model, folder.parent / "moved")
    tokenizer = Tokenizer.from_folder(folder)
    moved = LLM(folder.parent / "moved", tokenizer, precision="bf16-master-fp32")
    assert MinillmLM(moved).loglikelihood(pairs, True) == after


def test_an_answer_begins_after_the_thinking(folder: Path) -> None:
    """The end of thinking is a token or a text; stop strings are of the answer."""
    llm = LLM(folder, precision="fp64")
    (output,) = llm.generate(["The capital of"], SamplingParams(temperature=0, max_tokens=40), use_tqdm=False)
    token_ids, tokenizer = output.outputs[0].token_ids, llm.get_tokenizer()
    whole, mark = tokenizer.decode(token_ids), token_ids[20]
    rest = tokenizer.decode(token_ids[len(token_ids) - token_ids[::-1].index(mark) :]).lstrip()

    def answer(until: list[str], think_end_token: str | int | None) -> str:
        lm = MinillmLM(llm, think_end_token=think_end_token)
        kwargs = {"until": until, "max_gen_toks": 40}
        (text,) = lm.generate_until(instances("generate_until", [("The capital of", kwargs)]), True)
        return text

    assert answer([], None) == whole and answer([], mark) == rest and whole.endswith(rest)
    assert answer([whole[0]], None) == ""
    assert answer([whole[0], rest[3]], mark) == rest.split(rest[3])[0].split(whole[0])[0]
    assert answer([], whole[20:22]) == whole.split(whole[20:22])[-1].lstrip()
    with pytest.raises(MinillmError, match="needs think_end_token"):
        MinillmLM(llm, enable_thinking=True)
    lm = MinillmLM(llm, enable_thinking=True, think_end_token="</s>")
    assert lm._think_end == tokenizer.eos_token_id  # a special token, which is not in an answer's text
    with pytest.raises(MinillmError, match="goes with tasks that generate"):
        lm.loglikelihood(instances("loglikelihood", PAIRS[:1]))


def test_scores_are_the_samplers(folder: Path) -> None:
    """The logprobs that `LLM` reports for the same tokens, summed."""
    llm = LLM(folder)
    lm = MinillmLM(llm)
    assert lm.llm is llm
    for (context, rest), (score, _) in zip(
        PAIRS[:5], lm.loglikelihood(instances("loglikelihood", PAIRS[:5])), strict=True
    ):
        prompt, more = lm._encode_pair(context, rest)
        params = SamplingParams(max_tokens=1, prompt_logprobs=0)
        (output,) = llm.generate([[*prompt, *more]], params)
        assert output.prompt_logprobs is not None
        entries = zip(more, output.prompt_logprobs[len(prompt) :], strict=True)
        assert score == math.fsum(entry[token].logprob for token, entry in entries if entry is not None)


# ---------------------------------------------------------------- whole evaluations


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """A task of each kind over a local file."""
    path = tmp_path_factory.mktemp("data") / "test.jsonl"
    rows = [
        {"question": f"{i} plus {i + 1}?", "choices": [f"{2 * i + k}" for k in range(3)], "answer": i % 3}
        for i in range(9)
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    common = {
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(path)}},
        "test_split": "test",
        "fewshot_split": "test",
        "doc_to_text": "{{question}}",
    }
    return [
        {
            **common,
            "task": "choices",
            "output_type": "multiple_choice",
            "doc_to_choice": "{{choices}}",
            "doc_to_target": "{{answer}}",
            "metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}],
        },
        {
            **common,
            "task": "written",
            "output_type": "generate_until",
            "doc_to_target": "{{choices[answer]}}",
            "generation_kwargs": {"until": ["\n"], "max_gen_toks": 6},
            "metric_list": [{"metric": "exact_match"}],
        },
        {
            **common,
            "task": "perplexity",
            "output_type": "loglikelihood_rolling",
            "doc_to_text": "",
            "doc_to_target": "{{question}} {{choices[0]}}",
            "metric_list": [{"metric": "word_perplexity"}, {"metric": "bits_per_byte"}],
        },
    ]


def evaluate(tasks: list[dict[str, Any]], model: Any, **options: Any) -> dict[str, Any]:
    """Evaluate, without the tasks that come with the harness: reading their names takes long."""
    manager = TaskManager(include_defaults=False)
    results = lm_eval.simple_evaluate(
        model, tasks=tasks, task_manager=manager, bootstrap_iters=0, verbosity=None, **options
    )
    assert results is not None
    return results


def test_evaluations_by_name_and_by_object_agree_with_the_harness_own(
    folder: Path, theirs: HFLM, tasks: list[dict[str, Any]]
) -> None:
    expected = evaluate(tasks, theirs)["results"]
    for options in (
        {"model": "minillm", "model_args": {"pretrained": str(folder), "precision": "fp64"}},
        {"model": "minillm", "model_args": f"pretrained={folder},precision=fp64", "batch_size": 7},
        {"model": MinillmLM(LLM(folder, precision="fp64"))},
    ):
        found = evaluate(tasks, **options)["results"]
        assert found.keys() == {"choices", "written", "perplexity"}
        for task, values in expected.items():
            for name, value in values.items():
                if isinstance(value, float):
                    assert found[task][name] == pytest.approx(value, rel=1e-9), (task, name)


def test_chats_are_laid_out_as_the_harness_own_does(
    folder: Path, theirs: HFLM, tasks: list[dict[str, Any]]
) -> None:
    ours = MinillmLM(folder, precision="fp64", chat_template_args={"unused": 1})
    chat = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Well"}]
    for add in (True, False):
        assert ours.apply_chat_template(chat, add) == theirs.apply_chat_template(chat, add)
    assert ours.chat_template(True) == theirs.chat_template(True) == CHAT
    assert ours.tokenizer_name != MinillmLM(folder).tokenizer_name  # other variables, other texts
    options: dict[str, Any] = {
        "apply_chat_template": True,
        "fewshot_as_multiturn": True,
        "num_fewshot": 2,
        "system_instruction": "Count.",
        "log_samples": True,
    }
    results = [evaluate(tasks[:2], lm, **options) for lm in (ours, theirs)]
    for task in ("choices", "written"):
        mine, other = ([sample["arguments"] for sample in result["samples"][task]] for result in results)
        assert mine == other and "[system]Count.</s>[user]" in json.dumps(mine)
        mine, other = ([sample["filtered_resps"] for sample in result["samples"][task]] for result in results)
        if task == "written":
            assert mine == other
        else:
            flat, expected = ([score for sample in x for score, _ in sample] for x in (mine, other))
            assert flat == pytest.approx(expected, rel=1e-9)


def test_a_named_template_is_used(folder: Path) -> None:
    lm = MinillmLM(folder, chat_template="{{ messages[0].content }}!")
    assert lm.apply_chat_template([{"role": "user", "content": "Hi"}]) == "Hi!"
    assert lm.chat_template(True) == "{{ messages[0].content }}!"

    with pytest.raises(MinillmError, match="no chat template 'defualt': this model has 'default'"):
        lm.chat_template("defualt")
    with pytest.raises(MinillmError, match="no chat template 'x'"):
        MinillmLM(folder, chat_template="x")


def test_a_system_message_that_is_refused_is_left_out(folder: Path) -> None:
    """As the harness's own model does, with a word about it."""
    refusal = "{% if messages[0].role == 'system' %}{{ raise_exception('no') }}{% endif %}"
    lm = MinillmLM(folder, chat_template=refusal + "{{ messages[0].content }}")
    chat = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}]
    assert lm.apply_chat_template(chat) == "Hi"
    with pytest.raises(MinillmError, match="never"):
        MinillmLM(folder, chat_template="{{ raise_exception('never') }}").apply_chat_template(chat)


def test_add_bos_token(folder: Path) -> None:
    plain = MinillmLM(folder, add_bos_token=False).tok_encode("the")
    assert MinillmLM(folder, add_bos_token=True).tok_encode("the") == [
        LLM(folder).get_tokenizer().bos_token_id,
        *plain,
    ]
    lm = MinillmLM(folder, prefix_token_id=5)
    assert lm.prefix_token_id == 5
    assert lm.tok_encode("<s>the") == lm.tok_encode("the")  # BOS is never doubled


@pytest.mark.parametrize(
    ("gen_kwargs", "words"),
    [
        ({"num_beams": 4}, "'num_beams' is not supported"),
        ({"max_gen_toks": 5, "stop": ["a"]}, "'stop' is not supported; give until"),
        ({"max_gen_toks": 64}, "max_gen_toks = 64 must be"),
        ({"max_gen_toks": 5, "do_sample": True, "temperature": -1.0}, "temperature must be"),
    ],
)
def test_what_cannot_be_generated_is_named(folder: Path, gen_kwargs: dict[str, Any], words: str) -> None:
    with pytest.raises(MinillmError, match=words):
        MinillmLM(folder).generate_until(instances("generate_until", [("a", gen_kwargs)]))


def test_bad_arguments_are_named(folder: Path) -> None:
    llm = LLM(folder)
    for arguments, words in (
        ((folder, 0), "batch_size must be 'auto' or a whole number above 0, got 0"),
        ((folder, "many"), "got 'many'"),
        ((llm, "auto", None, 65), "max_length must be 2 to 64"),
    ):
        with pytest.raises(MinillmError, match=words):
            MinillmLM(*arguments)
    with pytest.raises(MinillmError, match="dtype: the LLM that was given has its own"):
        MinillmLM(llm, dtype="float32")
    with pytest.raises(MinillmError, match="a continuation of 65"):
        MinillmLM(llm).loglikelihood(instances("loglikelihood", [("a", "b" * 65)]))


# ---------------------------------------------------------------- the command line


def test_the_command_line(folder: Path, tasks: list[dict[str, Any]], tmp_path: Path) -> None:
    """`python -m minillm.harness`, as a user types it, gives what an evaluation by object does."""
    for task in tasks:
        (tmp_path / f"{task['task']}.yaml").write_text(yaml.safe_dump(task))
    command = [sys.executable, "-m", "minillm.harness", "--model", "minillm"]
    command += [
        "--model_args",
        f"pretrained={folder},precision=fp64",
        "--tasks",
        "choices,written,perplexity",
    ]
    command += ["--include_path", str(tmp_path), "--batch_size", "7", "--output_path", str(tmp_path / "out")]
    command += ["--log_samples", "--apply_chat_template", "--num_fewshot", "1", "--limit", "4"]
    run = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert run.returncode == 0, run.stderr
    assert "|choices" in run.stdout and "scoring: 100%" in run.stderr
    (path,) = (tmp_path / "out").rglob("results_*.json")
    found = json.loads(path.read_text())
    options: dict[str, Any] = {"apply_chat_template": True, "num_fewshot": 1, "limit": 4}
    expected = evaluate(tasks, MinillmLM(folder, precision="fp64"), **options)["results"]
    assert found["chat_template"] == CHAT
    for task, values in expected.items():
        measured = {name: x for name, x in values.items() if "," in name and "stderr" not in name}
        assert measured and measured.items() <= found["results"][task].items()
    (path,) = (tmp_path / "out").rglob("samples_choices_*.jsonl")
    assert len(path.read_text().splitlines()) == 4


def test_an_error_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--model", "minillm", "--model_args", "pretrained=/nowhere", "--tasks", "choices"]
    monkeypatch.setattr(sys, "argv", ["lm-eval", *arguments])
    # Reading the names of the tasks that come with the harness takes long.
    manager = TaskManager(include_defaults=False)
    monkeypatch.setattr(EvaluatorConfig, "process_tasks", lambda *arguments: manager)
    assert main() == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith("error: unknown model /nowhere")


def test_answers_are_kept_and_found_again(
    folder: Path, tasks: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--use_cache`: the second evaluation asks the model nothing, and gives the same."""
    cache = str(tmp_path / "answers")
    first = evaluate(tasks, MinillmLM(folder), use_cache=cache)["results"]
    silent = MinillmLM(folder)
    monkeypatch.setattr(silent, "_scores", None)
    monkeypatch.setattr(silent, "llm", None)
    assert evaluate(tasks, silent, use_cache=cache)["results"] == first
