"""The month keys of devices: derived alike, one rewrite a month, nothing of the past left."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from broker.errors import BadRequest, Unavailable
from broker.push import key_chain
from broker.push.key_ids import KEY, SECRET, chain_id, key_id, tag_of
from broker.push.keys import Keys
from broker.push.month_keys import MONTHS_BACK_MAX, PAUSE_S, Encryption, MonthKeys
from broker.push.transport import MonthKey
from storage import LogFull
from storage.keyfile import NAME, KeyFile

ISS = bytes(range(32))
OTHER_ISS = bytes(range(1, 33))


def noon(month: str) -> int:
    return int(datetime.fromisoformat(f"{month}-15T12:00:00+00:00").timestamp() * 1_000)


def encryption(month: str = "2024-01", iss: bytes = ISS, named: str = "k") -> Encryption:
    return Encryption(iss, month, named)


def link(month: str, since: str = "2024-01", iss: bytes = ISS) -> key_chain.Link:
    return key_chain.advanced(key_chain.first(iss, since), month)


class CountedFile(KeyFile):
    """Counts how often it is replaced as a whole, and may refuse to be."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.replaced = 0
        self.is_full = False

    def change(self, put: dict[str, bytes], drop: set[str]) -> None:  # type: ignore[override]
        self.replaced += 1
        if self.is_full:
            raise LogFull("the key file cannot be written")
        super().change(put, drop)


@pytest.fixture
def file(tmp_path: Path) -> Iterator[CountedFile]:
    file = CountedFile(tmp_path)
    yield file
    file.close()


def on_disk(file: CountedFile) -> bytes:
    return b"".join(path.read_bytes() for path in file._path.parent.iterdir())


async def key(
    months: MonthKeys, month: str, device: str = "d", named: str = "k"
) -> MonthKey | None:
    return await months.key("app", device, named, noon(month))


async def test_the_key_of_a_month(file: CountedFile) -> None:
    months = MonthKeys(Keys(file))
    await months.begin("app", "d", encryption(), noon("2024-01"))
    for month in ("2024-01", "2024-02", "2024-05", "2024-05"):
        assert await key(months, month) == MonthKey(month, link(month).key)


async def test_a_secret_of_before_is_taken_along_to_now(file: CountedFile) -> None:
    """A device that registers a while after it made the secret."""
    months = MonthKeys(Keys(file))
    await months.begin("app", "d", encryption("2023-10"), noon("2024-01"))
    assert await key(months, "2024-01") == MonthKey("2024-01", link("2024-01", "2023-10").key)


async def test_a_device_whose_month_has_begun_already(file: CountedFile) -> None:
    months = MonthKeys(Keys(file))
    await months.begin("app", "d", encryption("2024-02"), noon("2024-01"))
    found = await key(months, "2024-01")
    assert found == MonthKey("2024-02", link("2024-02", "2024-02").key)
    assert await key(months, "2024-03") == MonthKey("2024-03", link("2024-03", "2024-02").key)


async def test_a_clock_that_is_set_back_changes_nothing(file: CountedFile) -> None:
    months = MonthKeys(Keys(file))
    await months.begin("app", "d", encryption(), noon("2024-01"))
    newest = await key(months, "2024-03")
    assert await key(months, "2024-02") == newest == MonthKey("2024-03", link("2024-03").key)


async def test_who_has_no_chain_has_no_key(file: CountedFile) -> None:
    months = MonthKeys(Keys(file))
    await months.begin("app", "d", encryption(), noon("2024-01"))
    assert await key(months, "2024-01", device="e") is None
    assert await key(months, "2024-01", named="another") is None
    assert await months.key("other", "d", "k", noon("2024-01")) is None


async def test_nothing_of_the_past_is_on_disk(file: CountedFile) -> None:
    """Not what the chain began with, and no secret or key of a month that is over."""
    months = MonthKeys(Keys(file))
    await months.begin("app", "d", encryption(), noon("2024-01"))
    await key(months, "2024-03")
    everything = on_disk(file)
    for gone in (link("2024-01"), link("2024-02")):
        assert gone.secret not in everything, gone.month
        assert gone.key not in everything, gone.month
    assert ISS not in everything
    assert link("2024-03").secret in everything, "or the chain could not go on"


