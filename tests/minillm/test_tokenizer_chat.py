"""Chats laid out as transformers does it, by templates such as models come with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tokenizers
import torch
from tokenizers import AddedToken, models

from minillm.errors import MinillmError
from minillm.tokenizer.tokenizer import Tokenizer

LLAMA_2 = """\
{%- if messages[0]['role'] == 'system' -%}
    {%- set rest = messages[1:] -%}
    {%- set system = '<<SYS>>\\n' ~ messages[0]['content'] ~ '\\n<</SYS>>\\n\\n' -%}
{%- else -%}
    {%- set rest = messages -%}
    {%- set system = '' -%}
{%- endif -%}
{%- for message in rest -%}
    {%- if (message['role'] == 'user') != (loop.index0 is even) -%}
        {{- raise_exception('user and assistant must take turns') -}}
    {%- endif -%}
    {%- if loop.first -%}{%- set text = system ~ message['content'] -%}
    {%- else -%}{%- set text = message['content'] -%}{%- endif -%}
    {%- if message['role'] == 'user' -%}
        {{- bos_token ~ '[INST] ' ~ text | trim ~ ' [/INST]' -}}
    {%- else -%}
        {{- ' ' ~ text | trim ~ ' ' ~ eos_token -}}
    {%- endif -%}
{%- endfor -%}
"""

MISTRAL = """\
{{- bos_token }}
{%- set ns = namespace(system=none, user=0) %}
{%- for message in messages %}
    {%- if message.role == "system" %}
        {%- set ns.system = message.content %}
    {%- elif message.role == "user" %}
        {%- set ns.user = ns.user + 1 %}
        {%- if tools is not none and loop.last %}
            {{- "[AVAILABLE_TOOLS] " + (tools | map(attribute="function") | list | tojson) }}
            {{- "[/AVAILABLE_TOOLS]" }}
        {%- endif %}
        {%- if ns.system and loop.last %}
            {{- "[INST] " + ns.system + "\\n\\n" + message.content + "[/INST]" }}
        {%- else %}
            {{- "[INST] " + message.content + "[/INST]" }}
        {%- endif %}
    {%- elif message.role == "assistant" %}
        {{- " " + message.content + eos_token }}
    {%- else %}
        {{- raise_exception("no role " + message.role) }}
    {%- endif %}
{%- endfor %}
"""

CHATML = """\
{%- if tools %}
<|im_start|>system
{% if messages[0].role == 'system' %}{{ messages[0].content }}

{% endif %}
Tools:
    {%- for tool in tools %}

{{ tool | tojson(indent=2) }}
    {%- endfor %}
<|im_end|>
{% endif %}
{% for message in messages %}
    {% if message.role == 'assistant' %}
<|im_start|>assistant
{% generation %}{{ message.content }}<|im_end|>{% endgeneration %}

    {% elif message.role == 'system' and tools %}
        {% continue %}
    {% else %}
