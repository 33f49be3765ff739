"""TRL's GRPOTrainer over our model and sampler: its importance ratio is 1, exactly."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from minillm import LLM, MinillmError, Transformer, load_model, save_model, token_logprobs

trl = pytest.importorskip("trl", reason="trl is not installed: pip install -e '.[trl]'")

from datasets import Dataset  # noqa: E402
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast  # noqa: E402

from rl.optim import make_optimizer  # noqa: E402
from rl.trl import Policy  # noqa: E402

PROMPTS = ["ab", "abcdefg", "c", "hello"]
RATIO, GAP = "sampling/importance_sampling_ratio/", "sampling/sampling_logp_difference/max"
# A temperature and lengths at which a float32 that is rounded once more shows.
TEMPERATURE = 0.7


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("TRL_EXPERIMENTAL_SILENCE", "1")


@pytest.fixture(scope="module")
def folder(letters_folder: Callable[..., Path]) -> Path:
    return letters_folder(26)


def tokenizer_of(folder: Path) -> PreTrainedTokenizerFast:
    file = str(folder / "tokenizer.json")
    return PreTrainedTokenizerFast(tokenizer_file=file, eos_token="<eos>", pad_token="#", padding_side="left")


def share_of_a(completions: list[str], **columns: Any) -> list[float]:
    """A toy reward: how much of a completion is the letter a."""
    return [text.count("a") / max(1, len(text)) for text in completions]


def trainer_of(
    policy: Policy,
    folder: Path,
    output: Path,
    rollout: Callable[..., Any] | None = None,
    optimizer: torch.optim.Optimizer | None = None,
    **options: Any,
) -> Any:
    """A trainer of three optimizer steps, each on four completions of two prompts of other lengths."""
    values: dict[str, Any] = {
        "per_device_train_batch_size": 8,
        "num_generations": 4,
        "max_completion_length": 9,
        "temperature": TEMPERATURE,
        "learning_rate": 1e-2,
        "lr_scheduler_type": "constant",
        "max_steps": 3,
        "logging_steps": 1,
        "report_to": "none",
        "save_strategy": "no",
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "disable_tqdm": True,
    }
    return trl.GRPOTrainer(
        policy,
        share_of_a,
        trl.GRPOConfig(str(output), **(values | options)),
        Dataset.from_dict({"prompt": PROMPTS}),
        processing_class=tokenizer_of(folder),
        rollout_func=rollout or policy.rollout,
        optimizers=(optimizer, None),
    )


def ratios_of(trainer: Any, prefix: str = "") -> set[tuple[float, ...]]:
    """Give the minima, means and maxima of the ratios that TRL logged."""
    name = prefix + RATIO
    logged = [entry for entry in trainer.state.log_history if name + "mean" in entry]
    return {tuple(entry[name + part] for part in ("min", "mean", "max")) for entry in logged}


ONE = {(1.0, 1.0, 1.0)}


def steps_of(trainer: Any) -> list[dict[str, float]]:
    return [entry for entry in trainer.state.log_history if RATIO + "mean" in entry]


@pytest.mark.parametrize("precision", ["fp32", "bf16", "bf16-master-fp32"])
def test_the_ratio_is_exactly_one_and_each_step_is_sampled_from(
    precision: str, folder: Path, tmp_path: Path
) -> None:
    policy = Policy(LLM(folder, precision=precision))
    before = {name: w.detach().clone() for name, w in policy.model.named_parameters()}
    seen: list[torch.Tensor] = []

    def rollout(prompts: list[str], trainer: Any) -> dict[str, Any]:
        made = policy.rollout(prompts, trainer)
        assert [len(prompts), 8] == [8, len(made["completion_ids"])]
        assert made["prompt_ids"] == trainer.processing_class(prompts)["input_ids"]
        whole = [[*a, *b] for a, b in zip(made["prompt_ids"], made["completion_ids"], strict=True)]
        # Of the weights as they are now: those that the last step wrote.
        scored = token_logprobs(policy.model, whole, TEMPERATURE)
        for prompt, logprobs, now in zip(made["prompt_ids"], made["logprobs"], scored, strict=True):
            assert now[len(prompt) - 1 :].tolist() == logprobs
        seen.append(policy.model.head.detach().clone())
        return made

    trainer = trainer_of(policy, folder, tmp_path, rollout)
    trainer.train()
    steps = steps_of(trainer)
    assert len(steps) == 3 and ratios_of(trainer) == ONE
    for step in steps:
        assert step[GAP] == 0.0
        assert step["entropy"] > 0 and step["grad_norm"] > 0
    assert all(not torch.equal(w, before[name]) for name, w in policy.model.named_parameters())
    assert not torch.equal(seen[0], seen[1]) and not torch.equal(seen[1], seen[2])


@pytest.mark.parametrize(
    "options",
    [
        {"vllm_importance_sampling_mode": "token_truncate", "loss_type": "grpo"},
        {"gradient_accumulation_steps": 2, "per_device_train_batch_size": 4, "entropy_coef": 0.1},
        {"num_iterations": 2, "mask_truncated_completions": True, "bf16": True},
        {"steps_per_generation": 2, "pad_to_multiple_of": 16},
    ],
    ids=lambda options: "-".join(options),
)
def test_the_ratio_is_one_however_trl_batches(options: dict[str, Any], folder: Path, tmp_path: Path) -> None:
    trainer = trainer_of(Policy(LLM(folder)), folder, tmp_path, max_steps=4, **options)
    trainer.train()
    assert ratios_of(trainer) == ONE


@pytest.mark.parametrize("accumulated", [1, 2])
def test_only_a_second_iteration_is_off_policy(accumulated: int, folder: Path, tmp_path: Path) -> None:
    """What is trained on is, to the bit, what was sampled, until the optimizer has stepped on it."""
    options = {"num_iterations": 2, "gradient_accumulation_steps": accumulated, "max_steps": 4}
    trainer = trainer_of(Policy(LLM(folder)), folder, tmp_path, **options)
    score, compute, gaps, scored = trainer._get_per_token_logps_and_entropies, trainer.compute_loss, [], []

    def scoring(*arguments: Any, **others: Any) -> Any:
        made = score(*arguments, **others)
        scored.append(made[0].detach())
        return made

    def computing(model: Any, inputs: Any, **others: Any) -> Any:
        loss = compute(model, inputs, **others)
        gap = (scored[-1] - inputs["sampling_per_token_logps"]) * inputs["completion_mask"]
        gaps.append(gap.abs().max().item())
        return loss

    trainer._get_per_token_logps_and_entropies, trainer.compute_loss = scoring, computing
    trainer.train()
    assert len(gaps) == 4 * accumulated and ratios_of(trainer) == ONE
    first, second = (
        [gaps[i + j] for i in range(0, len(gaps), 2 * accumulated) for j in js]
        for js in (range(accumulated), range(accumulated, 2 * accumulated))
    )
    assert set(first) == {0.0} and min(second) > 1e-3


def test_it_learns_and_is_evaluated(folder: Path, tmp_path: Path) -> None:
    options = {"max_steps": 30, "per_device_eval_batch_size": 8, "max_completion_length": 20}
    trainer = trainer_of(Policy(LLM(folder)), folder, tmp_path, **options)
    before = trainer.evaluate(trainer.train_dataset)["eval_reward"]
    trainer.train()
    after = trainer.evaluate(trainer.train_dataset)["eval_reward"]
    assert after > before + 0.2
    assert ratios_of(trainer) == ratios_of(trainer, "eval_") == ONE


def test_small_steps_of_bf16_weights_survive(folder: Path, tmp_path: Path) -> None:
    """An optimizer that rounds stochastically, handed to TRL, moves weights that half a step would not."""
    policy = Policy(LLM(folder, precision="bf16"))
    matrices = [w for w in policy.model.parameters() if w.dim() > 1]
    before = [w.detach().clone() for w in matrices]
    trainer = trainer_of(policy, folder, tmp_path, optimizer=make_optimizer(policy.model, lr=1e-5))
    trainer.train()
    assert ratios_of(trainer) == ONE
    assert all(not torch.equal(w, old) for w, old in zip(matrices, before, strict=True))


def test_the_measure_sees_one_bit(folder: Path, tmp_path: Path) -> None:
    """One logprob that is one float32 too high is seen: the ratios above are not 1 for want of looking."""
    policy = Policy(LLM(folder))

    def rollout(prompts: list[str], trainer: Any) -> dict[str, Any]:
        made = policy.rollout(prompts, trainer)
        first = torch.tensor(made["logprobs"][0][0])
        made["logprobs"][0][0] = torch.nextafter(first, torch.tensor(0.0)).item()
        return made

    trainer = trainer_of(policy, folder, tmp_path, rollout, max_steps=1)
    trainer.train()
    assert 0.0 < steps_of(trainer)[0][GAP] < 1e-6


def test_without_the_correction_trl_measures_nothing(folder: Path, tmp_path: Path) -> None:
    options = {"max_steps": 2, "vllm_importance_sampling_correction": False}
    trainer = trainer_of(Policy(LLM(folder)), folder, tmp_path, **options)
    trainer.train()
    assert not steps_of(trainer) and trainer.state.global_step == 2


def test_chats_are_laid_out_by_the_trainers_tokenizer(folder: Path, tmp_path: Path) -> None:
    policy = Policy(LLM(folder))
    trainer = trainer_of(policy, folder, tmp_path)
    trainer.processing_class.chat_template = (
        "{{ messages[0].content }}{% if add_generation_prompt %}z{% endif %}"
    )
    chats = [[{"role": "user", "content": text}] for text in ("ab", "ab", "c")]
    made = policy.rollout(chats, trainer)
    assert made["prompt_ids"] == trainer.processing_class(["abz", "abz", "cz"])["input_ids"]
    assert made["completion_ids"][0] != made["completion_ids"][1]  # two samples of one prompt


def test_logprobs_entropies_and_gradients_are_transformers(
    tiny_llama: Callable[..., Transformer], tmp_path: Path
) -> None:
    """In float64, over a batch that is padded at both sides; TRL's formulas written out."""
    save_model(tiny_llama(eos_token_id=0), tmp_path)
    ours, theirs = (
        load_model(tmp_path, "fp64"),
        AutoModelForCausalLM.from_pretrained(tmp_path, dtype="float64"),
    )
    policy = Policy(LLM(ours))
    policy.temperature = TEMPERATURE
    ids = torch.randint(1, 131, (3, 12), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids)
    mask[0, :5], mask[1, 9:], mask[2, :2], mask[2, 11:] = 0, 0, 0, 0
    labels = ids.masked_fill(mask == 0, -100)
    labels[:, :6] = -100
    made = policy(input_ids=ids, attention_mask=mask, labels=labels, fused_lm_head=True)
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    logits = theirs(ids, attention_mask=mask, position_ids=positions).logits
    logprobs = (logits[:, :-1] / TEMPERATURE).log_softmax(-1)
    scored = labels[:, 1:] != -100
    chosen = logprobs.gather(2, labels[:, 1:].clamp(min=0).unsqueeze(2)).squeeze(2) * scored
    entropy = -(logprobs.exp() * logprobs).sum(-1) * scored
    torch.testing.assert_close(made.log_probs, chosen, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(made.entropy, entropy, rtol=1e-9, atol=1e-9)
    plain = policy(input_ids=ids, attention_mask=mask).logits
    torch.testing.assert_close(plain[mask == 1], logits[mask == 1], rtol=1e-9, atol=1e-9)
    # The gradient of both, through an export of what a step along it leaves.
    (made.log_probs.sum() + 0.3 * made.entropy.sum()).backward()
    (chosen.sum() + 0.3 * entropy.sum()).backward()
    with torch.no_grad():
        for model in (ours, theirs):
            for w in model.parameters():
                w += w.grad
    save_model(ours, tmp_path / "ours")
    moved = AutoModelForCausalLM.from_pretrained(tmp_path / "ours", dtype="float64").state_dict()
    for name, w in theirs.state_dict().items():
        torch.testing.assert_close(moved[name], w, rtol=1e-8, atol=1e-8)


def test_a_batch_with_nothing_to_score_has_a_gradient(folder: Path) -> None:
    policy = Policy(LLM(folder))
    ids = torch.tensor([[2, 3, 4]])
    made = policy(input_ids=ids, labels=torch.full_like(ids, -100), fused_lm_head=True)
    made.log_probs.sum().backward()
    assert policy.model.head.grad is not None and not policy.model.head.grad.any()


@pytest.mark.parametrize("precision", ["fp32", "bf16-master-fp32"])
def test_a_resumed_run_goes_on_to_the_same_bits(precision: str, folder: Path, tmp_path: Path) -> None:
    """Checkpoints are model folders, with the optimizer's state; of an `LLM` of one the same is sampled."""
    options = {"max_steps": 4, "save_strategy": "steps", "save_steps": 2}
    options["shuffle_dataset"] = False  # or TRL begins the resumed epoch with the first one's order
    policy = Policy(LLM(folder, precision=precision))
    trainer = trainer_of(policy, folder, tmp_path, **options)
    trainer.train()
    resumed = Policy(LLM(folder, precision=precision))
    other = trainer_of(resumed, folder, tmp_path, **options)
    other.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    assert ratios_of(trainer) == ratios_of(other) == ONE
    losses = [[step["loss"] for step in steps_of(one)] for one in (trainer, other)]
    assert losses[0] == losses[1] and len(set(losses[0])) == 4
    again = LLM(tmp_path / "checkpoint-4", precision=precision)
    for w, theirs, stored in zip(
        policy.parameters(), resumed.parameters(), again.model.parameters(), strict=True
    ):
        assert torch.equal(w, theirs) and torch.equal(w, stored)
    both = (again, LLM(policy.model, again.tokenizer))
    texts = [llm.generate(["ab"], use_tqdm=False)[0].outputs[0].text for llm in both]
    assert texts[0] == texts[1]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"top_p": 0.9}, "is another policy than the one that is trained"),
        ({"top_k": 5}, "is another policy than the one that is trained"),
        ({"min_p": 0.1}, "is another policy than the one that is trained"),
        ({"repetition_penalty": 1.1}, "is another policy than the one that is trained"),
        ({"generation_kwargs": {"bad_words": ["a"]}}, "is another policy than the one that is trained"),
        (
            {"generation_kwargs": {"temperature": 0.5}},
            r"not hold 'temperature'; give GRPOConfig\(temperature",
        ),
        ({"generation_kwargs": {"n": 2}}, r"not hold 'n'; give GRPOConfig\(num_generations"),
        (
            {"generation_kwargs": {"max_new_tokens": 2}},
            "no argument 'max_new_tokens'; did you mean max_tokens",
        ),
        ({"gradient_checkpointing": True}, "gradient_checkpointing=False"),
    ],
)
def test_settings_that_are_not_supported_are_named(
    options: dict[str, Any], words: str, folder: Path, tmp_path: Path
) -> None:
    policy = Policy(LLM(folder))
    before = policy.model.head.detach().clone()
    with pytest.raises(MinillmError, match=words):
        trainer_of(policy, folder, tmp_path, **options).train()
    assert torch.equal(policy.model.head, before)


