"""What a request with `use_beam_search` asks for: vLLM's field, with `n` as the width of the beam."""

from __future__ import annotations

from minillm.api.sampling_params import BeamSearchParams, SamplingParams
from minillm.errors import MinillmError
from minillm.serve import protocol
from minillm.serve.protocol import Json

# Most beams of a prompt: each holds a row of the vocabulary.
MAX_WIDTH = 64
# What a beam search asks of its request; it draws nothing, so that a seed changes nothing.
_TAKEN = (
    "n", "max_tokens", "temperature", "ignore_eos", "include_stop_str_in_output", "structured_outputs",
    "logprobs", "seed",
)  # fmt: skip


class Beams:
    """The fields of a request that are about beams.

    Raises `MinillmError` for a `length_penalty` without a beam search.
    """

    def __init__(self, arguments: Json, temperature: float) -> None:
        self.asked_for: bool = arguments.pop("use_beam_search", False)
        self._length_penalty: float = arguments.pop("length_penalty", 1.0)
        if not self.asked_for:
            if self._length_penalty != 1:
                raise MinillmError("length_penalty goes with use_beam_search: true; leave it out")
            return
        self._given = {name for name in arguments if name in protocol.SAMPLING}
        # Parameters of samples want no more than one sample of those that are all alike.
        self._temperature: float = arguments.pop("temperature", temperature)
        arguments["temperature"] = 1.0

    def params(self, params: SamplingParams, max_tokens: int) -> BeamSearchParams:
        """Make parameters of a search from those of samples, whose tokens are at most `max_tokens`.

        Raises:
            MinillmError: what is asked for does not go with a beam search.
        """
        default = SamplingParams()
        for name in sorted(self._given - {*_TAKEN}):
            if getattr(params, name) != getattr(default, name):
                raise MinillmError(f"{name} does not go with use_beam_search; leave out one")
        if params.prompt_logprobs is not None:
            raise MinillmError("echo with logprobs does not go with use_beam_search; leave out one")
        if params.shown_special_token_ids:
            raise MinillmError("tools do not go with use_beam_search; leave out one, or require a call")
        if params.n > MAX_WIDTH:
            raise MinillmError(f"n must be at most {MAX_WIDTH} with use_beam_search, got {params.n}")
        return BeamSearchParams(
            beam_width=params.n,
            max_tokens=params.max_tokens or max_tokens,
            ignore_eos=params.ignore_eos,
            temperature=self._temperature,
            length_penalty=self._length_penalty,
            include_stop_str_in_output=params.include_stop_str_in_output,
            structured_outputs=params.structured_outputs,
            logprobs=max_tokens if params.logprobs == -1 else params.logprobs or 0,
        )
