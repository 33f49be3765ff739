"""What vLLM's `LLM`, `LLMEngine` and `AsyncLLM` have and minillm's have not: methods, and arguments of them.

Of the methods it says what to do instead; of the arguments, which values ask for nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from minillm.errors import Arguments, MinillmError, anything, nothing

_TEXT = "minillm reads text alone"
_POOLING = "minillm generates text: call generate(), or next_token_logprobs() for scores"
_WEIGHTS = "write into llm.model, whose weights are sampled from as they are"
_MODEL = "read llm.model, or call apply_model() or collective_rpc()"
_ONE_DEVICE = "minillm runs on one device"
_TOKENIZER = "call get_tokenizer(), which makes token ids and chats"

# Of what makes requests.
OF_CALLS: Arguments = {
    "guided_options_request": nothing(None, remedy="give SamplingParams(structured_outputs=...)"),
    "mm_processor_kwargs": nothing(None, {}, remedy=_TEXT),
    "prompt_adapter_request": nothing(None),
    "prompt_token_ids": nothing(None, remedy="give token ids as the prompts: generate([[1, 2], [3]])"),
    "tokenization_kwargs": nothing(None, {}, remedy="give token ids as the prompts"),
}
_OF_CHATS: Arguments = {**OF_CALLS, "chat_template_content_format": nothing("auto", "string")}
_OF_REQUESTS: Arguments = {
    **OF_CALLS,
    "arrival_time": None,
    "data_parallel_rank": nothing(None, 0, remedy=_ONE_DEVICE),
    "prompt_text": None,
    "trace_headers": None,
}
_RESET: Arguments = {
    "device": anything(),
    "reset_connector": anything(False),
    "reset_running_requests": nothing(False, remedy="finish or abort them first"),
}
_START: Arguments = {"stat_loggers": None, "usage_context": anything()}

ARGUMENTS: Mapping[str, Arguments] = {
    "abort_request": {"internal": anything(False)},
    "add_request": _OF_REQUESTS,
    "beam_search": {**OF_CALLS, "concurrency_limit": anything(), "use_tqdm": anything(False)},
    "chat": _OF_CHATS,
    "enqueue": {**OF_CALLS, "use_tqdm": anything(True)},
    "enqueue_chat": {**_OF_CHATS, "use_tqdm": anything(True)},
    "from_engine_args": {**_START, "enable_multiprocessing": anything(False)},
    "generate": OF_CALLS,
    "get_tokenizer": {"lora_request": anything()},  # an adapter has no tokenizer of its own
    "get_world_size": {"include_dp": anything(True)},
    "reset_prefix_cache": _RESET,
    "shutdown": {"timeout": anything()},
    "sleep": {"mode": nothing("abort", "wait", remedy="kept requests need the KV cache")},
}
ASYNC_ARGUMENTS: Mapping[str, Arguments] = {
    "abort": {"internal": anything(False)},
    "from_engine_args": {**_START, "start_engine_loop": anything(True)},
    "generate": {
        **_OF_REQUESTS,
        "reasoning_ended": None,
        "reasoning_parser_kwargs": nothing(None, {}),
        "session_id": None,
    },
    "get_tokenizer": {"lora_request": anything()},
    "pause_generation": {"wait_for_inflight_requests": nothing(None, False, remedy="give mode='wait'")},
    "reset_prefix_cache": _RESET,
}

_ABSENT_IN_BOTH: Mapping[str, str] = {
    "encode": _POOLING,
    "engine_core": _MODEL,
    "finish_weight_update": _WEIGHTS,
    "from_vllm_config": "call from_engine_args()",
    "get_decoding_config": "read model_config",
    "get_lora_config": "call list_loras()",
    "get_model_config": "read model_config",
    "get_parallel_config": _ONE_DEVICE,
    "get_scheduler_config": "read scheduler_config",
    "get_weight_version": _WEIGHTS,
    "init_weight_transfer_engine": _WEIGHTS,
    "input_processor": _TOKENIZER,
    "io_processor": _TOKENIZER,
    "is_tracing_enabled": "minillm traces nothing; call start_profile()",
    "model_executor": _MODEL,
    "observability_config": "call get_metrics()",
    "renderer": _TOKENIZER,
    "start_draft_weight_update": _WEIGHTS,
    "start_weight_update": _WEIGHTS,
    "update_weight_version": _WEIGHTS,
    "update_weights": _WEIGHTS,
}
ABSENT: Mapping[str, str] = {
    **_ABSENT_IN_BOTH,
    "check_health": "an error is raised where it happens",
    "classify": _POOLING,
    "default_sampling_params": "call get_default_sampling_params()",
    "device_config": "read llm.model.head.device",
    "embed": _POOLING,
    "get_tokenizer_group": "call get_tokenizer()",
    "has_unfinished_requests_dp": _ONE_DEVICE,
    "load_config": "read llm.model.config",
    "lora_config": "call list_loras()",
    "output_processor": "call step(), which returns outputs",
    "parallel_config": _ONE_DEVICE,
    "preprocess_chat": _TOKENIZER,
    "processor": _TOKENIZER,
    "release_kv_cache_memory": "call sleep()",
    "request_counter": "name requests by add_request(request_id, ...)",
    "reward": _POOLING,
    "score": _POOLING,
    "set_tokenizer": "make the LLM with tokenizer=",
    "validate_outputs": "outputs are RequestOutput alone",
}
ASYNC_ABSENT: Mapping[str, str] = {
    **_ABSENT_IN_BOTH,
    "add_request": "call generate()",
    "checkpoint_prepare": "call sleep()",
    "checkpoint_restore": "call wake_up()",
    "engine": "what runs on the thread is called by collective_rpc()",
    "get_external_elastic_ep_phase": _ONE_DEVICE,
    "get_status": "call check_health(), or read is_running",
    "get_vllm_config": "read model_config",
    "handle_fault": "call check_health(), and make another AsyncLLM where it has stopped",
    "notify_kv_transfer_request_rejected": _ONE_DEVICE,
    "scale_elastic_ep": _ONE_DEVICE,
    "should_keep_api_server_alive": "read is_running",
    "start_background_loop": "it starts when it is first used, or with `async with`",
}


class PoolingParams:
    """vLLM's parameters of pooling models; making them raises `MinillmError`, for there are none here."""

    def __init__(self, *_: Any, **__: Any) -> None:
        raise MinillmError("PoolingParams are for pooling models; minillm generates text: use SamplingParams")
