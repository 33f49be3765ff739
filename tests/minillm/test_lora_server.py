"""Adapters over HTTP: each is a model to ask for, with the bits of the model that it is merged into."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openai
import pytest
import tyro

from minillm import LLM, LoRARequest, MinillmError, SamplingParams, Tokenizer, Transformer, cli
from minillm.lora import LoRA
from minillm.serve.adapters import read_modules
from minillm.serve.options import ServerOptions
from minillm.serve.server import make_app
from tests.minillm import server_thread
from tests.minillm.test_lora_serving import write

PROMPT = [5, 17, 3, 99, 4]
MakeModel = Callable[..., Transformer]


@pytest.fixture(scope="module")
def model(tiny_llama: MakeModel) -> Transformer:
    return tiny_llama("fp32", vocab_size=49152)


@pytest.fixture(scope="module")
def folders(model: Transformer, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    made = tmp_path_factory.mktemp("adapters")
    return [write(made / str(i), model, i) for i in (1, 2, 3)]


@pytest.fixture(scope="module")
def tokenizer(demo_model_path: Path) -> Tokenizer:
    return Tokenizer.from_folder(demo_model_path)


@pytest.fixture(scope="module")
def client(model: Transformer, tokenizer: Tokenizer, folders: list[str]) -> Iterator[openai.OpenAI]:
    """A server of "tiny", also called "alias", and its adapter "one"; others may be loaded."""
    llm = LLM(model, tokenizer, kv_cache_memory_bytes=1 << 23, enable_lora=True, max_loras=2, max_lora_rank=4)
    one = LoRARequest("one", 1, folders[0], base_model_name="alias")
    options = ServerOptions(lora_modules=[one], allow_runtime_lora_updating=True)
    with server_thread.running(make_app(llm, ["tiny", "alias"], options=options)) as server:
        yield openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)


def load(client: openai.OpenAI, name: str, path: str, **more: Any) -> str:
    return client.post("/load_lora_adapter", cast_to=str, body={"lora_name": name, "lora_path": path, **more})


def unload(client: openai.OpenAI, name: str, **more: Any) -> str:
    return client.post("/unload_lora_adapter", cast_to=str, body={"lora_name": name, **more})


def sampled(client: openai.OpenAI, name: str) -> tuple[Any, Any]:
    answer = client.completions.create(
        model=name, prompt=PROMPT, temperature=0, max_tokens=9, logprobs=0, extra_body={"ignore_eos": True},
    )  # fmt: skip
    assert answer.model == name
    assert answer.choices[0].logprobs is not None
    return answer.choices[0].text, answer.choices[0].logprobs.token_logprobs


@pytest.fixture(scope="module")
def expected(model: Transformer, tokenizer: Tokenizer, folders: list[str]) -> list[tuple[Any, Any]]:
    """What the base and each adapter give, by models that they were merged into."""
    params = SamplingParams(temperature=0, max_tokens=9, logprobs=0, ignore_eos=True)
    found = []
    for folder in (None, *folders):
        lora = None if folder is None else LoRA.from_folder(model, folder)
        ((sample,),) = (o.outputs for o in LLM(model, tokenizer).generate([PROMPT], params))
        found.append((sample.text, sample.token_logprobs))
        if lora is not None:
            lora.remove(merge=False)
    assert len({text for text, _ in found}) == 4
    return found


def test_the_model_of_a_request_picks_the_adapter(
    client: openai.OpenAI, expected: list[tuple[Any, Any]], folders: list[str]
) -> None:
    assert load(client, "two", folders[1]) == "Success: LoRA adapter 'two' added successfully."
    names = ["tiny", "one", "two"]
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda name: sampled(client, name), names * 4))
    assert found == expected[:3] * 4
    cards = {card.id: card.model_dump() for card in client.models.list()}
    assert [*cards] == ["tiny", "alias", "one", "two"]
    shown = [(card["root"], card["parent"]) for card in cards.values()]
    assert shown == [("tiny", None), ("tiny", None), (folders[0], "alias"), (folders[1], "tiny")]
    assert client.models.retrieve("two").model_dump() == cards["two"]
    # Another folder under the same name, and the same bits as if it had never been another.
    with pytest.raises(openai.BadRequestError, match="is loaded already"):
        load(client, "two", folders[2])
    load(client, "two", folders[2], load_inplace=True)
    assert [sampled(client, name) for name in names] == [*expected[:2], expected[3]]
    assert unload(client, "two") == "Success: LoRA adapter 'two' removed successfully."
    with pytest.raises(openai.NotFoundError, match="there is no model 'two'"):
        sampled(client, "two")
    assert [card.id for card in client.models.list()] == ["tiny", "alias", "one"]


def test_chats_responses_and_token_ids_have_adapters_too(client: openai.OpenAI) -> None:
    messages: list[Any] = [{"role": "user", "content": "Name a colour."}]
    texts = {}
    for name in ("tiny", "one"):
        chat = client.chat.completions.create(model=name, messages=messages, temperature=0, max_tokens=8)
        stream = client.chat.completions.create(
            model=name, messages=messages, temperature=0, max_tokens=8, stream=True
        )
        chunks = list(stream)
        response = client.responses.create(
            model=name, input="Name a colour.", temperature=0, max_output_tokens=8
        )
        texts[name] = chat.choices[0].message.content
        assert texts[name] == "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
        assert texts[name] == response.output_text
        assert {name} == {chat.model, response.model, *(chunk.model for chunk in chunks)}
    assert texts["tiny"] != texts["one"]
    answers = {}
    for name in ("tiny", "one"):
        body = {"token_ids": PROMPT, "sampling_params": {"temperature": 0, "max_tokens": 6}}
        url = str(client.base_url).removesuffix("v1/")
        generated = client.post(f"{url}inference/v1/generate", cast_to=object, body={"model": name, **body})
        answers[name] = generated["choices"][0]["token_ids"]  # type: ignore[index]
        tokenized = client.post(f"{url}tokenize", cast_to=object, body={"model": name, "prompt": "a b"})
        assert tokenized["count"] == 2  # type: ignore[index]
    assert answers["tiny"] != answers["one"]


def test_what_is_refused(
    client: openai.OpenAI, model: Transformer, folders: list[str], tmp_path: Path
) -> None:
    wide = write(tmp_path / "wide", model, 1, rank=5)
    (tmp_path / "empty").mkdir()
    for name, path, kind, message in (
        ("a", str(tmp_path / "none"), openai.NotFoundError, "is no folder"),
        ("a", wide, openai.BadRequestError, "rank 5 is greater than max_lora_rank = 4"),
        ("a", str(tmp_path / "empty"), openai.BadRequestError, "adapter_config.json"),
        ("", folders[0], openai.BadRequestError, "lora_name is missing"),
        ("a", "", openai.BadRequestError, "lora_path is missing"),
        ("alias", folders[0], openai.BadRequestError, "is the model's own"),
    ):
        with pytest.raises(kind, match=message):
            load(client, name, path)
    with pytest.raises(openai.BadRequestError, match="there is no field 'rank'"):
        load(client, "a", folders[0], rank=3)
    with pytest.raises(openai.NotFoundError, match="there is no adapter 'a'"):
        unload(client, "a")
    with pytest.raises(openai.BadRequestError, match="lora_int_id of 'one' is 1"):
        unload(client, "one", lora_int_id=7)
    assert [card.id for card in client.models.list()] == ["tiny", "alias", "one"]


def test_a_server_that_was_not_told_so_loads_nothing(
    model: Transformer, tokenizer: Tokenizer, folders: list[str]
) -> None:
    llm = LLM(model, tokenizer, kv_cache_memory_bytes=1 << 23)
    with server_thread.running(make_app(llm, "tiny")) as server:
        client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)
        with pytest.raises(openai.NotFoundError, match="VLLM_ALLOW_RUNTIME_LORA_UPDATING=1"):
            load(client, "a", folders[0])
    llm = LLM(model, tokenizer, kv_cache_memory_bytes=1 << 23)
    options = ServerOptions(allow_runtime_lora_updating=True)
    with server_thread.running(make_app(llm, "tiny", options=options)) as server:
        client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)
        with pytest.raises(openai.BadRequestError, match="LoRA is not enabled"):
            load(client, "a", folders[0])


def test_modules_are_read_as_vllm_does() -> None:
    as_json = json.dumps({"name": "b", "path": "/b=c", "base_model_name": "alias"})
    listed = json.dumps([{"name": "c", "path": "/c"}, {"name": "d", "path": "/d"}])
    flags = ["M", "--enable-lora", "--max-loras", "2", "--max-lora-rank", "64", "--max-cpu-loras", "4"]
    given = tyro.cli(cli.Serve, args=[*flags, "--lora-modules", "a=/a", as_json, listed])
    assert (given.enable_lora, given.max_loras, given.max_lora_rank, given.max_cpu_loras) == (True, 2, 64, 4)
    read = read_modules(given.lora_modules, ["tiny", "alias"])
    found = [(one.lora_int_id, one.lora_name, one.lora_path, one.base_model_name) for one in read]
    assert found == [
        (1, "a", "/a", "tiny"), (2, "b", "/b=c", "alias"), (3, "c", "/c", "tiny"), (4, "d", "/d", "tiny")
    ]  # fmt: skip
    for wrong, message in (
        (["a"], "--lora-modules must be name=path, or JSON"),
        (["a="], "--lora-modules must be"),
        (['{"name": "a"}'], "--lora-modules must be"),
        (['{"name": null, "path": "b"}'], "--lora-modules must be"),
        (['{"name": "a", "path": "b", "rank": 3}'], "--lora-modules must be"),
        (["a=b", "a=c"], "the name 'a' is taken"),
        (["tiny=b"], "the name 'tiny' is taken"),
        (['{"name": "a", "path": "b", "base_model_name": "c"}'], "base_model_name must be one of tiny"),
    ):
        with pytest.raises(MinillmError, match=message):
            read_modules(wrong, ["tiny"])
