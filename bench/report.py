"""From the rounds' figures to medians, ratios, what is reached, and tables."""

import statistics
from typing import Iterator, NamedTuple, Optional

import works
from works import Running, Work

NOTHING = "–"


class Measured(NamedTuple):
    """What the rounds of one work have brought, by driver ("floor" is one), and who failed, why."""
    work: Work
    rounds: dict[str, list[dict[str, float]]]
    failures: dict[str, str]

    def median(self, driver: str, figure: str) -> Optional[float]:
        found = [figures[figure] for figures in self.rounds.get(driver, []) if figure in figures]
        return statistics.median(found) if found and driver not in self.failures else None

    def ratio(self, driver: str, figure: str, to: str, to_figure: str) -> Optional[float]:
        """Of the medians."""
        above, below = self.median(driver, figure), self.median(to, to_figure)
        return None if above is None or not below else above / below


class MeasuredRunning(NamedTuple):
    """The same of a program that only runs."""
    work: Running
    rounds: list[dict[str, float]]
    failure: str

    def median(self, figure: str) -> Optional[float]:
        found = [figures[figure] for figures in self.rounds]
        return statistics.median(found) if found and not self.failure else None

    def noise(self) -> float:
        """How far two medians of the very same thing may be from each other here, as a ratio: the
        bare runs' two series, and the half of their runs that lies in the middle."""
        first, again = self.median("bare"), self.median("bare_again")
        every = sorted(value for figures in self.rounds
                       for value in (figures["bare"], figures["bare_again"]))
        quarter = len(every) // 4
        middle = every[quarter:len(every) - quarter]
        return max(first / again, again / first, middle[-1] / middle[0])


class Target(NamedTuple):
    """One thing to reach: `value` must be at most (or at least) `limit`."""
    work: str
    who: str
    what: str
    value: Optional[float]
    limit: float
    at_least: bool = False

    def reached(self) -> bool:
        if self.value is None:
            return False
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    def verdict(self) -> str:
        if self.value is None:
            return "not measured"
        if self.reached():
            return "yes"
        missed = self.limit / self.value if self.at_least else self.value / self.limit
        return f"**no**, by a factor of {missed:.2f}"


def targets(all_measured: list[Measured], running: list[MeasuredRunning], who: list[str],
            has_criu: bool) -> list[Target]:
    found = [target for measured in all_measured for name in who
             for target in targets_of(measured, name, has_criu)]
    return found + [target for measured in running for name in who
                    for target in running_targets(measured, name)]


def targets_of(measured: Measured, name: str, has_criu: bool) -> Iterator[Target]:
    work = measured.work
    if has_criu:
        for figure, what, limit in [
                ("pause", "pause / CRIU's", work.pause_target),
                ("durable", "time until durable / CRIU's", works.DURABLE_TARGET),
                ("restart", "restart / CRIU's", works.RESTART_TARGET)]:
            yield Target(work.what, name, what, measured.ratio(name, figure, "CRIU", figure), limit)
    if work.random >= works.WRITE_MATTERS:
        yield Target(work.what, name, "dd's time / time until durable",
                     measured.ratio("floor", "dd", name, "durable"), works.WRITE_TARGET, True)
    yield Target(work.what, name, "image / touched non-zero pages",
                 measured.ratio(name, "size", name, "touched"), works.SIZE_TARGET)


def running_targets(measured: MeasuredRunning, name: str) -> Iterator[Target]:
    bare, under = measured.median("bare"), measured.median(name)
    ratio = under / bare if bare and under else None
    yield Target(measured.work.what, name, "run time / bare (limit: the noise)", ratio,
                 measured.noise() if ratio else 1.0)


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return ["| " + " | ".join(line) + " |" for line in lines] + [""]


def in_ms(seconds: Optional[float]) -> str:
    return NOTHING if seconds is None else f"{seconds * 1000:,.1f} ms"


def in_mib(size: Optional[float]) -> str:
    return NOTHING if size is None else f"{size / works.MIB:,.2f} MiB"


def as_ratio(value: Optional[float]) -> str:
    return NOTHING if value is None else f"{value:.3f}"


class Column(NamedTuple):
    """What a driver's figure is set beside: somebody else's figure, and what it is called."""
    driver: str
    figure: str
    title: str


