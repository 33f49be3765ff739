"""Every method and argument of vLLM's offline classes is there, or its refusal names it."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch

import minillm.errors
from minillm import (
    LLM,
    AsyncLLM,
    BeamSearchParams,
    EngineArgs,
    LLMEngine,
    MinillmError,
    SamplingParams,
    StructuredOutputsParams,
    Tokenizer,
    Transformer,
    save_model,
)
from minillm.api.engine_arguments import FOREIGN

# Class -> its methods, one a line, each with its arguments, of vLLM's newest release and some of before.
METHODS: dict[type, str] = {
    LLM: """
        apply_model func
        beam_search prompts params lora_request use_tqdm concurrency_limit
        chat messages sampling_params use_tqdm lora_request chat_template chat_template_content_format
            add_generation_prompt continue_final_message tools chat_template_kwargs tokenization_kwargs
            mm_processor_kwargs
        classify prompts pooling_params use_tqdm lora_request
        collective_rpc method timeout args kwargs
        embed prompts use_tqdm pooling_params lora_request
        encode prompts pooling_params use_tqdm lora_request pooling_task
        enqueue prompts sampling_params lora_request priority use_tqdm tokenization_kwargs
            mm_processor_kwargs
        enqueue_chat messages sampling_params use_tqdm lora_request priority chat_template
            chat_template_content_format add_generation_prompt continue_final_message tools
            chat_template_kwargs tokenization_kwargs mm_processor_kwargs
        finish_weight_update weight_version
        from_engine_args engine_args
        generate prompts sampling_params use_tqdm lora_request priority tokenization_kwargs
            mm_processor_kwargs prompt_token_ids prompt_adapter_request guided_options_request
        get_default_sampling_params
        get_metrics
        get_tokenizer lora_request
        get_weight_version
        get_world_size include_dp
        init_weight_transfer_engine request
        preprocess_chat messages
        release_kv_cache_memory
        reset_mm_cache
        reset_prefix_cache reset_running_requests reset_connector device
        reward prompts pooling_params
        score data_1 data_2
        set_tokenizer tokenizer
        sleep level mode
        start_draft_weight_update
        start_profile profile_prefix
        start_weight_update
        stop_profile
        update_weight_version new_version
        update_weights request
        wait_for_completion output_type use_tqdm
        wake_up tags
    """,
    LLMEngine: """
        abort_request request_ids internal
        add_lora lora_request
        add_request request_id prompt params arrival_time lora_request tokenization_kwargs trace_headers
            priority prompt_text data_parallel_rank prompt_adapter_request
        apply_model func
        check_health
        collective_rpc method timeout args kwargs
        do_log_stats
        do_log_stats_with_interval
        from_engine_args engine_args usage_context stat_loggers enable_multiprocessing
        from_vllm_config vllm_config
        get_decoding_config
        get_lora_config
        get_metrics
        get_model_config
        get_num_unfinished_requests
        get_parallel_config
        get_scheduler_config
        get_supported_tasks
        get_tokenizer
        get_tokenizer_group
        has_unfinished_requests
        has_unfinished_requests_dp has_unfinished
        is_sleeping
        is_tracing_enabled
        list_loras
        pin_lora lora_id
        remove_lora lora_id
        reset_encoder_cache
        reset_mm_cache
        reset_prefix_cache reset_running_requests reset_connector
        sleep level
        start_profile profile_prefix
        step
        stop_profile
        validate_outputs outputs output_type
        wake_up tags
    """,
    AsyncLLM: """
        abort request_id internal
        add_lora lora_request
        add_request request_id prompt params
        beam_search prompt request_id params
        check_health
        checkpoint_prepare
        checkpoint_restore
        collective_rpc method timeout args kwargs
        do_log_stats
        encode prompt pooling_params request_id
        finish_weight_update weight_version
        from_engine_args engine_args start_engine_loop usage_context stat_loggers
        from_vllm_config vllm_config
        generate prompt sampling_params request_id prompt_text lora_request tokenization_kwargs trace_headers
            priority data_parallel_rank session_id reasoning_ended reasoning_parser_kwargs
        get_decoding_config
        get_external_elastic_ep_phase
        get_model_config
        get_status
        get_supported_tasks
        get_tokenizer lora_request
        get_vllm_config
        get_weight_version
        handle_fault fault_tolerance_request
        init_weight_transfer_engine request
        is_paused
        is_sleeping
        is_tracing_enabled
        list_loras
        notify_kv_transfer_request_rejected request_id
        pause_generation mode wait_for_inflight_requests clear_cache
        pin_lora lora_id
        remove_lora lora_id
        reset_encoder_cache
        reset_mm_cache
        reset_prefix_cache reset_running_requests reset_connector
        resume_generation
        scale_elastic_ep new_data_parallel_size
        shutdown timeout
        sleep level mode
        start_background_loop
        start_draft_weight_update
        start_profile profile_prefix
        start_weight_update
        stop_profile
        update_weight_version new_version
        update_weights request
        wait_for_requests_to_drain drain_timeout
        wake_up tags
    """,
    SamplingParams: """
        clone
        for_sampler_warmup
        from_optional n presence_penalty frequency_penalty repetition_penalty temperature top_p top_k min_p
            seed stop stop_token_ids bad_words thinking_token_budget include_stop_str_in_output ignore_eos
            max_tokens min_tokens logprobs prompt_logprobs prompt_logprob_token_ids prompt_logprob_start
            detokenize skip_special_tokens spaces_between_special_tokens output_kind stream_interval
            structured_outputs logit_bias allowed_token_ids extra_args skip_clone repetition_detection
            logprob_token_ids routed_experts_prompt_start trace_decode_token_ids
        update_from_generation_config generation_config eos_token_id
        update_from_tokenizer tokenizer
        verify model_config
    """,
    EngineArgs: """
        add_cli_args parser
        create_engine_config usage_context
        create_load_config
        create_model_config
        create_speculative_config
        from_cli_args args
    """,
}
# Attributes that are read, by class.
ATTRIBUTES: dict[type, str] = {
    LLM: "llm_engine model_config supported_tasks engine_class renderer input_processor io_processor "
    "request_counter default_sampling_params",
    LLMEngine: "vllm_config model_config cache_config scheduler_config parallel_config lora_config tokenizer "
    "device_config load_config observability_config model_executor engine_core processor output_processor",
    AsyncLLM: "vllm_config model_config tokenizer is_running is_stopped errored dead_error engine_core "
    "renderer input_processor output_processor should_keep_api_server_alive engine observability_config",
    SamplingParams: "sampling_type num_logprobs eos_token_id all_stop_token_ids bad_words_token_ids",
}
# Arguments of constructors.
CONSTRUCTORS: dict[type, str] = {
    SamplingParams: "n presence_penalty frequency_penalty repetition_penalty temperature top_p top_k min_p "
    "seed stop stop_token_ids ignore_eos max_tokens min_tokens logprobs prompt_logprobs "
    "prompt_logprob_token_ids prompt_logprob_start logprob_token_ids flat_logprobs detokenize "
    "skip_special_tokens spaces_between_special_tokens include_stop_str_in_output output_kind "
    "stream_interval skip_clone output_text_buffer_length structured_outputs logit_bias allowed_token_ids "
    "extra_args bad_words skip_reading_prefix_cache thinking_token_budget repetition_detection "
    "routed_experts_prompt_start trace_decode_token_ids logits_processors best_of guided_decoding "
    "truncate_prompt_tokens use_beam_search",
    LLMEngine: "vllm_config executor_class log_stats",
    AsyncLLM: "vllm_config executor_class log_stats",
}
# Fields of `EngineArgs`, all of which `LLM` takes.
ENGINE_ARGS = """
    additional_config aggregate_engine_logging all2all_backend allow_deprecated_quantization
    allowed_local_media_path allowed_media_domains async_scheduling attention_backend attention_config
    block_size calculate_kv_scales chat_template code_revision collect_detailed_traces compilation_config
    config_format convert cp_kv_cache_interleave_size cpu_distributed_timeout_seconds cpu_offload_gb
    cpu_offload_params cuda_graph_sizes cudagraph_capture_sizes cudagraph_metrics data_parallel_address
    data_parallel_backend data_parallel_external_lb data_parallel_hybrid_lb
    data_parallel_multi_port_external_lb data_parallel_rank data_parallel_rpc_port data_parallel_size
    data_parallel_size_local data_parallel_start_rank dbo_decode_token_threshold
    dbo_prefill_token_threshold dcp_comm_backend dcp_kv_cache_interleave_size dcp_q_replicate
    decode_context_parallel_size default_mm_loras device device_ids diffusion_config
    disable_async_output_proc disable_cascade_attn disable_chunked_mm_input disable_custom_all_reduce
    disable_hybrid_kv_cache_manager disable_log_requests disable_log_stats
    disable_logprobs_during_spec_decoding disable_mm_preprocessor_cache
    disable_nccl_for_dp_synchronization disable_sliding_window distributed_executor_backend
    distributed_timeout_seconds download_dir dp_sync_interval dtype ec_manager_config ec_transfer_config
    enable_batch_sharded_sampling enable_bf16x3_router_gemm enable_chunked_prefill enable_cumem_allocator
    enable_dbo enable_elastic_ep enable_ep_weight_filter enable_eplb enable_expert_parallel
    enable_fault_tolerance enable_flashinfer_autotune enable_layerwise_nvtx_tracing enable_log_requests
    enable_logging_iteration_details enable_lora enable_lora_bias enable_mamba_cache_stochastic_rounding
    enable_mfu_metrics enable_mixed_moe_lora_format enable_mm_embeds enable_mm_processor_stats
    enable_moe_shared_loras enable_multimodal_encoder_data_parallel enable_nccl_comm_suspend
    enable_prefix_caching enable_prompt_adapter enable_prompt_embeds enable_reasoning
    enable_return_routed_experts enable_sleep_mode enable_tower_connector_lora enable_trace_replay
    enforce_eager engine_use_ray eplb_config eplb_log_balancedness eplb_step_interval eplb_window_size
    expert_placement_strategy fail_on_environ_validation fault_tolerance_config fully_sharded_loras
    gdn_prefill_backend generation_config gpu_memory_utilization guided_decoding_backend
    guided_decoding_disable_additional_properties guided_decoding_disable_any_whitespace
    guided_decoding_disable_fallback hf_config_path hf_overrides hf_token ignore_patterns
    interleave_mm_strings intial_incremental_detokenization_offset io_processor_plugin ir_op_priority
    jit_monitor_mode jit_monitor_verbose kda_prefill_backend kernel_config kv_cache_dtype
    kv_cache_dtype_skip_layers kv_cache_memory_bytes kv_cache_metrics kv_cache_metrics_sample
    kv_events_config kv_offloading_backend kv_offloading_size kv_sharing_fast_prefill kv_transfer_config
    language_model_only limit_mm_per_prompt linear_backend load_format logits_processor_pattern
    logits_processors logprobs_mode long_lora_scaling_factors long_prefill_token_threshold lora_dtype
    lora_extra_vocab_size lora_target_modules mamba_backend mamba_block_size mamba_cache_dtype
    mamba_cache_mode mamba_cache_philox_rounds mamba_config mamba_ssm_cache_dtype mamba_ssu_algorithm
    master_addr master_port max_context_len_to_capture max_cpu_loras max_cudagraph_capture_size
    max_logprobs max_long_partial_prefills max_lora_rank max_loras max_model_len max_num_batched_tokens
    max_num_partial_prefills max_num_queued_reqs max_num_queued_tokens max_num_scheduled_tokens
    max_num_seqs max_parallel_loading_workers max_prompt_adapter_token max_prompt_adapters
    max_seq_len_to_capture media_io_kwargs mm_device_do_normalize mm_encoder_attn_backend
    mm_encoder_attn_dtype mm_encoder_fp8_scale_path mm_encoder_fp8_scale_save_margin
    mm_encoder_fp8_scale_save_path mm_encoder_only mm_encoder_tp_mode mm_hasher_algorithm
    mm_ipc_gpu_memory_gb mm_processor_cache_gb mm_processor_cache_type mm_processor_device
    mm_processor_kwargs mm_shm_cache_max_object_size_mb mm_tensor_ipc model model_class_overrides
    model_impl model_loader_extra_config model_weights moe_backend multi_step_stream_outputs
    ngram_prompt_lookup_max ngram_prompt_lookup_min nnodes node_rank num_gpu_blocks_override
    num_lookahead_slots num_redundant_experts num_scheduler_steps num_speculative_tokens numa_bind
    numa_bind_cpus numa_bind_nodes offload_backend offload_group_size offload_num_in_group offload_params
    offload_prefetch_step optimization_level otlp_traces_endpoint override_attention_dtype
    override_generation_config override_neuron_config override_pooler_config
    per_request_spec_decode_metrics performance_mode pipeline_parallel_size pooler_config preemption_mode
    prefill_context_parallel_size prefill_schedule_interval prefix_cache_retention_interval
    prefix_caching_hash_algo prefix_match_unit profiler_config pt_load_map_location
    qlora_adapter_name_or_path quantization quantization_config quantization_param_path
    ray_workers_use_nsight reasoning_config reasoning_parser reasoning_parser_plugin renderer_num_workers
    replayssm_buffer_len return_sampling_mask revision rope_scaling rope_theta runner
    safetensors_load_strategy safetensors_prefetch_block_size safetensors_prefetch_num_threads
    scheduler_cls scheduler_delay_factor scheduler_reserve_full_isl scheduling_policy seed
    served_model_name show_hidden_metrics_for_version shutdown_timeout skip_mm_profiling
    skip_tokenizer_init spec_decoding_acceptance_method spec_method spec_model spec_tokens
    specialize_active_lora speculative_config speculative_disable_by_batch_size
    speculative_disable_mqa_scorer speculative_draft_tensor_parallel_size speculative_max_model_len
    speculative_model speculative_model_quantization stream_interval structured_outputs_config swap_space
    task tensor_parallel_size tokenizer tokenizer_mode tokenizer_pool_extra_config tokenizer_pool_size
    tokenizer_pool_type tokenizer_revision tokens_only trust_remote_code
    typical_acceptance_sampler_posterior_alpha typical_acceptance_sampler_posterior_threshold ubatch_size
    use_fp64_gumbel use_multiproc_data_parallel use_replayssm use_tqdm_on_load use_v2_block_manager
    video_pruning_method video_pruning_rate watermark weight_transfer_config worker_cls
    worker_extension_cls worker_use_ray
