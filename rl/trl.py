"""TRL's GRPOTrainer over a live `Transformer`: what samples is what is trained, so its ratio is exactly 1.

    policy = Policy(LLM("smollm2-135m-instruct"))
    args = GRPOConfig("runs/grpo", gradient_checkpointing=False, bf16=False)
    names = {"processing_class": tokenizer, "rollout_func": policy.rollout}
    GRPOTrainer(policy, reward, args, dataset, **names).train()

TRL corrects for a sampler that is not quite the policy by the importance ratio exp(trained - sampled) of each
token's logprob, and logs it. Here one forward gives both, the same functions make logprobs of it, and so they
are the same bits. There are no weights to send: the next rollout samples from what the optimizer wrote.

Needs the extra `trl`.

Legend: B sequences of a padded batch, N positions of its longest, T packed tokens, R selected rows,
C model width, V vocabulary.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import torch
from torch.nn.modules.module import _IncompatibleKeys
from torch.utils.checkpoint import checkpoint

from kernels.backend import same_device
from minillm import LLM, MinillmError, SamplingParams
from minillm.checkpoint.load import load_weights, save_model
from minillm.checkpoint.safetensors import save_tensors
from minillm.errors import install_hint
from minillm.model.batch import Batch
from minillm.model.logprobs import logprobs
from rl.rollout import seed_of

try:
    from transformers import AutoConfig, GenerationConfig, PreTrainedModel
    from transformers.utils.generic import ModelOutput
except ImportError as error:
    raise ImportError(f"rl.trl needs trl ({error}); {install_hint('trl')}") from error

# Rows whose logits are held at a time.
ROWS = 128
IGNORED = -100  # the label of a token that is not scored
# Options of sampling that follow from the trainer's, and where they are given instead.
TAKEN = {
    "temperature": "give GRPOConfig(temperature=...)",
    "seed": "give GRPOConfig(seed=...)",
    "n": "give GRPOConfig(num_generations=...)",
    "logprobs": "leave it out",
    "flat_logprobs": "leave it out",
}
# Arguments of `forward` that TRL gives, and how to have it give none.
REMEDIES = {"output_router_logits": "give GRPOConfig(router_aux_loss_coef=0.0)"}


@dataclass
class PolicyOutput(ModelOutput):
    """What a `Policy` computes: logits (B, N, V), or (B, N - 1) of the labels after the first position.

    Both are float32 but for fp64, and 0 where there is nothing to say: at padding, and at labels of -100.
    """

    logits: torch.Tensor | None = None
    log_probs: torch.Tensor | None = None
    entropy: torch.Tensor | None = None


class Policy(PreTrainedModel):
    """The model of an `LLM` as TRL trains it: transformers' class, our forward, the live weights.

    Attributes:
        model: the `Transformer` whose parameters are trained, and sampled from.
        temperature: what logits are divided by before logprobs; `rollout` takes on the trainer's.

    The precision and the device are the `LLM`'s: `bf16` and `fp16` of the trainer's options do nothing. In
    fp64 the ratio is 1 but for the float32 that TRL rounds the sampler's logprobs to.
    Checkpoints are model folders in Hugging Face's layout, from which the trainer can resume.

    Raises:
        MinillmError: the weights are integers, which cannot be trained.
    """

    def __init__(self, llm: LLM) -> None:
        if llm.model.precision.bits:
            raise MinillmError("integer-quantised weights cannot be trained; load the model in fp32 or bf16")
        super().__init__(AutoConfig.for_model(**json.loads(llm.model.config.source)))
        self.model, self.temperature, self._llm = llm.model, 1.0, llm
        self._rollouts: tuple[Any, int] = (None, 0)  # of which step, and how many of it were before
        ends = list(llm.tokenizer.eos_token_ids) if llm.tokenizer is not None else None
        self.generation_config = GenerationConfig(eos_token_id=ends)

    def __call__(self, *args: Any, **kwargs: Any) -> PolicyOutput:
        """Compute as `forward` of this class does, whatever was put over it.

        TRL gives each model a forward that multiplies its hidden states by `lm_head.weight` in torch, and
        accelerate one that rounds what torch multiplies. Neither knows these weights, or this precision.
        """
        return Policy.forward(self, *args, **kwargs)

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        fused_lm_head: bool = False,
        **options: Any,
    ) -> PolicyOutput:
        """Compute logprobs and entropies of labels, with `fused_lm_head`, or else logits.

        `input_ids`, `attention_mask` and `labels` are (B, N), padded at either side. A label is scored by the
        row of the position before it. Raises `MinillmError` for a label after a masked position, ids outside
        the vocabulary, sequences that are too long, and options that are not computed here.
        """
        if asked := [name for name, value in options.items() if value is not None and value is not False]:
            remedy = REMEDIES.get(asked[0], "leave it out")
            raise MinillmError(f"{asked[0]} is not computed by minillm; {remedy}")
        if fused_lm_head == (labels is None):
            raise MinillmError(
                "labels go with fused_lm_head=True, which gives their logprobs, and it with them"
            )
        kept_BN = torch.ones_like(input_ids, dtype=torch.bool)
        kept_BN = kept_BN if attention_mask is None else attention_mask.bool()
        hidden_TC = self._hidden(input_ids, kept_BN)
        if labels is None:
            logits_TV = self.model.logits(hidden_TC)
            logits = logits_TV.new_zeros(*kept_BN.shape, logits_TV.shape[1])
            return PolicyOutput(logits=logits.masked_scatter(kept_BN.unsqueeze(2), logits_TV))
        scored = labels[:, 1:] != IGNORED
        if (scored & ~kept_BN[:, :-1]).any():
            raise MinillmError("a label stands after a position that is masked: nothing can score it")
        # Where each position that is kept stands among the packed tokens.
        place_BN = kept_BN.flatten().cumsum(0).view_as(kept_BN) - 1
        rows = hidden_TC[place_BN[:, :-1][scored]].split(ROWS)
        made = [
            checkpoint(self._score, *pair, use_reentrant=False, preserve_rng_state=False)
            for pair in zip(rows, labels[:, 1:][scored].split(ROWS), strict=True)
        ]
        per_label = [torch.cat(parts) for parts in zip(*made, strict=True)]
        zeros = per_label[0].new_zeros(scored.shape)
        log_probs, entropy = (zeros.masked_scatter(scored, values_R) for values_R in per_label)
        return PolicyOutput(log_probs=log_probs, entropy=entropy)

    def _hidden(self, input_ids: torch.Tensor, kept_BN: torch.Tensor) -> torch.Tensor:
        """Run the model over the tokens that are kept, packed one sequence after the other, (T, C)."""
        lengths = [length for length in kept_BN.sum(1).tolist() if length]
        tokens_T = input_ids[kept_BN]
        for token_ids in tokens_T.split(lengths):
            self.model.check_tokens(token_ids.tolist())
        hidden_TC: torch.Tensor = self.model(tokens_T, Batch.packed(lengths, tokens_T.device))
        return hidden_TC

    def _score(self, hidden_RC: torch.Tensor, token_R: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Compute the logprob of each token and the entropy of its row; a gradient makes the logits again."""
        logprobs_RV = logprobs(self.model.logits(hidden_RC), self.temperature)
        chosen_R = logprobs_RV.gather(1, token_R.unsqueeze(1)).squeeze(1)
        return chosen_R, -(logprobs_RV.exp() * logprobs_RV).sum(1)

    # ---------------------------------------------------------------- rollouts

    def rollout(self, prompts: Sequence[Any], trainer: Any) -> dict[str, Any]:
        """Sample one completion of each prompt, a text or a chat: TRL's `rollout_func`.

        Prompts that follow each other and are equal are samples of one. The trainer's seed and step say what
        is drawn, so that a run that is resumed draws what it would have drawn.

        Where the trainer's `vllm_importance_sampling_correction` is on, as it is by default, TRL measures
        from here on how far sampler and trainer are apart, logs it and weighs the loss by it; off, it takes
        them to be equal and saves a forward. Raises `MinillmError` for what would sample from another policy
        than the one that is trained, and for tools.
        """
        self._follow(trainer)
        params = _sampling_params(trainer)
        runs = [(prompt, len(list(run))) for prompt, run in groupby(_token_ids(prompts, trainer))]
        step = (trainer.model.training, trainer.state.global_step)
        self._rollouts = (step, self._rollouts[1] + 1 if step == self._rollouts[0] else 0)
        drawn = (trainer.args.seed, *step, self._rollouts[1], trainer.accelerator.process_index)
        several = [replace(params, n=count, seed=seed_of(*drawn, i)) for i, (_, count) in enumerate(runs)]
        outputs = self._llm.generate([prompt for prompt, _ in runs], several, use_tqdm=False)
        samples = [(output.prompt_token_ids, sample) for output in outputs for sample in output.outputs]
        for _, sample in samples:
            if sample.finish_reason == "error":
                raise MinillmError(f"a rollout failed: {sample.stop_reason}")
        return {
            "prompt_ids": [prompt for prompt, _ in samples],
            "completion_ids": [sample.token_ids for _, sample in samples],
            "logprobs": [sample.token_logprobs for _, sample in samples],
        }

    def _follow(self, trainer: Any) -> None:
        """Take on what the trainer says of logprobs, and let it compare them."""
        self.temperature = trainer.temperature
        if trainer.args.use_vllm:
            raise MinillmError("use_vllm: policy.rollout samples in vLLM's place; leave it out")
        if trainer.use_vllm or not trainer.vllm_importance_sampling_correction:
            return
        # TRL compares samples of another engine only, whose weights it would send; ours are there already.
        trainer.use_vllm, trainer._last_loaded_step = True, trainer.state.global_step
        trainer.vllm_generation = SimpleNamespace(sync_weights=lambda: None)

    # ---------------------------------------------------------------- as transformers' Trainer calls it

    def save_pretrained(  # type: ignore[override]
        self, save_directory: str | Path, **options: Any
    ) -> None:
        """Write config.json and weights in Hugging Face's layout."""
        save_model(self.model, save_directory)
        self.generation_config.save_pretrained(save_directory)

    def load_state_dict(self, state_dict: Any, strict: bool = True, assign: bool = False) -> Any:
        """Take on what `state_dict` gave, or the weights of a model folder, by whose names they come."""
        if state_dict.keys() == self.state_dict().keys():
            return super().load_state_dict(state_dict, strict, assign)
        with TemporaryDirectory() as folder:
            save_tensors(Path(folder), state_dict)
            load_weights(self.model, Path(folder))
        return _IncompatibleKeys([], [])

    def to(self, *args: Any, **kwargs: Any) -> Policy:  # type: ignore[override]
        """Stay where the `LLM` is; raise `MinillmError` for another device or dtype."""
        device, dtype, *_ = torch._C._nn._parse_to(*args, **kwargs)
        there = self.model.head.device
        if device is not None and not same_device(device, there):
            raise MinillmError(f"the LLM is on {there}, not on {device}; make it with device='{device}'")
        if dtype not in (None, self.model.head.dtype):
            raise MinillmError(
                f"the weights are {self.model.head.dtype}; make the LLM with another precision"
            )
        return self

    def activation_checkpointing_enable(self, *args: Any, **kwargs: Any) -> None:
        """Raise `MinillmError`."""
        raise MinillmError("minillm keeps activations; give GRPOConfig(gradient_checkpointing=False)")

    gradient_checkpointing_enable = activation_checkpointing_enable  # its older name

    def __getattr__(self, name: str) -> Any:
        """Say why there is no `lm_head`, which TRL looks for under `cast_lm_head_to_fp32`."""
        if name == "lm_head":
            raise AttributeError("minillm's logits are float32 as they are; leave out cast_lm_head_to_fp32")
        return super().__getattr__(name)