def times_table(all_measured: list[Measured], drivers: list[str], figure: str,
                beside: list[Column], ratios_to: list[Column]) -> list[str]:
    """A figure of every driver, others beside it, and the ratios of ours to some."""
    if "CRIU" in drivers:
        ratios_to = [Column("CRIU", figure, "CRIU"), *ratios_to]
    ratios = [(name, to) for to in ratios_to if to.driver in ["floor", *drivers]
              for name in ours(drivers)]
    beside = [column for column in beside if column.driver in ["floor", *drivers]]
    head = ["work", *drivers, *[column.title for column in beside],
            *[f"{name} / {to.title}" for name, to in ratios]]
    rows = [[measured.work.what,
             *[in_ms(measured.median(name, figure)) for name in drivers],
             *[in_ms(measured.median(column.driver, column.figure)) for column in beside],
             *[as_ratio(measured.ratio(name, figure, to.driver, to.figure)) for name, to in ratios]]
            for measured in all_measured]
    return table(head, rows)


def ours(drivers: list[str]) -> list[str]:
    return [name for name in drivers if name != "CRIU"]


def size_table(all_measured: list[Measured], drivers: list[str]) -> list[str]:
    head = ["work", "touched, non-zero", "touched, zeros", *drivers,
            *[f"{name} / non-zero" for name in drivers]]
    rows = []
    for measured in all_measured:
        someone = next((name for name in drivers if measured.median(name, "touched")), drivers[0])
        rows.append([measured.work.what,
                     in_mib(measured.median(someone, "touched")),
                     in_mib(measured.median(someone, "touched_zero")),
                     *[in_mib(measured.median(name, "size")) for name in drivers],
                     *[as_ratio(measured.ratio(name, "size", name, "touched"))
                       for name in drivers]])
    return table(head, rows)


def running_table(running: list[MeasuredRunning], who: list[str]) -> list[str]:
    head = ["work", "bare", *who, *[f"{name} / bare" for name in who], "noise of bare"]
    rows = []
    for measured in running:
        bare, under = measured.median("bare"), [measured.median(name) for name in who]
        rows.append([measured.work.what, in_ms(bare), *map(in_ms, under),
                     *[as_ratio(one / bare if one and bare else None) for one in under],
                     as_ratio(measured.noise() if bare else None)])
    return table(head, rows)


def target_table(found: list[Target]) -> list[str]:
    rows = [[target.work, target.who, target.what, as_ratio(target.value),
             f"{'≥' if target.at_least else '≤'} {target.limit:.3f}", target.verdict()]
            for target in found]
    return table(["work", "who", "ratio", "measured", "to reach", "reached"], rows)


def failure_lines(all_measured: list[Measured], running: list[MeasuredRunning]) -> list[str]:
    lines = [f"- {measured.work.what}, {name}: {reason}"
             for measured in all_measured for name, reason in measured.failures.items()]
    lines += [f"- {measured.work.what}: {measured.failure}"
              for measured in running if measured.failure]
    return ["## What failed", "", *lines, ""] if lines else []


FORK = Column("floor", "fork", "bare fork")
DD = Column("floor", "dd", "dd")
MEMCPY = Column("floor", "memcpy", "memcpy")
FRESH_START = Column("floor", "start", "fresh start")
CRIU_COMMAND = Column("CRIU", "command", "CRIU's command alone")


def pause_part(all_measured: list[Measured], drivers: list[str]) -> list[str]:
    undisturbed = Column("floor", "idle_gap", "undisturbed")
    return ["## Application pause", "",
            *times_table(all_measured, drivers, "pause", [FORK, undisturbed], [FORK])]


def durable_part(all_measured: list[Measured], drivers: list[str]) -> list[str]:
    return ["## Time until the image is durable", "",
            *times_table(all_measured, drivers, "durable", [CRIU_COMMAND, DD], [CRIU_COMMAND, DD])]


def restart_part(all_measured: list[Measured], drivers: list[str]) -> list[str]:
    return ["## Time from restart to the first instruction", "",
            *times_table(all_measured, drivers, "restart", [MEMCPY, FRESH_START],
                         [MEMCPY, FRESH_START])]


def render(all_measured: list[Measured], running: list[MeasuredRunning], drivers: list[str],
           found: list[Target]) -> str:
    lines = []
    if all_measured:
        lines += pause_part(all_measured, drivers) + durable_part(all_measured, drivers)
        lines += restart_part(all_measured, drivers)
        lines += ["## Image size", "", *size_table(all_measured, drivers)]
    if running:
        lines += ["## Cost while running", "", *running_table(running, ours(drivers))]
    lines += failure_lines(all_measured, running)
    return "\n".join([*lines, "## What is reached", "", *target_table(found)])
