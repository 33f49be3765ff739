"""minillm as a model of lm-eval: the scores of its own Hugging Face model, and the same at any batch size."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from tokenizers import AddedToken, decoders, models, pre_tokenizers, processors

from minillm import LLM, MinillmError, SamplingParams, Transformer, save_model

lm_eval = pytest.importorskip("lm_eval", reason="lm-eval is not installed: pip install -e '.[eval]'")

from lm_eval.api.instance import Instance  # noqa: E402
from lm_eval.models.huggingface import HFLM  # noqa: E402
from lm_eval.tasks import TaskManager  # noqa: E402

from minillm.harness import MinillmLM  # noqa: E402

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
TEXTS = ["One two three.", "x", "a longer text, in several windows: " * 7]


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
    kwargs = {"until": [], "max_gen_toks": 5}
    contexts = ["Once upon a", "12345"]
    texts = lm.generate_until(instances("generate_until", [(text, kwargs) for text in contexts]), True)
    asked = [*zip(contexts, texts, strict=True), (contexts[0], texts[0] + "?")]
    answers = lm.loglikelihood(instances("loglikelihood", asked), True)
    assert [greedy for _, greedy in answers] == [True, True, False]


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


def test_add_bos_token(folder: Path) -> None:
    plain = MinillmLM(folder, add_bos_token=False).tok_encode("the")
    assert MinillmLM(folder, add_bos_token=True).tok_encode("the") == [
        LLM(folder).get_tokenizer().bos_token_id,
        *plain,
    ]
    assert MinillmLM(folder, prefix_token_id=5).prefix_token_id == 5


@pytest.mark.parametrize(
    ("gen_kwargs", "words"),
    [
        ({"num_beams": 4}, "'num_beams' is not supported"),
        ({"max_gen_toks": 64}, "max_gen_toks = 64 must be"),
        ({"do_sample": True, "temperature": -1.0}, "temperature must be"),
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
