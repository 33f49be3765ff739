"""The command line, on a tiny model with a real tokenizer, against `LLM` itself."""

from __future__ import annotations

import inspect
import io
import json
import math
import os
import pty
import re
import select
import shutil
import signal
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import tyro

import minillm.serve
from minillm import LLM, MinillmError, SamplingParams, Transformer, cli, save_model
from minillm.api.engine_arguments import ALIASES, FOREIGN, LISTS, OF_SERVE, SWITCHES
from minillm.serve import flags

ROOT = Path(__file__).parents[2]
TEXT = "Once upon a time there was"


@pytest.fixture(scope="module")
def folder(
    tiny_llama: Callable[..., Transformer], demo_model_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    made = tmp_path_factory.mktemp("cli") / "tiny"
    save_model(tiny_llama("fp32", vocab_size=49152), made)
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        shutil.copy(demo_model_path / name, made)
    return made


@pytest.fixture(scope="module")
def reference(folder: Path) -> LLM:
    return LLM(folder)


@pytest.fixture
def run(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[int, str, str]]:
    """`run(command, *arguments, stdin=...)`: the exit status, standard output and standard error."""

    def call(command: str, *arguments: str, model: Path = folder, stdin: str = "") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        status = cli.main([command, str(model), *arguments])
        return status, *capsys.readouterr()

    return call


def texts(llm: LLM, prompts: Sequence[Any], **params: Any) -> list[str]:
    found = llm.generate(prompts, SamplingParams(**params))
    return [sample.text for request in found for sample in request.outputs]


# ---------------------------------------------------------------- generate


def test_a_prompt_gives_its_text_alone(run: Callable[..., Any], folder: Path, reference: LLM) -> None:
    status, out, err = run("generate", TEXT, "--temperature", "0", "--max-tokens", "9")
    assert (status, err) == (0, f"loading {folder} in fp32\n")
    assert out == texts(reference, [TEXT], temperature=0, max_tokens=9)[0] + "\n"


@pytest.mark.parametrize("source", ["arguments", "stdin", "file", "jsonl", "jsonl on stdin"])
def test_prompts_come_from_anywhere(
    source: str, run: Callable[..., Any], reference: LLM, tmp_path: Path
) -> None:
    prompts = [TEXT, "def f(x):", "one  "]
    plain = tmp_path / "prompts.txt"
    plain.write_text("\n".join([*prompts[:2], "", prompts[2]]) + "\n")
    ids = reference.get_tokenizer().encode(prompts[1])
    lines = "".join(json.dumps(line) + "\n" for line in (prompts[0], ids, {"prompt": prompts[2]}))
    jsonl = tmp_path / "prompts.jsonl"
    jsonl.write_text(lines)
    arguments, stdin = {
        "arguments": (prompts, ""),
        "stdin": ([], plain.read_text()),
        "file": (["--file", str(plain)], ""),
        "jsonl": (["--file", str(jsonl)], ""),
        "jsonl on stdin": (["--jsonl"], lines),
    }[source]
    status, out, _ = run("generate", "--temperature", "0", "--max-tokens", "5", *arguments, stdin=stdin)
    expected = texts(reference, prompts, temperature=0, max_tokens=5)
    assert status == 0
    assert out == "".join(f"==> prompt {i} <==\n{text}\n" for i, text in enumerate(expected, start=1))


def test_samples_have_headlines_too(run: Callable[..., Any]) -> None:
    _, out, _ = run("generate", TEXT, "--n", "2", "--max-tokens", "3")
    assert [line for line in out.splitlines() if line.startswith("==>")] == [
        "==> prompt 1, sample 1 <==",
        "==> prompt 1, sample 2 <==",
    ]


def test_json_has_it_all_in_the_order_of_the_prompts(run: Callable[..., Any], reference: LLM) -> None:
    options = {"logprobs": 2, "prompt_logprobs": 1, "temperature": 0.5, "top_k": 9, "min_p": 0.001}
    flags = [flag for name, value in options.items() for flag in (f"--{name.replace('_', '-')}", str(value))]
    flags += ["--stop", "zzz", "--stop", "qqq", "--ignore-eos", "--max-tokens", "9", "--n", "2"]
    status, out, _ = run("generate", TEXT, "a", "--json", *flags, "--seed", "3")
    assert status == 0
    found = [json.loads(line) for line in out.splitlines()]
    assert [one["prompt"] for one in found] == [TEXT, "a"]
    expected = LLM(reference.model, reference.get_tokenizer(), seed=3).generate(
        [TEXT, "a"], SamplingParams(n=2, max_tokens=9, ignore_eos=True, stop=["zzz", "qqq"], **options)
    )
    for answer, request in zip(found, expected, strict=True):
        assert answer["finished"]
        for shown, sample in zip(answer["outputs"], request.outputs, strict=True):
            assert (shown["text"], shown["token_ids"]) == (sample.text, sample.token_ids)
            assert shown["cumulative_logprob"] == sample.cumulative_logprob
            assert shown["logprobs"] == [
                {str(token): vars(one) for token, one in entries.items()} for entries in sample.logprobs or []
            ]
        assert answer["prompt_logprobs"][0] is None


def test_infinite_logprobs_are_null(run: Callable[..., Any]) -> None:
    flags = ["--logprobs-mode", "processed_logprobs", "--top-k", "1", "--logprobs", "2", "--max-tokens", "1"]
    _, out, _ = run("generate", TEXT, "--json", *flags)
    (entries,) = json.loads(out)["outputs"][0]["logprobs"]
    assert sorted(entry["logprob"] for entry in entries.values() if entry["logprob"] is not None) == [0]
    assert len(entries) == 2


def test_a_sample_that_fails_is_said_at_the_end(
    run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = cli.Generate.params

    def failing(self: cli.Generate, llm: LLM, **more: Any) -> SamplingParams:
        return given(self, llm, **more, logits_processors=[lambda _, logits_V: logits_V - math.inf])

    monkeypatch.setattr(cli.Generate, "params", failing)
    status, _, err = run("generate", "a", "b", "--json")
    assert status == 1
    *_, last = err.splitlines()
    assert last.startswith("error: prompt 1: MinillmError: no token is left")
    assert "; prompt 2: MinillmError" in last


# ---------------------------------------------------------------- logprobs


def test_logprobs_of_a_text(run: Callable[..., Any], reference: LLM, tmp_path: Path) -> None:
    text = "Paris is [bold]in[/bold] France.\n"
    (request,) = reference.generate([text], SamplingParams(max_tokens=1, prompt_logprobs=0))
    assert request.prompt_logprobs is not None
    ids = request.prompt_token_ids
    entries = [entry[token] for token, entry in zip(ids, request.prompt_logprobs, strict=True) if entry]
    total = sum(entry.logprob for entry in entries)
    file = tmp_path / "text"
    file.write_text(text)
    answers = [run("logprobs", "--json", text), run("logprobs", "--json", stdin=text)]
    answers.append(run("logprobs", "--json", "--file", str(file)))
    for status, out, _ in answers:
        found = json.loads(out)
        assert status == 0
        assert [row["token_id"] for row in found["tokens"]] == ids
        assert "".join(row["token"] for row in found["tokens"]) == text
        assert [row["logprob"] for row in found["tokens"]] == [None, *(entry.logprob for entry in entries)]
        assert [row["rank"] for row in found["tokens"]] == [None, *(entry.rank for entry in entries)]
        assert found["sum"] == pytest.approx(total)
        assert found["perplexity"] == pytest.approx(math.exp(-total / len(entries)))
    status, out, _ = run("logprobs", text)
    *rows, last = out.splitlines()
    cells = [[cell.strip() for cell in row.split("│")[1:-1]] for row in rows if row.startswith("│")]
    shown = [repr(reference.get_tokenizer().decode([token])) for token in ids]
    assert [row[0] for row in cells] == shown
    assert cells[0][1:] == [str(ids[0]), "", ""]
    assert cells[1][1:] == [str(ids[1]), f"{entries[0].logprob:.4f}", str(entries[0].rank)]
    assert last == f"sum {total:.4f}, perplexity {math.exp(-total / len(entries)):.4f}"


# ---------------------------------------------------------------- chat


def test_a_conversation_on_a_pipe(run: Callable[..., Any], reference: LLM) -> None:
    system = {"role": "system", "content": "Be brief."}
    first, second = "Name a colour.", "And another."
    params = SamplingParams(temperature=0, max_tokens=8)
    messages: list[Any] = [system, {"role": "user", "content": first}]
    answers = []
    for following in (second, ""):
        answers.append(reference.chat(messages, params)[0].outputs[0].text)
        messages += [{"role": "assistant", "content": answers[-1]}, {"role": "user", "content": following}]
    stdin = f"{first}\n\n{second}\n/reset\n{first}\n/nonsense\n/quit\nnever read\n"
    flags = ["--system", "Be brief.", "--temperature", "0", "--max-tokens", "8"]
    status, out, err = run("chat", *flags, stdin=stdin)
    assert status == 0
    assert out == "".join(f"{answer}\n" for answer in (*answers, answers[0]))
    assert err.splitlines()[1:] == ["there are only /reset and /quit"]
    assert run("chat", *flags, stdin=first)[:2] == (0, f"{answers[0]}\n")


def test_a_conversation_on_a_terminal(folder: Path) -> None:
    """Prompts, an answer that Ctrl-C ends, and the end of input."""
    command = [sys.executable, "-m", "minillm", "chat", str(folder), "--ignore-eos", "--max-tokens", "450"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TERM": "dumb"}
    ours, theirs = pty.openpty()
    with subprocess.Popen(command, env=environment, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        try:
            shown = b""

            def read_until(text: bytes) -> None:
                nonlocal shown
                while text not in shown:
                    assert select.select([ours], [], [], 60)[0], shown
                    shown += os.read(ours, 1)

            read_until(b"/reset forgets the conversation, /quit ends it\r\n> ")
            os.write(ours, b"Hello\n")
            read_until(b"Hello\r\n")
            os.read(ours, 1)  # of its answer
            process.send_signal(signal.SIGINT)
            read_until(b"\r\n> ")
            shown = b""
            os.write(ours, b"x " * 600 + b"\n")
            read_until(b"; or /reset\r\n> ")
            os.write(ours, b"/quit\n")
            assert process.wait(30) == 0
        finally:
            process.kill()
            os.close(ours)


# ---------------------------------------------------------------- vLLM's flags of serve


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("M --enforce-eager --swap-space 8 --port 0 --trust-remote-code", "M --port 0"),
        ("--swap-space=8 M --disable_log_requests --load-format safetensors", "M"),
        ("-tp 1 --pipeline-parallel-size 1 -O3 --compilation-config.mode 3 M", "M"),
        ("--model M --max-model-len -1 --max-num-seqs 8", "M --max-model-len -1 --max-num-seqs 8"),
        ("M --enable-prefix-caching --no-enable-chunked-prefill", "M"),
        ("M --no-enable-prefix-caching --enable-chunked-prefill", "M --no-enable-prefix-caching"),
        ("M --no-allow-credentials --allow-credentials", "M --allow-credentials"),
        ("M --cudagraph-capture-sizes 1 2 4 --seed 3", "M --seed 3"),
        ("M --structured-outputs-config.a-b true --structured-outputs-config.a-b=3",
         '--structured-outputs-config {"a_b":3} M'),
        ("M --hf-overrides.rope_theta 5 -- x", '--hf-overrides {"rope_theta":5} M -- x'),
        ("M --hf-overrides.rope_theta", "error: --hf-overrides.rope_theta needs a value"),
        ("M --guided-decoding-backend xgrammar --uds None --rope-scaling {}", "M"),
        ("M --guided-decoding-backend abacus", "error: --guided-decoding-backend abacus: vLLM has this flag"),
        ("M --tensor-parallel-size 2", "error: --tensor-parallel-size 2: vLLM has this flag"),
        ("M --quantization=awq", "error: --quantization=awq: vLLM has this flag"),
        ("M --speculative-config {}", "error: --speculative-config {}: vLLM has this flag"),
        ("M --grpc", "error: --grpc: vLLM has this flag"),
        ("M --swap-space", "error: --swap-space needs a value"),
        ("M --no-such-flag 3", "M --no-such-flag 3"),
    ],
)  # fmt: skip
def test_flags_that_only_vllm_has(given: str, kept: str) -> None:
    if not kept.startswith("error: "):
        assert flags.own_flags(given.split(), cli.Serve) == kept.split()
        return
    with pytest.raises(MinillmError, match=re.escape(kept.removeprefix("error: "))):
        flags.own_flags(given.split(), cli.Serve)


def test_every_flag_of_ours_and_of_vllms_is_told_apart() -> None:
    own = {field.name for field in fields(cli.Serve)}
    assert not own & set(OF_SERVE) and not set(FOREIGN) & set(OF_SERVE)
    assert SWITCHES | LISTS | set(ALIASES.values()) <= {*FOREIGN, *OF_SERVE}
    # What `LLM` takes is an option of the server, or the server says why not.
    of_llm = set(inspect.signature(LLM).parameters)
    assert of_llm <= own | set(OF_SERVE)


def test_numbers_of_tokens_and_bytes_are_read_as_vllm_does() -> None:
    for text, number in (
        ("4096", 4096),
        ("4k", 4000),
        ("4K", 4096),
        ("1.5m", 1_500_000),
        ("auto", None),
        ("-1", None),
    ):
        given = tyro.cli(cli.Serve, args=["M", "--max-model-len", text, "--hf-overrides", '{"a": 1}'])
        assert (given.max_model_len, given.hf_overrides) == (number, {"a": 1})


def test_a_server_with_vllms_flags_a_certificate_and_a_template(folder: Path, tmp_path: Path) -> None:
    if (openssl := shutil.which("openssl")) is None:
        pytest.skip("openssl makes the certificate")
    files = ["-keyout", str(tmp_path / "key.pem"), "-out", str(tmp_path / "certificate.pem")]
    request = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", *files]
    subprocess.run([*request, "-addext", "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True)
    (tmp_path / "template.jinja").write_text("{{ messages[0].content }}!")
    command = [
        sys.executable,
        "-m",
        "minillm",
        "serve",
        str(folder),
        "--served-model-name",
        "tiny",
        "--port",
        "0",
    ]
    command += ["--ssl-certfile", files[3], "--ssl-keyfile", files[1], "--api-key", "a", "--swap-space", "8"]
    command += ["--chat-template", str(tmp_path / "template.jinja"), "--dtype", "auto", "--enforce-eager"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None and process.stderr is not None
            url = process.stdout.readline().split()[-1]
            assert url.startswith("https://127.0.0.1:")
            body = json.dumps({"messages": [{"role": "user", "content": "hi"}]}).encode()
            asked = urllib.request.Request(url.removesuffix("v1") + "tokenize", body)
            asked.add_header("Content-Type", "application/json")
            asked.add_header("Authorization", "Bearer a")
            trusting = ssl.create_default_context(cafile=files[3])
            with urllib.request.urlopen(asked, context=trusting, timeout=30) as answer:
                tokens = json.load(answer)["tokens"]
            assert tokens == LLM(folder).get_tokenizer().encode("hi!")
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
            assert process.stderr.read().splitlines() == [
                "--swap-space 8 asks for nothing here", "--enforce-eager asks for nothing here",
                f"loading {folder} in auto",
            ]  # fmt: skip
        finally:
            process.kill()


# ---------------------------------------------------------------- errors

WRONG: list[tuple[list[str], str]] = [
    (["generate"], "there are no prompts"),
    (["generate", "a", "--file", "x"], "not both"),
    (["generate", "--file", "no-such-file"], "cannot read no-such-file: No such file or directory"),
    (["generate", "a", "--temperature", "3"], "temperature must be a number from 0 to 2, got 3.0"),
    (["generate", "a", "--n", "2", "--temperature", "0"], "n must be 1 at temperature 0"),
    (["generate", "a", "--precision", "fp99"], "unknown precision 'fp99'"),
    (["generate", "a", "--max-model-len", "100000"], "max_model_len must be"),
    (["generate", "a", "--logprobs-mode", "mine"], "logprobs_mode must be one of"),
    (["generate", ""], "a decoder prompt cannot be empty"),
    (["logprobs", "a", "--file", "x"], "not both"),
    (["logprobs", "a", "--logprobs-mode", "raw_logits"], "raw_logits are no logprobs"),
    (["logprobs", "a"], "single token"),
    (["serve", "--api-key", ""], "the API key is empty"),
    (["serve", "--port", "70000"], "cannot serve at 127.0.0.1:70000"),
    (["serve", "--max-body-bytes", "0"], "max_body_bytes must be at least 1"),
    (["serve", "--tensor-parallel-size", "2"], "--tensor-parallel-size 2: vLLM has this flag"),
    (["serve", "--chat-template", "no-such-file"], "cannot read the chat template no-such-file"),
    (["serve", "--chat-template", "{% if %}"], "not valid Jinja"),
    (["serve", "--ssl-keyfile", "x"], "--ssl-keyfile goes with --ssl-certfile"),
    (["serve", "--ssl-certfile", "no-such-file"], "no-such-file are no certificate"),
    (["serve", "--dtype", "float32", "--precision", "fp32", "--port", "0"], "give dtype or precision"),
    (["serve", "--lora-modules", "a=b"], "--lora-modules need --enable-lora"),
    (["serve", "--enable-lora", "--lora-modules", "a=/none", "--port", "0"], "lora_path /none is not a fol"),
    (["serve", "--enable-lora", "--max-loras", "0", "--port", "0"], "max_loras must be at least 1"),
    (["serve", "--tool-call-parser", "json"], "tool_call_parser must be one of hermes, llama3_json"),
]


@pytest.mark.parametrize(
    ("arguments", "message"), WRONG, ids=lambda x: " ".join(x) if type(x) is list else ""
)
def test_errors_are_one_line(arguments: list[str], message: str, run: Callable[..., Any]) -> None:
    status, out, err = run(*arguments)
    assert status == 1
    assert out == ""
    *before, last = err.splitlines()
    assert len(before) <= 1
    assert last.startswith("error: ")
    assert message in last


def test_lines_that_are_no_prompts(run: Callable[..., Any]) -> None:
    for line, message in (
        ("{", "line 2 of the prompts is not JSON"),
        ('{"text": "a"}', "line 2 of the prompts: 'text' is not supported"),
        ("5", "a prompt must be text or a list of token ids"),
    ):
        status, _, err = run("generate", "--jsonl", stdin=f'"a"\n{line}\n')
        assert status == 1
        assert message in err.splitlines()[-1]


def test_a_model_without_a_chat_template(run: Callable[..., Any], folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "plain")
    settings = tmp_path / "plain" / "tokenizer_config.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"chat_template": None}))
    status, _, err = run("chat", model=tmp_path / "plain", stdin="hi\n")
    assert status == 1
    assert "has no chat template; use `minillm generate`" in err


def test_serving_without_its_packages_says_what_to_install(
    run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "minillm.serve.server", raising=False)
    monkeypatch.delattr(minillm.serve, "server", raising=False)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    status, _, err = run("serve", "--port", "0")
    assert status == 1
    assert err.startswith("error: serving needs packages that are not there")
    assert err.endswith("pip install -e '.[serve]' in the folder of the clone\n")


def test_help_and_misuse(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("serve", "generate", "chat", "logprobs"):
        with pytest.raises(SystemExit) as end:
            cli.main([command, "--help"])
        assert end.value.code == 0
        assert "--kv-cache-memory-bytes INT" in capsys.readouterr().out
    for wrong in ([], ["serve"], ["generate", "m", "--no-such-flag"]):
        with pytest.raises(SystemExit) as end:
            cli.main(wrong)
        assert end.value.code == 2


def test_a_reader_that_goes_away_is_no_error(folder: Path) -> None:
    generate = f"{sys.executable} -m minillm generate {folder} a b c --max-tokens 5"
    command = f"{generate} | head -n 1; exit ${{PIPESTATUS[0]}}"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(["bash", "-c", command], env=environment, capture_output=True, text=True)
    assert done.stdout == "==> prompt 1 <==\n"
    assert done.stderr == f"loading {folder} in fp32\n"
    assert done.returncode in (0, 1)
