"""PromQL over what a dashboard's variables select."""

JOB_AND_INSTANCE = 'job=~"$job",instance=~"$instance"'
EXPORTER = 'job=~"$exporter_job",instance=~"$instance"'
ALERT = 'alertname=~"Smtpstatus.+",job=~"$job|",instance=~"$instance|"'
"""Matches also the alert that an exporter is missing, which has no such labels."""
SAME_SERVER = "on (job, instance, target)"


def of_target(metric: str, *matchers: str) -> str:
    """The series of every server of the selected exporters."""
    return f"{metric}{{{','.join((JOB_AND_INSTANCE, *matchers))}}}"


def of_server(metric: str) -> str:
    """The series of the selected server."""
    return f'{metric}{{{JOB_AND_INSTANCE},target=~"$server"}}'


def of_exporter(metric: str, *matchers: str) -> str:
    """The exporter's own series, in the dashboard of the exporter."""
    return f"{metric}{{{','.join((EXPORTER, *matchers))}}}"


def rate(series: str) -> str:
    return f"rate({series}[$__rate_interval])"


def increase(series: str) -> str:
    """A whole number: increase() extrapolates."""
    return f"round(increase({series}[$__rate_interval]))"


def over_interval(function: str, series: str) -> str:
    """`function` over the scrapes that one point of a graph covers, so that none is skipped."""
    return f"{function}({series}[$__rate_interval])"


def over_range(function: str, series: str) -> str:
    """`function` over the dashboard's time range."""
    return f"{function}({series}[$__range])"


def unnamed(expression: str) -> str:
    """The series without the metric's name, which would prevent a table from joining the rows of a server."""
    return f"max without () ({expression})"


def ratio(part: str, whole: str) -> str:
    """`part` / `whole`, and 0 instead of nothing where `whole` is 0."""
    return f"({part}) / ({whole} > 0) or 0 * ({whole})"


def restarts(connections: str, transferred: str, window: str) -> str:
    """Where counters were reset. One above 2^31 that falls while the other does not has wrapped (docs/metrics.md)."""

    def reset(counter: str, other: str) -> str:
        wrapped = f"max_over_time({counter}[{window}]) > 2 ^ 31 and resets({other}[{window}]) == 0"
        return f"(resets({counter}[{window}]) > 0 unless ({wrapped}))"

    return f"({reset(connections, transferred)} or {reset(transferred, connections)})"


def last_time(condition: str, period: str, step: str) -> str:
    """The last time within `period` at which `condition` had a sample, in seconds."""
    return f"max_over_time((0 * ({condition}) + time())[{period}:{step}])"


def events(series: str) -> str:
    """The events within the time range of a recorded count over 5 minutes, evaluated every 30 seconds."""
    return f"round(sum_over_time({series}[$__range]) / 10) > 0"


def week_ago(series: str) -> str:
    """The mean of the same hour last week, or of yesterday with less than a week of data."""
    return f"(avg_over_time({series}[1h] offset 6d23h30m) or avg_over_time({series}[1h] offset 23h30m))"