"""


def listed(text: str) -> Iterator[tuple[str, list[str]]]:
    """Methods with their arguments: a line that is indented further goes on with the one before."""
    lines = inspect.cleandoc(text).splitlines()
    joined = "\n".join(lines).replace("\n    ", " ")
    for line in joined.splitlines():
        name, *arguments = line.split()
        yield name, arguments


def refusal(call: Callable[[], Any]) -> str:
    with pytest.raises(MinillmError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def is_known(function: Callable[..., Any], argument: str) -> bool:
    """Whether a function knows an argument: it passes, or is refused by name, before a wrong one is met."""
    message = refusal(lambda: function(**{argument: object(), "nobodys": 1}))
    return "'nobodys'" in message or ("vLLM has this argument" in message and argument in message)


@pytest.mark.parametrize(
    ("cls", "name", "arguments"),
    [(cls, *line) for cls, text in METHODS.items() for line in listed(text)],
    ids=lambda x: x if isinstance(x, str) else getattr(x, "__name__", ""),
)
def test_methods(cls: type, name: str, arguments: list[str]) -> None:
    if not hasattr(cls, name):
        message = refusal(lambda: getattr(cls, name))
        assert message.startswith(f"{cls.__name__}.{name}: vLLM has this, minillm does not support it; ")
        with pytest.raises(AttributeError):
            getattr(cls, name)
        return
    assert [argument for argument in arguments if not is_known(getattr(cls, name), argument)] == []


@pytest.mark.parametrize("cls", ATTRIBUTES, ids=lambda cls: cls.__name__)
def test_attributes(cls: type, tiny_llama: Callable[..., Transformer]) -> None:
    llm = LLM(tiny_llama("fp32"), kv_cache_memory_bytes=1 << 20)
    made: dict[type, Any] = {
        LLM: llm,
        LLMEngine: llm,
        AsyncLLM: AsyncLLM(llm),
        SamplingParams: SamplingParams(),
    }
    for name in ATTRIBUTES[cls].split():
        if not hasattr(made[cls], name):
            assert f".{name}: vLLM has this" in refusal(lambda name=name: getattr(made[cls], name))  # type: ignore[misc]


@pytest.mark.parametrize("cls", CONSTRUCTORS, ids=lambda cls: cls.__name__)
def test_constructors(cls: type) -> None:
    assert [name for name in CONSTRUCTORS[cls].split() if not is_known(cls, name)] == []


def test_engine_args() -> None:
    known = {field.name for field in fields(EngineArgs)}
    assert set(ENGINE_ARGS.split()) - known == set()
    assert [name for name in ENGINE_ARGS.split() if not is_known(LLM, name)] == []
    assert not FOREIGN.keys() & inspect.signature(LLM).parameters.keys()


def test_what_asks_for_nothing_is_noted_once(
    tiny_llama: Callable[..., Transformer], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(minillm.errors, "_noted", set())
    model = tiny_llama("fp32")
    options: dict[str, Any] = {"kv_cache_memory_bytes": 1 << 20}
    # In silence: vLLM's own values.
    LLM(model, **options, **{name: foreign.default for name, foreign in FOREIGN.items()})
    assert caplog.messages == []
    for _ in range(2):
        llm = LLM(model, **options, enforce_eager=True, swap_space=0)
        llm.reset_mm_cache()
        llm.get_world_size(include_dp=False)  # type: ignore[call-arg]
    with caplog.at_level(logging.WARNING, logger="minillm"):
        assert caplog.messages == [
            "LLM(enforce_eager=True) asks for nothing here",
            "LLM(swap_space=0) asks for nothing here",
            "reset_mm_cache() asks for nothing here: there are no images",
            "get_world_size(include_dp=False) asks for nothing here",
        ]


def test_llguidance_takes_the_place_of_every_backend(
    tiny_llama: Callable[..., Transformer], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, options = tiny_llama("fp32"), {"kv_cache_memory_bytes": 1 << 20}
    monkeypatch.setattr(minillm.errors, "_noted", set())
    for backend in ("auto", "guidance"):
        LLM(model, **options, structured_outputs_config={"backend": backend})
    assert caplog.messages == []
    for backend in ("xgrammar", "outlines", "lm-format-enforcer"):
        LLM(model, **options, structured_outputs_config={"backend": backend, "disable_fallback": True})
        LLM(model, **options, guided_decoding_backend=backend)
    assert "llguidance takes the place of the backend 'xgrammar'" in caplog.messages
    for other in (
        {"backend": "abacus"}, {"disable_additional_properties": True}, {"backends": "auto"}, "xgrammar",
        {"reasoning_parser": "qwen3"}, {"backend": torch.zeros(2)}, {"disable_any_whitespace": "yes"},
    ):  # fmt: skip
        with pytest.raises(MinillmError, match=r"^structured_outputs_config"):
            LLM(model, **options, structured_outputs_config=other)


def test_white_space_can_be_kept_out_of_all_json(
    tiny_llama: Callable[..., Transformer], demo_model_path: Path
) -> None:
    """By arithmetic: with a space forced wherever one may stand, there is none."""
    tokenizer = Tokenizer.from_folder(demo_model_path)
    structure = StructuredOutputsParams(
        json={"type": "array", "items": {"const": 1}, "minItems": 2, "maxItems": 2}
    )
    spaces = {i: 100.0 for i in range(len(tokenizer)) if tokenizer.decode([i]).isspace()}
    params = SamplingParams(temperature=0, max_tokens=30, structured_outputs=structure, logit_bias=spaces)
    for tight in (False, True):
        llm = LLM(
            tiny_llama("fp32", vocab_size=49152),
            tokenizer,
            kv_cache_memory_bytes=1 << 22,
            structured_outputs_config={"backend": "auto", "disable_any_whitespace": tight},
        )
        (output,) = llm.generate(["Numbers:"], params)
        assert (output.outputs[0].text == "[1,1]") is tight
        assert llm.is_prepared(params)


# ---------------------------------------------------------------- values of no sense

HOSTILE: list[Any] = [
    object(), "x", "", -1, 0, 1.5, float("nan"), True, None, [], [None], {}, {"a": 1}, (1, 2), 2**70,
    torch.zeros(2), b"x", int,
]  # fmt: skip


# What a function raises that somebody gave is not ours.
FUNCTIONS = ("method", "func", "use_tqdm", "hf_overrides")


def survives(call: Callable[[], Any], what: str) -> None:
    """It is done, or refused in one sentence."""
    try:
        call()
    except MinillmError as error:
        assert "\n" not in str(error), what
    except Exception as error:
        raise AssertionError(f"{what}: {type(error).__name__}: {error}") from error


@pytest.fixture(scope="module")
def folder(tiny_llama: Callable[..., Transformer], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    save_model(tiny_llama("fp32"), folder)
    return folder


# These are read while a model is loaded.
LOADING = ("model", "tokenizer", "dtype", "precision", "device", "hf_overrides", "skip_tokenizer_init")


@pytest.mark.parametrize("name", inspect.signature(LLM).parameters)
def test_hostile_arguments(name: str, folder: Path, tiny_llama: Callable[..., Transformer]) -> None:
    model: Any = folder if name in LOADING else tiny_llama("fp32")
    for value in HOSTILE:
        if name == "kv_cache_memory_bytes" and isinstance(value, int) and value == 2**70:
            continue  # more memory than there is
        if name in FUNCTIONS and callable(value):
            continue
        options = {"model": model, "kv_cache_memory_bytes": 1 << 20, "skip_tokenizer_init": True, name: value}
        survives(lambda options=options: LLM(**options), f"{name}={value!r}")  # type: ignore[misc]


PROMPT = [5, 17, 40]
SHORT = SamplingParams(max_tokens=2)
CALLS: dict[str, dict[str, Any]] = {
    "generate": {"prompts": [PROMPT], "sampling_params": SHORT},
    "enqueue": {"prompts": [PROMPT], "sampling_params": SHORT},
    "stream": {"prompts": [PROMPT], "sampling_params": SHORT},
    "add_request": {"request_id": "a", "prompt": PROMPT, "params": SHORT},
    "abort_request": {"request_ids": "a"},
    "beam_search": {"prompts": [PROMPT], "params": BeamSearchParams(2, 2)},
    "next_token_logprobs": {"prompts": [PROMPT]},
    "chat": {"messages": [{"role": "user", "content": "a"}]},
    "enqueue_chat": {"messages": [{"role": "user", "content": "a"}]},
    "wait_for_completion": {},
    "collective_rpc": {"method": "check_health"},
    "apply_model": {"func": type},
    "add_lora": {"lora_request": None},
    "remove_lora": {"lora_id": 1},
    "pin_lora": {"lora_id": 1},
    "sleep": {},
    "wake_up": {},
    "start_profile": {},
    "from_engine_args": {"engine_args": None},
}


@pytest.mark.parametrize("name", CALLS)
def test_hostile_calls(name: str, tiny_llama: Callable[..., Transformer]) -> None:
    llm = LLM(tiny_llama("fp32"), kv_cache_memory_bytes=1 << 20, enable_lora=True)
    for argument in inspect.signature(getattr(LLM, name)).parameters:
        for value in HOSTILE:
            if argument in ("self", "timeout", "args", "kwargs") or (
                argument in FUNCTIONS and callable(value)
            ):
                continue
            options = {**CALLS[name], argument: value}

            def call(options: dict[str, Any] = options) -> None:
                result = getattr(llm, name)(**options)
                if name == "stream":
                    list(result)

            survives(call, f"{name}({argument}={value!r})")
            llm.abort_request(list(llm._requests))
            llm.wake_up()
    # All that was refused has left nothing behind.
    assert llm._engine.scheduler.pool.held == 0
    assert len(llm.generate([PROMPT], SHORT)[0].outputs[0].token_ids) == 2


def assigned(name: str, value: Any) -> SamplingParams:
    params = SamplingParams(max_tokens=2)
    setattr(params, name, value)
    return params


@pytest.mark.parametrize("name", [field.name for field in fields(SamplingParams)])
def test_hostile_sampling_params(name: str, tiny_llama: Callable[..., Transformer]) -> None:
    llm = LLM(tiny_llama("fp32"), kv_cache_memory_bytes=1 << 20)
    for value in HOSTILE:
        options: Any = {"max_tokens": 2, name: value}
        for make in (
            lambda options=options: SamplingParams(**options),
            lambda options=options: SamplingParams.from_optional(**options),
            lambda value=value: assigned(name, value),
        ):
            survives(lambda make=make: llm.generate([PROMPT], make()), f"{name}={value!r}")  # type: ignore[misc]
