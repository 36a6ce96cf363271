"""A parent in Python: two runs at once, whose tool is a function, and a stream that is left when it has said enough."""

import asyncio

from axon_port.client import CommandError, Worker

SCRIPT = [{"tool_calls": [{"name": "weather", "args": {"city": "Riga"}}]}, {"text": "Take a coat."}]
POEM = [{"chunks": ["Roses ", "are ", "red, ", "violets ", "are ", "blue."]}]


def weather(city: str) -> dict[str, int]:
    """The weather in a city."""
    print(f"the weather in {city}?")
    return {"degrees": 8}


async def main() -> None:
    async with Worker.spawn() as worker:
        await worker.create_agent("guide", model={"script": SCRIPT}, tools=[weather])
        prompts = ["What shall I wear today?", "And tomorrow?"]
        for result in await asyncio.gather(*(worker.run("guide", prompt) for prompt in prompts)):
            print(result.output, result.usage["requests"], "requests")

        await worker.create_agent("poet", model={"script": POEM})
        async with worker.stream("poet", "A poem, please", window=2) as stream:
            async for chunk in stream:
                print(chunk.data, end="")
                if "violets" in chunk.data:
                    break
        print()

        try:
            await worker.run("painter", "Who are you?")
        except CommandError as error:
            print(error, "Worth another try." if error.retryable else "Not to be tried again.")


if __name__ == "__main__":
    asyncio.run(main())