<|im_start|>{{ message.role }}
{{ message.content }}<|im_end|>
    {% endif %}
{% endfor %}
{% if add_generation_prompt %}
<|im_start|>assistant
{% endif %}
"""

GEMMA = """\
{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role here') }}{% endif %}
{% for message in messages %}
{% set role = 'model' if message['role'] == 'assistant' else message['role'] %}
{{ '<start_of_turn>' + role + '\\n' + message['content'] | trim + '<end_of_turn>\\n' }}{% endfor %}
{% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}
"""

SYSTEM = {"role": "system", "content": "Be <brief> & 'exact'."}
ASK = {"role": "user", "content": '  Wie geht\'s? 你好 👋\n\n"ok"  '}
ANSWER = {"role": "assistant", "content": " Gut {{ danke }} "}
AGAIN = {"role": "user", "content": "¿Y tú?"}
CHATS = [
    [ASK],
    [SYSTEM, ASK],
    [ASK, ANSWER],
    [ASK, ANSWER, AGAIN],
    [SYSTEM, ASK, ANSWER, AGAIN],
    [SYSTEM, ASK, ANSWER, AGAIN, ANSWER],
    [SYSTEM],
    [ANSWER],
    [ASK, AGAIN],
    [{"role": "tool", "content": "7"}],
]
TOOL = {
    "type": "function",
    "function": {
        "name": "add",
        "description": "a < b, é",
        "parameters": {"type": "object", "properties": {}},
    },
}


def backend() -> tokenizers.Tokenizer:
    made = tokenizers.Tokenizer(models.BPE({"a": 0}, []))
    made.add_tokens([AddedToken("<s>", special=True), AddedToken("</s>", special=True)])
    return made


@pytest.mark.parametrize("tools", [None, [TOOL]])
@pytest.mark.parametrize("opened", [False, True])
@pytest.mark.parametrize("name", ["smollm2", "llama 2", "mistral", "chatml", "gemma"])
def test_chat_is_transformers(demo_model_path: Path, name: str, opened: bool, tools: Any) -> None:
    transformers: Any = pytest.importorskip("transformers")
    if name == "smollm2":
        ours = Tokenizer.from_folder(demo_model_path)
        theirs = transformers.AutoTokenizer.from_pretrained(demo_model_path)
    else:
        template = {"llama 2": LLAMA_2, "mistral": MISTRAL, "chatml": CHATML, "gemma": GEMMA}[name]
        marks = {"bos_token": "<s>", "eos_token": "</s>"}
        ours = Tokenizer(backend(), special_tokens=marks, chat_template=template)
        theirs = transformers.PreTrainedTokenizerFast(tokenizer_object=backend(), **marks)
        theirs.chat_template = template
    laid_out = 0
    for chat in CHATS:
        try:
            expected = theirs.apply_chat_template(
                chat, tools=tools, add_generation_prompt=opened, tokenize=False
            )
        except Exception as error:  # by the template's own raise_exception
            with pytest.raises(MinillmError, match=f"refuses the messages: {error}"):
                ours.chat_text(chat, add_generation_prompt=opened, tools=tools)
        else:
            assert ours.chat_text(chat, add_generation_prompt=opened, tools=tools) == expected
            laid_out += 1
    assert laid_out >= 4
    if name == "gemma":
        with pytest.raises(MinillmError, match="no system role here"):
            ours.chat_text([SYSTEM, ASK], add_generation_prompt=opened)


def test_error_names_the_file_of_the_template(tmp_path: Path) -> None:
    backend().save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text('{"chat_template": "{{ raise_exception(\'no\') }}"}')
    with pytest.raises(MinillmError, match=r"tokenizer_config\.json refuses the messages: no; change"):
        Tokenizer.from_folder(tmp_path).chat_text([ASK])
    (tmp_path / "chat_template.jinja").write_text("a\n{% if %}")
    with pytest.raises(MinillmError, match=r"chat_template\.jinja is not valid Jinja \(line 2: .*correct it"):
        Tokenizer.from_folder(tmp_path).chat_text([ASK])
    # What a filter raises is no error of Jinja's.
    (tmp_path / "chat_template.jinja").write_text("{{ 'text' | dictsort }}")
    with pytest.raises(MinillmError, match=r"chat_template\.jinja refuses the messages"):
        Tokenizer.from_folder(tmp_path).chat_text([ASK])


@pytest.mark.parametrize("arguments", [{}, {"add_generation_prompt": True}, {"tools": [TOOL]}])
@pytest.mark.parametrize(
    "form", [{"tokenize": False}, {"return_dict": False}, {}, {"return_tensors": "pt"}, {"max_length": 9}]
)
def test_the_method_is_hugging_faces(
    demo_model_path: Path, arguments: dict[str, Any], form: dict[str, Any]
) -> None:
    transformers: Any = pytest.importorskip("transformers")
    ours = Tokenizer.from_folder(demo_model_path)
    theirs = transformers.AutoTokenizer.from_pretrained(demo_model_path)
    for chat in ([SYSTEM, ASK], [[ASK], [SYSTEM, ASK]]):
        if "return_tensors" in form and isinstance(chat[0], list):
            with pytest.raises(MinillmError, match="texts of several lengths are no tensor"):
                ours.apply_chat_template(chat, **arguments, **form)
            continue
        expected = theirs.apply_chat_template(chat, **arguments, **form)
        found = ours.apply_chat_template(chat, **arguments, **form)
        if "return_tensors" in form:
            assert torch.equal(found.input_ids, expected.input_ids) and found.attention_mask.all()
        elif isinstance(found, dict):
            assert found == dict(expected)
        else:
            assert found == expected


def test_a_last_message_is_continued(demo_model_path: Path) -> None:
    transformers: Any = pytest.importorskip("transformers")
    ours = Tokenizer.from_folder(demo_model_path)
    theirs = transformers.AutoTokenizer.from_pretrained(demo_model_path)
    chat = [ASK, {"role": "assistant", "content": "It is "}]
    options: dict[str, Any] = {"continue_final_message": True, "tokenize": False}
    assert ours.apply_chat_template(chat, **options) == theirs.apply_chat_template(chat, **options)
    with pytest.raises(MinillmError, match="add_generation_prompt=False"):
        ours.apply_chat_template(chat, **options, add_generation_prompt=True)


PARTS = [{"type": "text", "text": "Two"}, {"type": "text", "text": "parts"}]
READS_PARTS = (
    "{% for m in messages %}{% for part in m['content'] %}<{{ part['type'] }}>{{ part['text'] }}{% endfor %}"
    "{% endfor %}"
)


def test_text_parts_are_text() -> None:
    joined = Tokenizer(backend(), chat_template="{% for m in messages %}{{ m.content }}{% endfor %}")
    assert joined.chat_text([{"role": "user", "content": PARTS}], add_generation_prompt=False) == "Two\nparts"
    parted = Tokenizer(backend(), chat_template=READS_PARTS)
    assert parted.chat_text([{"role": "user", "content": PARTS}]) == "<text>Two<text>parts"
    image = {"type": "image_url", "image_url": {"url": "x"}}
    with pytest.raises(MinillmError, match=r"messages\[0\]: a part of the content must be .*image_url"):
        joined.chat_text([{"role": "user", "content": [*PARTS, image]}])
