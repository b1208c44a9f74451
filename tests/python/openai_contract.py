"""What an unchanged program that uses the official OpenAI client relies on.

Run by tests/tests/api.rs against a node that serves; ends with 0 if all of it holds.
"""

import argparse
import asyncio
import time

import openai
from openai import AsyncOpenAI, OpenAI

QUESTION = [{"role": "user", "content": "What is the capital of France?"}]
COUNT = "1, 2, 3, 4, 5, 6,"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--base-url", required=True)
    parser.add_argument("--api-key", required=True)
    parser.add_argument("--ready-within", type=float, default=120)
    args = parser.parse_args()
    client = OpenAI(base_url=args.base_url, api_key=args.api_key, max_retries=0, timeout=120)
    model = wait_for_model(client, args.ready_within)
    for check in [
        models,
        chat,
        chat_stream,
        stop,
        seed,
        completion_ids,
        completion_stream,
        logprobs,
        errors,
    ]:
        begun = time.monotonic()
        check(client, model)
        print(f"ok {check.__name__} ({time.monotonic() - begun:.1f} s)", flush=True)
    wrong_key(args.base_url)
    print("ok wrong_key", flush=True)
    asyncio.run(concurrent(args.base_url, args.api_key, model))
    print("ok concurrent", flush=True)


def wait_for_model(client, seconds):
    deadline = time.monotonic() + seconds
    while not (found := client.models.list().data):
        assert time.monotonic() < deadline, f"no model after {seconds} s"
        time.sleep(0.2)
    return found[0].id


def raises(kind, call):
    """The error of `kind` that `call` raises."""
    try:
        answer = call()
    except kind as error:
        return error
    raise AssertionError(f"{kind.__name__} was not raised, but {answer} came")


def ask(client, model, **more):
    more = {"messages": QUESTION, "temperature": 0, "max_tokens": 16} | more
    return client.chat.completions.create(model=model, **more)


def models(client, model):
    assert client.models.retrieve(model).id == model
    error = raises(openai.NotFoundError, lambda: client.models.retrieve("no-such-model"))
    assert error.code == "model_not_found", error


def chat(client, model):
    answer = ask(client, model)
    choice = answer.choices[0]
    assert answer.object == "chat.completion" and answer.model == model
    assert choice.message.role == "assistant" and choice.finish_reason in ("stop", "length")
    assert "smol" not in model.lower() or "Paris" in choice.message.content, choice
    usage = answer.usage
    assert usage.prompt_tokens > 0 and 1 <= usage.completion_tokens <= 16
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    parts = [{"role": "user", "content": [{"type": "text", "text": QUESTION[0]["content"]}]}]
    assert ask(client, model, messages=parts).choices[0].message.content == choice.message.content
    short = ask(client, model, max_tokens=None, max_completion_tokens=1)
    assert short.usage.completion_tokens == 1 and short.choices[0].finish_reason == "length"


def chat_stream(client, model):
    whole = ask(client, model)
    text, finish, usage = "", None, None
    for chunk in ask(client, model, stream=True, stream_options={"include_usage": True}):
        assert chunk.object == "chat.completion.chunk"
        if chunk.choices:
            text += chunk.choices[0].delta.content or ""
            finish = chunk.choices[0].finish_reason or finish
        else:
            usage = chunk.usage
    assert text == whole.choices[0].message.content, (text, whole)
    assert finish == whole.choices[0].finish_reason
    assert usage == whole.usage, (usage, whole.usage)


def stop(client, model):
    def complete(**more):
        return client.completions.create(
            model=model, prompt=COUNT, max_tokens=16, temperature=0, **more
        )

    whole = complete().choices[0].text
    # A string that begins in one token and ends in another, wherever tokens may be cut.
    at = len(whole) // 2
    end = whole[at : at + 3]
    answer = complete(stop=["not in it", end])
    assert answer.choices[0].text == whole[: whole.index(end)], (whole, end, answer)
    assert answer.choices[0].finish_reason == "stop"
    streamed = "".join(chunk.choices[0].text for chunk in complete(stop=end, stream=True))
    assert streamed == answer.choices[0].text


def seed(client, model):
    def text(seed):
        answer = ask(client, model, temperature=1.5, top_p=0.95, seed=seed)
        return answer.choices[0].message.content

    assert text(7) == text(7)
    assert len({text(seed) for seed in range(4)}) > 1, "four seeds, one answer"