def _token_ids(prompts: Sequence[Any], trainer: Any) -> list[list[int]]:
    """Encode prompts, and lay out chats, as TRL does."""
    tokenizer = trainer.processing_class
    if isinstance(prompts[0], str):
        encoded = tokenizer(text=list(prompts))
    else:
        encoded = tokenizer.apply_chat_template(
            list(prompts),
            chat_template=trainer.chat_template,
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            **trainer.chat_template_kwargs,
        )
    return [list(ids) for ids in encoded["input_ids"]]


def _sampling_params(trainer: Any) -> SamplingParams:
    """Read how the trainer samples; raise `MinillmError` where it is from another policy than is trained."""
    if trainer.tools:
        raise MinillmError("tools and environments are not supported by policy.rollout; leave them out")
    given = dict(trainer.args.generation_kwargs or {})
    if taken := TAKEN.keys() & given:
        raise MinillmError(f"generation_kwargs may not hold {min(taken)!r}; {TAKEN[min(taken)]}")
    params = SamplingParams(
        **{
            "temperature": trainer.temperature,
            "top_p": trainer.top_p,
            "top_k": trainer.top_k,
            "min_p": trainer.min_p or 0.0,
            "repetition_penalty": trainer.repetition_penalty,
            "max_tokens": trainer.max_completion_length,
            "stop_token_ids": [*trainer.eos_token_ids, *(given.pop("stop_token_ids", None) or [])],
            "logprobs": 0,
            "detokenize": False,
            **given,
        }
    )
    if not params.is_plain or not params.temperature > 0:
        raise MinillmError(
            "a sampler that truncates, biases or is greedy is another policy than the one that is trained; "
            "leave top_p, top_k, min_p, penalties and the like at their defaults"
        )
    return params