async def test_a_new_month_is_one_rewrite_for_all(file: CountedFile) -> None:
    months = MonthKeys(Keys(file))
    for number in range(40):
        await months.begin("app", str(number), encryption(named=str(number)), noon("2024-01"))
    found: dict[int, MonthKey | None] = {}

    async def ask(number: int) -> None:
        found[number] = await key(months, "2024-03", str(number), str(number))

    file.replaced = 0
    async with trio.open_nursery() as nursery:
        for number in range(40):
            nursery.start_soon(ask, number)
    assert file.replaced == 1
    assert set(found.values()) == {MonthKey("2024-03", link("2024-03").key)}
    assert len(file.ids()) == 80


async def test_chains_go_on_after_a_restart(file: CountedFile) -> None:
    months = MonthKeys(Keys(file))
    await months.begin("app", "d", encryption(), noon("2024-01"))
    again = MonthKeys(Keys(file))
    assert await key(again, "2024-02") == MonthKey("2024-02", link("2024-02").key)
    assert again.ids("app", "d") == file.ids()


async def test_the_same_secret_again_goes_on(file: CountedFile) -> None:
    """Clients register whenever they start: that must not cost a rewrite each time."""
    months = MonthKeys(Keys(file))
    await months.begin("app", "d", encryption(), noon("2024-01"))
    await key(months, "2024-02")
    file.replaced = 0
    await months.begin("app", "d", encryption(), noon("2024-02"))
    await months.begin("app", "d", encryption(), noon("2024-03"))
    assert file.replaced == 0
    assert await key(months, "2024-03") == MonthKey("2024-03", link("2024-03").key)


async def test_another_secret_of_the_same_name_replaces_the_chain(file: CountedFile) -> None:
    months = MonthKeys(Keys(file))
    await months.begin("app", "d", encryption(), noon("2024-02"))
    await months.begin("app", "d", encryption("2024-01", OTHER_ISS), noon("2024-01"))
    expected = link("2024-03", iss=OTHER_ISS)
    assert await key(months, "2024-03") == MonthKey("2024-03", expected.key)
    assert link("2024-02").key not in on_disk(file)
    assert len(file.ids()) == 2


async def test_two_secrets_at_once_leave_one_whole_chain(file: CountedFile) -> None:
    months = MonthKeys(Keys(file))
    async with trio.open_nursery() as nursery:
        for iss in (ISS, OTHER_ISS):
            nursery.start_soon(months.begin, "app", "d", encryption(iss=iss), noon("2024-01"))
    found = await key(months, "2024-02")
    assert found in [MonthKey("2024-02", link("2024-02", iss=i).key) for i in (ISS, OTHER_ISS)]


async def test_two_names_are_two_chains_until_one_is_destroyed(file: CountedFile) -> None:
    keys = Keys(file)
    months = MonthKeys(keys)
    await months.begin("app", "d", encryption(named="old"), noon("2024-01"))
    old = months.ids("app", "d")
    await months.begin("app", "d", encryption(iss=OTHER_ISS, named="new"), noon("2024-01"))
    assert all(months.is_of(id_, "old") and not months.is_of(id_, "new") for id_ in old)
    await keys.destroy(old, lambda _: set())
    months.forget(old)
    assert await key(months, "2024-01", named="old") is None
    assert await key(months, "2024-02", named="new") == MonthKey(
        "2024-02", link("2024-02", iss=OTHER_ISS).key
    )
    assert months.ids("app", "d").isdisjoint(old)


