"""Four small pipelines, each showing one thing."""

from __future__ import annotations

import asyncio
import time

from orbitd import AsyncContext, Context, Retry, pipeline


@pipeline("basics.hello")
def hello(ctx: Context, name: str = "world") -> str:
    """Return a value: the run has succeeded, and this is its result."""
    ctx.log.info("greeting", extra={"greeted": name})
    return f"hello, {name}"


@pipeline("basics.flaky", max_attempts=5)
def flaky(ctx: Context, failures: int = 2) -> str:
    """Fail a few times before it works; watch the attempts with `orbitctl describe RUN`."""
    if ctx.attempt <= failures:
        raise Retry(after="1s", message=f"attempt {ctx.attempt} of {failures} that fail")
    return f"worked at attempt {ctx.attempt}"


@pipeline("basics.slow", timeout="1h")
def slow(ctx: Context, steps: int = 10, seconds: float = 1.0) -> int:
    """Take a while. Kill its child in the middle: the run resumes, and no step is done twice."""
    for number in range(1, steps + 1):
        ctx.step(f"part {number}", time.sleep, seconds)
        ctx.progress(number / steps, f"part {number} of {steps}")
    return steps


@pipeline("basics.concurrent")
async def concurrent(ctx: AsyncContext, waits: int = 20) -> int:
    """Wait for many things at once, with asyncio."""
    await asyncio.gather(*(asyncio.sleep(0.1) for _ in range(waits)))
    ctx.log.info("all came back", extra={"waits": waits})
    return waits
