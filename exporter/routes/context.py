"""Context of every route: the service, the limits, and the exporter's external address."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import SplitResult, urlsplit

from starlette.requests import Request

from exporter.http.limits import LogLimit, RequestLimits
from exporter.http.middleware import TrustedProxies
from exporter.service import ActiveConfig, Service

_LEAST_WAITING = 1000


@dataclass(frozen=True, slots=True)
class HttpOptions:
    """The settings of the HTTP side, with the defaults of the flags; times are in seconds.

    `max_requests` 0 means any number; `max_waiting` None means one per target, at least 1,000.
    `route_prefix` is empty, or begins with a slash and does not end with one.
    """

    max_requests: int = 40
    max_waiting: int | None = None
    timeout_offset_s: float = 0.5
    external_url: str = ""
    route_prefix: str = ""
    trusted_proxies: TrustedProxies = ()
    sources: Sequence[str] = ("the environment",)
    """The files that the configuration is loaded from."""

    def most_waiting(self, targets: int) -> int:
        """Maximum number of readings that wait for servers; addresses other than targets may be probed too."""
        return max(targets, _LEAST_WAITING) if self.max_waiting is None else self.max_waiting


@dataclass(frozen=True, slots=True)
class RouteContext:
    """The application's state, the same for all requests."""

    service: Service
    options: HttpOptions
    limits: RequestLimits
    denied: LogLimit = field(default_factory=LogLimit)
    """Limits log lines about denied writes."""
    shortages: LogLimit = field(default_factory=LogLimit)
    """Limits log lines about requests that failed for lack of a resource."""

    @property
    def active(self) -> ActiveConfig:
        return self.service.installed

    def external_url(self, request: Request) -> SplitResult:
        """The exporter's address as its clients write it; the path does not end with a slash.

        From the option, or from the request's Host header, which may be missing.
        """
        if self.options.external_url:
            return urlsplit(self.options.external_url)
        host = request.headers.get("host", "")
        return SplitResult(request.url.scheme, host, self.options.route_prefix, "", "")


def context_of(request: Request) -> RouteContext:
    """The context of the application that a request is for."""
    context: RouteContext = request.app.state.context
    return context