@pytest.mark.parametrize("kept", [KEY, SECRET])
async def test_half_a_chain_is_none(file: CountedFile, kept: str) -> None:
    """What a crash may leave of one that nobody was told of."""
    half = chain_id(kept, "2024-01", tag_of("k"), key_id("app", "d"))
    file.create({half: b"x" * 32})
    months = MonthKeys(Keys(file))
    assert await key(months, "2024-01") is None
    assert not months.is_of(half, "k"), "so that it is swept"
    await months.begin("app", "d", encryption(), noon("2024-01"))
    assert await key(months, "2024-02") == MonthKey("2024-02", link("2024-02").key)


async def test_a_month_that_cannot_be_written_down_is_not_used(
    file: CountedFile, autojump_clock: MockClock
) -> None:
    """Or a crash would leave a secret that is over. And not everybody tries in turn."""
    months = MonthKeys(Keys(file))
    await months.begin("app", "d", encryption(), noon("2024-01"))
    file.is_full, file.replaced = True, 0
    for _ in range(5):
        with pytest.raises(Unavailable):
            await key(months, "2024-02")
    assert file.replaced == 1
    assert await key(months, "2024-01") == MonthKey("2024-01", link("2024-01").key)
    file.is_full = False
    await trio.sleep(PAUSE_S)
    assert await key(months, "2024-02") == MonthKey("2024-02", link("2024-02").key)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (encryption(iss=b"x" * 31), "32 bytes"),
        (encryption(iss=b""), "32 bytes"),
        (encryption(named=""), "key identifier"),
        (encryption(named="x" * 257), "key identifier"),
        (encryption("2024-13"), "yyyy-MM"),
        (encryption("2024-1"), "yyyy-MM"),
        (encryption("2024-03"), "too far"),
        (encryption("2015-08"), "too far"),
    ],
)
async def test_what_nobody_can_mean(file: CountedFile, given: Encryption, words: str) -> None:
    months = MonthKeys(Keys(file))
    with pytest.raises(BadRequest, match=words):
        await months.begin("app", "d", given, noon("2024-01"))
    assert file.ids() == set()
    assert key_chain.months_between("2015-09", "2024-01") == MONTHS_BACK_MAX


def test_no_secret_has_a_repr() -> None:
    assert "2024-01" in repr(encryption())
    for secret in (encryption(), MonthKey("2024-01", ISS)):
        assert repr(ISS)[2:10] not in repr(secret)


async def test_the_zone_says_when_a_month_begins(file: CountedFile) -> None:
    moment = int(datetime(2024, 1, 31, 23, 30, tzinfo=UTC).timestamp() * 1_000)
    berlin = MonthKeys(Keys(file))
    await berlin.begin("app", "d", encryption(), noon("2024-01"))
    london = MonthKeys(Keys(file), "Europe/London")
    of_london = await london.key("app", "d", "k", moment)
    of_berlin = await berlin.key("app", "d", "k", moment)
    assert [found.month for found in (of_london, of_berlin) if found] == ["2024-01", "2024-02"]


async def test_whatever_a_crash_cuts_off_the_chain_goes_on(tmp_path: Path) -> None:
    """A beginning cut off anywhere is no chain, and leaves those of before; it can begin again."""
    file = KeyFile(tmp_path)
    await MonthKeys(Keys(file)).begin("app", "d", encryption(named="old"), noon("2024-01"))
    before = (tmp_path / NAME).read_bytes()
    await MonthKeys(Keys(file)).begin("app", "d", encryption(iss=OTHER_ISS), noon("2024-01"))
    file.close()
    after = (tmp_path / NAME).read_bytes()
    for length in (*range(len(before), len(after), 3), len(after)):
        (tmp_path / NAME).write_bytes(after[:length])
        file = KeyFile(tmp_path)
        months = MonthKeys(Keys(file))
        assert await key(months, "2024-01", named="old") == MonthKey(
            "2024-01", link("2024-01").key
        ), length
        assert (await key(months, "2024-01") is None) == (length < len(after)), length
        await months.begin("app", "d", encryption(iss=OTHER_ISS), noon("2024-01"))
        expected = MonthKey("2024-02", link("2024-02", iss=OTHER_ISS).key)
        assert await key(months, "2024-02") == expected, length
        file.close()
