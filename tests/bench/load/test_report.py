"""A report is one whole file: it fetches nothing, escapes everything, and leaves nothing out."""

import math
import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import click.testing
import msgspec
from hypothesis import given
from hypothesis import strategies as st

from bench.load.command import command
from bench.load.instant import Instant
from bench.load.latency import Latencies
from bench.load.measuring import measure
from bench.load.report import plots
from bench.load.report.axes import logarithmic, nines
from bench.load.report.page import page
from bench.load.report.turns import Turns, sections
from bench.load.result import ACKNOWLEDGED, DELIVERED, DROPPED, Checked, Generator, Report, Result
from bench.load.workloads import WORKLOADS

_VOID = {"meta", "link", "br", "hr", "img", "input"}


class Parsed(HTMLParser):
    """Raises when an element is closed that is not open; `open` are those that never were."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def latency(*milliseconds: float):
    made = Latencies()
    for one in milliseconds:
        made.record(int(one * 1e6))
    return made.result()


def result(driver: str = "tidelog", **changes: Any) -> Result:
    base = Result(
        workload="publish",
        driver=driver,
        promise="fsynced",
        version=f"{driver} 1.0",
        options={"size": 256, "publishers": 2, "seed": 1, "rate": 0.0},
        began="2026-11-27T00:00:00+00:00",
        seconds=2.0,
        offered_per_s=None,
        achieved_per_s=1_000.0,
        delivered_per_s=0.0,
        latencies={ACKNOWLEDGED: latency(1, 2, 3)},
        server_cpu_us=50.0,
        server_rss_kib=20_480,
        generator=Generator(
            busy=0.2, cpu_us=20.0, late_p99_us=100.0, limit_per_s=50_000.0, is_limit=False
        ),
        checked=Checked(acknowledged=2_000, in_history=2_000),
    )
    return msgspec.structs.replace(base, **changes)


def report(*results: Result, **changes: Any) -> Report:
    base = Report(
        command="tidelog bench compare",
        began="2026-11-27T00:00:00+00:00",
        machine={"processor": "2 x Something"},
        disk=["fdatasync p50 0.2 ms"],
        results=list(results),
    )
    return msgspec.structs.replace(base, **changes)


def test_what_was_really_measured_makes_a_whole_page():
    results = [
        measure(
            Instant(backend),
            WORKLOADS[workload],
            WORKLOADS[workload].defaults.but(duration_s=0.05, warm_up_s=0, rate=rate),
            name="report",
            version="1",
        )
        for backend in ("trio", "asyncio")
        for workload in ("publish", "fanout")
        for rate in (0, 200)
    ]
    parsed = Parsed(page(report(*results)))
    assert parsed.open == []
    assert "publish, fanout on instant" in parsed.text
    assert len(parsed.of("polyline")) > 4


def test_nothing_is_fetched_or_run():
    made = page(report(result(), result("redis-streams")))
    assert (
        re.findall(r"(?i)\bhttps?:|//\w|\bsrc=|\burl\(|@import|<script|<link|\bon\w+=", made) == []
    )
    policies = [one["content"] for one in Parsed(made).of("meta") if "http-equiv" in one]
    assert policies == ["default-src 'none'; style-src 'unsafe-inline'"]


def test_everything_is_shown_and_escaped():
    said: list[str] = []

    def evil(where: str) -> str:
        said.append(f"<evil>\"'&{where}")
        return said[-1]

    checked = Checked(
        violations={evil("kind"): 1},
        examples=[evil("example")],
        reasons={evil("reason"): 2},
        unchecked=[evil("unchecked")],
    )
    bad = result(
        evil("driver"),
        workload=evil("workload"),
        promise=evil("promise"),
        version=evil("version"),
        options={evil("option"): evil("value")},
        latencies={evil("what"): latency(1)},
        checked=checked,
        more={evil("more"): 1.0},
    )
    made = page(
        report(
            bad,
            command=evil("command"),
            began=evil("began"),
            machine={evil("fact"): evil("machine")},
            disk=[evil("disk")],
            settings={evil("set"): evil("setting")},
            notes=[evil("note")],
        )
    )
    parsed = Parsed(made)
    assert parsed.open == []
    assert "evil" not in {tag for tag, _ in parsed.elements}
    for one in said:
        assert one in parsed.text


def test_ratios_are_of_turns_that_followed_each_other():
    ours = [result(achieved_per_s=rate) for rate in (100.0, 1_000.0, 200.0)]
    theirs = [result("redis-streams", achieved_per_s=rate) for rate in (300.0, 2_000.0, 900.0)]
    (section,) = sections([one for pair in zip(ours, theirs, strict=True) for one in pair])
    mine, other = section.contenders
    assert other.ratio(lambda one: one.achieved_per_s, section.ours(other)) == 3.0
    assert mine.ratio(lambda one: one.achieved_per_s, section.ours(mine)) is None
    assert other.median(lambda one: one.achieved_per_s) == 900
    made = page(report(*ours, *theirs))
    assert "<small>3.00" in made
    assert "<small>3.00" not in page(report(*ours, *theirs[:2]))  # the rounds do not match


def test_percentiles_are_of_all_turns_together():
    turns = Turns(
        "tidelog",
        None,
        [
            result(latencies={ACKNOWLEDGED: latency(*[1] * 98)}),
            result(latencies={ACKNOWLEDGED: latency(50, 50), DELIVERED: latency(7)}),
        ],
    )
    found = turns.percentiles_ms
    assert math.isclose(found[ACKNOWLEDGED]["p50"], 1, rel_tol=0.01)
    assert math.isclose(found[ACKNOWLEDGED]["p99"], 50, rel_tol=0.01)
    assert math.isclose(found[DELIVERED]["max"], 7, rel_tol=0.01)


def test_a_wrong_run_is_said_before_anything_else():
    lost = Checked(violations={"lost": 3}, examples=["message 7 of publisher 1"])
    made = page(report(result(), result("mqtt", checked=lost)))
    assert "1 of 2 runs are wrong" in made
    assert "mqtt: 3 x lost" in made
    assert "message 7 of publisher 1" in made
    assert made.index("runs are wrong") < made.index("<table")
    assert "runs are wrong" not in page(report(result()))


def test_a_generator_that_was_the_limit_is_said():
    busy = msgspec.structs.replace(result().generator, is_limit=True)
    assert "the load generator was the limit" in page(report(result(generator=busy)))
    assert "the load generator was the limit" not in page(report(result()))


def test_who_did_not_keep_up_is_said_and_not_drawn():
    late = result("mqtt", latencies={ACKNOWLEDGED: latency(5), DROPPED: latency(900, 901)})
    parsed = Parsed(page(report(result(), late)))
    assert "mqtt did not keep up: 2 operations were given up" in parsed.text
    assert f"Latency: {ACKNOWLEDGED}" in parsed.text
    assert f"Latency: {DROPPED}" not in parsed.text
    assert "901" in parsed.text  # among all percentiles


def test_several_rates_make_a_curve():
    steps = [
        result(offered_per_s=rate, latencies={ACKNOWLEDGED: latency(rate / 100)})
        for rate in (100.0, 200.0, 400.0)
    ]
    parsed = Parsed(page(report(*steps)))
    assert "p99 by rate" in parsed.text
    assert len(parsed.of("circle")) == 3
    assert "p99 by rate" not in page(report(*steps[:1]))


def test_what_is_not_known_is_no_number():
    idle = result(
        workload="idle", latencies={}, server_cpu_us=None, server_rss_kib=None, achieved_per_s=0.0
    )
    parsed = Parsed(page(report(idle)))
    assert parsed.open == []
    assert "None" not in parsed.text
    assert Parsed(page(report())).open == []


def test_curves_stay_within_their_plot():
    several = [
        result(latencies={ACKNOWLEDGED: latency(0, 0.001, 3_600_000)}),
        result("mqtt", latencies={ACKNOWLEDGED: latency(*[5] * 1_000)}),
    ]
    (section,) = sections(several)
    plot = plots.percentiles(section, ACKNOWLEDGED, lambda turns: 0)
    for curve in plot.curves:
        for point in curve.points.split():
            x, y = map(float, point.split(","))
            assert plots.LEFT <= x <= plots.WIDTH - plots.RIGHT
            assert plots.TOP <= y <= plots.HEIGHT - plots.BOTTOM


@given(st.lists(st.floats(1e-6, 1e9), min_size=1, max_size=20))
def test_an_axis_holds_its_values_in_order(values: list[float]):
    axis = logarithmic(values, str)
    places = [axis.place(value) for value in sorted(values)]
    assert all(before <= after for before, after in pairwise(places))
    for place in (*places, *(place for place, _ in axis.ticks)):
        assert -1e-9 <= place <= 1 + 1e-9
    assert len(axis.ticks) >= 2


@given(st.integers(0, 10**9), st.floats(0, 100))
def test_percentiles_have_their_place(operations: int, percent: float):
    axis = nines(operations)
    assert 0 <= axis.place(percent) <= 1
    assert axis.ticks[0] == (0.0, "0%")
    assert [place for place, _ in axis.ticks] == sorted(place for place, _ in axis.ticks)


def bench(*arguments: str) -> click.testing.Result:
    return click.testing.CliRunner().invoke(command, arguments)


def test_a_command_writes_it_too(tmp_path: Path):
    path = tmp_path / "report.html"
    sizes = ("--duration", "0.05", "--warm-up", "0")
    ran = bench("run", "publish", "--driver", "instant", *sizes, "--html", str(path))
    assert ran.exit_code == 0, ran.output
    parsed = Parsed(path.read_text())
    assert parsed.open == []
    assert "publish on instant" in parsed.text


def test_a_place_where_no_report_can_be_is_told_of_before_anything_is_measured(tmp_path: Path):
    ran = bench("run", "publish", "--html", str(tmp_path / "no" / "report.html"))
    assert ran.exit_code == 2
    assert f"there is no directory {tmp_path / 'no'}" in " ".join(ran.output.split())
