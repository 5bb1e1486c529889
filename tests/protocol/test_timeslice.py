import asyncio

from protocol.timeslice import Turn, parts


async def test_a_turn_ends_after_some_work_and_begins_again_behind_the_others() -> None:
    heard: list[str] = []
    turn = Turn()
    over = [turn.over]
    while not over[-1]:
        over.append(turn.over)
    asyncio.get_running_loop().call_soon(heard.append, "others")

    await turn.others()

    assert heard == ["others"]
    assert not over[0]
    assert not turn.over


def test_parts_are_all_the_items_in_order() -> None:
    assert list(parts(range(7), 3)) == [range(3), range(3, 6), range(6, 7)]
    assert list(parts([], 3)) == []
