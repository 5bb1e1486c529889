"""PromQL over what a dashboard's variables select."""

JOB_AND_INSTANCE = 'job=~"$job",instance=~"$instance"'
TARGET = f'{JOB_AND_INSTANCE},target=~"$target"'


def of_target(metric: str, *matchers: str) -> str:
    """The series of the chosen servers."""
    return f"{metric}{{{','.join((TARGET, *matchers))}}}"


def of_exporter(metric: str, *matchers: str) -> str:
    """The series of the chosen exporters."""
    return f"{metric}{{{','.join((JOB_AND_INSTANCE, *matchers))}}}"


def rate(series: str) -> str:
    return f"rate({series}[$__rate_interval])"


def increase(series: str) -> str:
    return f"increase({series}[$__rate_interval])"


def over_interval(function: str, series: str) -> str:
    """`function` over the scrapes that one point of a graph stands for, so that none is skipped."""
    return f"{function}({series}[$__rate_interval])"


def over_range(function: str, series: str) -> str:
    """`function` over the whole time range that the dashboard shows."""
    return f"{function}({series}[$__range])"


def unnamed(expression: str) -> str:
    """The series without the metric's name, which would keep the rows of one server in a table apart."""
    return f"max without () ({expression})"


def ratio(part: str, whole: str) -> str:
    """`part` / `whole`, and 0 instead of nothing where there is no `whole`."""
    return f"({part}) / ({whole} > 0) or 0 * ({whole})"