def completion_ids(client, model):
    answer = client.completions.create(
        model=model,
        prompt=COUNT,
        max_tokens=8,
        temperature=0,
        extra_body={"return_token_ids": True, "ignore_eos": True},
    )
    first = answer.choices[0]
    assert answer.object == "text_completion" and first.finish_reason == "length"
    assert len(first.token_ids) == 8 and answer.usage.completion_tokens == 8
    assert len(first.prompt_token_ids) == answer.usage.prompt_tokens
    for prompt in (first.prompt_token_ids, [first.prompt_token_ids], [COUNT]):
        again = client.completions.create(
            model=model,
            prompt=prompt,
            max_tokens=8,
            temperature=0,
            extra_body={"return_token_ids": True, "ignore_eos": True},
        )
        assert again.choices[0].token_ids == first.token_ids, (again, first)
        assert again.choices[0].text == first.text
    default = client.completions.create(
        model=model, prompt=COUNT, temperature=0, extra_body={"ignore_eos": True}
    )
    assert default.usage.completion_tokens == 16


def completion_stream(client, model):
    request = {
        "model": model,
        "prompt": COUNT,
        "max_tokens": 8,
        "temperature": 0,
        "extra_body": {"return_token_ids": True, "ignore_eos": True},
    }
    whole = client.completions.create(**request).choices[0]
    text, ids = "", []
    for chunk in client.completions.create(stream=True, **request):
        text += chunk.choices[0].text
        ids += chunk.choices[0].token_ids
    assert (text, ids) == (whole.text, whole.token_ids)


def logprobs(client, model):
    answer = ask(client, model, max_tokens=4, logprobs=True, top_logprobs=3)
    content = answer.choices[0].logprobs.content
    assert 1 <= len(content) <= 4
    for token in content:
        assert token.logprob <= 0 and len(token.top_logprobs) == 3
        # At temperature 0 the likeliest is chosen.
        assert token.top_logprobs[0].token == token.token
        assert abs(token.top_logprobs[0].logprob - token.logprob) < 1e-6
        assert [t.logprob for t in token.top_logprobs] == sorted(
            (t.logprob for t in token.top_logprobs), reverse=True
        )
    assert b"".join(bytes(t.bytes) for t in content).decode() in answer.choices[0].message.content

    answer = client.completions.create(
        model=model, prompt=COUNT, max_tokens=4, temperature=0, logprobs=2
    )
    parts = answer.choices[0].logprobs
    assert len(parts.tokens) == len(parts.token_logprobs) == len(parts.top_logprobs)
    assert "".join(parts.tokens) == answer.choices[0].text
    assert parts.text_offset[0] == 0


def errors(client, model):
    not_found = raises(openai.NotFoundError, lambda: ask(client, "no-such-model"))
    assert (not_found.code, not_found.param) == ("model_not_found", "model"), not_found
    for param, more in {
        "temperature": {"temperature": 5},
        "n": {"n": 2},
        "tools": {"tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}]},
        "response_format": {"response_format": {"type": "json_object"}},
        "frequency_penalty": {"frequency_penalty": 3},
        "messages": {"messages": []},
        "temprature": {"extra_body": {"temprature": 1}},
    }.items():
        bad = raises(openai.BadRequestError, lambda more=more: ask(client, model, **more))
        assert bad.param == param and bad.type == "invalid_request_error", bad
    long = raises(openai.BadRequestError, lambda: ask(client, model, max_tokens=10_000_000))
    assert long.code == "context_length_exceeded", long
    ask(client, model, max_tokens=1, user="me", metadata={"a": "b"}, n=1, store=False)


def wrong_key(base_url):
    client = OpenAI(base_url=base_url, api_key="wrong", max_retries=0)
    error = raises(openai.AuthenticationError, client.models.list)
    assert error.code == "invalid_api_key", error


async def concurrent(base_url, api_key, model):
    """Streams at once give what each gives alone."""
    client = AsyncOpenAI(base_url=base_url, api_key=api_key, max_retries=0, timeout=120)

    async def text(question):
        stream = await client.chat.completions.create(
            model=model,
            messages=[{"role": "user", "content": question}],
            max_tokens=16,
            temperature=0,
            stream=True,
        )
        chunks = [chunk async for chunk in stream]
        return "".join(chunk.choices[0].delta.content or "" for chunk in chunks)

    # No near ties in these, so that it does not matter who else is computed beside them.
    questions = ["Count from 1 to 10.", "What is 2+2?", QUESTION[0]["content"]]
    alone = [await text(question) for question in questions]
    together = await asyncio.gather(*map(text, questions))
    assert together == alone, (together, alone)
    await client.close()


if __name__ == "__main__":
    main()
