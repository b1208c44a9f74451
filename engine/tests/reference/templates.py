"""Renders llama.cpp's collection of chat templates as Hugging Face's transformers do.

    venv/bin/pip install transformers==5.24.0 jinja2==3.1.6
    venv/bin/python templates.py TEMPLATES > ../fixtures/template_prompts.json

TEMPLATES is `vendor/llama.cpp/models/templates` of the source of llama-cpp-python 0.3.36. Of each
template and conversation the file has the first half of a SHA-256 of the prompt, or why the template refuses it.
"""

import hashlib
import json
import sys
from pathlib import Path

import jinja2
from transformers.utils import chat_template_utils

KNOWN = json.loads((Path(__file__).parent / "../fixtures/chat_prompts.json").read_text())
CALL = dict(type="function", function=dict(name="get_time", arguments=dict(tz="Asia/Seoul", n=[1, 2.5, None, True])))
CONVERSATIONS = KNOWN["conversations"] | {
    "call": [
        dict(role="user", content="What time is it in Seoul?"),
        dict(role="assistant", content="", tool_calls=[dict(CALL, id="call00001")]),
        dict(role="tool", content="{\"time\": \"12:00\"}", tool_call_id="call00001", name="get_time"),
    ],
}
OPTIONS = {"": {}, "+tools": dict(tools=KNOWN["tools"]), "+nothink": dict(enable_thinking=False)}


def rendered(template, messages, options):
    variables = dict(tools=None, documents=None, add_generation_prompt=True, bos_token="<s>", eos_token="</s>")
    # A day that is the same every day: its own format.
    template.globals["strftime_now"] = lambda format: format
    try:
        prompt = template.render(messages=messages, **(variables | options))
    except jinja2.exceptions.TemplateError as error:
        return dict(refused=str(error)) if type(error) is jinja2.exceptions.TemplateError else None
    except TypeError:
        return None  # a defect of the template: of no interest
    return hashlib.sha256(prompt.encode()).hexdigest()[:32]


def main():
    found = {}
    for file in sorted(Path(sys.argv[1]).glob("*.jinja")):
        template = chat_template_utils._compile_jinja_template(file.read_text())
        for conversation, messages in CONVERSATIONS.items():
            for name, options in OPTIONS.items():
                if result := rendered(template, messages, options):
                    found.setdefault(file.stem, {})[conversation + name] = result
    json.dump(dict(conversations=CONVERSATIONS, tools=KNOWN["tools"], prompts=found), sys.stdout, indent=0, ensure_ascii=False)


main()