def test_tools_and_another_sampler_are_named(folder: Path, tmp_path: Path) -> None:
    policy = Policy(LLM(folder))
    trainer = trainer_of(policy, folder, tmp_path)
    trainer.tools = [print]
    with pytest.raises(MinillmError, match="tools and environments are not supported"):
        trainer.train()
    trainer = trainer_of(policy, folder, tmp_path)
    trainer.args.use_vllm = True
    with pytest.raises(MinillmError, match=r"use_vllm: policy\.rollout samples"):
        trainer.train()
    with pytest.raises(AttributeError, match="leave out cast_lm_head_to_fp32"):
        trainer_of(policy, folder, tmp_path, cast_lm_head_to_fp32=True)


def test_more_tokens_may_end_a_completion(folder: Path, tmp_path: Path) -> None:
    """`stop_token_ids` come beside the trainer's own end tokens."""
    ends = [tokenizer_of(folder).convert_tokens_to_ids(letter) for letter in "abcdefgh"]
    trainer = trainer_of(Policy(LLM(folder)), folder, tmp_path, generation_kwargs={"stop_token_ids": ends})
    made = trainer.rollout_func(["ab"] * 32, trainer)
    ended = [ids for ids in made["completion_ids"] if len(ids) < 9]
    for ids in made["completion_ids"]:
        assert not {0, *ends} & set(ids[:-1])
        assert len(ids) == 9 or ids[-1] in (0, *ends)
    assert {ids[-1] for ids in ended} > {0}


def test_what_is_not_done_is_named(folder: Path) -> None:
    policy = Policy(LLM(folder))
    with pytest.raises(
        MinillmError, match=r"output_router_logits is not computed by minillm; give GRPOConfig\(router"
    ):
        policy(input_ids=torch.tensor([[2]]), output_router_logits=True)
    with pytest.raises(MinillmError, match="labels go with fused_lm_head=True"):
        policy(input_ids=torch.tensor([[2]]), labels=torch.tensor([[2]]))
    with pytest.raises(MinillmError, match="after a position that is masked"):
        ids, mask = torch.tensor([[2, 3]]), torch.tensor([[0, 1]])
        policy(input_ids=ids, attention_mask=mask, labels=ids, fused_lm_head=True)
    with pytest.raises(MinillmError, match=r"the weights are torch\.float32"):
        policy.to(torch.bfloat16)
    with pytest.raises(MinillmError, match="the LLM is on cpu, not on meta"):
        policy.to("meta")
    assert policy.to("cpu") is policy
    with pytest.raises(MinillmError, match="cannot be trained"):
        Policy(LLM(folder, precision="int8"))
