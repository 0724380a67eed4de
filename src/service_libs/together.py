"""What is done together: questions of one kind that are asked at one moment, and loops."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import Any, Generic, TypeVar

Key = TypeVar("Key")
Answer = TypeVar("Answer")


class Together(Generic[Key, Answer]):
    """Gathers what is asked at one moment into one question, in which each key stands once.

    What somebody gets was asked for after they came: who comes while others' answers are on their
    way is answered by the next question.

    Args:
        ask: answers for all keys, or returns None if each has to be asked for alone.
        keys: in one question, at most.
        questions: on their way at once, at most, so that one that hangs does not hold up all.
    """

    def __init__(
        self,
        ask: Callable[[Sequence[Key]], Awaitable[Mapping[Key, Answer] | None]],
        *,
        keys: int,
        questions: int,
    ) -> None:
        self._ask = ask
        self._keys = keys
        self._questions = questions
        self._waiting: dict[Key, list[asyncio.Future[Answer]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_gathering = False  # one that takes along whoever comes until it is asked

    async def get(self, key: Key) -> Answer:
        """Return the answer for the key, or raise what the question did."""
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(key, []).append(answer)
        if not self._is_gathering and len(self._tasks) < self._questions:
            self._is_gathering = True
            task = asyncio.create_task(self._ask_for_all())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return await answer

    async def _ask_for_all(self) -> None:
        self._is_gathering = False
        while self._waiting:
            some = dict(islice(self._waiting.items(), self._keys))
            for key in some:
                del self._waiting[key]
            await self._answer(some)

    async def _answer(self, waiting: Mapping[Key, list[asyncio.Future[Answer]]]) -> None:
        try:
            found = await self._ask(list(waiting))
        except Exception as exc:  # noqa: BLE001 - it is raised by each of those who wait
            for answer in _open(*waiting.values()):
                answer.set_exception(exc)
            return
        for key, answers in waiting.items():
            if found is None:
                await self._answer({key: answers})
                continue
            for answer in _open(answers):
                answer.set_result(found[key])


async def run_together(*work: Coroutine[Any, Any, object]) -> None:
    """Return when all of it is done; where one fails, or the caller is cancelled, none goes on."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _open(*answers: Iterable[asyncio.Future[Answer]]) -> Iterator[asyncio.Future[Answer]]:
    """Yield those that somebody still waits for."""
    return (one for one in chain(*answers) if not one.done())
